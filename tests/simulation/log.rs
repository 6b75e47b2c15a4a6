//! The log of the simulation: partitions with holes, epochs, retention and lost tails, and each member's connection to it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use streamgauge::{
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
};

use crate::{
    faults::Fault,
    support::{blocks::block, oracle::Record},
    world::{Shared, State},
};

/// An offset: a record, or none, as where a transaction was aborted.
#[derive(Clone, Debug)]
pub struct Slot {
    pub record: Option<Record>,
    /// What makes the record the same as another, and its time.
    pub identity: Option<(String, i64)>,
}

/// A partition.
pub struct Partition {
    pub start: i64,
    pub slots: Vec<Slot>,
    pub epoch: i32,
    /// First offset of each leader epoch that wrote something or may have.
    epochs: BTreeMap<i32, i64>,
    /// Records that a member may have counted are gone: up to there.
    pub has_lost_tail: bool,
    pub lost_end: i64,
}

impl Default for Partition {
    fn default() -> Self {
        Self {
            start: 0,
            slots: Vec::new(),
            epoch: 0,
            epochs: BTreeMap::from([(0, 0)]),
            has_lost_tail: false,
            lost_end: 0,
        }
    }
}

impl Partition {
    pub fn end(&self) -> i64 {
        self.slots.len() as i64
    }

    pub fn append(&mut self, record: OutRecord, identity: Option<(String, i64)>) -> i64 {
        let offset = self.end();
        let OutRecord { key, value, headers, timestamp_ms } = record;
        let record = Record { offset, timestamp_ms: timestamp_ms.unwrap_or(0), key, value, headers };
        self.slots.push(Slot { record: Some(record), identity });
        offset
    }

    pub fn leave_out(&mut self) {
        self.slots.push(Slot { record: None, identity: None });
    }

    /// Another leader, which has the log up to `end`.
    pub fn elect(&mut self, end: i64) {
        self.epoch += 1;
        if end < self.end() {
            self.has_lost_tail = true;
            self.lost_end = self.lost_end.max(self.end());
        }
        self.slots.truncate(end as usize);
        self.epochs.retain(|_, start| *start <= end);
        self.epochs.insert(self.epoch, end);
    }

    /// As OffsetForLeaderEpoch answers (KIP-320).
    pub fn epoch_end(&self, epoch: i32) -> i64 {
        if epoch > self.epoch {
            return -1;
        }
        self.epochs.range(epoch + 1..).next().map_or(self.end(), |(_, start)| *start)
    }

    /// The epoch under which an offset was written.
    fn epoch_at(&self, offset: i64) -> i32 {
        self.epochs.iter().rev().find(|(_, start)| **start <= offset).map_or(0, |(epoch, _)| *epoch)
    }

    pub fn records(&self) -> Vec<Record> {
        self.slots.iter().filter_map(|slot| slot.record.clone()).collect()
    }

    /// Up to `most` offsets from there; a block's epoch is that of its last record, as Kafka's batches tell it.
    fn block(&self, offset: i64, most: usize) -> Block {
        let next = (offset as usize + most).min(self.slots.len());
        let records: Vec<Record> =
            self.slots[offset as usize..next].iter().filter_map(|slot| slot.record.clone()).collect();
        let leader_epoch = Some(self.epoch_at(next as i64 - 1));
        Block { leader_epoch, ..block(&records, next as i64, self.end()) }
    }
}

/// All partitions of all topics.
#[derive(Default)]
pub struct Logs {
    pub partitions: BTreeMap<TopicPartition, Partition>,
    pub partitions_per_topic: i32,
    /// Most records of a block.
    pub block_records: usize,
}

impl Logs {
    fn ready(&self, positions: &[FetchPosition]) -> Fetched {
        let mut ready = Vec::new();
        for FetchPosition { partition, offset } in positions {
            let Some(held) = self.partitions.get(partition) else { continue };
            if *offset < held.start || *offset > held.end() {
                let error = LogError::OffsetOutOfRange { partition: partition.to_string(), offset: *offset };
                ready.push((partition.clone(), Err(error)));
            } else if *offset < held.end() {
                ready.push((partition.clone(), Ok(held.block(*offset, self.block_records))));
            }
        }
        ready
    }
}

