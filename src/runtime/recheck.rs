//! Whether the store has what this member believes: looked at with each heartbeat, so that a store that fell back is noticed
//! while a topic is idle too (EXACTLY_ONCE, "Sections").

use std::sync::Arc;

use super::{
    counting::Counting,
    measure,
    tenure::{Tenure, Verdict},
};
use crate::model::{Checkpoint, ShardId, StoredPosition, TopicPartition};

/// The checkpoint that a tenure believes each shard to have.
type Believed = Box<[Option<Checkpoint>]>;

/// What the living tenures believe before the store is asked.
pub(super) struct Beliefs {
    tenures: Vec<(Arc<Tenure>, Believed)>,
    flush_number: u64,
}

impl Beliefs {
    /// What is believed now.
    pub fn now(counting: &Counting) -> Self {
        // The number first: a flush that begins behind it shows in the comparison.
        let flush_number = counting.generations.flush_number();
        let alive = counting.tenures.alive().into_iter();
        Self { tenures: alive.map(|tenure| (Arc::clone(&tenure), tenure.stored())).collect(), flush_number }
    }

    /// The partitions that are believed of.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.tenures.iter().map(|(tenure, _)| &tenure.partition)
    }

    /// Ends the tenures whose checkpoint on any shard is not what they believed. `stored` as [`Self::partitions`] are.
    ///
    /// While a flush is applied the store may be ahead of what was believed, as far as anyone can tell from here; then only what
    /// lies behind is a conflict. Whoever else may have moved the checkpoint on is met by the flush itself.
    pub fn compare(&self, counting: &Counting, stored: &[Vec<StoredPosition>]) {
        let flush_number = counting.generations.flush_number();
        let is_still = flush_number == self.flush_number && flush_number.is_multiple_of(2);
        for ((tenure, believed), stored) in self.tenures.iter().zip(stored) {
            let shards = (0..).zip(believed).zip(stored);
            let mut shards = shards.map(|((shard, believed), stored)| (shard, *believed, stored.checkpoint));
            if let Some((shard, believed, stored)) =
                shards.find(|(_, believed, stored)| differs(*believed, *stored, is_still))
            {
                conflict(tenure, shard, stored, &format!("this member believed {}", told(believed)));
            }
        }
    }
}

fn differs(believed: Option<Checkpoint>, stored: Option<Checkpoint>, is_still: bool) -> bool {
    match (believed, stored) {
        _ if is_still => believed != stored,
        (None, _) => false,
        (Some(_), None) => true,
        (Some(believed), Some(stored)) => {
            Checkpoint { offset: stored.offset, ..believed } != stored || stored.offset < believed.offset
        }
    }
}

/// A checkpoint for people.
pub(super) fn told(checkpoint: Option<Checkpoint>) -> String {
    checkpoint.map_or_else(
        || "no checkpoint".to_owned(),
        |Checkpoint { offset, incarnation, fingerprint, rules }| {
            let switch = if rules.in_force == 0 { String::new() } else { format!(", switch {}", rules.in_force) };
            format!("offset {offset} (incarnation {incarnation}, rules {fingerprint}{switch})")
        },
    )
}

/// Ends a tenure that met another checkpoint on a shard than it believed.
pub(super) fn conflict(tenure: &Tenure, shard: ShardId, stored: Option<Checkpoint>, believed: &str) {
    let place = if tenure.shards() > 1 { format!("shard {shard} of the store") } else { "the store".to_owned() };
    let what = format!("{place} has {}, {believed}", told(stored));
    measure::conflict(&tenure.partition.topic);
    tracing::warn!(topic = %tenure.partition.topic, partition = tenure.partition.partition,
        "checkpoint conflict: {what}; what this member held is void, and counting goes on from what is stored");
    tenure.end(Verdict::Conflict(what));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fingerprint, RulesMark};

    #[test]
    fn while_a_flush_is_applied_only_what_lies_behind_is_a_conflict() {
        let nine = Checkpoint { offset: 9, incarnation: 1, fingerprint: Fingerprint(7), ..Checkpoint::default() };
        let at = |offset| Some(Checkpoint { offset, ..nine });
        let reset = Some(Checkpoint { incarnation: 2, ..nine });
        let other_rules = Some(Checkpoint { fingerprint: Fingerprint(8), ..nine });
        let other_table = Some(Checkpoint { rules: RulesMark { in_force: 0, table: 5 }, ..nine });
        for (believed, stored, while_still, while_applied) in [
            (None, None, false, false),
            (None, at(5), true, false),
            (at(5), None, true, true),
            (at(5), at(5), false, false),
            (at(5), at(4), true, true),
            (at(5), at(6), true, false),
            (at(5), reset, true, true),
            (at(5), other_rules, true, true),
            (at(5), other_table, true, true),
        ] {
            let context = format!("{believed:?} {stored:?}");
            assert_eq!(differs(believed, stored, true), while_still, "{context}");
            assert_eq!(differs(believed, stored, false), while_applied, "{context}");
        }
    }
}
