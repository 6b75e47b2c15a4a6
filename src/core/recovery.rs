//! Recovery: where each partition begins when a shard of the store was lost and its totals are put back from the persistent
//! tier, which holds nothing else.
//!
//! The totals go on at the checkpoints that they belong to. Everything else of a shard (uniques, histories, rankings, sets)
//! is made from the log once more: the checkpoint goes back to the group's first offset, and beside it stands how far the
//! totals reach, so that a record before that changes all but them. So the shard is again a function of the log and what it
//! keeps itself (invariant 0). A new incarnation keeps late sections of the former life from fitting on the way.

use std::collections::BTreeMap;

use crate::model::{Checkpoint, RestoredTotals, StoredPosition, TopicPartition};

/// What a shard keeps of its partitions.
pub type Positions = BTreeMap<TopicPartition, StoredPosition>;

/// The positions that a shard gets together with its restored totals, which belong to `kept`. `has_more` says of a topic that
/// its rules make more than totals.
pub fn begin_again(kept: &Positions, has_more: impl Fn(&str) -> bool) -> Positions {
    kept.iter().map(|(partition, kept)| (partition.clone(), restored(kept, has_more(&partition.topic)))).collect()
}

fn restored(kept: &StoredPosition, has_more: bool) -> StoredPosition {
    let Some(checkpoint) = kept.checkpoint else { return StoredPosition { restored: None, ..kept.clone() } };
    let totals = kept.totals_from().unwrap_or(checkpoint.offset);
    let begin = if has_more { kept.origin.unwrap_or(0) } else { totals };
    if begin >= totals {
        let checkpoint = Some(Checkpoint { offset: totals, ..checkpoint });
        return StoredPosition { checkpoint, restored: None, ..kept.clone() };
    }
    let incarnation = checkpoint.incarnation.saturating_add(1);
    StoredPosition {
        checkpoint: Some(Checkpoint { offset: begin, incarnation, ..checkpoint }),
        restored: Some(RestoredTotals { offset: totals, incarnation }),
        ..kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fingerprint;

    fn position(checkpoint: Option<(i64, u32)>, origin: Option<i64>, restored: Option<(i64, u32)>) -> StoredPosition {
        StoredPosition {
            checkpoint: checkpoint.map(|(offset, incarnation)| Checkpoint {
                offset,
                incarnation,
                fingerprint: Fingerprint(7),
                ..Checkpoint::default()
            }),
            origin,
            restored: restored.map(|(offset, incarnation)| RestoredTotals { offset, incarnation }),
            ..StoredPosition::default()
        }
    }

    #[test]
    fn totals_go_on_and_everything_else_begins_again() {
        let none = None;
        for (has_more, kept, expected) in [
            // Nothing but totals: an older copy of the shard, and nothing else.
            (false, position(Some((90, 2)), Some(10), none), position(Some((90, 2)), Some(10), none)),
            (false, position(none, Some(10), none), position(none, Some(10), none)),
            // The rest is made again, in a new life.
            (true, position(Some((90, 2)), Some(10), none), position(Some((10, 3)), Some(10), Some((90, 3)))),
            (true, position(Some((90, 0)), None, none), position(Some((0, 1)), None, Some((90, 1)))),
            (true, position(none, Some(10), none), position(none, Some(10), none)),
            // Copied before the rest had come so far again.
            (true, position(Some((40, 3)), Some(10), Some((90, 3))), position(Some((10, 4)), Some(10), Some((90, 4)))),
            (false, position(Some((40, 3)), Some(10), Some((90, 3))), position(Some((90, 3)), Some(10), none)),
            // The rest has come past it, or somebody has moved the checkpoint since.
            (true, position(Some((95, 3)), Some(10), Some((90, 3))), position(Some((10, 4)), Some(10), Some((95, 4)))),
            (true, position(Some((40, 4)), Some(10), Some((90, 3))), position(Some((10, 5)), Some(10), Some((40, 5)))),
            (false, position(Some((40, 4)), Some(10), Some((90, 3))), position(Some((40, 4)), Some(10), none)),
            // Nothing was counted yet.
            (true, position(Some((10, 2)), Some(10), none), position(Some((10, 2)), Some(10), none)),
        ] {
            let partition = TopicPartition::new("t", 0);
            let again =
                begin_again(&Positions::from([(partition.clone(), kept.clone())]), |topic| topic == "t" && has_more);
            assert_eq!(again[&partition], expected, "{has_more} {kept:?}");
        }
    }
}
