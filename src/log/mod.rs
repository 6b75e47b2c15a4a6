//! The `Log` seam: where events come from and go to.
//!
//! [`kafka`] is the one implementation. The embedded mode runs it too, against [`broker`], so that what is tried on a
//! laptop is the code that runs in production. [`record`] turns the bytes of record batches into borrowed records and back.

pub mod broker;
mod error;
pub mod kafka;
pub mod record;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

pub use error::LogError;

use crate::model::{LogIdentity, TopicPartition};

/// A Kafka-protocol log.
///
/// Every call ends within a deadline, and tells errors per partition or per record where it can, so that one bad partition
/// never holds up the others.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The topics of the log and their partition counts. Never creates one.
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError>;

    /// Creates a topic. `false` if it was there already (whatever its settings).
    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError>;

    /// The offset that a place in a partition has now.
    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError>;

    /// Which log a partition belongs to now: asked anew, never remembered. What the broker cannot tell is absent.
    async fn identity(&self, partition: &TopicPartition) -> Result<LogIdentity, LogError>;

    /// Waits for records behind the given positions and returns the blocks that have come: at least one as soon as there is
    /// one, none after `limits.max_wait`. A partition that is absent in the answer had nothing new.
    ///
    /// An implementation may go on fetching for the other positions and hand that out when they are asked for again.
    async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Result<Block, LogError>)>;

    /// Appends records to a partition, in order, and returns their offsets once the broker has them (acks=all).
    ///
    /// One result per record, in order. A record that cannot be stored (too large) is answered by itself. An offset of -1 says
    /// that the record is stored and the broker did not say where. After [`LogError::TimedOut`] a record may have been stored,
    /// after any other error it was not. Trying again is done within: who calls again after `TimedOut` may store it twice.
    ///
    /// Calls for one partition are appended in the order in which their futures are first polled.
    async fn produce(&self, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>>;
}

/// A topic that the log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Name.
    pub name: String,
    /// Number of partitions; they are numbered from 0.
    pub partitions: i32,
}

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor; `None` leaves it to the broker.
    pub replication: Option<i16>,
    /// Settings by name, such as `retention.ms`; those that are not named are the broker's defaults.
    pub configs: BTreeMap<String, String>,
}

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first offset that the broker still holds.
    Start,
    /// One past the last readable record: the last stable offset, which is the high watermark unless a transaction is open.
    End,
    /// One past the last record that was written under this leader epoch or an earlier one (KIP-320); -1 where the leader
    /// knows of no epoch that high. [`LogError::Unsupported`] where the broker cannot tell.
    EpochEnd(i32),
    /// The first record at or after this time, milliseconds since 1970, as the broker finds it by the records' times; what
    /// [`At::End`] gives where there is none.
    Time(i64),
}

/// Where to read a partition on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// Partition.
    pub partition: TopicPartition,
    /// First offset wanted.
    pub offset: i64,
}

/// Limits of one fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    /// How long to wait for the first record (`BATCH_TIMEOUT`).
    pub max_wait: Duration,
    /// Bytes that the broker should have before it answers (`KAFKA_FETCH_MIN_BYTES`).
    pub min_bytes: i32,
    /// Most bytes of one block (`KAFKA_FETCH_MAX_PARTITION_BYTES`); a single larger record batch still comes whole.
    pub max_partition_bytes: i32,
    /// Most bytes of one answer of one broker, over all its partitions; a single larger record batch still comes whole. With
    /// the blocks that were handed out and are still held, it bounds the memory that fetching takes.
    pub max_bytes: i32,
}

/// Consecutive records of one partition, as fetched.
pub struct Block {
    /// Where to fetch next. Told apart from the records, since a block may hold offsets without a record.
    pub next_offset: i64,
    /// End of the readable log when the block was fetched, at least `next_offset`: Kafka's last stable offset, which lies
    /// before the high watermark while a transaction is open. Nobody can read further then, so this is what lag is told
    /// from: it comes to 0 for a reader that has all it may have.
    pub high_watermark: i64,
    /// First offset that the broker still holds, where the broker said so.
    pub log_start: Option<i64>,
    /// Epoch of the leader that answered, where known.
    pub leader_epoch: Option<i32>,
    /// Bytes of the records as they were fetched: compressed, if they were produced so. What the block takes in memory; the
    /// memory of an answer is free again when all its blocks are dropped.
    pub size_bytes: usize,
    /// The records.
    pub records: Box<dyn Records>,
}

/// The records of a [`Block`], visited in offset order as borrowed slices.
pub trait Records: Send + Sync {
    /// Calls `visitor` for each record. Offsets below the position asked for are left out, and so are records of transactions
    /// that were aborted. Checksums are compared, and records decompressed, here: on the caller's thread, again at each visit.
    ///
    /// # Errors
    /// [`LogError::Unsupported`]: a batch is damaged or cannot be decoded. The records before it have been visited.
    fn visit(&self, visitor: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError>;
}

/// A record, borrowed from its block.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Offset in the partition.
    pub offset: i64,
    /// The record's own time, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in order: name and value.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl<'a> RecordRef<'a> {
    /// The value of the last header with this name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().rev().find(|(key, _)| *key == name.as_bytes()).and_then(|(_, value)| *value)
    }
}

/// A record to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutRecord {
    /// Key bytes.
    pub key: Option<Vec<u8>>,
    /// Value bytes.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Time, milliseconds since 1970; `None` takes the time of sending.
    pub timestamp_ms: Option<i64>,
}

impl OutRecord {
    /// Rough size on the wire before compression, bytes.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 24;
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        OVERHEAD_BYTES + self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers
    }
}
