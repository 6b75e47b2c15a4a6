//! What was done with the dead letters of a partition, and what is being done: a document in the store, changed by compare-and-set
//! only.
//!
//! A dead letter lies in the log, where nothing can be written to it; so that it was replayed or purged stands here, by offset.
//! Before a batch is replayed it is claimed: which dead letters, and where the partitions that they go to ended before. A claim that
//! is left behind says enough for another to find out what of it was stored: nothing of it can lie before those ends.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most ranges of a ledger: more of them than a person can mean.
pub const MAX_RANGES: usize = 10_000;

/// The document of one partition of a dead letter topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// The topic's id, where the broker tells it: a topic that was made again has other dead letters at these offsets.
    pub topic_id: Option<Uuid>,
    /// Offsets that were replayed or purged.
    pub done: Ranges,
    /// What is being replayed.
    pub claim: Option<Claim>,
}

/// A batch of dead letters that somebody replays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its name, so that a claim of the same batch once more is another one.
    pub id: Uuid,
    /// For how long whoever made it may still be sending, milliseconds: until then nobody else may touch it.
    pub held_ms: u64,
    /// The dead letters: offset, and the number of the replay.
    pub letters: Vec<(i64, u32)>,
    /// Where they go.
    pub targets: Vec<Target>,
}

/// A partition that claimed dead letters go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Where it ended before anything was sent. Moves on as it is searched for what was stored.
    pub from: i64,
    /// Where it ended when the search began: nothing is sent any more then.
    pub to: Option<i64>,
}

impl Ledger {
    /// The ledger of what was stored; an empty one where nothing was, or where it is of a topic that is no more.
    ///
    /// # Errors
    /// What is stored is no ledger of this version.
    pub fn read(stored: Option<&[u8]>, topic_id: Option<Uuid>) -> Result<Self, serde_json::Error> {
        let known: Option<Self> = stored.map(serde_json::from_slice).transpose()?;
        let fits = |known: &Self| known.topic_id.is_none() || topic_id.is_none() || known.topic_id == topic_id;
        Ok(known.filter(fits).unwrap_or(Self { topic_id, ..Self::default() }))
    }

    /// As it is stored.
    pub fn text(&self) -> Vec<u8> {
        // Plain values: writing them to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Offsets as ranges: ascending, apart from each other, each from its first offset to the one after its last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    /// Adds the offsets `from..to`.
    pub fn add(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        let first = self.0.partition_point(|(_, end)| *end < from);
        let after = self.0.partition_point(|(begin, _)| *begin <= to);
        let touched = self.0.get(first..after).unwrap_or_default();
        let begin = touched.first().map_or(from, |(begin, _)| from.min(*begin));
        let end = touched.last().map_or(to, |(_, end)| to.max(*end));
        self.0.splice(first..after, [(begin, end)]);
    }

    /// Whether an offset is in.
    pub fn contains(&self, offset: i64) -> bool {
        let before = self.0.partition_point(|(begin, _)| *begin <= offset);
        before.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, end)| offset < *end)
    }

    /// The first offset from `offset` on that is not in.
    pub fn first_missing(&self, offset: i64) -> i64 {
        self.0.iter().find(|(begin, end)| *begin <= offset && offset < *end).map_or(offset, |(_, end)| *end)
    }

    /// How many offsets of `from..to` are in.
    pub fn count_within(&self, from: i64, to: i64) -> i64 {
        self.0.iter().map(|(begin, end)| (to.min(*end) - from.max(*begin)).max(0)).sum()
    }

    /// Forgets what lies before an offset, where the log begins now.
    pub fn forget_before(&mut self, offset: i64) {
        self.0.retain(|(_, end)| *end > offset);
    }

    /// Each range.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_topic_that_was_made_again_begins_with_nothing_done() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut ledger = Ledger { topic_id: Some(one), ..Ledger::default() };
        ledger.done.add(0, 5);
        let text = ledger.text();
        assert_eq!(Ledger::read(Some(&text), Some(one)).unwrap(), ledger);
        assert_eq!(Ledger::read(Some(&text), None).unwrap(), ledger, "a broker that does not tell ids");
        assert_eq!(
            Ledger::read(Some(&text), Some(other)).unwrap(),
            Ledger { topic_id: Some(other), ..Ledger::default() }
        );
        assert_eq!(Ledger::read(None, Some(one)).unwrap(), Ledger { topic_id: Some(one), ..Ledger::default() });
        assert!(Ledger::read(Some(b"[]"), None).is_err());
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_of_what_was_added(
            added in proptest::collection::vec((0_i64..40, 0_i64..8), 0..20), before in 0_i64..40,
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (from, length) in added {
                ranges.add(from, from + length);
                set.extend(from..from + length);
            }
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", ranges);
            for offset in 0..50 {
                prop_assert_eq!(ranges.contains(offset), set.contains(&offset));
                prop_assert_eq!(ranges.first_missing(offset), (offset..).find(|at| !set.contains(at)).unwrap());
            }
            prop_assert_eq!(ranges.count_within(3, 30), set.range(3..30).count() as i64);
            ranges.forget_before(before);
            prop_assert!((before..50).all(|offset| ranges.contains(offset) == set.contains(&offset)));
        }
    }
}
