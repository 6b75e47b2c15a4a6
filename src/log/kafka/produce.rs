//! Appending records to a partition.
//!
//! What rskafka does not let us do better: its producer id is -1, so a request that is sent again after a lost answer may
//! store its records twice (the duplicate window finds them by identity); a request that the broker answers with a
//! throttle time is sent again although it was stored; headers are a sorted map, so of two headers with one name the last
//! is sent, and a header always has a value; sockets have Nagle's algorithm on, so over loopback a request that has 8 to 70
//! KB after compression takes 44 ms where 7 KB and 128 KB take 1 to 2 ms (the broker delays its acknowledgement). Gzip keeps
//! all but large batches below that.

use std::ops::Range;

use rskafka::{
    chrono::{DateTime, Utc},
    client::partition::Compression as Codec,
    record::Record,
};
use tokio::time::{Instant, timeout_at};

use super::{KafkaLog, cluster::timed_out};
use crate::{
    catalog::plan::Compression,
    log::{LogError, OutRecord},
    model::TopicPartition,
};

impl KafkaLog {
    /// Appends records in order. Where the broker refuses a batch for one record in it, the batch is halved until the record
    /// stands alone, so that the others are stored, in order.
    pub(super) async fn append(
        &self,
        partition: &TopicPartition,
        records: Vec<OutRecord>,
    ) -> Vec<Result<i64, LogError>> {
        let what = format!("producing to {partition}");
        let deadline = Instant::now() + self.cluster.options.request_timeout;
        let mut answers: Vec<Result<i64, LogError>> = Vec::with_capacity(records.len());
        // A stack of neighbouring ranges, the first on top: at most one per halving.
        let mut ranges: Vec<Range<usize>> = Vec::new();
        ranges.push(0..records.len());
        while let Some(range) = ranges.pop() {
            if range.is_empty() {
                continue;
            }
            let sent = timeout_at(deadline, self.append_batch(partition, &what, &records[range.clone()])).await;
            match sent.unwrap_or_else(|_| Err(timed_out(&what, self.cluster.options.request_timeout))) {
                Ok(offsets) if offsets.len() == range.len() => answers.extend(offsets.into_iter().map(Ok)),
                Ok(offsets) => {
                    let reason = format!("{} offsets for {} records", offsets.len(), range.len());
                    answers.resize(records.len(), Err(LogError::Unavailable { what: what.clone(), reason }));
                    break;
                }
                Err(LogError::TooLarge { .. } | LogError::Invalid { .. }) if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
                Err(error @ (LogError::TooLarge { .. } | LogError::Invalid { .. })) => answers.push(Err(error)),
                Err(error) => {
                    // What comes behind is not sent, else a later try would change the order.
                    answers.resize(records.len(), Err(error));
                    break;
                }
            }
        }
        answers
    }

    async fn append_batch(
        &self,
        partition: &TopicPartition,
        what: &str,
        records: &[OutRecord],
    ) -> Result<Vec<i64>, LogError> {
        let max_bytes = self.cluster.options.max_message_bytes;
        if records.iter().map(OutRecord::size_bytes).sum::<usize>() > max_bytes {
            // The broker would close the connection without saying why.
            return Err(LogError::TooLarge { what: what.to_owned() });
        }
        let now = Utc::now();
        let times: Vec<DateTime<Utc>> =
            records.iter().map(|record| time_of(record, now, what)).collect::<Result<_, _>>()?;
        let codec = codec(self.cluster.options.compression_for(&partition.topic));
        self.cluster
            .ask(&self.calls, partition, what, |client| {
                let batch = records.iter().zip(&times).map(|(record, time)| to_record(record, *time)).collect();
                Box::pin(client.produce(batch, codec))
            })
            .await
    }
}

fn time_of(record: &OutRecord, now: DateTime<Utc>, what: &str) -> Result<DateTime<Utc>, LogError> {
    let Some(ms) = record.timestamp_ms else { return Ok(now) };
    DateTime::from_timestamp_millis(ms).ok_or_else(|| LogError::Invalid {
        what: what.to_owned(),
        reason: format!("{ms} ms is no time that can be sent"),
    })
}

fn to_record(record: &OutRecord, timestamp: DateTime<Utc>) -> Record {
    Record {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.iter().cloned().collect(),
        timestamp,
    }
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::NoCompression,
        Compression::Gzip => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
    }
}
