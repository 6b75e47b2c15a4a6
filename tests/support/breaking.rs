//! An exchange that stops for ever amid its writes, as one does whose process is killed.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use streamgauge::{
    model::{ExchangePlan, ExchangeState, ExchangeStep, NotBegun, ShardId},
    store::{Exchange, Half, KeyPage, StoreError},
};
use tokio::sync::Notify;

/// Stops for ever at a write.
pub struct Breaking<'a> {
    inner: &'a dyn Exchange,
    left: AtomicUsize,
    after: bool,
    /// It was reached.
    pub broken: Notify,
}

impl<'a> Breaking<'a> {
    /// Stops before or after the write that comes behind so many others.
    pub fn new(inner: &'a dyn Exchange, writes: usize, after: bool) -> Self {
        Self { inner, left: AtomicUsize::new(writes), after, broken: Notify::new() }
    }

    async fn write<T>(&self, act: impl Future<Output = T>) -> T {
        let is_last = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if is_last && self.after {
            act.await;
        } else if !is_last {
            return act.await;
        }
        self.broken.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Exchange for Breaking<'_> {
    fn shards(&self) -> ShardId {
        self.inner.shards()
    }

    async fn state(&self, shard: ShardId) -> Result<Option<ExchangeState>, StoreError> {
        self.inner.state(shard).await
    }

    async fn begin(
        &self,
        shard: ShardId,
        plan: &ExchangePlan,
        instead_of: Option<&str>,
    ) -> Result<Result<(), NotBegun>, StoreError> {
        self.write(self.inner.begin(shard, plan, instead_of)).await
    }

    async fn names(&self, shard: ShardId, half: Half, cursor: &str) -> Result<KeyPage, StoreError> {
        self.inner.names(shard, half, cursor).await
    }

    async fn step(&self, step: &ExchangeStep<'_>) -> Result<bool, StoreError> {
        self.write(self.inner.step(step)).await
    }

    async fn finish(&self, shard: ShardId, step: u64) -> Result<bool, StoreError> {
        self.write(self.inner.finish(shard, step)).await
    }
}
