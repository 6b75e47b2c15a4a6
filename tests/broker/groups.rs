//! Offsets that consumers commit, in every version of the calls, over restarts.

use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, ListGroupsRequest,
    OffsetCommitRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest,
    offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
    offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
};
use streamgauge::log::broker::SEGMENT_BYTES;

use crate::{
    fixture::{TOPIC, filled, start},
    wire::{Wire, name, text},
};

const UNKNOWN_TOPIC: i16 = 3;
const UNKNOWN_MEMBER: i16 = 25;

fn group(group: &str) -> GroupId {
    GroupId(text(group))
}

fn commit(of: &str, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(partition)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("mine")));
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    OffsetCommitRequest::default().with_group_id(group(of)).with_topics(vec![topic])
}

/// What a group has committed of the topic's two partitions.
async fn committed(wire: &mut Wire, of: &str, version: i16) -> Vec<(i64, String)> {
    let pair = |offset, metadata: &Option<kafka_protocol::protocol::StrBytes>| {
        (offset, metadata.as_ref().map(|text| text.to_string()).unwrap_or_default())
    };
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default().with_name(name(TOPIC)).with_partition_indexes(vec![0, 1]);
        let asked = OffsetFetchRequestGroup::default().with_group_id(group(of)).with_topics(Some(vec![topic]));
        let response = wire.call(version, &OffsetFetchRequest::default().with_groups(vec![asked])).await;
        let partitions = response.groups[0].topics[0].partitions.iter();
        return partitions.map(|p| pair(p.committed_offset, &p.metadata)).collect();
    }
    let topic = OffsetFetchRequestTopic::default().with_name(name(TOPIC)).with_partition_indexes(vec![0, 1]);
    let request = OffsetFetchRequest::default().with_group_id(group(of)).with_topics(Some(vec![topic]));
    let response = wire.call(version, &request).await;
    response.topics[0].partitions.iter().map(|p| pair(p.committed_offset, &p.metadata)).collect()
}

#[tokio::test]
async fn committed_offsets_are_kept_over_restarts_and_go_with_their_topic() {
    let dir = filled(5, SEGMENT_BYTES).await;
    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    for version in 0..=6 {
        let request = FindCoordinatorRequest::default();
        let request = if version < 4 {
            request.with_key(text("readers"))
        } else {
            request.with_coordinator_keys(vec![text("readers")])
        };
        let response = wire.call(version, &request).await;
        let port = if version < 4 { response.port } else { response.coordinators[0].port };
        assert_eq!(port, i32::from(broker.local_addr().port()), "version {version}");
    }
    let nothing = (-1, String::new());
    for version in 2..=9 {
        let offset = i64::from(version);
        let of = format!("readers-{version}");
        let response = wire.call(version, &commit(&of, TOPIC, 1, offset)).await;
        assert_eq!(response.topics[0].partitions[0].error_code, 0, "version {version}");
        for fetch_version in 1..=9 {
            let found = committed(&mut wire, &of, fetch_version).await;
            assert_eq!(found, [nothing.clone(), (offset, "mine".to_owned())], "version {fetch_version}");
        }
    }
    let refused = wire.call(9, &commit("readers", "absent", 0, 1)).await;
    assert_eq!(refused.topics[0].partitions[0].error_code, UNKNOWN_TOPIC);
    let of_a_member = commit("readers", TOPIC, 0, 1).with_member_id(text("m")).with_generation_id_or_member_epoch(3);
    assert_eq!(wire.call(9, &of_a_member).await.topics[0].partitions[0].error_code, UNKNOWN_MEMBER);
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    assert_eq!(committed(&mut wire, "readers-7", 8).await, [nothing.clone(), (7, "mine".to_owned())]);
    let all = OffsetFetchRequestGroup::default().with_group_id(group("readers-7")).with_topics(None);
    let all = wire.call(8, &OffsetFetchRequest::default().with_groups(vec![all])).await;
    assert_eq!(all.groups[0].topics[0].partitions.len(), 1);
    let listed = wire.call(5, &ListGroupsRequest::default()).await;
    assert_eq!(listed.groups.len(), 8);
    let asked = DescribeGroupsRequest::default().with_groups(vec![group("readers-7"), group("absent")]);
    let states: Vec<_> = wire.call(5, &asked).await.groups.iter().map(|g| g.group_state.to_string()).collect();
    assert_eq!(states, ["Empty", "Dead"]);
    let asked = DeleteGroupsRequest::default().with_groups_names(vec![group("readers-7"), group("absent")]);
    let deleted: Vec<_> = wire.call(2, &asked).await.results.iter().map(|result| result.error_code).collect();
    assert_eq!(deleted, [0, 69], "GROUP_ID_NOT_FOUND");
    assert_eq!(committed(&mut wire, "readers-7", 8).await, [nothing.clone(), nothing.clone()]);
    assert_eq!(wire.delete(TOPIC).await, 0);
    assert!(wire.call(5, &ListGroupsRequest::default()).await.groups.is_empty());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_one_epoch_ends_with_the_log() {
    let dir = filled(5, SEGMENT_BYTES).await;
    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    for (current, asked, answer) in [(-1, 0, (0, 0, 5)), (0, 0, (0, 0, 5)), (0, 1, (0, -1, -1)), (1, 0, (75, -1, -1))] {
        let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(current).with_leader_epoch(asked);
        let topic = OffsetForLeaderTopic::default().with_topic(name(TOPIC)).with_partitions(vec![partition]);
        for version in 2..=4 {
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic.clone()]);
            let response = wire.call(version, &request).await;
            let end = &response.topics[0].partitions[0];
            assert_eq!((end.error_code, end.leader_epoch, end.end_offset), answer, "{current} {asked} {version}");
        }
    }
    broker.shutdown().await.unwrap();
}
