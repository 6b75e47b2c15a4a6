//! A log in memory: small blocks, retention on demand, and topics that refuse records for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use streamgauge::{
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::TopicPartition,
};
use tokio::sync::Notify;

use super::{blocks::block, oracle::Record};

#[derive(Default)]
struct Partition {
    start: i64,
    records: Vec<Record>,
}

impl Partition {
    fn end(&self) -> i64 {
        self.records.len() as i64
    }
}

/// The log. Offsets have no holes.
pub struct MemoryLog {
    partitions: Mutex<BTreeMap<TopicPartition, Partition>>,
    refusing: Mutex<BTreeSet<String>>,
    /// How often a record was refused.
    pub refused: AtomicUsize,
    appended: Notify,
    partitions_per_topic: i32,
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
            partitions_per_topic,
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

    /// Forgets what lies before an offset.
    pub fn retain_from(&self, partition: &TopicPartition, start: i64) {
        self.partitions.lock().unwrap().get_mut(partition).unwrap().start = start;
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
        let mut ready = Vec::new();
        for FetchPosition { partition, offset } in positions {
            let empty = Partition::default();
            let held = partitions.get(partition).unwrap_or(&empty);
            if *offset < held.start || *offset > held.end() {
                let error = LogError::OffsetOutOfRange { partition: partition.to_string(), offset: *offset };
                ready.push((partition.clone(), Err(error)));
            } else if *offset < held.end() {
                let last = (*offset as usize + self.block_records).min(held.records.len());
                let records = &held.records[*offset as usize..last];
                ready.push((partition.clone(), Ok(block(records, last as i64, held.end()))));
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
        Ok(names.into_iter().map(|name| TopicInfo { name, partitions: self.partitions_per_topic }).collect())
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        let partition = TopicPartition::new(topic.name.as_str(), 0);
        let mut partitions = self.partitions.lock().unwrap();
        let is_new = !partitions.contains_key(&partition);
        partitions.entry(partition).or_default();
        Ok(is_new)
    }

    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        let partitions = self.partitions.lock().unwrap();
        let held = partitions.get(partition);
        Ok(match at {
            At::Start => held.map_or(0, |held| held.start),
            At::End => held.map_or(0, Partition::end),
        })
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
