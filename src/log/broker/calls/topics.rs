//! Metadata and CreateTopics.

use std::net::SocketAddr;

use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse, TopicName,
        create_topics_request::CreatableTopic,
        create_topics_response::CreatableTopicResult,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::StrBytes,
};

use super::Serving;
use crate::log::broker::{
    batch::LEADER_EPOCH,
    topics::{CreateError, DEFAULT_PARTITIONS, TopicPartitions, is_valid_name},
};

/// The one broker's id.
const NODE_ID: BrokerId = BrokerId(1);

/// Names the broker by the address that the client reached, so that it is right behind any listen address.
///
/// No topic is made by asking for it, whatever the request allows: a mistyped name would become a topic that nothing counts.
pub fn metadata(serving: &Serving, local: SocketAddr, version: i16, request: &MetadataRequest) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID)
        .with_host(StrBytes::from_string(local.ip().to_string()))
        .with_port(local.port().into());
    let topics = match &request.topics {
        Some(asked) if version > 0 || !asked.is_empty() => {
            let names = asked.iter().filter_map(|topic| topic.name.clone());
            names.map(|name| topic_metadata(serving.topics.get(name.as_str()), name)).collect()
        }
        // All: null, or in version 0 an empty list.
        _ => {
            let all = serving.topics.all().into_iter();
            all.map(|(name, partitions)| topic_metadata(Some(partitions), topic_name(&name))).collect()
        }
    };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_string(serving.topics.cluster_id().into())))
        .with_controller_id(NODE_ID)
        .with_topics(topics)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

fn topic_metadata(partitions: Option<TopicPartitions>, name: TopicName) -> MetadataResponseTopic {
    let error_code = match &partitions {
        Some(_) => 0,
        None if is_valid_name(name.as_str()) => ResponseError::UnknownTopicOrPartition.code(),
        None => ResponseError::InvalidTopicException.code(),
    };
    let count = partitions.map_or(0, |partitions| partitions.len() as i32);
    let partitions = (0..count).map(|number| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(NODE_ID)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID])
            .with_isr_nodes(vec![NODE_ID])
    });
    let partitions = partitions.collect();
    MetadataResponseTopic::default().with_error_code(error_code).with_name(Some(name)).with_partitions(partitions)
}

/// Creates each topic, or says why not.
pub fn create(serving: &Serving, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|topic| {
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        match create_one(serving, topic, request.validate_only) {
            Ok(()) => result,
            Err((error, reason)) => {
                result.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(reason)))
            }
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn create_one(serving: &Serving, topic: &CreatableTopic, dry_run: bool) -> Result<(), (ResponseError, String)> {
    if !topic.assignments.is_empty() {
        return Err((
            ResponseError::InvalidReplicaAssignment,
            "the embedded broker is alone: name a number of partitions".into(),
        ));
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        return Err((
            ResponseError::InvalidReplicationFactor,
            "the embedded broker is alone: the replication factor is 1".into(),
        ));
    }
    if let Some(config) = topic.configs.first() {
        let reason = format!("the embedded broker has no topic settings yet; leave out {}", config.name.as_str());
        return Err((ResponseError::InvalidConfig, reason));
    }
    let partitions = if topic.num_partitions == -1 { DEFAULT_PARTITIONS } else { topic.num_partitions };
    serving.topics.create(topic.name.as_str(), partitions, dry_run).map_err(|error| {
        let code = match &error {
            CreateError::Exists => ResponseError::TopicAlreadyExists,
            CreateError::InvalidName => ResponseError::InvalidTopicException,
            CreateError::InvalidPartitions => ResponseError::InvalidPartitions,
            CreateError::Storage(_) => ResponseError::KafkaStorageError,
        };
        if matches!(error, CreateError::Storage(_)) {
            tracing::error!(topic = topic.name.as_str(), %error, "a topic was not created");
        }
        (code, error.to_string())
    })
}
