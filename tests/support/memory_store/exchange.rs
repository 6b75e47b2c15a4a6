//! The exchange of two stores in memory, and what they hold by name.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use streamgauge::{
    model::{
        Checkpoint, ExchangePlan, ExchangeState, ExchangeStep, Fingerprint, Kind, NotBegun, Phase, ShardId, Target,
        TopicPartition,
    },
    store::{Exchange, Half, Inventory, KeyPage, StoreError},
};

use super::{Held, MemoryStore};

/// Names of one page: few, so that a few keys make several steps.
const PAGE: usize = 7;

impl AsRef<Self> for MemoryStore {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[async_trait]
impl Inventory for MemoryStore {
    async fn keys(&self, _cursor: &str, _limit: usize) -> Result<KeyPage, StoreError> {
        let names = self.held().names().into_iter().filter(|(kind, _)| !matches!(kind, Kind::Count | Kind::Last));
        Ok(KeyPage { keys: names.map(|(kind, name)| (name, kind)).collect(), cursor: None })
    }
}

/// A store and its shadow.
pub struct MemoryExchange<L> {
    pub live: Arc<L>,
    pub shadow: Arc<MemoryStore>,
}

impl<L: AsRef<MemoryStore>> MemoryExchange<L> {
    fn live<T>(&self, shard: ShardId, act: impl FnOnce(&mut Held) -> T) -> T {
        act(&mut (*self.live).as_ref().shards[usize::from(shard)].lock().unwrap())
    }
}

#[async_trait]
impl<L: AsRef<MemoryStore> + Send + Sync> Exchange for MemoryExchange<L> {
    fn shards(&self) -> ShardId {
        self.shadow.shards()
    }

    async fn state(&self, shard: ShardId) -> Result<Option<ExchangeState>, StoreError> {
        let has_shadow = !self.shadow.shard(shard).checkpoints.is_empty();
        Ok(self.live(shard, |held| held.exchange.clone()).map(|state| ExchangeState { has_shadow, ..state }))
    }

    async fn begin(
        &self,
        shard: ShardId,
        plan: &ExchangePlan,
        instead_of: Option<&str>,
    ) -> Result<Result<(), NotBegun>, StoreError> {
        let shadow = self.shadow.shard(shard);
        Ok(self.live(shard, |held| {
            let under_way = held.exchange.as_ref().map(|state| state.plan.id.as_str());
            if under_way == Some(&plan.id) {
                return Ok(());
            }
            if under_way != instead_of {
                return Err(NotBegun::UnderWay { shard });
            }
            for target in &plan.targets {
                let Target { partition, checkpoint, .. } = target;
                if shadow.checkpoints.get(partition) != Some(&target.in_shadow()) {
                    return Err(NotBegun::Shadow(partition.to_string()));
                }
                let follows = |stored: &Checkpoint| {
                    stored.incarnation < checkpoint.incarnation && stored.offset >= checkpoint.offset
                };
                if let Some(stored) = held.checkpoints.get(partition).filter(|stored| !follows(stored)) {
                    return Err(NotBegun::Moved { partition: partition.to_string(), stored: stored.to_string() });
                }
            }
            for partition in held.exchanged(plan) {
                let stray = Checkpoint { fingerprint: Fingerprint::EXCHANGE, ..Checkpoint::default() };
                held.checkpoints.insert(partition, stray);
            }
            held.checkpoints.extend(plan.targets.iter().map(|target| (target.partition.clone(), target.mark())));
            let plan = plan.clone();
            held.exchange = Some(ExchangeState { plan, phase: Phase::Removing, step: 0, has_shadow: true });
            Ok(())
        }))
    }

    async fn names(&self, shard: ShardId, half: Half, cursor: &str) -> Result<KeyPage, StoreError> {
        let names = match half {
            Half::Live => self.live(shard, |held| held.names()),
            Half::Shadow => self.shadow.shard(shard).names(),
        };
        // By the last name, since names go meanwhile.
        let seen = |(kind, name): &(Kind, String)| format!("{}{name}", *kind as u8);
        let page: Vec<_> = names.into_iter().filter(|name| seen(name).as_str() > cursor).take(PAGE).collect();
        let cursor = page.last().filter(|_| page.len() == PAGE).map(seen);
        Ok(KeyPage { keys: page.into_iter().map(|(kind, name)| (name, kind)).collect(), cursor })
    }

