//! Positions as the database keeps them: a JSON array of objects, in the texts that the store has too.

use serde::{Deserialize, Serialize};

use crate::{
    model::{LogIdentity, StoredPosition, TopicPartition},
    store::{Positions, StoreError},
};

/// What a shard keeps of a partition.
#[derive(Serialize, Deserialize)]
struct Row {
    partition: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leader_epoch: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    switches: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totals: Option<String>,
}

/// The text of positions.
pub(super) fn write(positions: &Positions) -> String {
    let row = |(partition, position): (&TopicPartition, &StoredPosition)| Row {
        partition: partition.to_string(),
        checkpoint: position.checkpoint.map(|checkpoint| checkpoint.to_string()),
        origin: position.origin,
        cluster_id: position.log_identity.cluster_id.clone(),
        topic_id: position.log_identity.topic_id.map(|id| id.to_string()),
        leader_epoch: position.log_identity.leader_epoch,
        switches: position.switches.as_ref().map(ToString::to_string),
        totals: position.restored.map(|restored| restored.to_string()),
    };
    let rows: Vec<Row> = positions.iter().map(row).collect();
    // Texts and numbers: there is nothing in it that could not be written.
    serde_json::to_string(&rows).unwrap_or_default()
}

/// Positions from their text.
///
/// # Errors
/// Another version, or somebody else, has written it.
pub(super) fn read(doing: &str, text: &str) -> Result<Positions, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { doing: doing.to_owned(), reason };
    let rows: Vec<Row> = serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
    rows.into_iter().map(|row| position(row).map_err(corrupt)).collect()
}

fn position(row: Row) -> Result<(TopicPartition, StoredPosition), String> {
    let partition =
        TopicPartition::parse(&row.partition).ok_or_else(|| format!("{:?} is no partition", row.partition))?;
    let checkpoint = row.checkpoint.map(|text| text.parse()).transpose();
    let restored = row.totals.map(|text| text.parse()).transpose();
    let switches = row.switches.map(|text| text.parse()).transpose();
    let topic_id = row.topic_id.map(|text| text.parse()).transpose();
    let position = StoredPosition {
        checkpoint: checkpoint.map_err(|error: crate::model::CheckpointError| error.to_string())?,
        origin: row.origin,
        log_identity: LogIdentity {
            cluster_id: row.cluster_id,
            topic_id: topic_id.map_err(|error: uuid::Error| error.to_string())?,
            leader_epoch: row.leader_epoch,
        },
        switches: switches.map_err(|error: crate::model::SwitchesError| error.to_string())?,
        restored: restored.map_err(|error: crate::model::CheckpointError| error.to_string())?,
    };
    Ok((partition, position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, Fingerprint, RestoredTotals, Switch, Switches};

    #[test]
    fn positions_read_back_and_what_is_none_is_an_error() {
        let whole = StoredPosition {
            checkpoint: Some(Checkpoint {
                offset: 42,
                incarnation: 3,
                fingerprint: Fingerprint(7),
                ..Checkpoint::default()
            }),
            origin: Some(5),
            log_identity: LogIdentity {
                cluster_id: Some("c \"1\"".to_owned()),
                topic_id: Some(uuid::Uuid::from_u128(9)),
                leader_epoch: Some(2),
            },
            switches: Some(Switches::only(Fingerprint(3)).with(Switch { fingerprint: Fingerprint(7), from: 9 })),
            restored: Some(RestoredTotals { offset: 50, incarnation: 3 }),
        };
        let begun = StoredPosition { origin: Some(0), ..StoredPosition::default() };
        let positions = Positions::from([(TopicPartition::new("a:b", 1), whole), (TopicPartition::new("t", 0), begun)]);
        assert_eq!(read("reading", &write(&positions)), Ok(positions));
        for wrong in ["", "{}", "[{}]", r#"[{"partition":"t"}]"#, r#"[{"partition":"t:0","checkpoint":"7"}]"#] {
            assert!(matches!(read("reading", wrong), Err(StoreError::Corrupt { .. })), "{wrong}");
        }
    }
}
