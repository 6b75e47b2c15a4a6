//! Plain values that every room shares: names of partitions, origins, checkpoints, deltas, sections.
//!
//! Nothing here does IO, looks at a clock or knows Kafka or Redis. Every other room may import this one; it imports none.

mod checkpoint;
mod delta;
mod ids;
mod key;
mod query;
mod roster;
mod secret;
mod section;

pub use checkpoint::{Checkpoint, CheckpointError, Fingerprint, LogIdentity};
pub use delta::{Delta, Element, Membership, Overflow, RecentEntry};
pub use ids::{Origin, TopicPartition, topic_hash};
pub use key::{Key, Kind};
pub use query::{Answer, Query, RecentItem, ScanPage, TopItem};
pub use roster::{Beat, Beaten, Lease, LeaseStep, MemberId, Roster};
pub use secret::{MASK, Secret, SecretSource};
pub use section::{Gap, Outcome, Refusal, RefusalReason, Section, ShardId, StoredPosition, Swap, SwapOutcome};
