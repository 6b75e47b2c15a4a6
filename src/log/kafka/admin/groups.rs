//! Offsets of consumer groups, kept by Kafka: read, and committed as a consumer without group membership.
//!
//! We hold our checkpoints with the results (SPEC 5). What is committed here is a copy for tools that show the lag; what is
//! read here is where another consumer stood.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
};

use kafka_protocol::{
    messages::{
        ConsumerGroupDescribeRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, OffsetCommitRequest,
        OffsetFetchRequest, OffsetFetchResponse, TopicName,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics},
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::{
    Admin,
    answer::{explain, silent},
};
use crate::{
    log::{
        LogError,
        kafka::wire::{NodeId, broker_address},
    },
    model::TopicPartition,
};

const FIND: RangeInclusive<i16> = 0..=6;
/// The first version that asks for several groups at once.
const FIND_MANY: i16 = 4;
/// Version 10 names topics by their ids (KIP-848), which is not needed here.
const COMMIT: RangeInclusive<i16> = 2..=9;
/// The first version that takes the leader epoch (KIP-320).
const COMMIT_WITH_EPOCH: i16 = 6;
const FETCH: RangeInclusive<i16> = 2..=9;
/// The first version that asks for several groups at once.
const FETCH_MANY: i16 = 8;
const DESCRIBE: RangeInclusive<i16> = 0..=6;
const DESCRIBE_CONSUMERS: RangeInclusive<i16> = 0..=1;

/// An offset that a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset that the group wants to read.
    pub offset: i64,
    /// Leader epoch of the record before it, where known (KIP-320).
    pub leader_epoch: Option<i32>,
    /// What the committer noted beside it; empty by default.
    pub metadata: String,
}

/// What the broker says of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The broker's word, such as `Stable` or `Empty`.
    pub state: String,
    /// Members that run now.
    pub members: usize,
}

type Answers<T> = Vec<(TopicPartition, Result<T, LogError>)>;

