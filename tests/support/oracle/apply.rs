//! What a change does to the results, one at a time.

use std::collections::{BTreeMap, BTreeSet};

use streamgauge::{catalog::plan::Topic, model::Origin};

use super::{Change, Forwarded, Record, Results};

/// Time and origin of an event, whether it puts an element in, and the counter that it names.
pub(super) type Latest = (i64, Origin, bool, Option<String>);

/// Where the changes of a record go.
pub(super) struct Split<'r> {
    pub counts: &'r dyn Fn(Option<&str>) -> bool,
    pub results: &'r mut Results,
    /// What does not count.
    pub left_out: &'r mut Results,
}

impl Split<'_> {
    /// The results that a key is changed in, or what is said of the record as a whole.
    pub fn of(&mut self, key: Option<&str>) -> &mut Results {
        if (self.counts)(key) { self.results } else { self.left_out }
    }
}

pub(super) fn apply(
    topic: &Topic,
    record: &Record,
    origin: Origin,
    time_ms: i64,
    change: Change,
    split: &mut Split<'_>,
) {
    match change {
        Change::Add(key, by) => *split.of(Some(&key)).counters.entry(key).or_insert(0) += by,
        Change::Max(key, value) => {
            let highest = split.of(Some(&key)).counters.entry(key).or_insert(value);
            *highest = value.max(*highest);
        }
        Change::Last(key, value) => {
            let results = split.of(Some(&key));
            if results.last.get(&key).is_none_or(|known| *known < (time_ms, origin)) {
                results.last.insert(key.clone(), (time_ms, origin));
                results.counters.insert(key, value);
            }
        }
        Change::Unique(key, expire_at_ms, element) => {
            split.of(Some(&key)).uniques.entry(key).or_insert((expire_at_ms, BTreeSet::new())).1.insert(element);
        }
        Change::Recent(key, cap, element) => {
            let entries = split.of(Some(&key)).recents.entry(key).or_default();
            entries.insert((time_ms, origin, element));
            if entries.len() > cap {
                entries.pop_first();
            }
        }
        Change::Top(windows, element, by) => {
            for (key, expire_at_ms) in windows {
                let sums = &mut split.of(Some(&key)).tops.entry(key).or_insert((Some(expire_at_ms), BTreeMap::new())).1;
                *sums.entry(element.clone()).or_insert(0) += by;
            }
        }
        Change::Member(key, element, is_add, moves) => {
            let results = split.of(Some(&key));
            let set = results.sets.entry(key).or_default();
            let changed = if is_add { set.insert(element) } else { set.remove(&element) };
            if let Some(counter) = moves.filter(|_| changed) {
                *results.counters.entry(counter).or_insert(0) += if is_add { 1 } else { -1 };
            }
        }
        Change::MemberByTime(key, element, is_add, moves) => {
            let latest = (time_ms, origin, is_add, moves);
            let known = split.of(Some(&key)).latest.entry((key, element)).or_insert(latest.clone());
            if *known < latest {
                *known = latest;
            }
        }
        Change::Forward(to, key) => {
            split.of(None).forwards.insert(Forwarded {
                to,
                key: key.map(String::into_bytes).or_else(|| record.key.clone()),
                value: record.value.clone().unwrap_or_default(),
                origin: (topic.name.to_string(), origin.partition, origin.offset),
            });
        }
    }
}

impl Results {
    /// Sets whose latest event decides: an element is what that says, and counts once for the counter that it names.
    pub(super) fn settle_latest(&mut self) {
        for ((set, element), (_, _, is_in, counter)) in std::mem::take(&mut self.latest) {
            if is_in {
                self.sets.entry(set).or_default().insert(element);
                counter.into_iter().for_each(|counter| *self.counters.entry(counter).or_insert(0) += 1);
            }
        }
    }
}
