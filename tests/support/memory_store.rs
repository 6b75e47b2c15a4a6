//! A store in memory that keeps the contract word for word, with exact sets for uniques, and that forgets nothing by the
//! clock: what it holds can be compared with the oracle whatever the events' times are. Each shard can be put back to an older
//! copy by itself.
//!
//! Longer than most files, since it is the whole contract in one place.

pub mod exchange;
mod rules;
#[allow(dead_code, reason = "not every target has a tier")]
pub mod tier;
mod whole;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use streamgauge::{
    core::{roster::Group, shards::shard_of},
    model::{
        Answer, Beat, Beaten, Checkpoint, ExchangeState, Gap, GroupStatus, LogIdentity, Origin, Outcome, Presence,
        Query, Refusal, RefusalReason, RestoredTotals, Roster, ScanPage, Section, ShardId, Status, StoredPosition,
        Swap, SwapOutcome, Switches, TopicPartition,
    },
    store::{Store, StoreError},
};

use super::oracle::{Expiring, Results};

/// Everything that is stored.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub checkpoints: BTreeMap<TopicPartition, Checkpoint>,
    pub origins: BTreeMap<TopicPartition, i64>,
    pub gaps: Vec<(TopicPartition, Gap)>,
    pub identities: BTreeMap<TopicPartition, LogIdentity>,
    pub switches: BTreeMap<TopicPartition, Switches>,
    pub restored: BTreeMap<TopicPartition, RestoredTotals>,
    pub counters: BTreeMap<String, i64>,
    last: BTreeMap<String, (i64, Origin)>,
    uniques: Expiring<BTreeSet<String>>,
    recents: BTreeMap<String, BTreeSet<(i64, Origin, String)>>,
    tops: Expiring<BTreeMap<String, i64>>,
    sets: BTreeMap<String, BTreeSet<String>>,
    /// By set and element, where the latest event decides.
    presences: BTreeMap<String, BTreeMap<String, Presence>>,
    /// Counters that such sets move.
    moved_by_time: BTreeSet<String>,
    pub documents: BTreeMap<String, Vec<u8>>,
    /// By event and group.
    pub statuses: BTreeMap<Box<str>, BTreeMap<Arc<str>, Status>>,
    pub groups: BTreeMap<Arc<str>, Group>,
    /// An exchange that is under way.
    pub exchange: Option<ExchangeState>,
    /// A defect put in on purpose: `recent` keeps what was pushed last, as LPUSH and LTRIM would.
    pub recents_are_pushed: bool,
}

impl Held {
    fn apply(&mut self, section: &Section) -> Outcome {
        let outcome = self.compare(section).or_else(|| self.refusal(section).map(Outcome::Refused));
        outcome.unwrap_or_else(|| self.put(section))
    }

    /// The answer to a section that does not fit what is stored; `None` where it fits.
    pub fn compare(&self, section: &Section) -> Option<Outcome> {
        let stored = self.checkpoints.get(&section.partition).copied();
        match stored {
            stored if stored == Some(section.next) => Some(Outcome::AlreadyApplied),
            stored if stored != section.expect => Some(Outcome::Conflict { stored }),
            None if self.is_exchanged(&section.partition.topic) => Some(Outcome::Conflict { stored: None }),
            _ => None,
        }
    }

    /// Writes a section, whatever is stored. Half of it is written where it is refused.
    pub fn put(&mut self, section: &Section) -> Outcome {
        for (key, delta) in &section.deltas {
            if self.change(&key.name, delta).is_none() {
                let refusal = Refusal { key: key.name.to_string(), reason: RefusalReason::Overflow };
                return Outcome::Refused(refusal);
            }
        }
        self.note(&section.statuses);
        self.gaps.extend(section.gap.map(|gap| (section.partition.clone(), gap)));
        self.checkpoints.insert(section.partition.clone(), section.next);
        self.switches.extend(section.switches.clone().map(|switches| (section.partition.clone(), switches)));
        let known = self.identities.entry(section.partition.clone()).or_default();
        let LogIdentity { cluster_id, topic_id, leader_epoch } = section.log_identity.clone();
        known.cluster_id = cluster_id.or(known.cluster_id.take());
        known.topic_id = topic_id.or(known.topic_id);
        known.leader_epoch = leader_epoch.or(known.leader_epoch);
        Outcome::Applied
    }

    fn note(&mut self, statuses: &[(Box<str>, GroupStatus)]) {
        for (id, GroupStatus { group, status }) in statuses {
            self.statuses.entry(id.clone()).or_default().insert(group.clone(), status.clone());
        }
    }

    pub fn position(&self, partition: &TopicPartition) -> StoredPosition {
        StoredPosition {
            checkpoint: self.checkpoints.get(partition).copied(),
            origin: self.origins.get(partition).copied(),
            log_identity: self.identities.get(partition).cloned().unwrap_or_default(),
            switches: self.switches.get(partition).cloned(),
            restored: self.restored.get(partition).copied(),
        }
    }

    pub fn fix_origins(&mut self, origins: &[(TopicPartition, i64)]) -> Vec<i64> {
        let mut fix =
            |(partition, origin): &(TopicPartition, i64)| *self.origins.entry(partition.clone()).or_insert(*origin);
        origins.iter().map(&mut fix).collect()
    }

    pub fn swap(&mut self, swap: &Swap) -> SwapOutcome {
        let stored = self.documents.get(&swap.name).cloned();
        if stored != swap.expect {
            return SwapOutcome::Differs(stored);
        }
        match &swap.next {
            Some(next) => self.documents.insert(swap.name.clone(), next.clone()),
            None => self.documents.remove(&swap.name),
        };
        SwapOutcome::Swapped
    }