type Fetched = Vec<(TopicPartition, Result<Block, LogError>)>;

/// A member's connection to the log.
pub struct Connection {
    pub shared: Arc<Shared>,
    pub member: u32,
}

fn unavailable(what: &str) -> LogError {
    LogError::Unavailable { what: what.to_owned(), reason: "the simulation says so".to_owned() }
}

impl Connection {
    async fn ask<T>(&self, what: &'static str, answer: impl FnOnce(&mut State) -> T) -> Result<T, LogError> {
        let (fails, nap) = self.shared.with(|state| (state.happens(Fault::LogCallFailed), state.latency()));
        self.shared.nap(nap).await;
        if fails {
            self.shared.with(|state| state.trace.say(|| format!("m{} {what} fails", self.member)));
            return Err(unavailable(what));
        }
        Ok(self.shared.with(answer))
    }
}

#[async_trait]
impl Log for Connection {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.ask("listing topics", |state| {
            let count = state.log.partitions_per_topic;
            let names: Vec<_> = state.log.partitions.keys().filter(|partition| partition.partition == 0).collect();
            names.iter().map(|name| TopicInfo { name: name.topic.to_string(), partitions: count }).collect()
        })
        .await
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        self.ask("creating a topic", |state| {
            let is_new = !state.log.partitions.contains_key(&TopicPartition::new(topic.name.as_str(), 0));
            for number in 0..state.log.partitions_per_topic {
                state.log.partitions.entry(TopicPartition::new(topic.name.as_str(), number)).or_default();
            }
            is_new
        })
        .await
    }

    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        self.ask("asking for an offset", |state| {
            let unknown = || LogError::Unknown { what: partition.to_string() };
            let held = state.log.partitions.get(partition).ok_or_else(unknown)?;
            Ok(match at {
                At::Start => held.start,
                At::End => held.end(),
                At::EpochEnd(epoch) => held.epoch_end(epoch),
                At::Time(_) => panic!("nobody asks by time here"),
            })
        })
        .await?
    }

    async fn identity(&self, partition: &TopicPartition) -> Result<LogIdentity, LogError> {
        self.ask("asking which log it is", |state| LogIdentity {
            cluster_id: Some("simulated".to_owned()),
            topic_id: None,
            leader_epoch: Some(state.log.partitions[partition].epoch),
        })
        .await
    }

    async fn fetch(&self, positions: &[FetchPosition], limits: FetchLimits) -> Fetched {
        let (fails, nap) = self.shared.with(|state| (state.happens(Fault::FetchFailed), state.latency()));
        if fails {
            self.shared.nap(nap).await;
            let failed = |position: &FetchPosition| (position.partition.clone(), Err(unavailable("fetching")));
            return positions.iter().map(failed).collect();
        }
        self.shared.nap(nap).await;
        let appended = self.shared.appended.notified();
        let mut ready = self.shared.with(|state| state.log.ready(positions));
        if ready.is_empty() {
            let _ = tokio::time::timeout(limits.max_wait, appended).await;
            ready = self.shared.with(|state| state.log.ready(positions));
        }
        let late = self.shared.with(|state| match state.happens(Fault::FetchLate) {
            true => Duration::from_millis(state.random.below(3_000) as u64),
            false => Duration::ZERO,
        });
        self.shared.nap(late).await;
        ready
    }

    async fn produce(&self, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        let (before, after) = self.shared.with(|state| (state.latency(), state.latency()));
        self.shared.nap(before).await;
        let mut answers = Vec::with_capacity(records.len());
        self.shared.with(|state| {
            for record in records {
                if state.happens(Fault::ProduceLost) {
                    answers.push(Err(unavailable("producing")));
                    continue;
                }
                let offset = state.log.partitions.entry(partition.clone()).or_default().append(record, None);
                state.trace.say(|| format!("m{} produces {partition} at {offset}", self.member));
                answers.push(match state.happens(Fault::ProduceAnswerLost) {
                    true => Err(LogError::TimedOut { what: "producing".to_owned(), after_ms: 1 }),
                    false => Ok(offset),
                });
            }
        });
        self.shared.nap(after).await;
        answers
    }
}