impl Admin {
    /// Commits offsets for a group as a consumer that is no member of it (generation -1). One answer for each partition, in
    /// the order given.
    ///
    /// # Errors
    /// The group has running members, which is told as [`LogError::Refused`]; we may not commit; or no coordinator could be
    /// asked. A partition that does not exist is told in its place.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<Answers<()>, LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.commit_once(group, offsets, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn commit_once(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
        deadline: Instant,
    ) -> Result<Answers<()>, LogError> {
        let what = format!("committing offsets of group {group}");
        let node = self.coordinator(group, deadline).await?;
        let request = |version| {
            let partition = |(partition, committed): &(TopicPartition, CommittedOffset)| {
                let told = OffsetCommitRequestPartition::default()
                    .with_partition_index(partition.partition)
                    .with_committed_offset(committed.offset)
                    .with_committed_metadata(Some(StrBytes::from_string(committed.metadata.clone())));
                match committed.leader_epoch {
                    Some(epoch) if version >= COMMIT_WITH_EPOCH => told.with_committed_leader_epoch(epoch),
                    _ => told,
                }
            };
            let topics = by_topic(offsets.iter().map(|one| (&one.0, partition(one))));
            let topics = topics.into_iter().map(|(topic, partitions)| {
                OffsetCommitRequestTopic::default().with_name(topic).with_partitions(partitions)
            });
            OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(topics.collect())
        };
        let answer = self.ask(node, &COMMIT, deadline, request, |answer| answer.throttle_time_ms).await?;
        let mut told = HashMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                told.insert((topic.name.to_string(), partition.partition_index), partition.error_code);
            }
        }
        let mut answers = Vec::with_capacity(offsets.len());
        for (partition, _) in offsets {
            let result = match told.get(&(partition.topic.to_string(), partition.partition)) {
                Some(code) => explain(*code, None, &what, &subject(*code, group, partition)),
                None => Err(silent(&what)),
            };
            match result {
                // These are about the group as a whole, although the protocol tells them with each partition.
                Err(error @ (LogError::Refused { .. } | LogError::Unavailable { .. })) => return Err(error),
                result => answers.push((partition.clone(), result)),
            }
        }
        Ok(answers)
    }

    /// The offsets that a group has committed: of these partitions, in the order given, or of all for which it has any.
    /// `None` where it has none.
    ///
    /// # Errors
    /// We may not see them, or no coordinator could be asked. A group that nobody knows has no offsets, which is no error.
    pub async fn committed_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Answers<Option<CommittedOffset>>, LogError> {
        let mut tries = self.tries();
        let mut told = loop {
            let answer = self.committed_once(group, partitions, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                break settled?;
            }
        };
        let Some(partitions) = partitions else { return Ok(told.into_iter().collect()) };
        let answer = |partition: &TopicPartition| (partition.clone(), told.remove(partition).unwrap_or(Ok(None)));
        Ok(partitions.iter().map(answer).collect())
    }

    async fn committed_once(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        deadline: Instant,
    ) -> Result<BTreeMap<TopicPartition, Result<Option<CommittedOffset>, LogError>>, LogError> {
        let node = self.coordinator(group, deadline).await?;
        let topics = partitions.map(|all| by_topic(all.iter().map(|partition| (partition, partition.partition))));
        let request = |version| {
            if version >= FETCH_MANY {
                let topics = topics.map(|topics| {
                    let topic = |(name, indexes)| {
                        OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(indexes)
                    };
                    topics.into_iter().map(topic).collect()
                });
                let wanted = OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(topics);
                OffsetFetchRequest::default().with_groups(vec![wanted])
            } else {
                let topics = topics.map(|topics| {
                    let topic = |(name, indexes)| {
                        OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(indexes)
                    };
                    topics.into_iter().map(topic).collect()
                });
                OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(topics)
            }
        };
        let answer = self.ask(node, &FETCH, deadline, request, |answer| answer.throttle_time_ms).await?;
        read_committed(answer, group)
    }

    /// What the broker says of a group; `None` where it knows none of this name. A group that only has offsets is `Empty`.
    ///
    /// # Errors
    /// We may not see it, or no coordinator could be asked.
    pub async fn describe_group(&self, group: &str) -> Result<Option<GroupState>, LogError> {
        let mut tries = self.tries();
        loop {
            let deadline = tries.deadline();
            let answer = async {
                let node = self.coordinator(group, deadline).await?;
                match self.describe_classic(group, node, deadline).await? {
                    Some(state) => Ok(Some(state)),
                    None => self.describe_consumers(group, node, deadline).await,
                }
            };
            if let Some(settled) = tries.settle(answer.await).await {
                return settled;
            }
        }
    }

    async fn describe_classic(
        &self,
        group: &str,
        node: NodeId,
        deadline: Instant,
    ) -> Result<Option<GroupState>, LogError> {
        /// Told before version 6 of a group that is not there.
        const DEAD: &str = "Dead";
        let what = format!("describing group {group}");
        let request = |_| DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let answer = self.ask(node, &DESCRIBE, deadline, request, |answer| answer.throttle_time_ms).await?;
        let told = answer.groups.first().ok_or_else(|| silent(&what))?;
        match explain(told.error_code, told.error_message.as_ref(), &what, group) {
            Err(LogError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(()) if told.group_state.as_str() == DEAD => Ok(None),
            Ok(()) => Ok(Some(GroupState { state: told.group_state.to_string(), members: told.members.len() })),
        }
    }

    /// Groups of the newer protocol (KIP-848) are told by a call of their own; brokers before Kafka 3.7 have none.
    async fn describe_consumers(
        &self,
        group: &str,
        node: NodeId,
        deadline: Instant,
    ) -> Result<Option<GroupState>, LogError> {
        let what = format!("describing group {group}");
        let request = |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
        let asked = self.ask(node, &DESCRIBE_CONSUMERS, deadline, request, |answer| answer.throttle_time_ms).await;
        let answer = match asked {
            Err(LogError::Unsupported { .. }) => return Ok(None),
            asked => asked?,
        };
        let told = answer.groups.first().ok_or_else(|| silent(&what))?;
        match explain(told.error_code, told.error_message.as_ref(), &what, group) {
            Err(LogError::Unknown { .. } | LogError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(Some(GroupState { state: told.group_state.to_string(), members: told.members.len() })),
        }
    }

    /// The broker that keeps a group's offsets.
    async fn coordinator(&self, group: &str, deadline: Instant) -> Result<NodeId, LogError> {
        let what = format!("looking for the coordinator of group {group}");
        let request = |version| {
            let key = StrBytes::from_string(group.to_owned());
            if version >= FIND_MANY {
                FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
            } else {
                FindCoordinatorRequest::default().with_key(key)
            }
        };
        let any = self.wire.controller().await?;
        let answer = self.ask(any, &FIND, deadline, request, |answer| answer.throttle_time_ms).await?;
        let (node, host, port) = match answer.coordinators.first() {
            Some(told) => {
                explain(told.error_code, told.error_message.as_ref(), &what, group)?;
                (told.node_id.0, &told.host, told.port)
            }
            None => {
                explain(answer.error_code, answer.error_message.as_ref(), &what, group)?;
                (answer.node_id.0, &answer.host, answer.port)
            }
        };
        if node < 0 || host.is_empty() {
            return Err(silent(&what));
        }
        self.wire.learn_node(node, broker_address(host, port));
        Ok(node)
    }
}

/// What an error code is about: the partition does not exist, or the group has something.
fn subject(code: i16, group: &str, partition: &TopicPartition) -> String {
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    if code == UNKNOWN_TOPIC_OR_PARTITION { partition.to_string() } else { group.to_owned() }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}

fn by_topic<'p, T>(partitions: impl Iterator<Item = (&'p TopicPartition, T)>) -> Vec<(TopicName, Vec<T>)> {
    let mut topics: BTreeMap<&str, Vec<T>> = BTreeMap::new();
    for (partition, value) in partitions {
        topics.entry(&partition.topic).or_default().push(value);
    }
    topics.into_iter().map(|(name, values)| (TopicName(StrBytes::from_string(name.to_owned())), values)).collect()
}

