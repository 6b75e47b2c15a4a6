//! A member of the group in small: workers over blocks, their batches gathered and flushed in any grouping, and dropped at
//! any moment. It does what the runtime does, one random step after the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use streamgauge::{
    catalog::plan::{Catalog, Topic},
    core::{
        batch::{Batch, Purpose},
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        worker::Worker,
    },
    model::{Checkpoint, Delta, Key, LogIdentity, Outcome, Section, TopicPartition},
    store::Store,
};

use crate::{
    Log,
    support::{
        blocks::block,
        events::Random,
        memory_store::MemoryStore,
        oracle::{Dead, Forwarded, GROUP, Record, fold},
    },
};

/// A partition's way through the log.
struct Partition<'l> {
    topic: Arc<Topic>,
    partition: TopicPartition,
    records: &'l [Record],
    tenure: Option<Tenure>,
}

/// What is lost when a worker is dropped.
struct Tenure {
    worker: Worker,
    decoded: Decoded,
    /// What is stored, as far as it knows.
    expect: Option<Checkpoint>,
    fetch_from: i64,
    next: i64,
    deltas: BTreeMap<String, (Key, Delta)>,
    duplicates: u64,
    tombstones: u64,
    others_replays: u64,
    counted: u64,
}

/// What was seen from outside beside the store.
#[derive(Default)]
struct Seen {
    dead: BTreeSet<Dead>,
    forwards: BTreeSet<Forwarded>,
    duplicates: u64,
    tombstones: u64,
    others_replays: u64,
    counted: u64,
}

/// Counts the whole log with any interruptions and compares everything with the fold.
pub fn count_all(catalog: &Catalog, log: &Log, seed: u64) {
    let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(7));
    let store = MemoryStore::default();
    let mut seen = Seen::default();
    let mut partitions: Vec<Partition<'_>> = log
        .iter()
        .map(|((topic, partition), records)| Partition {
            topic: Arc::clone(catalog.topic(topic).unwrap()),
            partition: TopicPartition::new(topic.as_str(), *partition),
            records,
            tenure: None,
        })
        .collect();
    while partitions.iter().any(|partition| !partition.is_done(&store)) {
        let chosen = random.below(partitions.len());
        match random.below(14) {
            0 => partitions[chosen].tenure = None,
            1..=3 => flush(&store, &mut partitions, &mut seen, &mut random),
            _ => partitions[chosen].step(&store, &mut seen, &mut random),
        }
    }
    let expected = fold(catalog, log);
    let context = format!("CORE_SEED={seed}");
    store.held().assert_equals(&expected, &context);
    assert_same(&seen.dead, &expected.dead, &format!("dead letters, {context}"));
    assert_same(&seen.forwards, &expected.forwards, &format!("forwards, {context}"));
    assert_eq!(
        (seen.duplicates, seen.tombstones, seen.others_replays, seen.counted),
        (expected.duplicates, expected.tombstones, expected.others_replays, expected.counted),
        "duplicates, tombstones, replays for others and events, {context}"
    );
}

/// Tells only what differs.
#[track_caller]
fn assert_same<T: Ord + std::fmt::Debug>(seen: &BTreeSet<T>, expected: &BTreeSet<T>, context: &str) {
    let different: Vec<&T> = seen.symmetric_difference(expected).collect();
    assert!(different.is_empty(), "{context}: {different:#?}");
}

