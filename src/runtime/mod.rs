//! What drives the core: tasks, clocks and retries around values that know neither.
//!
//! [`counting`] starts the loops that all partitions share: [`fetcher`], [`flusher`], and [`coordinator`], which is this member's
//! voice in its group and has a task for each partition that it holds ([`partition`], which begins with [`takeover`]). Between them lie [`decoding`] and the [`generation`]s. [`sameness`] sees whether the
//! log is still the one that was counted, [`switching`] puts changed rules in force, and [`outside`] keeps where they did outside of the store. [`mirror`] shows the broker how far this member has counted, [`persistent`] copies totals to a second place,
//! from which `recovery` puts them back into a store that was emptied. [`outbox`] sends dead letters and forwards, [`publish`] what comes over HTTP, both
//! through the [`producer`]. [`delivery`] sends events to services, [`dead_letters`] looks at dead letters, replays and purges them. [`reads`] answers what was counted, [`counted`] whether an event is, [`tracking`] what became of it, [`groups`] who holds what and how far it is behind; [`changes`] lets counters be followed.

pub mod changes;
mod coordinator;
pub mod counted;
pub mod counting;
pub mod dead_letters;
pub mod decoding;
pub mod delivery;
pub mod fetcher;
pub mod flusher;
pub mod generation;
pub mod groups;
mod handover;
pub mod health;
pub mod imports;
mod leased;
mod measure;
pub mod membership;
pub mod mirror;
mod origin;
pub mod outbox;
pub mod outside;
mod partition;
pub mod persistent;
pub mod producer;
pub mod publish;
pub mod reads;
mod recheck;
pub mod recount;
mod recovery;
mod report;
pub mod routing;
mod sameness;
pub mod schemas;
pub mod sender;
mod sweeping;
mod switching;
mod takeover;
pub mod tally;
pub mod tenure;
pub mod topics;
pub mod tracking;

pub use origin::OffsetReset;
pub use partition::Stop;

/// The log's part in health.
pub const LOG_PART: &str = "log";
/// The store's part in health.
pub const STORE_PART: &str = "store";
/// The mirrored offsets' part in health; there once they were mirrored, or could not be.
pub const MIRROR_PART: &str = "mirror";
/// The persistent tier's part in health; there once totals were copied, could not be, or were put back.
pub const PERSISTENT_PART: &str = "persistent";
/// The part in health of what is noted outside of the store; there once it could not be noted.
pub const SWITCHES_PART: &str = "switches";
/// The part of health that says whether schemas that values name can be asked for.
pub const SCHEMAS_PART: &str = "schemas";
/// The deliveries' part in health; there where this process delivers.
pub const DELIVERY_PART: &str = "delivery";
/// Counting's part in health.
pub const COUNTING_PART: &str = "counting";
