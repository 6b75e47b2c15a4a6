//! A naive fold of records into results, written from the promises alone and without the core: one record at a time, JSON as
//! `Value`, exact sets for uniques. What streamgauge stores must equal what this says.

mod event;

use std::collections::{BTreeMap, BTreeSet};

use streamgauge::{
    catalog::plan::{Action, Amount, Catalog, Template, Topic},
    model::{Origin, topic_hash},
};

use self::event::{Event, Identity, day, decimal, decode, fill, hour, identity};

/// A record of a partition.
#[derive(Clone, Debug)]
pub struct Record {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A record that could not be counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dead {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub reason: &'static str,
}

/// An event that is published to another topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Forwarded {
    pub to: String,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// Topic, partition and offset of the source.
    pub origin: (String, i32, i64),
}

/// Results whose key expires at a time: that time, and what the key holds.
pub type Expiring<T> = BTreeMap<String, (Option<i64>, T)>;

/// All results of all rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    /// Count, max, last, and the counters that members move.
    pub counters: BTreeMap<String, i64>,
    pub uniques: Expiring<BTreeSet<String>>,
    /// Time, origin and element; the newest come last.
    pub recents: BTreeMap<String, BTreeSet<(i64, Origin, String)>>,
    pub tops: Expiring<BTreeMap<String, i64>>,
    pub sets: BTreeMap<String, BTreeSet<String>>,
    pub dead: BTreeSet<Dead>,
    pub forwards: BTreeSet<Forwarded>,
    pub duplicates: u64,
    pub tombstones: u64,
    /// Records that changed results.
    pub counted: u64,
    /// What `last` compares.
    last: BTreeMap<String, (i64, Origin)>,
}

/// Folds partitions; records of each in the order of their offsets.
pub fn fold(catalog: &Catalog, partitions: &BTreeMap<(String, i32), Vec<Record>>) -> Results {
    let mut results = Results::default();
    for ((name, partition), records) in partitions {
        let Some(topic) = catalog.topic(name) else { continue };
        let mut seen: Vec<(i64, Identity, i64)> = Vec::new();
        for record in records {
            one(topic, *partition, record, &mut seen, &mut results);
        }
    }
    results.sets.retain(|_, set| !set.is_empty());
    results
}

fn one(topic: &Topic, partition: i32, record: &Record, seen: &mut Vec<(i64, Identity, i64)>, results: &mut Results) {
    let Some(value) = &record.value else {
        results.tombstones += 1;
        return;
    };
    let dead = |reason| Dead { topic: topic.name.to_string(), partition, offset: record.offset, reason };
    let event = match decode(topic, record, value) {
        Ok(event) => event,
        Err(reason) => {
            results.dead.insert(dead(reason));
            return;
        }
    };
    if let Some(identity) = identity(topic, &event) {
        let (n, w) = (topic.dedupe.offsets, topic.dedupe.window_ms);
        let duplicate = seen.iter().any(|(offset, known, time_ms)| {
            *offset >= record.offset - n && *known == identity && (event.time_ms - time_ms).abs() <= w
        });
        seen.push((record.offset, identity, event.time_ms));
        if duplicate {
            results.duplicates += 1;
            return;
        }
    }
    match effects(topic, &event) {
        Ok(effects) => {
            results.counted += 1;
            for (effect, change) in effects {
                let origin = Origin { topic: topic_hash(&topic.name), partition, offset: record.offset, effect };
                apply(topic, record, origin, event.time_ms, change, results);
            }
        }
        Err(reason) => {
            results.dead.insert(dead(reason));
        }
    }
}

/// A change of one result.
enum Change {
    Add(String, i64),
    Max(String, i64),
    Last(String, i64),
    Unique(String, Option<i64>, String),
    Recent(String, usize, String),
    Top(Vec<(String, i64)>, String, i64),
    Member(String, String, bool, Option<String>),
    Forward(String, Option<String>),
}

/// All changes of an event, or the reason why it has none.
fn effects(topic: &Topic, event: &Event<'_>) -> Result<Vec<(u16, Change)>, &'static str> {
    for slot in &event.kind.required {
        event.value(topic, *slot).ok_or("missing-field")?;
    }
    let mut effects = Vec::new();
    for rule in &event.kind.rules {
        if let Some(change) = change(topic, event, &rule.action)? {
            effects.push((rule.effect, change));
        }
    }
    Ok(effects)
}

/// The change of one rule; `None` where an optional field is missing.
fn change(topic: &Topic, event: &Event<'_>, action: &Action) -> Result<Option<Change>, &'static str> {
    const DAY_MS: i64 = 86_400_000;
    let fill = |template: &Template| fill(topic, event, template);
    macro_rules! filled {
        ($template:expr) => {
            match fill($template)? {
                Some(text) => text,
                None => return Ok(None),
            }
        };
    }
    let amount = |by: &Amount| match by {
        Amount::Constant(number) => Ok(*number),
        Amount::Field(field) => decimal(topic, event, *field),
    };
    Ok(Some(match action {
        Action::Count { key, by } => Change::Add(filled!(key), amount(by)?),
        Action::Max { key, of } => Change::Max(filled!(key), decimal(topic, event, *of)?),
        Action::Last { key, of } => Change::Last(filled!(key), decimal(topic, event, *of)?),
        Action::Unique { key, of, per_day, retention_ms } => {
            let (key, element) = (filled!(key), filled!(of));
            if *per_day {
                let day_end_ms = (event.time_ms.div_euclid(DAY_MS) + 1) * DAY_MS;
                let expire = retention_ms.map(|ms| day_end_ms + ms);
                Change::Unique(format!("{key}:{}", day(event.time_ms)), expire, element)
            } else {
                Change::Unique(key, None, element)
            }
        }
        Action::Recent { key, of, cap } => Change::Recent(filled!(key), *cap, filled!(of)),
        Action::Top { key, of, by, windows, retention_ms } => {
            let (key, element) = (filled!(key), filled!(of));
            let window = |window: &streamgauge::catalog::plan::Window| {
                let start = event.time_ms.div_euclid(window.length_ms) * window.length_ms;
                let label = if window.length_ms % DAY_MS == 0 { day(start) } else { hour(start) };
                (format!("{key}:{}:{label}", window.label), start + window.length_ms + retention_ms)
            };
            Change::Top(windows.iter().map(window).collect(), element, amount(by)?)
        }
        Action::Member { key, of, is_add, moves } => {
            let (key, element) = (filled!(key), filled!(of));
            let moves = match moves {
                Some(moves) => Some(filled!(moves)),
                None => None,
            };
            Change::Member(key, element, *is_add, moves)
        }
        Action::Forward { topic, key } => match key {
            Some(key) => Change::Forward(topic.to_string(), Some(filled!(key))),
            None => Change::Forward(topic.to_string(), None),
        },
    }))
}

fn apply(topic: &Topic, record: &Record, origin: Origin, time_ms: i64, change: Change, results: &mut Results) {
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