    async fn step(&self, step: &ExchangeStep<'_>) -> Result<bool, StoreError> {
        let shadow = self.shadow.shard(step.shard);
        Ok(self.live(step.shard, |held| {
            if !held.is_at(step.phase, step.number) {
                return false;
            }
            for (kind, name) in step.names {
                match step.phase {
                    Phase::Removing if !shadow.has(*kind, name) => held.copy(*kind, name, &Held::default()),
                    Phase::Taking if shadow.has(*kind, name) => held.copy(*kind, name, &shadow),
                    _ => {}
                }
            }
            let state = held.exchange.as_mut().unwrap();
            state.step += 1;
            if step.is_last {
                state.phase = Phase::Taking;
            }
            true
        }))
    }

    async fn finish(&self, shard: ShardId, step: u64) -> Result<bool, StoreError> {
        Ok(self.live(shard, |held| {
            if !held.is_at(Phase::Taking, step) {
                return false;
            }
            let plan = held.exchange.take().unwrap().plan;
            for partition in held.exchanged(&plan) {
                held.checkpoints.remove(&partition);
            }
            for Target { partition, checkpoint, gap } in plan.targets {
                held.gaps.extend(gap.map(|gap| (partition.clone(), gap)));
                held.checkpoints.insert(partition, checkpoint);
            }
            true
        }))
    }
}

impl Held {
    pub(super) fn is_exchanged(&self, topic: &str) -> bool {
        self.exchange.as_ref().is_some_and(|state| state.plan.topics.iter().any(|exchanged| exchanged == topic))
    }

    fn is_at(&self, phase: Phase, step: u64) -> bool {
        self.exchange.as_ref().is_some_and(|state| (state.phase, state.step) == (phase, step))
    }

    fn exchanged(&self, plan: &ExchangePlan) -> Vec<TopicPartition> {
        let is_of = |partition: &&TopicPartition| plan.topics.iter().any(|topic| **topic == *partition.topic);
        self.checkpoints.keys().filter(is_of).cloned().collect()
    }

    fn names(&self) -> BTreeSet<(Kind, String)> {
        let of =
            |kind, names: Vec<&String>| names.into_iter().map(move |name| (kind, name.clone())).collect::<Vec<_>>();
        let all = [
            of(Kind::Count, self.counters.keys().collect()),
            of(Kind::Last, self.last.keys().collect()),
            of(Kind::Unique, self.uniques.keys().collect()),
            of(Kind::Recent, self.recents.keys().collect()),
            of(Kind::Top, self.tops.keys().collect()),
            of(Kind::Member, self.sets.keys().collect()),
        ];
        all.into_iter().flatten().collect()
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Count | Kind::Max | Kind::Last => self.counters.contains_key(name) || self.last.contains_key(name),
            Kind::Unique => self.uniques.contains_key(name),
            Kind::Recent => self.recents.contains_key(name),
            Kind::Top => self.tops.contains_key(name),
            Kind::Member => self.sets.contains_key(name) || self.presences.contains_key(name),
        }
    }

    /// Makes a name what it is in another one; removes it where it is not there.
    fn copy(&mut self, kind: Kind, name: &str, from: &Self) {
        fn put<V: Clone>(
            map: &mut std::collections::BTreeMap<String, V>,
            from: &std::collections::BTreeMap<String, V>,
            name: &str,
        ) {
            match from.get(name) {
                Some(value) => drop(map.insert(name.to_owned(), value.clone())),
                None => drop(map.remove(name)),
            }
        }
        match kind {
            Kind::Count | Kind::Max | Kind::Last => {
                put(&mut self.counters, &from.counters, name);
                put(&mut self.last, &from.last, name);
            }
            Kind::Unique => put(&mut self.uniques, &from.uniques, name),
            Kind::Recent => put(&mut self.recents, &from.recents, name),
            Kind::Top => put(&mut self.tops, &from.tops, name),
            Kind::Member => {
                put(&mut self.sets, &from.sets, name);
                put(&mut self.presences, &from.presences, name);
            }
        }
    }
}