impl Partition<'_> {
    fn end(&self) -> i64 {
        self.records.last().map_or(0, |record| record.offset + 1)
    }

    fn checkpoint(&self, store: &MemoryStore) -> Option<Checkpoint> {
        store.held().checkpoints.get(&self.partition).copied()
    }

    fn is_done(&self, store: &MemoryStore) -> bool {
        self.checkpoint(store).is_some_and(|checkpoint| checkpoint.offset >= self.end())
    }

    /// Begins where the store stands, with the duplicate window before it and a secret of its own.
    fn begin(&self, store: &MemoryStore, random: &mut Random) -> Tenure {
        let expect = self.checkpoint(store);
        let count_from = expect.map_or(0, |checkpoint| checkpoint.offset);
        let mut secret = [0; SECRET_BYTES];
        secret.fill_with(|| random.next() as u8);
        let batch_events = [1, 2, 7, 50, 10_000][random.below(5)];
        let secret = Arc::new(IdentitySecret(secret));
        let worker = Worker::new(
            Arc::clone(&self.topic),
            self.partition.clone(),
            GROUP.into(),
            secret,
            count_from,
            batch_events,
        );
        Tenure {
            worker,
            decoded: Decoded::default(),
            expect,
            fetch_from: (count_from - self.topic.dedupe.offsets).max(0),
            next: count_from,
            deltas: BTreeMap::new(),
            duplicates: 0,
            tombstones: 0,
            others_replays: 0,
            counted: 0,
        }
    }

    /// Works through one block of any length.
    fn step(&mut self, store: &MemoryStore, seen: &mut Seen, random: &mut Random) {
        let mut tenure = self.tenure.take().unwrap_or_else(|| self.begin(store, random));
        let first = self.records.partition_point(|record| record.offset < tenure.fetch_from);
        let last = (first + 1 + random.below(90)).min(self.records.len());
        let records = &self.records[first..last];
        // A block may end anywhere in the hole behind its last record.
        let after = self.records.get(last).map_or(self.end(), |record| record.offset);
        let before = records.last().map_or(tenure.fetch_from, |record| record.offset + 1);
        let next_offset = before + random.below((after - before) as usize + 1) as i64;
        tenure.fetch_from = next_offset;
        let block = block(records, next_offset, self.end());
        for batch in tenure.worker.step(&block, &mut tenure.decoded).unwrap() {
            self.gather(&mut tenure, batch, seen);
        }
        self.tenure = Some(tenure);
    }

    fn gather(&self, tenure: &mut Tenure, batch: Batch, seen: &mut Seen) {
        assert!(batch.overflow.is_none());
        assert!(batch.next_offset >= tenure.next, "batches go forward");
        for outgoing in batch.outgoing {
            let (topic, partition) = (self.partition.topic.to_string(), self.partition.partition);
            match outgoing.purpose {
                Purpose::DeadLetter(reason) | Purpose::Undelivered { reason, .. } => {
                    seen.dead.insert(Dead { topic, partition, offset: outgoing.offset, reason: reason.code() });
                }
                Purpose::Forward { topic: to, key } => {
                    seen.forwards.insert(Forwarded {
                        to: to.to_string(),
                        key: key.or_else(|| outgoing.source.key.clone()),
                        value: outgoing.source.value.clone().unwrap(),
                        origin: (topic, partition, outgoing.offset),
                    });
                }
            }
        }
        for (key, delta) in batch.deltas {
            let id = format!("{:?} {}", key.kind, key.name);
            match tenure.deltas.get_mut(&id) {
                Some((_, earlier)) => earlier.merge(delta).unwrap(),
                None => {
                    tenure.deltas.insert(id, (key, delta));
                }
            }
        }
        tenure.next = batch.next_offset;
        tenure.duplicates += batch.tally.duplicates;
        tenure.tombstones += batch.tally.tombstones;
        tenure.others_replays += batch.tally.others_replays;
        tenure.counted += batch.tally.events;
    }
}

/// Flushes what some of the partitions hold, in one call. At times the answer is lost and all is sent again.
fn flush(store: &MemoryStore, partitions: &mut [Partition<'_>], seen: &mut Seen, random: &mut Random) {
    let mut sections = Vec::new();
    for partition in partitions.iter_mut().filter(|_| random.below(3) > 0) {
        let fingerprint = partition.topic.fingerprint;
        let Some(tenure) = partition.tenure.as_mut() else { continue };
        if tenure.expect.is_some_and(|checkpoint| checkpoint.offset == tenure.next) {
            continue;
        }
        let next = Checkpoint { offset: tenure.next, fingerprint, ..Checkpoint::default() };
        sections.push(Section {
            partition: partition.partition.clone(),
            expect: tenure.expect.replace(next),
            next,
            gap: None,
            log_identity: LogIdentity::default(),
            switches: None,
            deltas: std::mem::take(&mut tenure.deltas).into_values().collect(),
            statuses: Vec::new(),
        });
        seen.duplicates += std::mem::take(&mut tenure.duplicates);
        seen.tombstones += std::mem::take(&mut tenure.tombstones);
        seen.others_replays += std::mem::take(&mut tenure.others_replays);
        seen.counted += std::mem::take(&mut tenure.counted);
    }
    let apply = || futures::executor::block_on(store.apply(0, &sections)).unwrap();
    assert!(apply().iter().all(|outcome| *outcome == Outcome::Applied));
    if random.below(4) == 0 {
        assert!(apply().iter().all(|outcome| *outcome == Outcome::AlreadyApplied));
    }
}
