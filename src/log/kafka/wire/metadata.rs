//! What the brokers say of the cluster: addresses, topic ids, leaders and their epochs.

use std::collections::{BTreeSet, HashMap};

use kafka_protocol::{
    error::ResponseError,
    messages::{MetadataRequest, MetadataResponse, TopicName, metadata_request::MetadataRequestTopic},
    protocol::StrBytes,
};
use uuid::Uuid;

use crate::{log::LogError, model::TopicPartition};

/// Number of a broker within its cluster.
pub(in crate::log::kafka) type NodeId = i32;

/// Who leads a partition, as last known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log::kafka) struct Leader {
    /// The broker.
    pub(in crate::log::kafka) node: NodeId,
    /// Epoch of its leadership; -1 where the broker is too old to say.
    pub(in crate::log::kafka) epoch: i32,
    /// The topic's id; nil where the broker is too old to say (before Kafka 2.8).
    pub(in crate::log::kafka) topic_id: Uuid,
}

/// A topic, as last known.
#[derive(Clone, Debug, Default)]
struct KnownTopic {
    id: Uuid,
    leaders: HashMap<i32, (NodeId, i32)>,
    /// Partitions that it has, with or without a leader.
    partitions: BTreeSet<i32>,
    /// What the broker says instead.
    error_code: i16,
}

/// The cluster, as last known.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) cluster_id: Option<String>,
    pub(super) controller: Option<NodeId>,
    /// Address by broker.
    pub(super) nodes: HashMap<NodeId, String>,
    topics: HashMap<String, KnownTopic>,
}

impl Cluster {
    /// Who leads a partition; `None` where that is not known now.
    pub(super) fn leader(&self, partition: &TopicPartition) -> Option<Leader> {
        let topic = self.topics.get(&*partition.topic)?;
        let (node, epoch) = *topic.leaders.get(&partition.partition)?;
        Some(Leader { node, epoch, topic_id: topic.id })
    }

    /// Why [`Self::leader`] knows none, right after asking.
    pub(super) fn why_no_leader(&self, partition: &TopicPartition) -> LogError {
        let what = partition.to_string();
        let topic = self.topics.get(&*partition.topic);
        match topic.map(|topic| (topic, ResponseError::try_from_code(topic.error_code))) {
            Some((_, Some(ResponseError::TopicAuthorizationFailed))) => LogError::Refused {
                what,
                reason: "the broker does not show this topic to this client; grant its user DESCRIBE on it".to_owned(),
            },
            Some((_, Some(error @ ResponseError::InvalidTopicException))) => {
                LogError::Refused { what, reason: error.to_string() }
            }
            Some((_, Some(error))) => LogError::Unavailable { what, reason: error.to_string() },
            Some((topic, None)) if topic.partitions.contains(&partition.partition) => {
                LogError::Unavailable { what, reason: "it has no leader now".to_owned() }
            }
            Some(_) | None => LogError::Unknown { what },
        }
    }

    /// Takes in an answer about the topics in `asked`. A leader of an older epoch than the known one is not believed: brokers
    /// learn of a change one after the other (KIP-320).
    pub(super) fn learn(&mut self, answer: MetadataResponse, asked: &BTreeSet<String>) {
        self.cluster_id = answer.cluster_id.map(|id| id.to_string()).or(self.cluster_id.take());
        self.controller = Some(answer.controller_id.0).filter(|id| *id >= 0);
        self.nodes =
            answer.brokers.iter().map(|broker| (broker.node_id.0, address(&broker.host, broker.port))).collect();
        let mut known: HashMap<String, KnownTopic> = HashMap::new();
        for topic in answer.topics {
            let Some(name) = topic.name.map(|name| name.to_string()) else { continue };
            if topic.error_code == ResponseError::UnknownTopicOrPartition.code() {
                continue;
            }
            let before = self.topics.get(&name).filter(|before| before.id == topic.topic_id);
            let leaders = topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0).map(|partition| {
                let told = (partition.leader_id.0, partition.leader_epoch);
                let newer = before
                    .and_then(|before| before.leaders.get(&partition.partition_index))
                    .filter(|known| known.1 > told.1);
                (partition.partition_index, newer.copied().unwrap_or(told))
            });
            let leaders = leaders.collect();
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            known.insert(name, KnownTopic { id: topic.topic_id, leaders, partitions, error_code: topic.error_code });
        }
        self.topics.retain(|name, _| !asked.contains(name));
        self.topics.extend(known);
    }

    /// Takes in what a broker says of a new leader in its refusal (KIP-951).
    pub(super) fn learn_leader(&mut self, partition: &TopicPartition, node: NodeId, epoch: i32, at: Option<String>) {
        if let Some(address) = at {
            self.nodes.insert(node, address);
        }
        if node < 0 || !self.nodes.contains_key(&node) {
            return;
        }
        let Some(topic) = self.topics.get_mut(&*partition.topic) else { return };
        let known = topic.leaders.entry(partition.partition).or_insert((node, epoch));
        if epoch > known.1 {
            *known = (node, epoch);
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(in crate::log::kafka) fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Asks about topics, and never creates one.
pub(super) fn request(topics: &BTreeSet<String>) -> MetadataRequest {
    let topics = topics
        .iter()
        .map(|name| MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.clone())))));
    MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        BrokerId,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    };

    use super::*;

    fn answer(id: u128, leader: i32, epoch: i32) -> MetadataResponse {
        let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_topic_id(Uuid::from_u128(id))
            .with_partitions(vec![partition]);
        let broker = |id: i32| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str("h"))
                .with_port(id)
        };
        MetadataResponse::default().with_brokers(vec![broker(1), broker(2)]).with_topics(vec![topic])
    }

    #[test]
    fn the_newest_epoch_of_a_topic_wins_and_a_topic_made_again_begins_anew() {
        let asked = BTreeSet::from(["t".to_owned()]);
        let partition = TopicPartition::new("t", 0);
        let steps = [
            (answer(7, 1, 4), Some((1, 4))),
            // An older view of another broker.
            (answer(7, 2, 3), Some((1, 4))),
            (answer(7, 2, 5), Some((2, 5))),
            // Nobody leads now.
            (answer(7, -1, 6), None),
            (answer(8, 1, 0), Some((1, 0))),
            (MetadataResponse::default(), None),
        ];
        let mut cluster = Cluster::default();
        for (answer, expected) in steps {
            cluster.learn(answer, &asked);
            assert_eq!(cluster.leader(&partition).map(|leader| (leader.node, leader.epoch)), expected);
        }
    }

    #[test]
    fn a_refusal_that_names_the_new_leader_is_believed_if_it_is_newer() {
        let asked = BTreeSet::from(["t".to_owned()]);
        let partition = TopicPartition::new("t", 0);
        let mut cluster = Cluster::default();
        cluster.learn(answer(7, 1, 4), &asked);
        for (node, epoch, expected) in [(2, 3, (1, 4)), (9, 5, (1, 4)), (-1, 6, (1, 4)), (2, 5, (2, 5))] {
            cluster.learn_leader(&partition, node, epoch, None);
            assert_eq!(cluster.leader(&partition).map(|leader| (leader.node, leader.epoch)), Some(expected));
        }
    }
}
