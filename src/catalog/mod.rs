//! Catalogues: which topics and event types exist, and what each event does.
//!
//! A file is read with the places of its parts (`read_topic`, `read_rule`, over `reader`), all files are checked together
//! (`check`, over `pattern`), and what has no findings becomes the [`plan`] that the hot path runs without looking names up.
//! The built-in catalogues lie beside this file as TOML.

mod check;
mod compile;
mod describe;
mod draft;
mod duration;
mod feeds;
mod finding;
mod fingerprint;
mod load;
mod pattern;
pub mod plan;
mod read_rule;
mod read_topic;
mod reader;
mod template;

pub use compile::{Source, compile, lint};
pub use duration::{format_ms, parse_ms};
pub use feeds::Feeds;
pub use finding::{Finding, nearest};
pub use load::{CatalogChoice, CatalogError, read_path, sources};
pub use read_rule::MAX_AMOUNT;
