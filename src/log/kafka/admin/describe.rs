//! Topics as the cluster describes them: their partitions, who leads these, and who has copies.

use std::ops::RangeInclusive;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        MetadataRequest,
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::{Admin, answer::explain, topics::topic_name};
use crate::log::LogError;

/// From the first version on that asks without making a topic (Kafka 1.0).
const METADATA: RangeInclusive<i16> = 4..=12;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Name.
    pub name: String,
    /// Kafka's own, such as `__consumer_offsets`.
    pub is_internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Number within the topic.
    pub number: i32,
    /// The broker that leads it; `None` where none does now.
    pub leader: Option<i32>,
    /// The brokers that have copies, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that have all records.
    pub in_sync: Vec<i32>,
}

impl PartitionDescription {
    fn read(told: &MetadataResponsePartition) -> Self {
        let nodes = |nodes: &[kafka_protocol::messages::BrokerId]| nodes.iter().map(|node| node.0).collect();
        Self {
            number: told.partition_index,
            leader: Some(told.leader_id.0).filter(|leader| *leader >= 0),
            replicas: nodes(&told.replica_nodes),
            in_sync: nodes(&told.isr_nodes),
        }
    }
}

impl Admin {
    /// Topics by name, or all that we may see; in the order given, or by name. What is wrong with one is told in its place.
    ///
    /// # Errors
    /// Nobody could be asked.
    pub async fn describe_topics(
        &self,
        names: Option<&[String]>,
    ) -> Result<Vec<(String, Result<TopicDescription, LogError>)>, LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.describe_topics_once(names, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn describe_topics_once(
        &self,
        names: Option<&[String]>,
        deadline: Instant,
    ) -> Result<Vec<(String, Result<TopicDescription, LogError>)>, LogError> {
        let asked = names.map(|names| {
            names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
        });
        let request = |_| MetadataRequest::default().with_topics(asked).with_allow_auto_topic_creation(false);
        let node = self.wire.controller().await?;
        let answer = self.ask(node, &METADATA, deadline, request, |answer| answer.throttle_time_ms).await?;
        let mut told: Vec<_> = answer.topics.into_iter().map(read).collect();
        let place = |name: &str| names.and_then(|names| names.iter().position(|asked| asked == name));
        told.sort_by(|(one, _), (other, _)| (place(one), one).cmp(&(place(other), other)));
        Ok(told)
    }
}

fn read(told: MetadataResponseTopic) -> (String, Result<TopicDescription, LogError>) {
    let name = told.name.map_or_else(String::new, |name| StrBytes::to_string(&name));
    // A name that no topic can have.
    if told.error_code == ResponseError::InvalidTopicException.code() {
        return (name.clone(), Err(LogError::Unknown { what: name }));
    }
    if let Err(error) = explain(told.error_code, None, &format!("describing topic {name}"), &name) {
        return (name, Err(error));
    }
    let mut partitions: Vec<_> = told.partitions.iter().map(PartitionDescription::read).collect();
    partitions.sort_unstable_by_key(|partition| partition.number);
    (name.clone(), Ok(TopicDescription { name, is_internal: told.is_internal, partitions }))
}