/// Reads both shapes of the answer: one group on top, or a list of one.
fn read_committed(
    answer: OffsetFetchResponse,
    group: &str,
) -> Result<BTreeMap<TopicPartition, Result<Option<CommittedOffset>, LogError>>, LogError> {
    let what = format!("reading the offsets of group {group}");
    let mut rows = Vec::new();
    for topic in answer.topics {
        for told in topic.partitions {
            let place = TopicPartition::new(topic.name.as_str(), told.partition_index);
            rows.push((place, told.error_code, told.committed_offset, told.committed_leader_epoch, told.metadata));
        }
    }
    let mut code = answer.error_code;
    for told in answer.groups {
        code = told.error_code;
        for topic in told.topics {
            for told in topic.partitions {
                let place = TopicPartition::new(topic.name.as_str(), told.partition_index);
                rows.push((place, told.error_code, told.committed_offset, told.committed_leader_epoch, told.metadata));
            }
        }
    }
    match explain(code, None, &what, group) {
        Err(LogError::Unknown { .. }) => return Ok(BTreeMap::new()),
        told => told?,
    }
    let mut committed = BTreeMap::new();
    for (partition, code, offset, epoch, metadata) in rows {
        let result = match explain(code, None, &what, &subject(code, group, &partition)) {
            Err(error) if error.is_retriable() => return Err(error),
            Err(error) => Err(error),
            Ok(()) => Ok((offset >= 0).then(|| CommittedOffset {
                offset,
                leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0),
                metadata: metadata.map(|text| text.to_string()).unwrap_or_default(),
            })),
        };
        committed.insert(partition, result);
    }
    Ok(committed)
}
