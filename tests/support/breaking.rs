//! Exchanges whose writes a test meddles with, and one that stops for ever amid them, as one does whose process is killed.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use streamgauge::{
    model::{ExchangePlan, ExchangeState, ExchangeStep, NotBegun, ShardId},
    store::{Exchange, Half, KeyPage, StoreError},
};
use tokio::sync::Notify;

/// What becomes of a write of an exchange.
pub trait Fate: Send + Sync {
    /// `is_done` tells a write from one that the store refused.
    fn write<T: Send>(
        &self,
        act: impl Future<Output = Result<T, StoreError>> + Send,
        is_done: fn(&T) -> bool,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}

/// An exchange whose writes meet a fate.
pub struct Fated<'a, F> {
    pub inner: &'a dyn Exchange,
    pub fate: F,
}

/// Stops for ever at a write.
pub struct Breaking {
    left: AtomicUsize,
    after: bool,
    /// It was reached.
    pub broken: Notify,
}

impl Breaking {
    /// Stops before or after the write that comes behind so many others. Those that were refused do not count: how often
    /// something is begun in vain depends on who writes meanwhile.
    pub fn new(writes: usize, after: bool) -> Self {
        Self { left: AtomicUsize::new(writes), after, broken: Notify::new() }
    }
}

impl Fate for Breaking {
    async fn write<T: Send>(
        &self,
        act: impl Future<Output = Result<T, StoreError>> + Send,
        is_done: fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let stops_before = !self.after && self.left.load(Ordering::SeqCst) == 0;
        if !stops_before {
            let result = act.await;
            let is_written = result.as_ref().is_ok_and(is_done);
            if !is_written || self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
                return result;
            }
        }
        self.broken.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl<F: Fate> Exchange for Fated<'_, F> {
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
        self.fate.write(self.inner.begin(shard, plan, instead_of), Result::is_ok).await
    }

    async fn names(&self, shard: ShardId, half: Half, cursor: &str) -> Result<KeyPage, StoreError> {
        self.inner.names(shard, half, cursor).await
    }

    async fn step(&self, step: &ExchangeStep<'_>) -> Result<bool, StoreError> {
        self.fate.write(self.inner.step(step), |is_done| *is_done).await
    }

    async fn finish(&self, shard: ShardId, step: u64) -> Result<bool, StoreError> {
        self.fate.write(self.inner.finish(shard, step), |is_done| *is_done).await
    }
}
