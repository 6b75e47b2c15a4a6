//! A store in memory that fails as a test tells it to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use streamgauge::{
    model::{
        Answer, Beat, Beaten, GroupStatus, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap,
        SwapOutcome, TopicPartition,
    },
    store::{Store, StoreError},
};

use super::memory_store::MemoryStore;

/// A store that fails as it is told to.
#[derive(Default)]
pub struct FaultyStore {
    pub inner: Arc<MemoryStore>,
    /// So many of the next flushes are applied, and their answer is lost.
    pub lost_replies: AtomicUsize,
    /// So many of the next flushes fail before anything is applied.
    pub failures: AtomicUsize,
    /// So many of the next exchanges of documents are done, and their answer is lost.
    pub lost_swaps: AtomicUsize,
    /// So many of the next exchanges of documents fail before anything is done.
    pub failed_swaps: AtomicUsize,
    /// So many of the next notes of statuses fail before anything is done.
    pub failed_notes: AtomicUsize,
    /// No results can be written until it is up again.
    pub is_down: AtomicBool,
    /// No heartbeat is heard until it is no more.
    pub is_deaf: AtomicBool,
    /// Calls that wrote, or tried to.
    pub flushes: AtomicUsize,
}

fn unavailable(doing: &str, reason: &str) -> StoreError {
    StoreError::Unavailable { doing: doing.to_owned(), reason: reason.to_owned() }
}

/// Takes one from a count; `false` where it is 0.
fn take(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait]
impl Store for FaultyStore {
    async fn open(&self, group: &str, topics: &[String]) -> Result<(), StoreError> {
        self.inner.open(group, topics).await
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        self.inner.positions(partitions).await
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        self.inner.fix_origins(origins).await
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) || take(&self.failures) {
            return Err(unavailable("flushing", "connection refused"));
        }
        let outcomes = self.inner.apply(shard, sections).await?;
        if take(&self.lost_replies) { Err(unavailable("flushing", "no answer in time")) } else { Ok(outcomes) }
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        if self.is_deaf.load(Ordering::SeqCst) {
            return Err(unavailable("beating", "connection refused"));
        }
        self.inner.beat(beat, partitions).await
    }

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        self.inner.roster(group).await
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        self.inner.read(queries).await
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        self.inner.scan(prefix, cursor, limit).await
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        if take(&self.failed_swaps) {
            return Err(unavailable("exchanging", "connection refused"));
        }
        let outcomes = self.inner.swap(swaps).await?;
        if take(&self.lost_swaps) { Err(unavailable("exchanging", "no answer in time")) } else { Ok(outcomes) }
    }

    async fn note(&self, statuses: &[(Box<str>, GroupStatus)]) -> Result<(), StoreError> {
        if take(&self.failed_notes) {
            return Err(unavailable("noting", "connection refused"));
        }
        self.inner.note(statuses).await
    }
}
