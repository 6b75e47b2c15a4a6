//! A log in memory: small blocks, retention on demand, topics that refuse records for a while, that are made again, and
//! whose leaders change, with and without a loss.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use streamgauge::{
    core::partitioner::partition_for_key,
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
};
use tokio::sync::Notify;

use super::{blocks::block, events::Published, oracle::Record};

#[derive(Default)]
struct Partition {
    start: i64,
    records: Vec<Record>,
    /// What the log says of itself; nothing, until a test says otherwise.
    identity: LogIdentity,
    /// First offset of each leader epoch.
    epochs: BTreeMap<i32, i64>,
}

impl Partition {
    fn end(&self) -> i64 {
        self.records.len() as i64
    }

    /// As OffsetForLeaderEpoch answers (KIP-320).
    fn epoch_end(&self, epoch: i32) -> i64 {
        match self.identity.leader_epoch {
            Some(current) if epoch > current => -1,
            _ => self.epochs.range(epoch + 1..).next().map_or(self.end(), |(_, start)| *start),
        }
    }
}

/// The log. Offsets have no holes.
pub struct MemoryLog {
    partitions: Mutex<BTreeMap<TopicPartition, Partition>>,
    refusing: Mutex<BTreeSet<String>>,
    /// How often a record was refused.
    pub refused: AtomicUsize,
    appended: Notify,
    /// It says nothing of where partitions begin and end.
    is_silent: AtomicBool,
    /// A partition of which nothing is given out.
    withheld: Mutex<Option<TopicPartition>>,
    partitions_per_topic: AtomicI32,
    /// Most records of a block.
    block_records: usize,
}

impl MemoryLog {
    pub fn new(partitions_per_topic: i32, block_records: usize) -> Self {
        Self {
            partitions: Mutex::default(),
            refusing: Mutex::default(),
            refused: AtomicUsize::new(0),
            appended: Notify::new(),
            is_silent: AtomicBool::new(false),
            withheld: Mutex::default(),
            partitions_per_topic: AtomicI32::new(partitions_per_topic),
            block_records,
        }
    }

    pub fn append(&self, partition: &TopicPartition, record: OutRecord) -> i64 {
        let mut partitions = self.partitions.lock().unwrap();
        let held = partitions.entry(partition.clone()).or_default();
        let offset = held.end();
        let OutRecord { key, value, headers, timestamp_ms } = record;
        held.records.push(Record { offset, timestamp_ms: timestamp_ms.unwrap_or(0), key, value, headers });
        drop(partitions);
        self.appended.notify_waiters();
        offset
    }

    /// Appends an event as a client would that knows of so many partitions: by murmur2 of the key.
    pub fn publish(&self, event: &Published, partitions: i32) {
        let number = event.key.as_deref().map_or(0, |key| partition_for_key(key, partitions));
        let (key, value) = (event.key.clone(), Some(event.value.clone()));
        let record = OutRecord { key, value, timestamp_ms: Some(7), ..OutRecord::default() };
        self.append(&TopicPartition::new(event.topic, number), record);
    }

    pub fn partitions_per_topic(&self) -> i32 {
        self.partitions_per_topic.load(Ordering::SeqCst)
    }

    /// Has a topic.
    pub fn have(&self, topic: &str) {
        self.partitions.lock().unwrap().entry(TopicPartition::new(topic, 0)).or_default();
    }

    /// Has a topic no more.
    pub fn forget(&self, topic: &str) {
        self.partitions.lock().unwrap().retain(|partition, _| &*partition.topic != topic);
    }

    /// Gives every topic so many partitions.
    pub fn grow(&self, partitions_per_topic: i32) {
        self.partitions_per_topic.store(partitions_per_topic, Ordering::SeqCst);
    }

    /// Whether it says where partitions begin and end.
    pub fn keep_silent(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    /// Gives out nothing of this partition, or of each one something again.
    pub fn withhold(&self, partition: Option<&TopicPartition>) {
        *self.withheld.lock().unwrap() = partition.cloned();
        self.appended.notify_waiters();
    }

    /// Forgets what lies before an offset.
    pub fn retain_from(&self, partition: &TopicPartition, start: i64) {
        self.partitions.lock().unwrap().get_mut(partition).unwrap().start = start;
    }

    /// What the log says of itself from now on.
    pub fn is(&self, partition: &TopicPartition, identity: LogIdentity) {
        let mut partitions = self.partitions.lock().unwrap();
        let held = partitions.entry(partition.clone()).or_default();
        if let Some(epoch) = identity.leader_epoch {
            held.epochs.insert(epoch, held.end());
        }
        held.identity = identity;
    }

    /// The epoch of a partition's leader.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<i32> {
        self.partitions.lock().unwrap()[partition].identity.leader_epoch
    }

    /// Elects a leader that has the log up to an offset only.
    pub fn elect(&self, partition: &TopicPartition, epoch: i32, end: i64) {
        self.elect_with(partition, epoch, end, &[]);
    }

