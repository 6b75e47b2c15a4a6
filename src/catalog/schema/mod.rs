//! JSON Schemas (2020-12) of events: compiled once when a catalogue is loaded, asked for each event of a type that has one.
//!
//! A schema says all by itself: `$ref` leads to places within it, never to another file or the network.

mod compare;
mod compiled;
mod instance;
mod place;
mod read;

pub(super) use self::read::read;
pub use self::{
    compare::{Obstacle, Side, obstacles},
    compiled::{MAX_SCHEMA_BYTES, Schema, Violation},
    instance::Instance,
    read::{read_file, read_text},
};
