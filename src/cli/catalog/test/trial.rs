//! Example events counted as a partition's task counts them, without log and store: nothing expires, and nothing is estimated.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Example, Results};
use crate::{
    catalog::plan::Catalog,
    core::{
        batch::{Batch, Purpose},
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        forward::forward_record,
        partitioner::partition_for_key,
        worker::Worker,
    },
    log::{Block, LogError, OutRecord, RecordRef, Records},
    model::{Delta, TopicPartition},
};

/// Whose counts they would be, which matters to nobody: example events are no replays.
const TRIAL_GROUP: &str = "trial";

/// What became of the events.
#[derive(Default)]
pub(super) struct Outcome {
    /// How many of the file's events count.
    pub(super) counted: usize,
    /// How many of them were there before.
    pub(super) duplicates: usize,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) results: Results,
}

/// An event that cannot be counted.
#[derive(Serialize)]
pub(super) struct DeadLetter {
    /// Its number in the file, from 1; of an event that was forwarded, that of the one that it began as.
    pub(super) event: usize,
    pub(super) topic: String,
    /// The code.
    pub(super) reason: &'static str,
    /// What is wrong.
    pub(super) message: String,
}

/// A record on its way.
struct Sent {
    topic: String,
    record: OutRecord,
    /// Number of the event in the file.
    event: usize,
    /// A rule sent it.
    is_forwarded: bool,
}

