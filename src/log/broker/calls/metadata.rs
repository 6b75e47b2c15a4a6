//! Metadata and DescribeCluster: which topics there are, and where.

use std::{net::SocketAddr, sync::Arc};

use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse, TopicName,
        describe_cluster_response::DescribeClusterBroker,
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
};

use super::{NODE_ID, Serving, text};
use crate::log::broker::{
    batch::LEADER_EPOCH,
    topics::{Topic, is_valid_name},
};

/// KIP-919: the kind of endpoint that a client asks for; this one is a broker.
const BROKER_ENDPOINT: i8 = 1;
/// From this version on topics may be asked for by their ids.
const BY_ID_FROM: i16 = 12;

/// Names the broker by the address that the client reached, so that it is right behind any listen address.
///
/// No topic is made by asking for it, whatever the request allows: a mistyped name would become a topic that nothing counts.
pub fn metadata(serving: &Serving, local: SocketAddr, version: i16, request: &MetadataRequest) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID)
        .with_host(text(local.ip().to_string()))
        .with_port(local.port().into());
    let topics = match &request.topics {
        Some(asked) if version > 0 || !asked.is_empty() => {
            asked.iter().filter_map(|asked| asked_topic(serving, version, asked)).collect()
        }
        // All: null, or in version 0 an empty list.
        _ => serving.topics.all().iter().map(|topic| topic_metadata(topic, version)).collect(),
    };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(serving.topics.cluster_id())))
        .with_controller_id(NODE_ID)
        .with_topics(topics)
}

/// By id where one is given, else by name.
fn asked_topic(serving: &Serving, version: i16, asked: &MetadataRequestTopic) -> Option<MetadataResponseTopic> {
    let absent = MetadataResponseTopic::default();
    // The Java client leaves the name empty then, others send none.
    if version >= BY_ID_FROM && !asked.topic_id.is_nil() {
        return Some(match serving.topics.get_by_id(asked.topic_id) {
            Some(topic) => topic_metadata(&topic, version),
            None => absent
                .with_name(None)
                .with_topic_id(asked.topic_id)
                .with_error_code(ResponseError::UnknownTopicId.code()),
        });
    }
    let name = asked.name.as_ref()?;
    let Some(topic) = serving.topics.get(name.as_str()) else {
        let is_valid = is_valid_name(name.as_str());
        let error =
            if is_valid { ResponseError::UnknownTopicOrPartition } else { ResponseError::InvalidTopicException };
        return Some(absent.with_name(Some(name.clone())).with_error_code(error.code()));
    };
    Some(topic_metadata(&topic, version))
}

fn topic_metadata(topic: &Arc<Topic>, version: i16) -> MetadataResponseTopic {
    let partitions = (0..topic.partitions.len() as i32).map(|number| {
        MetadataResponsePartition::default()
            .with_partition_index(number)
            .with_leader_id(NODE_ID)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID])
            .with_isr_nodes(vec![NODE_ID])
    });
    let response = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&*topic.name))))
        .with_partitions(partitions.collect());
    if version >= 10 { response.with_topic_id(topic.id) } else { response }
}

/// The one broker.
pub fn cluster(serving: &Serving, local: SocketAddr, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    let response = DescribeClusterResponse::default();
    if request.endpoint_type != BROKER_ENDPOINT {
        let reason = "the embedded broker has no controllers to name";
        return response
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(text(reason)));
    }
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID)
        .with_host(text(local.ip().to_string()))
        .with_port(local.port().into());
    response.with_cluster_id(text(serving.topics.cluster_id())).with_controller_id(NODE_ID).with_brokers(vec![broker])
}
