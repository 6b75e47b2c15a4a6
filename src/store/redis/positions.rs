//! What is stored for partitions: the commands that ask for it, and Redis' answers.

use fred::types::Value;

use super::{
    Layout,
    lanes::Call,
    reading::{corrupt, list, number, optional_text},
};
use crate::{
    model::{CheckpointError, LogIdentity, StoredPosition, TopicPartition},
    store::StoreError,
};

/// Parts of a [`LogIdentity`], in the order in which they are read.
const IDENTITY_PARTS: [&str; 3] = ["cluster_id", "topic_id", "leader_epoch"];

/// Field of `counters:meta` for a part of what the log says of itself.
pub(super) fn identity_field(partition: &TopicPartition, part: &str) -> String {
    format!("log:{partition}:{part}")
}

/// The commands that ask for positions of one or more partitions; [`answer`] takes as many answers.
pub(super) fn calls(layout: &Layout, partitions: &[TopicPartition]) -> Vec<Call> {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    let identities: Vec<String> =
        partitions.iter().flat_map(|partition| IDENTITY_PARTS.map(|part| identity_field(partition, part))).collect();
    let hmget = |key: &str, fields: &[String]| {
        Call::new("HMGET", std::iter::once(key).chain(fields.iter().map(String::as_str)))
    };
    vec![hmget(&layout.checkpoints, &names), hmget(&layout.origins, &names), hmget(&layout.meta, &identities)]
}

/// Positions from what the commands answered: outer by partition as asked, inner by shard.
pub(super) fn answer(
    doing: &str,
    partitions: &[TopicPartition],
    answers: Vec<Value>,
) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
    let [checkpoints, origins, parts]: [Value; 3] =
        answers.try_into().map_err(|_| corrupt(doing, "answers are missing"))?;
    let parts = list(parts);
    let lists = list(checkpoints).into_iter().zip(list(origins)).zip(parts.as_chunks::<3>().0).zip(partitions);
    let position = |(((checkpoint, origin), parts), partition): (((Value, Value), &[Value; 3]), &TopicPartition)| {
        let checkpoint = optional_text(doing, &checkpoint)?.map(|text| text.parse()).transpose();
        let origin = if origin.is_null() { None } else { Some(number(doing, &partition.to_string(), &origin)?) };
        let checkpoint = checkpoint.map_err(|error: CheckpointError| corrupt(doing, error.to_string()))?;
        Ok(vec![StoredPosition { checkpoint, origin, log_identity: identity(doing, parts)? }])
    };
    let positions = lists.map(position).collect::<Result<Vec<_>, StoreError>>()?;
    if positions.len() == partitions.len() { Ok(positions) } else { Err(corrupt(doing, "answers are missing")) }
}

fn identity(doing: &str, parts: &[Value; 3]) -> Result<LogIdentity, StoreError> {
    let [cluster_id, topic_id, leader_epoch] = parts;
    let unreadable = |part: &str| corrupt(doing, format!("the stored {part} of the log cannot be read"));
    Ok(LogIdentity {
        cluster_id: optional_text(doing, cluster_id)?,
        topic_id: optional_text(doing, topic_id)?
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| unreadable("topic id"))?,
        leader_epoch: optional_text(doing, leader_epoch)?
            .map(|text| text.parse())
            .transpose()
            .map_err(|_| unreadable("leader epoch"))?,
    })
}
