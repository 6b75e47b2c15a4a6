//! What drives the core: tasks, clocks and retries around values that know neither.
//!
//! [`counting`] starts the loops that all partitions share: [`fetcher`], [`flusher`], and [`coordinator`], which is this member's
//! voice in its group and has a task for each partition that it holds ([`partition`], which begins with [`takeover`]). Between them lie [`decoding`] and the [`generation`]s. [`sameness`] sees whether the
//! log is still the one that was counted. [`mirror`] shows the broker how far this member has counted. [`outbox`] sends dead letters and forwards, [`publish`] what comes over HTTP, both
//! through the [`producer`].

mod coordinator;
pub mod counting;
pub mod decoding;
pub mod fetcher;
pub mod flusher;
pub mod generation;
mod handover;
pub mod health;
pub mod imports;
mod measure;
pub mod membership;
pub mod mirror;
mod origin;
pub mod outbox;
mod partition;
pub mod producer;
pub mod publish;
pub mod reads;
mod recheck;
pub mod recount;
mod report;
pub mod routing;
mod sameness;
pub mod sender;
mod takeover;
pub mod tally;
pub mod tenure;
mod topics;

pub use origin::OffsetReset;
pub use partition::Stop;

/// The only shard of this version.
const SHARD: crate::model::ShardId = 0;
/// The log's part in health.
pub const LOG_PART: &str = "log";
/// The store's part in health.
pub const STORE_PART: &str = "store";
/// The mirrored offsets' part in health; there once they were mirrored, or could not be.
pub const MIRROR_PART: &str = "mirror";
/// Counting's part in health.
pub const COUNTING_PART: &str = "counting";