    /// Elects a leader that has the log up to an offset only, and these records from there on.
    pub fn elect_with(&self, partition: &TopicPartition, epoch: i32, end: i64, values: &[String]) {
        let mut partitions = self.partitions.lock().unwrap();
        let held = partitions.get_mut(partition).unwrap();
        held.records.truncate(end as usize);
        held.epochs.retain(|_, start| *start <= end);
        held.epochs.insert(epoch, end);
        held.identity.leader_epoch = Some(epoch);
        for value in values {
            let value = Some(value.clone().into_bytes());
            held.records.push(Record { offset: held.end(), timestamp_ms: 7, key: None, value, headers: Vec::new() });
        }
        drop(partitions);
        self.appended.notify_waiters();
    }

    /// Deletes the topic's records and has it be another one of the same name.
    pub fn make_again(&self, partition: &TopicPartition, identity: LogIdentity) {
        *self.partitions.lock().unwrap().get_mut(partition).unwrap() = Partition::default();
        self.is(partition, identity);
    }

    /// Has a topic refuse records, or take them again.
    pub fn refuse(&self, topic: &str, refuses: bool) {
        let mut refusing = self.refusing.lock().unwrap();
        if refuses {
            refusing.insert(topic.to_owned())
        } else {
            refusing.remove(topic)
        };
    }

    /// All records that were ever appended to topics, as the oracle takes them.
    pub fn records_of<'t>(&self, topics: impl Iterator<Item = &'t str>) -> BTreeMap<(String, i32), Vec<Record>> {
        let topics: BTreeSet<&str> = topics.collect();
        let partitions = self.partitions.lock().unwrap();
        partitions
            .iter()
            .filter(|(partition, _)| topics.contains(&*partition.topic))
            .map(|(partition, held)| ((partition.topic.to_string(), partition.partition), held.records.clone()))
            .collect()
    }

    pub fn ends(&self) -> BTreeMap<TopicPartition, i64> {
        self.partitions.lock().unwrap().iter().map(|(partition, held)| (partition.clone(), held.end())).collect()
    }

    fn ready(&self, positions: &[FetchPosition]) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        let partitions = self.partitions.lock().unwrap();
        let withheld = self.withheld.lock().unwrap();
        let mut ready = Vec::new();
        for FetchPosition { partition, offset } in positions {
            if withheld.as_ref() == Some(partition) {
                continue;
            }
            let empty = Partition::default();
            let held = partitions.get(partition).unwrap_or(&empty);
            if *offset < held.start || *offset > held.end() {
                let error = LogError::OffsetOutOfRange { partition: partition.to_string(), offset: *offset };
                ready.push((partition.clone(), Err(error)));
            } else if *offset < held.end() {
                let last = (*offset as usize + self.block_records).min(held.records.len());
                let records = &held.records[*offset as usize..last];
                let leader_epoch = held.identity.leader_epoch;
                let block = Block { leader_epoch, ..block(records, last as i64, held.end()) };
                ready.push((partition.clone(), Ok(block)));
            }
        }
        ready
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        let names: BTreeSet<String> =
            self.partitions.lock().unwrap().keys().map(|partition| partition.topic.to_string()).collect();
        let partitions = self.partitions_per_topic();
        Ok(names.into_iter().map(|name| TopicInfo { name, partitions }).collect())
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        let partition = TopicPartition::new(topic.name.as_str(), 0);
        let mut partitions = self.partitions.lock().unwrap();
        let is_new = !partitions.contains_key(&partition);
        partitions.entry(partition).or_default();
        Ok(is_new)
    }

    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        if self.is_silent.load(Ordering::SeqCst) {
            let what = format!("looking at {partition}");
            return Err(LogError::Unavailable { what, reason: "nobody answers".to_owned() });
        }
        let partitions = self.partitions.lock().unwrap();
        if !partitions.keys().any(|known| known.topic == partition.topic) {
            return Err(LogError::Unknown { what: partition.to_string() });
        }
        let held = partitions.get(partition);
        Ok(match at {
            At::Start => held.map_or(0, |held| held.start),
            At::End => held.map_or(0, Partition::end),
            At::Time(ms) => held.map_or(0, |held| {
                let found = held.records.iter().find(|record| record.offset >= held.start && record.timestamp_ms >= ms);
                found.map_or(held.end(), |record| record.offset)
            }),
            At::EpochEnd(epoch) => held.map_or(-1, |held| held.epoch_end(epoch)),
        })
    }

    async fn identity(&self, partition: &TopicPartition) -> Result<LogIdentity, LogError> {
        let partitions = self.partitions.lock().unwrap();
        Ok(partitions.get(partition).map(|held| held.identity.clone()).unwrap_or_default())
    }

    async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        let appended = self.appended.notified();
        let ready = self.ready(positions);
        if !ready.is_empty() {
            return ready;
        }
        let _ = tokio::time::timeout(limits.max_wait, appended).await;
        self.ready(positions)
    }

    async fn produce(&self, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        if self.refusing.lock().unwrap().contains(&*partition.topic) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let what = format!("producing to {partition}");
            return records
                .iter()
                .map(|_| Err(LogError::Unavailable { what: what.clone(), reason: "no leader".to_owned() }))
                .collect();
        }
        records.into_iter().map(|record| Ok(self.append(partition, record))).collect()
    }
}
