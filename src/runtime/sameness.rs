//! Whether the log is still the one that was counted: the same cluster, the same topic, and nothing of it lost.
//!
//! Offsets mean records of one log only. A topic that was made again, or one that lost its tail in an unclean election, has
//! other records at the offsets that were counted; reading on as if nothing had happened would miss records, silently. So
//! cluster id, topic id and leader epoch stand with the checkpoint (EXACTLY_ONCE, "Sections"): adopted when first known,
//! looked at when a tenure begins and whenever the leader changes, and a difference stops the partition, loudly.

use super::{
    counting::Counting,
    measure,
    partition::End,
    takeover::ask,
    tenure::{ReadTo, Tenure},
};
use crate::{
    log::{At, LogError},
    model::{LogIdentity, StoredPosition, TopicPartition},
};

/// The ways out, for every kind of change.
const WAYS_OUT: &str = "Bring back the log that was counted, or count this one anew under another REDIS_KEY_PREFIX (with \
                        the embedded store: another DATA_DIR)";

/// How the log differs from the one that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Cluster { counted: String, found: String },
    Topic { counted: uuid::Uuid, found: uuid::Uuid },
    Tail { epoch: i32, ended: Option<i64>, counted_to: i64 },
}

impl Change {
    /// For the metric.
    fn kind(&self) -> &'static str {
        match self {
            Self::Cluster { .. } => "cluster",
            Self::Topic { .. } => "topic",
            Self::Tail { .. } => "tail",
        }
    }

    /// What has changed, and the ways out.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Cluster { counted, found } => format!(
                "what is stored was counted from another Kafka cluster ({counted}; this one is {found}), whose offsets mean \
                 other records. {WAYS_OUT}"
            ),
            Self::Topic { counted, found } => format!(
                "the topic was deleted and made again (its id was {counted} and is {found} now), so the stored offsets mean \
                 other records. {WAYS_OUT}"
            ),
            Self::Tail { epoch, ended, counted_to } => {
                let ended = ended.map_or_else(
                    || format!("its leader knows nothing of leader epoch {epoch}"),
                    |ended| format!("what was written up to leader epoch {epoch} ends at offset {ended} now"),
                );
                format!(
                    "the log has lost its tail, as after an unclean leader election, or the topic was made again: offsets up to \
                     {counted_to} were counted, but {ended}. {WAYS_OUT}"
                )
            }
        }
    }
}

/// Cluster and topic compared. What either side does not know is no difference.
pub(super) fn renamed(counted: &LogIdentity, found: &LogIdentity) -> Option<Change> {
    if let (Some(counted), Some(found)) = (&counted.cluster_id, &found.cluster_id)
        && counted != found
    {
        return Some(Change::Cluster { counted: counted.clone(), found: found.clone() });
    }
    if let (Some(counted), Some(found)) = (counted.topic_id, found.topic_id)
        && counted != found
    {
        return Some(Change::Topic { counted, found });
    }
    None
}

/// Asks which log this is now, and compares that with what stands beside the checkpoint of each shard, where there is one.
///
/// Returns what is known of the log from now on.
pub(super) async fn check(
    counting: &Counting,
    partition: &TopicPartition,
    positions: &[StoredPosition],
) -> Result<LogIdentity, End> {
    let found = ask(counting, || counting.log.identity(partition)).await.map_err(End::stuck)?;
    let mut compared: Vec<(&LogIdentity, i64)> = Vec::new();
    for position in positions {
        let Some(checkpoint) = position.checkpoint else { continue };
        let counted = (&position.log_identity, checkpoint.offset);
        // Nearly always all shards say the same.
        if compared.contains(&counted) {
            continue;
        }
        compared.push(counted);
        let (counted, counted_to) = counted;
        let change = match renamed(counted, &found) {
            Some(change) => Some(change),
            None => lost_tail(counting, partition, counted, found.leader_epoch, counted_to).await?,
        };
        if let Some(change) = change {
            measure::log_changed(&partition.topic, change.kind());
            return Err(End::stuck(change.text()));
        }
    }
    Ok(found)
}

