//! A store in memory that keeps the contract word for word, with exact sets for uniques, and that forgets nothing by the
//! clock: what it holds can be compared with the oracle whatever the events' times are. It can be put back to an older copy.

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
    core::roster::Group,
    model::{
        Answer, Beat, Beaten, Checkpoint, Delta, Gap, LogIdentity, Origin, Outcome, Query, Refusal, RefusalReason,
        Roster, ScanPage, Section, ShardId, StoredPosition, Swap, SwapOutcome, TopicPartition,
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
    pub counters: BTreeMap<String, i64>,
    last: BTreeMap<String, (i64, Origin)>,
    uniques: Expiring<BTreeSet<String>>,
    recents: BTreeMap<String, BTreeSet<(i64, Origin, String)>>,
    tops: Expiring<BTreeMap<String, i64>>,
    sets: BTreeMap<String, BTreeSet<String>>,
    pub documents: BTreeMap<String, Vec<u8>>,
    pub groups: BTreeMap<Arc<str>, Group>,
    /// A defect put in on purpose: `recent` keeps what was pushed last, as LPUSH and LTRIM would.
    pub recents_are_pushed: bool,
}

impl Held {
    fn apply(&mut self, section: &Section) -> Outcome {
        let mut changed = self.clone();
        let outcome = changed.compare(section).unwrap_or_else(|| changed.put(section));
        if outcome == Outcome::Applied {
            *self = changed;
        }
        outcome
    }

    /// The answer to a section that does not fit what is stored; `None` where it fits.
    pub fn compare(&self, section: &Section) -> Option<Outcome> {
        let stored = self.checkpoints.get(&section.partition).copied();
        match stored {
            stored if stored == Some(section.next) => Some(Outcome::AlreadyApplied),
            stored if stored != section.expect => Some(Outcome::Conflict { stored }),
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
        self.gaps.extend(section.gap.map(|gap| (section.partition.clone(), gap)));
        self.checkpoints.insert(section.partition.clone(), section.next);
        let known = self.identities.entry(section.partition.clone()).or_default();
        let LogIdentity { cluster_id, topic_id, leader_epoch } = section.log_identity.clone();
        known.cluster_id = cluster_id.or(known.cluster_id.take());
        known.topic_id = topic_id.or(known.topic_id);
        known.leader_epoch = leader_epoch.or(known.leader_epoch);
        Outcome::Applied
    }

    pub fn position(&self, partition: &TopicPartition) -> StoredPosition {
        StoredPosition {
            checkpoint: self.checkpoints.get(partition).copied(),
            origin: self.origins.get(partition).copied(),
            log_identity: self.identities.get(partition).cloned().unwrap_or_default(),
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

    fn add(&mut self, counter: &str, amount: i64) -> Option<()> {
        let sum = self.counters.entry(counter.to_owned()).or_insert(0);
        *sum = sum.checked_add(amount)?;
        Some(())
    }

    /// `None` where a sum leaves 64 bits.
    fn change(&mut self, name: &str, delta: &Delta) -> Option<()> {
        match delta {
            Delta::Count(amount) => self.add(name, *amount)?,
            Delta::Max(value) => {
                let highest = self.counters.entry(name.to_owned()).or_insert(*value);
                *highest = (*highest).max(*value);
            }
            Delta::Last { time_ms, origin, value } => {
                if self.last.get(name).is_none_or(|known| *known < (*time_ms, *origin)) {
                    self.last.insert(name.to_owned(), (*time_ms, *origin));
                    self.counters.insert(name.to_owned(), *value);
                }
            }
            Delta::Unique { expire_at_ms, elements } => {
                let (_, stored) = self.uniques.entry(name.to_owned()).or_insert((*expire_at_ms, BTreeSet::new()));
                stored.extend(elements.iter().map(|element| element.to_string()));
            }
            Delta::Recent { cap, entries } => {
                let stored = self.recents.entry(name.to_owned()).or_default();
                while self.recents_are_pushed && stored.len() + entries.len() > *cap && stored.pop_first().is_some() {}
                stored.extend(entries.iter().map(|entry| (entry.time_ms, entry.origin, entry.element.to_string())));
                while stored.len() > *cap {
                    stored.pop_first();
                }
            }
            Delta::Top { expire_at_ms, sums } => {
                let (_, stored) = self.tops.entry(name.to_owned()).or_insert((*expire_at_ms, BTreeMap::new()));
                for (element, amount) in sums {
                    *stored.entry(element.to_string()).or_insert(0) += amount;
                }
            }
            Delta::Member { elements } => {
                for (element, membership) in elements {
                    let set = self.sets.entry(name.to_owned()).or_default();
                    let was_in = set.contains(&**element);
                    if membership.present_after {
                        set.insert(element.to_string())
                    } else {
                        set.remove(&**element)
                    };
                    let first = (membership.first_is_add != was_in).then_some(membership.first_move.clone()).flatten();
                    for (counter, amount) in first.into_iter().chain(membership.later_moves.clone()) {
                        self.add(&counter, amount)?;
                    }
                }
            }
        }
        Some(())
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

/// The store.
#[derive(Default)]
pub struct MemoryStore {
    held: Mutex<Held>,
    ahead_ms: AtomicU64,
}

impl MemoryStore {
    pub fn held(&self) -> Held {
        self.held.lock().unwrap().clone()
    }

    /// Puts an older copy in place of what is stored.
    pub fn put_back(&self, older: Held) {
        *self.held.lock().unwrap() = older;
    }

    /// Sets the clock by which sessions end forward.
    pub fn skip_ms(&self, ms: u64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_millis() as u64 + self.ahead_ms.load(Ordering::SeqCst)
    }

    /// Writes behind everybody's back.
    pub fn meddle(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().unwrap());
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn open(&self, _group: &str, _topics: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        let held = self.held.lock().unwrap();
        Ok(partitions.iter().map(|partition| vec![held.position(partition)]).collect())
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        Ok(self.held.lock().unwrap().fix_origins(origins))
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        assert_eq!(shard, 0);
        let mut held = self.held.lock().unwrap();
        Ok(sections.iter().map(|section| held.apply(section)).collect())
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        let beaten = {
            let mut held = self.held.lock().unwrap();
            let group = held.groups.entry(beat.group.clone()).or_default();
            group.beat(beat, self.now_ms()).map_err(|error| StoreError::refused_beat(beat, error))?
        };
        Ok((beaten, self.positions(partitions).await?))
    }

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        let held = self.held.lock().unwrap();
        Ok(held.groups.get(group).map(|group| group.roster_at(self.now_ms())).unwrap_or_default())
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        let held = self.held.lock().unwrap();
        let answer = |query: &Query| match query {
            Query::Counter(name) => Answer::Counter(held.counters.get(name).copied()),
            other => panic!("nobody asks this store for {other:?}"),
        };
        Ok(queries.iter().map(answer).collect())
    }

    async fn scan(&self, _prefix: &str, _cursor: &str, _limit: usize) -> Result<ScanPage, StoreError> {
        panic!("nobody scans this store")
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        let mut held = self.held.lock().unwrap();
        Ok(swaps.iter().map(|swap| held.swap(swap)).collect())
    }
}
