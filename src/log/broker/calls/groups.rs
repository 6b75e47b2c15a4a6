//! Committed offsets of groups: FindCoordinator, OffsetCommit, OffsetFetch, and the groups that have some.
//!
//! For consumers that choose their partitions themselves: there is no membership, so no generation but -1 and no member.

use std::net::SocketAddr;

use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
        FindCoordinatorRequest, FindCoordinatorResponse, GroupId, ListGroupsResponse, OffsetCommitRequest,
        OffsetCommitResponse, TopicName,
        delete_groups_response::DeletableGroupResult,
        describe_groups_response::DescribedGroup,
        find_coordinator_response::Coordinator,
        list_groups_response::ListedGroup,
        offset_commit_request::OffsetCommitRequestPartition,
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
    },
};

pub use super::offset_fetch::fetch;
use super::{NODE_ID, Serving, text};
use crate::log::broker::offsets::{CommitError, Committed, MAX_GROUP_BYTES, MAX_METADATA_BYTES};

/// What a coordinator is looked for: a group, or a transactional id, or a share group.
const GROUP: i8 = 0;
/// From this version on several are looked for at once.
const BATCHED_FROM: i16 = 4;

/// This broker, for groups. For transactions "unsupported", which ends a client's search at once where "not available" would
/// have it ask for ever.
pub fn find_coordinator(local: SocketAddr, version: i16, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let reason = "the embedded broker has no transactions and no share groups";
    let (host, port) = (text(local.ip().to_string()), i32::from(local.port()));
    let unsupported = ResponseError::UnsupportedVersion.code();
    let response = FindCoordinatorResponse::default();
    let is_group = request.key_type == GROUP;
    if version >= BATCHED_FROM {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            let coordinator = Coordinator::default().with_key(key);
            if is_group {
                coordinator.with_node_id(NODE_ID).with_host(host.clone()).with_port(port)
            } else {
                let nowhere = coordinator.with_node_id((-1).into()).with_port(-1);
                nowhere.with_error_code(unsupported).with_error_message(Some(text(reason)))
            }
        });
        return response.with_coordinators(coordinators.collect());
    }
    if is_group {
        return response.with_node_id(NODE_ID).with_host(host).with_port(port);
    }
    let message = (version >= 1).then(|| text(reason));
    response.with_node_id((-1).into()).with_port(-1).with_error_code(unsupported).with_error_message(message)
}

/// Keeps the offsets of known partitions; the others are told.
pub fn commit(serving: &Serving, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let group = request.group_id.as_str();
    let refused = if group.len() > MAX_GROUP_BYTES {
        Some(ResponseError::InvalidGroupId)
    } else if !request.member_id.is_empty() || request.generation_id_or_member_epoch >= 0 {
        Some(ResponseError::UnknownMemberId)
    } else {
        None
    };
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let number = asked.partition_index;
            let checked = match refused {
                Some(error) => Err(error),
                None => check(serving, &topic.name, asked),
            };
            let response = OffsetCommitResponsePartition::default().with_partition_index(number);
            partitions.push(match checked {
                Ok(committed) => {
                    offsets.push(((topic.name.as_str().to_owned(), number), committed));
                    response
                }
                Err(error) => response.with_error_code(error.code()),
            });
        }
        topics.push(OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions));
    }
    if offsets.is_empty() {
        return OffsetCommitResponse::default().with_topics(topics);
    }
    if let Err(error) = serving.offsets.commit(group, offsets) {
        tracing::error!(group, %error, "offsets were not committed");
        let code = commit_error(&error).code();
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        partitions.filter(|partition| partition.error_code == 0).for_each(|partition| partition.error_code = code);
    }
    OffsetCommitResponse::default().with_topics(topics)
}

fn check(
    serving: &Serving,
    topic: &TopicName,
    asked: OffsetCommitRequestPartition,
) -> Result<Committed, ResponseError> {
    let metadata = asked.committed_metadata.map(|metadata| metadata.to_string()).unwrap_or_default();
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    let partition = serving.topics.partition(topic.as_str(), asked.partition_index);
    partition.ok_or(ResponseError::UnknownTopicOrPartition)?;
    Ok(Committed { offset: asked.committed_offset, leader_epoch: asked.committed_leader_epoch, metadata })
}

/// A failing disk is answered with what clients try again.
fn commit_error(error: &CommitError) -> ResponseError {
    match error {
        CommitError::Full => ResponseError::InvalidCommitOffsetSize,
        CommitError::Storage(_) => ResponseError::CoordinatorNotAvailable,
    }
}

/// All groups that have committed something.
pub fn list(serving: &Serving, version: i16) -> ListGroupsResponse {
    let groups = serving.offsets.groups().into_iter().map(|group| {
        let listed = ListedGroup::default().with_group_id(GroupId(text(group)));
        let listed = if version >= 4 { listed.with_group_state(text("Empty")) } else { listed };
        if version >= 5 { listed.with_group_type(text("classic")) } else { listed }
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

/// Groups without members: empty, or dead where nothing was committed.
pub fn describe(serving: &Serving, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let groups = request.groups.into_iter().map(|group| {
        let state = if serving.offsets.group(group.as_str()).is_some() { "Empty" } else { "Dead" };
        DescribedGroup::default().with_group_id(group).with_group_state(text(state))
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

/// Forgets groups.
pub fn delete(serving: &Serving, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|group| {
        let error = match serving.offsets.delete_group(group.as_str()) {
            Ok(true) => 0,
            Ok(false) => ResponseError::GroupIdNotFound.code(),
            Err(error) => commit_error(&error).code(),
        };
        DeletableGroupResult::default().with_group_id(group).with_error_code(error)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
