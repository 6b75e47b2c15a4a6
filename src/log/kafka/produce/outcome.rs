//! What a broker's answer to a batch means.

use kafka_protocol::{
    error::ResponseError,
    messages::{
        ProduceResponse,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
};

use crate::{
    log::{
        LogError,
        kafka::wire::{Wire, broker_address},
    },
    model::TopicPartition,
};

/// What became of a batch that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The broker has it. The offset is -1 where it does not say which: a duplicate of long ago.
    Stored {
        /// Of the first record.
        base_offset: i64,
    },
    /// Another try can help.
    Again {
        /// What was wrong.
        error: LogError,
        /// It may have been stored.
        is_in_doubt: bool,
    },
    /// It is not what comes next under our sequence numbers.
    OutOfOrder(LogError),
    /// Our producer id or epoch is not accepted any more.
    Forgotten(LogError),
    /// We may not have an identity.
    NotIdempotent(LogError),
    /// It, or a record in it, has too many bytes.
    TooLarge,
    /// Records in it are invalid.
    Invalid {
        /// Of the whole batch.
        reason: String,
        /// Places in the batch, with a reason of their own where there is one.
        records: Vec<(usize, Option<String>)>,
    },
    /// Another try will not help.
    Refused(LogError),
}

/// Reads the answer to a request with one batch. Takes in a new leader that it names.
pub(super) fn read(
    answer: Result<ProduceResponse, LogError>,
    wire: &Wire,
    partition: &TopicPartition,
    what: &str,
) -> Outcome {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Outcome::Again { error, is_in_doubt: true },
    };
    // One topic and one partition were sent. By their place, since newer versions give an id for the topic's name.
    let told = answer.responses.pop().and_then(|TopicProduceResponse { mut partition_responses, .. }| {
        partition_responses.pop().filter(|told| told.index == partition.partition)
    });
    let Some(told) = told else {
        let reason = "the broker's answer does not name the partition".to_owned();
        return Outcome::Again { error: LogError::Unavailable { what: what.to_owned(), reason }, is_in_doubt: true };
    };
    let leader = &told.current_leader;
    if told.error_code != 0 && leader.leader_epoch >= 0 {
        let node = answer.node_endpoints.iter().find(|node| node.node_id == leader.leader_id);
        let at = node.map(|node| broker_address(&node.host, node.port));
        wire.learn_leader(partition, leader.leader_id.0, leader.leader_epoch, at);
    } else if told.error_code != 0 {
        wire.distrust();
    }
    outcome(&told, partition, what)
}

fn outcome(told: &PartitionProduceResponse, partition: &TopicPartition, what: &str) -> Outcome {
    use ResponseError as E;
    let Some(error) = E::try_from_code(told.error_code) else {
        return Outcome::Stored { base_offset: told.base_offset };
    };
    let message = told.error_message.as_ref().map(ToString::to_string).filter(|message| !message.is_empty());
    let reason = message.map_or_else(|| error.to_string(), |message| format!("{error}: {message}"));
    let what = what.to_owned();
    let again = |is_in_doubt| {
        let (what, reason) = (what.clone(), reason.clone());
        Outcome::Again { error: LogError::Unavailable { what, reason }, is_in_doubt }
    };
    match error {
        // Stored by an earlier try.
        E::DuplicateSequenceNumber => Outcome::Stored { base_offset: told.base_offset },
        E::OutOfOrderSequenceNumber => Outcome::OutOfOrder(LogError::Unavailable { what, reason }),
        E::UnknownProducerId | E::InvalidProducerEpoch | E::ProducerFenced | E::InvalidProducerIdMapping => {
            Outcome::Forgotten(LogError::Unavailable { what, reason })
        }
        E::ClusterAuthorizationFailed | E::TransactionalIdAuthorizationFailed => {
            let reason = format!("{reason}; grant IDEMPOTENT_WRITE on the cluster");
            Outcome::NotIdempotent(LogError::Refused { what, reason })
        }
        E::MessageTooLarge | E::RecordListTooLarge => Outcome::TooLarge,
        E::InvalidRecord | E::InvalidTimestamp => Outcome::Invalid {
            reason,
            records: told
                .record_errors
                .iter()
                .filter_map(|record| {
                    let reason = record.batch_index_error_message.as_ref().map(ToString::to_string);
                    Some((usize::try_from(record.batch_index).ok()?, reason))
                })
                .collect(),
        },
        E::UnknownTopicOrPartition | E::UnknownTopicId | E::InconsistentTopicId => {
            Outcome::Again { error: LogError::Unknown { what: partition.to_string() }, is_in_doubt: false }
        }
        E::TopicAuthorizationFailed => {
            let reason = format!("{reason}; grant its user WRITE on this topic");
            Outcome::Refused(LogError::Refused { what, reason })
        }
        E::UnsupportedForMessageFormat | E::UnsupportedCompressionType | E::UnsupportedVersion => {
            let reason = format!("{reason}; the broker does not take this compression or version of records");
            Outcome::Refused(LogError::Unsupported { what, reason })
        }
        E::InvalidTopicException | E::InvalidRequiredAcks | E::InvalidRequest | E::PolicyViolation => {
            Outcome::Refused(LogError::Refused { what, reason })
        }
        // Told before anything is written.
        E::NotEnoughReplicas | E::CorruptMessage | E::ThrottlingQuotaExceeded => again(false),
        // All others may come after the leader wrote it: also a leader that loses its leadership while followers copy says
        // NOT_LEADER_OR_FOLLOWER, and they may have copied it.
        _ => again(true),
    }
}