/// Counts the events in the order of the file, and what rules forward after them.
///
/// # Errors
/// A sum does not fit 64 bits.
pub(super) fn run(catalog: &Catalog, examples: &[Example<'_>]) -> Result<Outcome> {
    let mut trial = Trial::default();
    let mut sent: Vec<Sent> = (1..).zip(examples).map(|(event, example)| Sent::of(event, example)).collect();
    // A forward counts its hops, so this comes to an end.
    while !sent.is_empty() {
        let mut next = Vec::new();
        for record in sent {
            trial.step(catalog, record, &mut next)?;
        }
        sent = next;
    }
    trial.outcome()
}

impl Sent {
    fn of(event: usize, example: &Example<'_>) -> Self {
        let record = OutRecord {
            key: example.key.as_ref().map(|key| key.clone().into_bytes()),
            value: Some(example.value.get().as_bytes().to_vec()),
            headers: example.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect(),
            timestamp_ms: Some(chrono::Utc::now().timestamp_millis()),
        };
        Self { topic: example.topic.clone(), record, event, is_forwarded: false }
    }
}

#[derive(Default)]
struct Trial {
    /// With the next offset of each partition.
    workers: BTreeMap<TopicPartition, (Worker, i64)>,
    decoded: Decoded,
    deltas: BTreeMap<Box<str>, Delta>,
    forwards: BTreeMap<String, usize>,
    outcome: Outcome,
}

impl Trial {
    fn step(&mut self, catalog: &Catalog, sent: Sent, next: &mut Vec<Sent>) -> Result<()> {
        let Some(topic) = catalog.topic(&sent.topic) else { return Ok(()) };
        let number = sent.record.key.as_ref().map_or(0, |key| partition_for_key(key, topic.partitions));
        let partition = TopicPartition::new(Arc::clone(&topic.name), number);
        let (worker, offset) = self.workers.entry(partition.clone()).or_insert_with(|| {
            // What it is matters to nobody: all events come from one file.
            let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
            (Worker::new(Arc::clone(topic), partition.clone(), TRIAL_GROUP.into(), secret, 0, 1), 0)
        });
        let at = *offset;
        *offset += 1;
        let block = Block {
            next_offset: at + 1,
            high_watermark: at + 1,
            log_start: None,
            leader_epoch: None,
            size_bytes: sent.record.size_bytes(),
            records: Box::new(One { record: sent.record.clone(), offset: at }),
        };
        for batch in worker.step(&block, &mut self.decoded)? {
            self.take(batch, &sent, &partition, at, next)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        batch: Batch,
        sent: &Sent,
        partition: &TopicPartition,
        offset: i64,
        next: &mut Vec<Sent>,
    ) -> Result<()> {
        if let Some(key) = batch.overflow {
            bail!("the sum of {key} does not fit 64 bits: a partition would stop here");
        }
        if !sent.is_forwarded {
            self.outcome.counted += batch.tally.events as usize;
            self.outcome.duplicates += batch.tally.duplicates as usize;
        }
        for (key, delta) in batch.deltas {
            match self.deltas.get_mut(&key.name) {
                Some(known) => known.merge(delta).with_context(|| format!("counting {}", key.name))?,
                None => drop(self.deltas.insert(key.name, delta)),
            }
        }
        for outgoing in batch.outgoing {
            match outgoing.purpose {
                Purpose::DeadLetter(reason) | Purpose::Undelivered { reason, .. } => {
                    self.outcome.dead_letters.push(DeadLetter {
                        event: sent.event,
                        topic: sent.topic.clone(),
                        reason: reason.code(),
                        message: reason.to_string(),
                    })
                }
                Purpose::Forward { topic, key } => {
                    *self.forwards.entry(topic.to_string()).or_default() += 1;
                    let record = forward_record(&outgoing.source, partition, offset, key);
                    next.push(Sent { topic: topic.into(), record, event: sent.event, is_forwarded: true });
                }
            }
        }
        Ok(())
    }

    fn outcome(self) -> Result<Outcome> {
        let mut counters: BTreeMap<String, i64> = BTreeMap::new();
        let mut results = Results::default();
        for (name, delta) in self.deltas {
            let name = String::from(name);
            let mut add = |name: String, amount: i64| -> Result<()> {
                let sum = counters.entry(name).or_default();
                *sum = sum.checked_add(amount).context("the sum of a counter does not fit 64 bits")?;
                Ok(())
            };
            match delta {
                Delta::Count(value) | Delta::CountUntil { sum: value, .. } | Delta::Max(value) => add(name, value)?,
                Delta::Last { value, .. } => add(name, value)?,
                Delta::Unique { elements, .. } => drop(results.uniques.insert(name, json!(elements.len()))),
                Delta::Recent { entries, .. } => {
                    drop(
                        results
                            .histories
                            .insert(name, entries.iter().rev().map(|entry| json!(entry.element)).collect()),
                    );
                }
                Delta::Top { sums, .. } => {
                    let sums: BTreeMap<_, _> = sums.iter().collect();
                    drop(results.rankings.insert(name, json!(sums)));
                }
                Delta::Member { elements } => {
                    for change in elements.values() {
                        let first = change.first_move.iter().filter(|_| change.first_is_add);
                        for (counter, amount) in
                            first.map(|(counter, amount)| (counter, amount)).chain(&change.later_moves)
                        {
                            add(counter.to_string(), *amount)?;
                        }
                    }
                    let is_in = elements.iter().filter(|(_, change)| change.present_after);
                    put_set(&mut results, name, is_in.map(|(element, _)| &**element));
                }
                Delta::MemberByTime(presences) => {
                    for counter in presences.elements.values().filter_map(|presence| presence.counted()) {
                        add(counter.to_owned(), 1)?;
                    }
                    let is_in = presences.elements.iter().filter(|(_, presence)| presence.is_in);
                    put_set(&mut results, name, is_in.map(|(element, _)| &**element));
                }
            }
        }
        results.counters = counters.into_iter().map(|(name, value)| (name, json!(value))).collect();
        results.forwards = self.forwards.into_iter().map(|(topic, records)| (topic, json!(records))).collect();
        Ok(Outcome { results, ..self.outcome })
    }
}

/// A set without elements is no key.
fn put_set<'e>(results: &mut Results, name: String, elements: impl Iterator<Item = &'e str>) {
    let elements: BTreeSet<&str> = elements.collect();
    if !elements.is_empty() {
        results.sets.insert(name, elements.into_iter().map(Value::from).collect());
    }
}

/// The records of a block: one.
struct One {
    record: OutRecord,
    offset: i64,
}

impl Records for One {
    fn visit(&self, visitor: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError> {
        let OutRecord { key, value, headers, timestamp_ms } = &self.record;
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..]))).collect();
        visitor(RecordRef {
            offset: self.offset,
            timestamp_ms: timestamp_ms.unwrap_or_default(),
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        });
        Ok(())
    }
}
