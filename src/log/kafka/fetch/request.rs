//! What a broker is asked.

use std::{ops::RangeInclusive, time::Duration};

use kafka_protocol::{
    messages::{
        FetchRequest, TopicName,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::StrBytes,
};

use crate::{
    log::kafka::wire::{Leader, NodeId},
    model::TopicPartition,
};

/// Versions that are spoken. 4 brought record batches and isolation (KIP-98); from 13 on topics go by their ids (KIP-516);
/// 17 is the newest that concerns consumers.
const VERSIONS: RangeInclusive<i16> = 4..=17;
/// The newest version that names topics.
const NEWEST_BY_NAME: i16 = 12;
/// Isolation level: nothing of open transactions, and the aborted ones are named (KIP-98).
const READ_COMMITTED: i8 = 1;
/// Ask for everything in each request (KIP-227).
const NO_SESSION: (i32, i32) = (0, -1);

/// A place that a broker is asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) leader: Leader,
    pub(super) max_bytes: i32,
}

/// One request to one broker.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) node: NodeId,
    /// The least recently served first: a broker fills its answer in this order.
    pub(super) asked: Vec<Asked>,
    pub(super) max_wait: Duration,
    pub(super) min_bytes: i32,
    pub(super) max_bytes: i32,
}

impl Round {
    /// The versions that can carry it.
    pub(super) fn versions(&self) -> RangeInclusive<i16> {
        let has_ids = self.asked.iter().all(|asked| !asked.leader.topic_id.is_nil());
        if has_ids { VERSIONS } else { *VERSIONS.start()..=NEWEST_BY_NAME }
    }

    /// The request. Partitions of a topic that follow each other share an entry.
    pub(super) fn request(&self) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for asked in &self.asked {
            let name = &*asked.partition.topic;
            let partition = FetchPartition::default()
                .with_partition(asked.partition.partition)
                .with_current_leader_epoch(asked.leader.epoch)
                .with_fetch_offset(asked.offset)
                .with_partition_max_bytes(asked.max_bytes);
            match topics.last_mut() {
                Some(last) if last.topic.as_str() == name => last.partitions.push(partition),
                _ => topics.push(
                    FetchTopic::default()
                        .with_topic(TopicName(StrBytes::from_string(name.to_owned())))
                        .with_topic_id(asked.leader.topic_id)
                        .with_partitions(vec![partition]),
                ),
            }
        }
        FetchRequest::default()
            .with_max_wait_ms(i32::try_from(self.max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(self.min_bytes)
            .with_max_bytes(self.max_bytes)
            .with_isolation_level(READ_COMMITTED)
            .with_session_id(NO_SESSION.0)
            .with_session_epoch(NO_SESSION.1)
            .with_topics(topics)
    }
}
