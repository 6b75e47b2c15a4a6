//! OffsetFetch: what groups have committed.

use kafka_protocol::messages::{
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
    offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    },
};

use super::{Serving, text};
use crate::log::broker::offsets::{Committed, Group};

/// From this version on several groups are asked for at once.
const BATCHED_FROM: i16 = 8;

/// A topic and what is known of its partitions.
type Found = (TopicName, Vec<(i32, Option<Committed>)>);

/// Answers for the partitions asked for, or for all that the group has.
pub fn fetch(serving: &Serving, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if version >= BATCHED_FROM {
        let groups = request.groups.into_iter().map(|asked| {
            let topics = asked.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect::<Vec<_>>()
            });
            let found = find(serving, asked.group_id.as_str(), topics).into_iter();
            let topics = found.map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(number, committed)| in_group(number, committed));
                OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
            });
            let topics = topics.collect();
            OffsetFetchResponseGroup::default().with_topics(topics).with_group_id(asked.group_id)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let topics = request
        .topics
        .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect::<Vec<_>>());
    let found = find(serving, request.group_id.as_str(), topics).into_iter();
    let topics = found.map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(number, committed)| alone(version, number, committed));
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn find(serving: &Serving, group: &str, topics: Option<Vec<(TopicName, Vec<i32>)>>) -> Vec<Found> {
    let offsets = serving.offsets.group(group).unwrap_or_default();
    let Some(topics) = topics else { return all(offsets) };
    let of_topic = |(name, numbers): (TopicName, Vec<i32>)| {
        let found = numbers.into_iter().map(|number| {
            let committed = offsets.get(&(name.as_str().to_owned(), number)).cloned();
            (number, committed)
        });
        let found = found.collect();
        (name, found)
    };
    topics.into_iter().map(of_topic).collect()
}

fn all(offsets: Group) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for ((topic, number), committed) in offsets {
        match found.last_mut() {
            Some((name, partitions)) if name.as_str() == topic => partitions.push((number, Some(committed))),
            _ => found.push((TopicName(text(topic)), vec![(number, Some(committed))])),
        }
    }
    found
}

/// What is told where nothing was committed.
fn nothing() -> Committed {
    Committed { offset: -1, leader_epoch: -1, metadata: String::new() }
}

fn in_group(number: i32, committed: Option<Committed>) -> OffsetFetchResponsePartitions {
    let committed = committed.unwrap_or_else(nothing);
    OffsetFetchResponsePartitions::default()
        .with_partition_index(number)
        .with_committed_offset(committed.offset)
        .with_committed_leader_epoch(committed.leader_epoch)
        .with_metadata(Some(text(committed.metadata)))
}

fn alone(version: i16, number: i32, committed: Option<Committed>) -> OffsetFetchResponsePartition {
    let committed = committed.unwrap_or_else(nothing);
    OffsetFetchResponsePartition::default()
        .with_partition_index(number)
        .with_committed_offset(committed.offset)
        .with_committed_leader_epoch(if version >= 5 { committed.leader_epoch } else { -1 })
        .with_metadata(Some(text(committed.metadata)))
}
