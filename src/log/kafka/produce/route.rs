//! Where a partition's requests go, and how they are written.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use kafka_protocol::{
    messages::{
        ProduceRequest, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::StrBytes,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::identity::{self, Given, Identity};
use crate::{
    log::{
        LogError,
        kafka::wire::{Connection, Lane, Wire},
    },
    model::TopicPartition,
};

/// Record batches of format v2 came with version 3; up to 12 topics are named, from 13 on they have ids (KIP-516).
const BY_NAME: RangeInclusive<i16> = 3..=12;
const BY_ID: RangeInclusive<i16> = 13..=13;
/// `acks`: all replicas in sync have it.
const ALL_REPLICAS: i16 = -1;

/// The way to a partition's leader.
pub(super) struct Route {
    pub(super) connection: Arc<Connection>,
    pub(super) version: i16,
    topic_id: Uuid,
}

impl Route {
    /// Finds the leader and a connection to it, and asks for an identity where there is none.
    ///
    /// # Errors
    /// There is no leader now, or it cannot be reached before the deadline.
    pub(super) async fn find(
        wire: &Wire,
        partition: &TopicPartition,
        identity: &mut Option<Identity>,
        is_warned: &AtomicBool,
        deadline: Instant,
    ) -> Result<Self, LogError> {
        let leader = wire.leader(partition).await?;
        let connection = wire.connection(leader.node, Lane::Produce, deadline).await?;
        let version = connection.version::<ProduceRequest>(&BY_NAME);
        let version = version.or_else(|error| connection.version::<ProduceRequest>(&BY_ID).map_err(|_| error))?;
        if identity.is_none() {
            *identity = Some(match identity::ask(wire, leader.node, deadline).await? {
                Given::Identity(identity) => identity,
                Given::None(reason) => {
                    if !is_warned.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            "the broker gives no producer id ({reason}); a record that is sent again after a lost answer may \
                             be stored twice"
                        );
                    }
                    Identity::Plain
                }
            });
        }
        Ok(Self { connection, version, topic_id: leader.topic_id })
    }

    /// The request for one batch. The broker gives its replicas `limit`.
    pub(super) fn request(&self, partition: &TopicPartition, batch: &[u8], limit: Duration) -> ProduceRequest {
        let data = PartitionProduceData::default()
            .with_index(partition.partition)
            .with_records(Some(Bytes::copy_from_slice(batch)));
        let topic = TopicProduceData::default().with_partition_data(vec![data]);
        let topic = if BY_ID.contains(&self.version) {
            topic.with_topic_id(self.topic_id)
        } else {
            topic.with_name(TopicName(StrBytes::from_string(partition.topic.to_string())))
        };
        ProduceRequest::default()
            .with_acks(ALL_REPLICAS)
            .with_timeout_ms(i32::try_from(limit.as_millis()).unwrap_or(i32::MAX))
            .with_topic_data(vec![topic])
    }
}
