//! Disk use of the brokers.

use std::{collections::BTreeMap, ops::RangeInclusive};

use futures::future::join_all;
use kafka_protocol::messages::{DescribeLogDirsRequest, describe_log_dirs_response::DescribeLogDirsResult};
use tokio::time::Instant;

use super::{Admin, answer::explain};
use crate::{
    log::{LogError, kafka::wire::NodeId},
    model::TopicPartition,
};

/// Total and usable bytes came with version 4 (KIP-827, Kafka 3.3).
const DESCRIBE: RangeInclusive<i16> = 1..=4;

/// The disks of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDisk {
    /// The broker's number.
    pub broker: i32,
    /// Its folders, or why it did not tell.
    pub dirs: Result<Vec<LogDir>, LogError>,
}

/// A folder in which a broker keeps partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    /// Path on the broker's machine.
    pub path: String,
    /// Size of its volume, bytes, where the broker tells.
    pub total_bytes: Option<i64>,
    /// Bytes that are free for the broker there, where it tells.
    pub usable_bytes: Option<i64>,
    /// Bytes of each partition's replica that lies there.
    pub partitions: BTreeMap<TopicPartition, i64>,
    /// Why the broker cannot use it, such as a broken disk.
    pub error: Option<LogError>,
}

impl LogDir {
    /// Bytes of all its partitions.
    pub fn used_bytes(&self) -> i64 {
        self.partitions.values().sum()
    }

    fn read(told: DescribeLogDirsResult) -> Self {
        let path = told.log_dir.to_string();
        let error = explain(told.error_code, None, &format!("reading the disk use of {path}"), &path).err();
        let known = |bytes: i64| Some(bytes).filter(|bytes| *bytes >= 0);
        let mut partitions = BTreeMap::new();
        for topic in told.topics {
            let name: std::sync::Arc<str> = topic.name.as_str().into();
            for partition in topic.partitions {
                // A replica that is moving between two folders is in both, as a present and as a future one.
                let place = TopicPartition::new(std::sync::Arc::clone(&name), partition.partition_index);
                *partitions.entry(place).or_insert(0) += partition.partition_size;
            }
        }
        Self { total_bytes: known(told.total_bytes), usable_bytes: known(told.usable_bytes), path, partitions, error }
    }
}

impl Admin {
    /// What every broker keeps on its disks (KIP-113), by broker.
    ///
    /// # Errors
    /// The brokers are not known. A broker that cannot be asked is told in its place.
    pub async fn describe_log_dirs(&self) -> Result<Vec<BrokerDisk>, LogError> {
        let mut tries = self.tries();
        let mut nodes = loop {
            let answer = self.wire.nodes().await;
            if let Some(settled) = tries.settle(answer).await {
                break settled?;
            }
        };
        nodes.sort_unstable();
        let disks = nodes.into_iter().map(async |broker| BrokerDisk { broker, dirs: self.dirs_of(broker).await });
        Ok(join_all(disks).await)
    }

    async fn dirs_of(&self, broker: NodeId) -> Result<Vec<LogDir>, LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.dirs_once(broker, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn dirs_once(&self, broker: NodeId, deadline: Instant) -> Result<Vec<LogDir>, LogError> {
        let request = |_| DescribeLogDirsRequest::default().with_topics(None);
        let answer = self.ask(broker, &DESCRIBE, deadline, request, |answer| answer.throttle_time_ms).await?;
        let what = format!("reading the disk use of broker {broker}");
        explain(answer.error_code, None, &what, &format!("broker {broker}"))?;
        Ok(answer.results.into_iter().map(LogDir::read).collect())
    }
}
