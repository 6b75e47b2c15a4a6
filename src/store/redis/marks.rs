//! Which totals are known to be marked as changed, so that a flush marks each once an interval and not each time.
//!
//! The mark of a name is written in one step with its section, and goes when the set of changes is copied, which begins another
//! epoch. But a store that fell back lacks the newest marks. So each flush leaves its number beside the epoch, and says the
//! number that the one before it left: where the store has that, it has all that was ever marked in this epoch from here, and
//! else the flush marks all its names. Should a name be taken for marked wrongly, the copy would miss a total; so names are
//! compared by 128 bits.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashSet;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::model::{Delta, Outcome, Section, ShardId};

/// Names that are remembered for a shard at most; the others are marked with each flush.
const MAX_NAMES: usize = 400_000;

/// What is known to be marked, by shard.
pub(super) struct Marks {
    /// Under this name flushes from here leave their numbers.
    me: String,
    shards: Vec<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// Of the set of changes, as the last flush has read it.
    epoch: String,
    /// Number of the last flush that was answered.
    answered: u64,
    /// Number of the last one that was sent.
    sent: u64,
    /// How often what was known turned out not to be so.
    voids: u64,
    names: HashSet<u128>,
}

/// What a flush believes of the set of changes.
pub(super) struct Belief {
    /// Its epoch.
    pub(super) epoch: String,
    /// The number that the flush before left; 0, which none leaves, where nothing is believed.
    pub(super) before: u64,
    /// The number that this one leaves.
    pub(super) number: u64,
}

/// What a flush has found.
pub(super) struct Found {
    /// The epoch of the set of changes.
    pub(super) epoch: String,
    /// What was believed is so.
    pub(super) is_as_believed: bool,
    /// The flush's own number.
    pub(super) number: u64,
}

impl Marks {
    pub(super) fn new(shards: ShardId) -> Self {
        Self { me: Uuid::new_v4().simple().to_string(), shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// The name under which flushes leave their numbers.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// How often what is known of a shard turned out not to be so until now.
    pub(super) fn voids(&self, shard: ShardId) -> u64 {
        self.known(shard).map_or(0, |known| known.voids)
    }

    /// What a flush believes that is sent now, and was packed when [`Marks::voids`] was this. It is packed while the flush before
    /// it is under way: where that one has found that marks are missing, this one tells too few names, and believes nothing.
    pub(super) fn belief(&self, shard: ShardId, voids: u64) -> Belief {
        let Some(mut known) = self.known(shard) else { return Belief { epoch: String::new(), before: 0, number: 0 } };
        known.sent += 1;
        let before = if known.voids == voids { known.answered } else { 0 };
        Belief { epoch: known.epoch.clone(), before, number: known.sent }
    }

    /// The totals of a section that are not known to be marked.
    pub(super) fn unmarked<'s>(&self, shard: ShardId, section: &'s Section) -> Vec<&'s str> {
        let known = self.known(shard);
        let is_marked = |name: &str| known.as_ref().is_some_and(|known| known.names.contains(&hash(name)));
        totals(section).filter(|name| !is_marked(name)).collect()
    }