    /// Checks every key of every rule against the fold. A counter at 0 and one that is not there are the same.
    #[track_caller]
    pub fn assert_equals(&self, expected: &Results, context: &str) {
        let counted = |counters: &BTreeMap<String, i64>| -> BTreeMap<String, i64> {
            counters.iter().filter(|(_, value)| **value != 0).map(|(key, value)| (key.clone(), *value)).collect()
        };
        assert_eq!(counted(&self.counters), counted(&expected.counters), "counters, {context}");
        assert_eq!(self.uniques, expected.uniques, "uniques, {context}");
        assert_eq!(self.recents, expected.recents, "histories, {context}");
        assert_eq!(self.tops, expected.tops, "rankings, {context}");
        let mut sets = self.sets.clone();
        sets.retain(|_, set| !set.is_empty());
        assert_eq!(sets, expected.sets, "sets, {context}");
    }
}

/// The store, in one or more shards.
pub struct MemoryStore {
    /// What belongs to no shard is in the first.
    shards: Vec<Mutex<Held>>,
    ahead_ms: AtomicU64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::of(1)
    }
}

impl MemoryStore {
    /// A store of so many shards.
    pub fn of(shards: ShardId) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), ahead_ms: AtomicU64::new(0) }
    }

    pub fn shards(&self) -> ShardId {
        self.shards.len() as ShardId
    }

    /// What all shards hold together. A partition's checkpoint is there where all shards have one, and is the lowest.
    pub fn held(&self) -> Held {
        Held::together(self.shards.iter().map(|held| held.lock().unwrap().clone()).collect())
    }

    /// How far each partition is counted in all shards, where every one of them has a checkpoint.
    pub fn checkpoints(&self) -> BTreeMap<TopicPartition, i64> {
        let mut shards = self.shards.iter().map(|held| held.lock().unwrap());
        let of = |held: &Held| -> BTreeMap<TopicPartition, i64> {
            held.checkpoints.iter().map(|(partition, checkpoint)| (partition.clone(), checkpoint.offset)).collect()
        };
        let mut lowest = shards.next().map(|held| of(&held)).unwrap_or_default();
        for held in shards {
            let other = of(&held);
            lowest.retain(|partition, _| other.contains_key(partition));
            lowest.iter_mut().for_each(|(partition, offset)| *offset = other[partition].min(*offset));
        }
        lowest
    }

    /// What one shard holds.
    pub fn shard(&self, shard: ShardId) -> Held {
        self.shards[usize::from(shard)].lock().unwrap().clone()
    }

    /// Puts an older copy in place of what is stored, where there is one shard.
    pub fn put_back(&self, older: Held) {
        assert_eq!(self.shards.len(), 1);
        self.put_back_shard(0, older);
    }

    /// Puts an older copy in place of what one shard holds.
    pub fn put_back_shard(&self, shard: ShardId, older: Held) {
        *self.shards[usize::from(shard)].lock().unwrap() = older;
    }

    /// Sets the clock by which sessions end forward.
    pub fn skip_ms(&self, ms: u64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_millis() as u64 + self.ahead_ms.load(Ordering::SeqCst)
    }

    /// Writes behind everybody's back; to the first shard.
    pub fn meddle(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.shards[0].lock().unwrap());
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn open(&self, _group: &str, _topics: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        let of = |partition| self.shards.iter().map(|held| held.lock().unwrap().position(partition)).collect();
        Ok(partitions.iter().map(of).collect())
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        let mut shards: Vec<_> = self.shards.iter().map(|held| held.lock().unwrap()).collect();
        let kept = |(partition, origin): &(TopicPartition, i64)| {
            let kept = shards.iter().find_map(|held| held.origins.get(partition).copied());
            (partition.clone(), kept.unwrap_or(*origin))
        };
        let wanted: Vec<_> = origins.iter().map(kept).collect();
        let mut fixed: Vec<_> = shards.iter_mut().map(|held| held.fix_origins(&wanted)).collect();
        Ok(fixed.swap_remove(0))
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        for (key, _) in sections.iter().flat_map(|section| &section.deltas) {
            assert_eq!(shard_of(&key.name, self.shards()), shard, "{} lies elsewhere", key.name);
        }
        let mut held = self.shards[usize::from(shard)].lock().unwrap();
        Ok(sections.iter().map(|section| held.apply(section)).collect())
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        let beaten = {
            let mut held = self.shards[0].lock().unwrap();
            let group = held.groups.entry(beat.group.clone()).or_default();
            group.beat(beat, self.now_ms()).map_err(|error| StoreError::refused_beat(beat, error))?
        };
        Ok((beaten, self.positions(partitions).await?))
    }

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        let held = self.shards[0].lock().unwrap();
        Ok(held.groups.get(group).map(|group| group.roster_at(self.now_ms())).unwrap_or_default())
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        let held = self.held();
        Ok(queries.iter().map(|query| held.answer(query)).collect())
    }

    async fn note(&self, statuses: &[(Box<str>, GroupStatus)]) -> Result<(), StoreError> {
        for noted in statuses {
            let shard = usize::from(shard_of(&noted.0, self.shards()));
            self.shards[shard].lock().unwrap().note(std::slice::from_ref(noted));
        }
        Ok(())
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        Ok(self.held().page(prefix, cursor, limit))
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        let mut held = self.shards[0].lock().unwrap();
        Ok(swaps.iter().map(|swap| held.swap(swap)).collect())
    }
}
