//! The `Store` seam: where results and checkpoints live, and move together.
//!
//! Two implementations, one contract: [`redis`] (through fred) and [`embedded`] (a file, through redb).
//! `tests/store_contract.rs` and `integration/` run the same suite on both. Beside it stands [`Tier`], a second place for the
//! totals: in Redis itself, or in [`postgres`].

pub mod embedded;
mod error;
mod exchange;
mod inventory;
pub mod postgres;
pub mod redis;
mod tier;

use async_trait::async_trait;

pub use error::StoreError;
pub use exchange::{Exchange, Half};
pub use inventory::{Inventory, KeyPage};
pub use tier::{Copied, Kept, Positions, PutBack, Step, Taken, Tier, Total, Totals};

use crate::model::{
    Answer, Beat, Beaten, GroupStatus, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap,
    SwapOutcome, TopicPartition,
};

/// Greatest sum, either way, that an element of a `top` window can have: 2^53. Redis keeps scores as doubles, which are no
/// longer exact beyond it; both implementations refuse such a section with [`crate::model::RefusalReason::Overflow`].
pub const TOP_SUM_MAX: i64 = 1 << 53;

/// A store of results, in one or more shards: the key of a name lies in the shard that [`crate::core::shards::shard_of`] says,
/// and each shard has checkpoints of its own.
///
/// Invariant 1: no delta without its offsets. [`Store::apply`] is the only way in which results change, and it changes a
/// section's results and its checkpoint in one atomic step.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Checks that the store is fit (it must not evict) and claims topics for a group. Idempotent.
    ///
    /// # Errors
    /// [`StoreError::ClaimedByOther`] where a topic's results already belong to another group, [`StoreError::OtherShards`]
    /// where they lie in another number of shards; nothing is claimed then.
    async fn open(&self, group: &str, topics: &[String]) -> Result<(), StoreError>;

    /// What is stored for each partition: outer by partition as asked, inner by shard.
    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError>;

    /// Fixes the group's first offset on partitions, in every shard: created where absent, from what another shard keeps, else
    /// as asked. What the first shard keeps afterwards is returned, by partition as asked.
    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError>;

    /// Applies sections to a shard, each by itself: compare, check everything, then write. One outcome per section. Their keys
    /// are those that lie in the shard.
    ///
    /// After an error it is unknown which sections were applied: send the very same sections again; those that were applied
    /// answer [`Outcome::AlreadyApplied`].
    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError>;

    /// Takes in a member's heartbeat and reads positions, in one exchange. Members whose session has ended, by the store's
    /// clock, are taken off the list with their leases first; then the member's own steps are taken.
    ///
    /// The same rule in every implementation: [`crate::core::roster::Group`]. It costs one exchange, and unless something
    /// changed the same however many partitions the group has.
    ///
    /// Positions as [`Store::positions`] gives them, read after the steps.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where a [`crate::core::roster::BeatError`] says why, also while the group is full. After any
    /// other error it is unknown whether the steps were taken; the next beat's roster tells.
    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError>;

    /// The living members of a group and their leases, read without taking part: nobody's session goes on or ends by it.
    /// A group that nobody has heard of is empty.
    async fn roster(&self, group: &str) -> Result<Roster, StoreError>;

    /// Answers queries, in order, each of the kind of its query. A counter is the sum of its pieces over all shards.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where something stored is not what it should be, or the pieces do not fit 64 bits together.
    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError>;

    /// A page of counters whose names begin with `prefix`: about `limit` names looked at, so a page may be short or empty
    /// while a cursor is still given. An empty `cursor` begins. A counter with pieces in several shards is listed once, with its
    /// sum; one that gets its first piece in another shard while the pages are read may be left out.
    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError>;

    /// Compare-and-set of documents, each by itself. One outcome per swap. A swap that expects and sets
    /// nothing (`None`, `None`) reads: absent answers [`SwapOutcome::Swapped`], present [`SwapOutcome::Differs`].
    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError>;

    /// Notes what became of events in a group that is not counting's, by the events' ids; counting's travel with their sections
    /// ([`Section::statuses`]). Of several of one event and group the last one stays. Each is kept for
    /// [`crate::model::Status::kept_ms`] at least.
    ///
    /// # Errors
    /// After an error it is unknown which were noted.
    async fn note(&self, _statuses: &[(Box<str>, GroupStatus)]) -> Result<(), StoreError> {
        let (doing, reason) = ("noting what became of events".to_owned(), "this store keeps no statuses".to_owned());
        Err(StoreError::Refused { doing, reason })
    }

    /// Removes counters that have expired ([`crate::model::Delta::CountUntil`]), a bounded number of them in one step. `true`
    /// where there are more. Until they are removed they may be read. A store that keeps no clock has nothing to do.
    async fn sweep(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
}
