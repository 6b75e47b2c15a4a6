//! A store that measures how long its flushes take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;

use crate::{
    model::{
        Answer, Beat, Beaten, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap, SwapOutcome,
        TopicPartition,
    },
    store::{Store, StoreError},
};

/// Passes every call on, and adds up the time of `apply`.
pub(super) struct Timed {
    store: Arc<dyn Store>,
    busy_nanos: AtomicU64,
}

impl Timed {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, busy_nanos: AtomicU64::new(0) }
    }

    /// Time during which a flush was under way.
    pub(super) fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_nanos.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Store for Timed {
    async fn open(&self, group: &str, topics: &[String]) -> Result<(), StoreError> {
        self.store.open(group, topics).await
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        self.store.positions(partitions).await
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        self.store.fix_origins(origins).await
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        let began = Instant::now();
        let outcomes = self.store.apply(shard, sections).await;
        self.busy_nanos.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        outcomes
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        self.store.beat(beat, partitions).await
    }

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        self.store.roster(group).await
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        self.store.read(queries).await
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        self.store.scan(prefix, cursor, limit).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        self.store.sweep().await
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        self.store.swap(swaps).await
    }
}
