//! Plain values that every room shares: names of partitions, origins, checkpoints, deltas, sections.
//!
//! Nothing here does IO, looks at a clock or knows Kafka or Redis. Every other room may import this one; it imports none.

mod checkpoint;
mod delta;
mod exchange;
mod ids;
mod key;
mod presence;
mod query;
mod roster;
mod secret;
mod section;
mod servers;
mod status;
mod switches;

pub use checkpoint::{Checkpoint, CheckpointError, Fingerprint, LogIdentity};
pub use delta::{Delta, Element, Membership, Overflow, RecentEntry};
pub use exchange::{ExchangePlan, ExchangeState, ExchangeStep, NotBegun, Phase, Target};
pub use ids::{Origin, TopicPartition, topic_hash};
pub use key::{Key, Kind};
pub use presence::{Presence, Presences};
pub use query::{Answer, Query, RecentItem, ScanPage, TopItem};
pub use roster::{Beat, Beaten, Lease, LeaseStep, MemberId, Roster};
pub use secret::{MASK, Secret, SecretSource};
pub use section::{
    Gap, Outcome, Refusal, RefusalReason, RestoredTotals, Section, ShardId, StoredPosition, Swap, SwapOutcome,
};
pub use servers::{HostPort, RedisServers};
pub use status::{GroupStatus, Progress, Status, Statuses};
pub use switches::{MAX_SWITCHES, RulesMark, Switch, Switches, SwitchesError};
