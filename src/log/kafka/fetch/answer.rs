//! What a broker's answer means for each partition that it was asked for.

use std::collections::HashMap;

use kafka_protocol::{
    error::ResponseError,
    messages::{
        FetchResponse,
        fetch_response::{NodeEndpoint, PartitionData},
    },
};
use uuid::Uuid;

use super::{
    block::{self, Found},
    request::Asked,
};
use crate::{
    log::{Block, LogError, kafka::wire::broker_address},
    model::TopicPartition,
};

/// What came of asking for a place.
pub(super) enum Outcome {
    /// Records, or offsets without records.
    Block(Block),
    /// Nothing new.
    Nothing,
    /// The first batch is larger than what was asked for; it needs so many bytes.
    MoreBytes(usize),
    /// Another broker leads, or this one has moved on to another epoch.
    Moved {
        /// The new leader, where the refusal names it (KIP-951).
        to: Option<NewLeader>,
        why: LogError,
    },
    /// The broker does not know the topic, or not under this id.
    NotThere,
    /// Something that passes; the leader stays.
    Again(LogError),
    /// For the caller.
    Told(LogError),
}

/// A leader that a refusal names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewLeader {
    pub(super) node: i32,
    pub(super) epoch: i32,
    /// `host:port`, where it is told.
    pub(super) address: Option<String>,
}

/// Takes an answer apart, in the order of what was asked.
pub(super) fn read(answer: FetchResponse, asked: Vec<Asked>) -> Vec<(Asked, Outcome)> {
    if answer.error_code != 0 {
        let again = |asked: Asked| {
            let why = refusal(answer.error_code, &asked);
            (asked, Outcome::Again(why))
        };
        return asked.into_iter().map(again).collect();
    }
    let by_id: HashMap<Uuid, &str> =
        asked.iter().map(|asked| (asked.leader.topic_id, &*asked.partition.topic)).collect();
    let mut parts: HashMap<(String, i32), PartitionData> = HashMap::new();
    let mut answer_bytes = 0;
    for topic in answer.responses {
        // An answer by ids (version 13 and later) has no names.
        let by_name = Some(topic.topic.as_str()).filter(|name| !name.is_empty());
        let Some(name) = by_name.or_else(|| by_id.get(&topic.topic_id).copied()) else { continue };
        for data in topic.partitions {
            answer_bytes += data.records.as_ref().map_or(0, bytes::Bytes::len);
            parts.insert((name.to_owned(), data.partition_index), data);
        }
    }
    let outcomes: Vec<Outcome> = asked
        .iter()
        .map(|asked| {
            let key = (asked.partition.topic.to_string(), asked.partition.partition);
            let data = parts.remove(&key);
            data.map_or(Outcome::Nothing, |data| outcome(data, asked, &answer.node_endpoints, answer_bytes))
        })
        .collect();
    asked.into_iter().zip(outcomes).collect()
}

fn outcome(data: PartitionData, asked: &Asked, endpoints: &[NodeEndpoint], answer_bytes: usize) -> Outcome {
    use ResponseError as E;
    let code = data.error_code;
    let why = || refusal(code, asked);
    match ResponseError::try_from_code(code) {
        None => match block::read(data, &asked.partition, asked.offset, answer_bytes) {
            Ok(Found::Nothing) => Outcome::Nothing,
            Ok(Found::Block(block)) => Outcome::Block(block),
            Ok(Found::MoreBytes(needed_bytes)) => Outcome::MoreBytes(needed_bytes),
            Err(error) if error.is_retriable() => Outcome::Again(error),
            Err(error) => Outcome::Told(error),
        },
        Some(
            E::NotLeaderOrFollower
            | E::FencedLeaderEpoch
            | E::LeaderNotAvailable
            | E::ReplicaNotAvailable
            | E::BrokerNotAvailable
            | E::KafkaStorageError,
        ) => Outcome::Moved { to: new_leader(&data, endpoints), why: why() },
        // It is the leader and does not know so yet, or does not know yet how far readers may go.
        Some(E::UnknownLeaderEpoch | E::OffsetNotAvailable) => Outcome::Again(why()),
        Some(E::UnknownTopicOrPartition | E::UnknownTopicId | E::InconsistentTopicId) => Outcome::NotThere,
        Some(E::OffsetOutOfRange) => {
            Outcome::Told(LogError::OffsetOutOfRange { partition: asked.partition.to_string(), offset: asked.offset })
        }
        Some(E::TopicAuthorizationFailed | E::ClusterAuthorizationFailed) => Outcome::Told(LogError::Refused {
            what: what(asked),
            reason: format!(
                "the broker does not let this client read topic {}; grant its user READ and DESCRIBE on it",
                asked.partition.topic
            ),
        }),
        Some(E::UnsupportedCompressionType) => Outcome::Told(LogError::Unsupported {
            what: what(asked),
            reason:
                "the records are compressed with zstd, which this broker gives to newer clients only; Kafka 2.1 or \
                     later is needed"
                    .to_owned(),
        }),
        Some(E::InvalidTopicException | E::InvalidRequest | E::UnsupportedVersion) => {
            Outcome::Told(LogError::Refused { what: what(asked), reason: why().to_string() })
        }
        // Told, so that it is seen; the caller may ask again: another replica may lead then.
        Some(E::CorruptMessage) => Outcome::Told(LogError::Unavailable {
            what: what(asked),
            reason: "the broker finds its records damaged there (CORRUPT_MESSAGE); see the broker's log and disk"
                .to_owned(),
        }),
        Some(_) => Outcome::Again(why()),
    }
}

fn new_leader(data: &PartitionData, endpoints: &[NodeEndpoint]) -> Option<NewLeader> {
    let (node, epoch) = (data.current_leader.leader_id.0, data.current_leader.leader_epoch);
    let endpoint = endpoints.iter().find(|endpoint| endpoint.node_id.0 == node);
    let address = endpoint.map(|endpoint| broker_address(&endpoint.host, endpoint.port));
    (node >= 0 && epoch >= 0).then_some(NewLeader { node, epoch, address })
}

/// What an error code says, for an error or a log.
fn refusal(code: i16, asked: &Asked) -> LogError {
    let reason = ResponseError::try_from_code(code).map_or_else(|| "unknown".to_owned(), |error| error.to_string());
    LogError::Unavailable { what: what(asked), reason: format!("{reason} (error {code})") }
}

/// The call and what it is about.
pub(super) fn what(asked: &Asked) -> String {
    reading(&asked.partition, asked.offset)
}

/// As [`what`], for a place.
pub(super) fn reading(partition: &TopicPartition, offset: i64) -> String {
    format!("reading {partition} from offset {offset}")
}
