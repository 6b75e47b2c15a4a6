//! What is stored for partitions: the commands that ask for it, and Redis' answers.

use fred::types::Value;

use super::{
    lanes::Call,
    layout::{Layout, Layouts},
    reading::{corrupt, list, number, optional_text},
};
use crate::{
    model::{CheckpointError, LogIdentity, ShardId, StoredPosition, SwitchesError, TopicPartition},
    store::StoreError,
};

/// What stands beside a checkpoint, in the order in which it is read: the parts of a [`LogIdentity`], the table of switches, and
/// how far restored totals reach.
pub(super) const PARTS: [&str; 5] = ["cluster_id", "topic_id", "leader_epoch", SWITCHES_PART, "totals"];
/// The table of switches, among what stands beside a checkpoint.
pub(super) const SWITCHES_PART: &str = "switches";

/// Field of `counters:meta` for what stands beside a partition's checkpoint.
pub(super) fn identity_field(partition: &TopicPartition, part: &str) -> String {
    format!("log:{partition}:{part}")
}

/// Commands that each shard is asked.
const CALLS_PER_SHARD: usize = 3;

/// The commands that ask all shards for positions of one or more partitions; [`answer`] takes as many answers.
pub(super) fn calls(layouts: &Layouts, partitions: &[TopicPartition]) -> Vec<Call> {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    let identities: Vec<String> =
        partitions.iter().flat_map(|partition| PARTS.map(|part| identity_field(partition, part))).collect();
    let hmget = |key: &str, fields: &[String]| {
        Call::new("HMGET", std::iter::once(key).chain(fields.iter().map(String::as_str)))
    };
    let of_shard = |layout: &Layout| -> [Call; CALLS_PER_SHARD] {
        [hmget(&layout.checkpoints, &names), hmget(&layout.origins, &names), hmget(&layout.meta, &identities)]
    };
    layouts.all().iter().flat_map(of_shard).collect()
}

/// Positions from what the commands answered: outer by partition as asked, inner by shard.
pub(super) fn answer(
    doing: &str,
    shards: ShardId,
    partitions: &[TopicPartition],
    answers: Vec<Value>,
) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
    let mut positions = vec![Vec::with_capacity(usize::from(shards)); partitions.len()];
    let mut answers = answers.into_iter();
    for _ in 0..shards {
        let (Some(checkpoints), Some(origins), Some(parts)) = (answers.next(), answers.next(), answers.next()) else {
            return Err(corrupt(doing, "answers are missing"));
        };
        let of_shard = in_shard(doing, partitions, [checkpoints, origins, parts])?;
        positions.iter_mut().zip(of_shard).for_each(|(shards, position)| shards.push(position));
    }
    Ok(positions)
}

fn in_shard(
    doing: &str,
    partitions: &[TopicPartition],
    [checkpoints, origins, parts]: [Value; CALLS_PER_SHARD],
) -> Result<Vec<StoredPosition>, StoreError> {
    let parts = list(parts);
    let lists = list(checkpoints).into_iter().zip(list(origins)).zip(parts.as_chunks::<5>().0).zip(partitions);
    let position = |(((checkpoint, origin), parts), partition): (((Value, Value), &[Value; 5]), &TopicPartition)| {
        position(doing, partition, &checkpoint, &origin, parts)
    };
    let positions = lists.map(position).collect::<Result<Vec<_>, StoreError>>()?;
    if positions.len() == partitions.len() { Ok(positions) } else { Err(corrupt(doing, "answers are missing")) }
}

/// A position from its pieces, each of which may be absent.
pub(super) fn position(
    doing: &str,
    partition: &TopicPartition,
    checkpoint: &Value,
    origin: &Value,
    parts: &[Value; 5],
) -> Result<StoredPosition, StoreError> {
    let unreadable = |error: CheckpointError| corrupt(doing, error.to_string());
    let checkpoint = optional_text(doing, checkpoint)?.map(|text| text.parse()).transpose().map_err(unreadable)?;
    let origin = if origin.is_null() { None } else { Some(number(doing, &partition.to_string(), origin)?) };
    let [identity_parts @ .., switches, restored] = parts;
    let switches = optional_text(doing, switches)?.map(|text| text.parse()).transpose();
    let switches = switches.map_err(|error: SwitchesError| corrupt(doing, error.to_string()))?;
    let restored = optional_text(doing, restored)?.map(|text| text.parse()).transpose().map_err(unreadable)?;
    Ok(StoredPosition { checkpoint, origin, log_identity: identity(doing, identity_parts)?, switches, restored })
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