    /// Takes in what became of sections.
    pub(super) fn settle(&self, shard: ShardId, sections: &[Section], outcomes: &[Outcome], found: Found) {
        let Some(mut known) = self.known(shard) else { return };
        if !found.is_as_believed {
            known.names.clear();
            known.voids += 1;
        }
        known.epoch = found.epoch;
        known.answered = found.number;
        let applied = sections.iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Applied));
        for name in applied.flat_map(|(section, _)| totals(section)) {
            if known.names.len() >= MAX_NAMES {
                return;
            }
            known.names.insert(hash(name));
        }
    }

    fn known(&self, shard: ShardId) -> Option<MutexGuard<'_, Known>> {
        Some(self.shards.get(usize::from(shard))?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn hash(name: &str) -> u128 {
    xxh3_128(name.as_bytes())
}

/// Names of the totals that a section itself changes. The script knows those that members move.
fn totals(section: &Section) -> impl Iterator<Item = &str> {
    let is_total = |delta: &Delta| {
        matches!(delta, Delta::Count(_) | Delta::CountUntil { .. } | Delta::Max(_) | Delta::Last { .. })
    };
    section.deltas.iter().filter(move |(_, delta)| is_total(delta)).map(|(key, _)| &*key.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, Fingerprint, Key, Kind, LogIdentity, TopicPartition};

    fn section(from: i64, to: i64, names: &[&str]) -> Section {
        let at = |offset| Checkpoint { offset, fingerprint: Fingerprint(7), ..Checkpoint::default() };
        Section {
            partition: TopicPartition::new("t", 0),
            expect: (from > 0).then(|| at(from)),
            next: at(to),
            gap: None,
            log_identity: LogIdentity::default(),
            switches: None,
            deltas: names.iter().map(|name| (Key::new(Kind::Count, *name), Delta::Count(1))).collect(),
            statuses: Vec::new(),
        }
    }

    #[test]
    fn a_name_is_marked_once_while_the_store_has_the_flush_before() {
        let marks = Marks::new(1);
        let unmarked = |names: &[&str], outcome: Outcome, epoch: &str, is_as_believed: bool| {
            let section = section(0, 5, names);
            let unmarked: Vec<String> = marks.unmarked(0, &section).into_iter().map(str::to_owned).collect();
            let number = marks.belief(0, marks.voids(0)).number;
            marks.settle(0, &[section], &[outcome], Found { epoch: epoch.to_owned(), is_as_believed, number });
            unmarked.join(" ")
        };
        let conflict = || Outcome::Conflict { stored: None };
        for (names, outcome, epoch, is_as_believed, expected) in [
            (&["a", "b"][..], Outcome::Applied, "1", true, "a b"),
            (&["a", "c"], Outcome::Applied, "1", true, "c"),
            (&["a", "b", "c"], Outcome::AlreadyApplied, "1", true, ""),
            (&["a", "d"], conflict(), "1", true, "d"),
            (&["a", "d"], Outcome::Applied, "1", true, "d"),
            // The store fell back, or the answer before was lost: the script has marked them all, whatever was sent.
            (&["a"], Outcome::Applied, "1", false, ""),
            (&["a", "b"], Outcome::Applied, "1", true, "b"),
            // Copied meanwhile.
            (&["a", "e"], Outcome::Applied, "2", false, "e"),
            (&["a", "b", "e"], Outcome::Applied, "2", true, "b"),
            (&["f"], conflict(), "2", false, "f"),
            (&["a", "e"], Outcome::Applied, "2", true, "a e"),
        ] {
            assert_eq!(unmarked(names, outcome, epoch, is_as_believed), expected, "{names:?} in epoch {epoch}");
        }
        let belief = marks.belief(0, marks.voids(0));
        assert_eq!((&*belief.epoch, belief.before, belief.number), ("2", 11, 12));
        assert_eq!(marks.belief(0, marks.voids(0)).before, 11, "the answer of the one before was lost");
    }

    #[test]
    fn a_flush_that_is_packed_while_another_is_under_way_believes_what_that_one_found() {
        let marks = Marks::new(1);
        let settle = |names: &[&str], number, is_as_believed| {
            let found = Found { epoch: "1".to_owned(), is_as_believed, number };
            marks.settle(0, &[section(0, 5, names)], &[Outcome::Applied], found);
        };
        settle(&["a"], marks.belief(0, marks.voids(0)).number, false);
        for (is_as_believed, expected) in [(true, 2), (false, 0)] {
            let first = marks.belief(0, marks.voids(0));
            let (packed_at, unmarked) = (marks.voids(0), marks.unmarked(0, &section(5, 6, &["a"])).len());
            assert_eq!(unmarked, 0, "it tells no name");
            settle(&["a"], first.number, is_as_believed);
            assert_eq!(marks.belief(0, packed_at).before, expected, "as believed: {is_as_believed}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let marks = Marks::new(1);
        let names: Vec<String> = (0..MAX_NAMES + 10).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = Found { epoch: String::new(), is_as_believed: true, number: 1 };
        marks.settle(0, &[section(0, 5, &names)], &[Outcome::Applied], found);
        assert_eq!(marks.unmarked(0, &section(5, 6, &names)).len(), 10);
    }
}
