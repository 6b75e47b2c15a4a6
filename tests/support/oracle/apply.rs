//! What a change does to the results, one at a time.

use std::collections::{BTreeMap, BTreeSet};

use streamgauge::{catalog::plan::Topic, model::Origin};

use super::{Change, Forwarded, Record, Results};

pub(super) fn apply(
    topic: &Topic,
    record: &Record,
    origin: Origin,
    time_ms: i64,
    change: Change,
    results: &mut Results,
) {
    match change {
        Change::Add(key, by) => *results.counters.entry(key).or_insert(0) += by,
        Change::Max(key, value) => {
            let highest = results.counters.entry(key).or_insert(value);
            *highest = value.max(*highest);
        }
        Change::Last(key, value) => {
            if results.last.get(&key).is_none_or(|known| *known < (time_ms, origin)) {
                results.last.insert(key.clone(), (time_ms, origin));
                results.counters.insert(key, value);
            }
        }
        Change::Unique(key, expire_at_ms, element) => {
            results.uniques.entry(key).or_insert((expire_at_ms, BTreeSet::new())).1.insert(element);
        }
        Change::Recent(key, cap, element) => {
            let entries = results.recents.entry(key).or_default();
            entries.insert((time_ms, origin, element));
            if entries.len() > cap {
                entries.pop_first();
            }
        }
        Change::Top(windows, element, by) => {
            for (key, expire_at_ms) in windows {
                let sums = &mut results.tops.entry(key).or_insert((Some(expire_at_ms), BTreeMap::new())).1;
                *sums.entry(element.clone()).or_insert(0) += by;
            }
        }
        Change::Member(key, element, is_add, moves) => {
            let set = results.sets.entry(key).or_default();
            let changed = if is_add { set.insert(element) } else { set.remove(&element) };
            if let Some(counter) = moves.filter(|_| changed) {
                *results.counters.entry(counter).or_insert(0) += if is_add { 1 } else { -1 };
            }
        }
        Change::Forward(to, key) => {
            results.forwards.insert(Forwarded {
                to,
                key: key.map(String::into_bytes).or_else(|| record.key.clone()),
                value: record.value.clone().unwrap_or_default(),
                origin: (topic.name.to_string(), origin.partition, origin.offset),
            });
        }
    }
}