/// Whether records that were counted under an epoch are gone.
async fn lost_tail(
    counting: &Counting,
    partition: &TopicPartition,
    counted: &LogIdentity,
    found_epoch: Option<i32>,
    counted_to: i64,
) -> Result<Option<Change>, End> {
    let Some(epoch) = counted.leader_epoch else { return Ok(None) };
    match ask(counting, || counting.log.offset_at(partition, At::EpochEnd(epoch))).await {
        Ok(ended) if ended >= counted_to => Ok(None),
        Ok(ended) => Ok(Some(Change::Tail { epoch, ended: Some(ended).filter(|ended| *ended >= 0), counted_to })),
        // Epochs only grow: a lower one is of another log.
        Err(LogError::Unsupported { .. }) => {
            let is_lower = found_epoch.is_some_and(|found| found < epoch);
            Ok(is_lower.then_some(Change::Tail { epoch, ended: None, counted_to }))
        }
        Err(error) => Err(End::stuck(error)),
    }
}

/// Notes a block that is about to be counted. Where another leader sent it, the log is looked at first: the new leader may
/// not have all that was counted, and may have grown past it since. Then the tenure ends, and taking over says what is wrong.
///
/// # Errors
/// Why the tenure must end.
pub(super) async fn follow(
    counting: &Counting,
    tenure: &Tenure,
    next_offset: i64,
    leader_epoch: Option<i32>,
) -> Result<(), String> {
    let read = tenure.read();
    if let Some((known, sent)) = leader_change(read, leader_epoch) {
        let partition = &tenure.partition;
        let ended = match ask(counting, || counting.log.offset_at(partition, At::EpochEnd(known))).await {
            Ok(ended) => ended,
            Err(LogError::Unsupported { .. }) => read.offset,
            Err(error) => return Err(error.to_string()),
        };
        if ended < read.offset || sent < known {
            return Err(format!(
                "another leader has the partition (epoch {known}, now {sent}); what was written up to epoch {known} ends at \
                 offset {ended}, and {} was counted",
                read.offset
            ));
        }
    }
    tenure.note_read(next_offset, leader_epoch);
    Ok(())
}

/// The last epoch that is known to be of the log that was counted, and the other one of a block. A block tells the epoch of
/// its records: those up to the one that was found when the tenure began were looked at then, and follow each other while
/// the duplicate window is read.
fn leader_change(read: ReadTo, sent: Option<i32>) -> Option<(i32, i32)> {
    let sent = sent?;
    if let Some(known) = read.epoch.filter(|known| sent < *known) {
        return Some((known, sent));
    }
    let newest = read.epoch.max(read.epoch_found)?;
    (sent > newest).then_some((newest, sent))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_leader_has_changed_where_a_block_is_newer_than_what_was_found_or_older_than_what_was_read() {
        let read = |epoch, epoch_found| ReadTo { offset: 100, epoch, epoch_found };
        let cases = [
            (read(None, None), Some(1), None),
            (read(None, Some(2)), Some(1), None),
            (read(None, Some(2)), Some(3), Some((2, 3))),
            // The duplicate window reaches back over a change of leaders.
            (read(Some(0), Some(2)), Some(1), None),
            (read(Some(1), Some(2)), Some(2), None),
            (read(Some(1), Some(2)), Some(3), Some((2, 3))),
            (read(Some(3), Some(2)), Some(4), Some((3, 4))),
            (read(Some(3), Some(2)), Some(1), Some((3, 1))),
            (read(Some(3), None), Some(4), Some((3, 4))),
            (read(Some(3), None), None, None),
        ];
        for (read, sent, change) in cases {
            assert_eq!(leader_change(read, sent), change, "{read:?} {sent:?}");
        }
    }

    #[test]
    fn only_what_both_sides_know_can_differ() {
        let identity = |cluster: Option<&str>, topic: Option<u128>| LogIdentity {
            cluster_id: cluster.map(str::to_owned),
            topic_id: topic.map(Uuid::from_u128),
            leader_epoch: None,
        };
        let cases = [
            (identity(None, None), identity(Some("a"), Some(1)), None),
            (identity(Some("a"), Some(1)), identity(None, None), None),
            (identity(Some("a"), Some(1)), identity(Some("a"), Some(1)), None),
            (identity(Some("a"), None), identity(Some("a"), Some(1)), None),
            (identity(Some("a"), Some(1)), identity(Some("a"), Some(2)), Some("topic")),
            (identity(None, Some(1)), identity(Some("a"), Some(2)), Some("topic")),
            (identity(Some("a"), Some(1)), identity(Some("b"), Some(1)), Some("cluster")),
            (identity(Some("a"), Some(1)), identity(Some("b"), Some(2)), Some("cluster")),
        ];
        for (counted, found, change) in cases {
            let told = renamed(&counted, &found);
            assert_eq!(told.as_ref().map(Change::kind), change, "{counted:?} {found:?}");
            assert!(told.is_none_or(|told| told.text().contains("REDIS_KEY_PREFIX")));
        }
    }
}
