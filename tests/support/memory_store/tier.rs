//! A persistent tier of the store in memory, which outlives it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use streamgauge::{
    model::ShardId,
    store::{Copied, Kept, Positions, PutBack, StoreError, Tier},
};

use super::{Held, MemoryStore};

/// The tier of a store that is reached through another one.
pub struct MemoryTier<S> {
    store: Arc<S>,
    inner: fn(&S) -> &MemoryStore,
    kept: Mutex<BTreeMap<ShardId, (Kept, Held)>>,
    /// It cannot be reached.
    pub is_down: AtomicBool,
}

impl<S> MemoryTier<S> {
    pub fn new(store: Arc<S>, inner: fn(&S) -> &MemoryStore) -> Self {
        Self { store, inner, kept: Mutex::default(), is_down: AtomicBool::new(false) }
    }

    fn store(&self) -> &MemoryStore {
        (self.inner)(&self.store)
    }

    fn reach(&self) -> Result<(), StoreError> {
        let away = || StoreError::Unavailable { doing: "copying totals".to_owned(), reason: "away".to_owned() };
        if self.is_down.load(Ordering::SeqCst) { Err(away()) } else { Ok(()) }
    }
}

#[async_trait]
impl<S: Send + Sync + 'static> Tier for MemoryTier<S> {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn copy(&self, _interval: Duration) -> Result<Copied, StoreError> {
        self.reach()?;
        let mut copied = Copied::default();
        let mut kept = self.kept.lock().unwrap();
        for shard in 0..self.store().shards() {
            let held = self.store().shard(shard);
            if held.checkpoints.is_empty() {
                continue;
            }
            let before = kept.get(&shard);
            let changed = |(name, value): &(&String, &i64)| {
                before.is_none_or(|(_, held)| held.counters.get(*name) != Some(value))
            };
            copied.totals += held.counters.iter().filter(changed).count() as u64;
            copied.shards += 1;
            let version = before.map_or(0, |(kept, _)| kept.version) + 1;
            let partitions = held.checkpoints.keys().chain(held.origins.keys());
            let positions = partitions.map(|partition| (partition.clone(), held.position(partition))).collect();
            let totals = held.counters.len() as u64;
            kept.insert(shard, (Kept { version, at_ms: 1, totals, positions }, held));
        }
        Ok(copied)
    }

    async fn kept(&self, shard: ShardId) -> Result<Option<Kept>, StoreError> {
        self.reach()?;
        Ok(self.kept.lock().unwrap().get(&shard).map(|(kept, _)| kept.clone()))
    }

    async fn put_back(&self, shard: ShardId, kept: &Kept, positions: &Positions) -> Result<PutBack, StoreError> {
        self.reach()?;
        let Some((now, totals)) = self.kept.lock().unwrap().get(&shard).cloned() else { return Ok(PutBack::Changed) };
        if now.version != kept.version {
            return Ok(PutBack::Changed);
        }
        let mut held = self.store().shards[usize::from(shard)].lock().unwrap();
        if !held.checkpoints.is_empty() {
            return Ok(PutBack::InUse);
        }
        (held.counters, held.last) = (totals.counters, totals.last);
        // Made again with the sets that move them.
        held.counters.retain(|name, _| !totals.moved_by_time.contains(name));
        for (partition, position) in positions {
            held.checkpoints.extend(position.checkpoint.map(|checkpoint| (partition.clone(), checkpoint)));
            held.origins.extend(position.origin.map(|origin| (partition.clone(), origin)));
            held.restored.extend(position.restored.map(|restored| (partition.clone(), restored)));
            held.identities.insert(partition.clone(), position.log_identity.clone());
        }
        Ok(PutBack::Done)
    }
}
