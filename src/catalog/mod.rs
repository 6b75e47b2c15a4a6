//! Catalogues: which topics and event types exist, and what each event does.
//!
//! A file is read with the places of its parts (`read_topic`, `read_rule`, over `reader`), all files are checked together
//! (`check`, over `pattern`), and what has no findings becomes the [`plan`] that the hot path runs without looking names up.
//! Rules that no file says any more are made again from the text that is kept under their fingerprint (`kept`).
//! Events can have a JSON Schema ([`schema`]), of which each version of a type may have its own (`version`).
//! The built-in catalogues lie beside this file as TOML, with their schemas, each with examples: events of every type, and the keys that they come to.

mod check;
mod compile;
mod describe;
mod draft;
mod duration;
mod feeds;
mod finding;
mod fingerprint;
mod kept;
mod load;
mod pattern;
pub mod plan;
mod read_rule;
mod read_topic;
mod reader;
pub mod retry;
pub mod schema;
mod template;
mod version;

pub use compile::{Source, compile, lint};
pub use duration::{format_ms, parse_ms};
pub use feeds::Feeds;
pub use finding::{Finding, nearest};
pub use kept::KeptError;
pub use load::{CatalogChoice, CatalogError, read_path, sources};
pub use read_rule::MAX_AMOUNT;

/// A JSON Schema 2020-12 of a catalogue file, for editors. What it lets through may still have findings: [`lint`] knows more.
pub const FILE_SCHEMA: &str = include_str!("catalog.schema.json");
