//! A naive fold of records into results, written from the promises alone and without the core: one record at a time, JSON as
//! `Value`, exact sets for uniques. What streamgauge stores must equal what this says.
//! Longer than most files, since the whole way of a record is to be read in one place.

mod apply;
mod shapes;

use std::collections::{BTreeMap, BTreeSet};

use apply::{Latest, Split};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use shapes::decode;
use streamgauge::{
    catalog::plan::{Action, Amount, Catalog, Decimal, EventType, IdentityPart, Part, Template, Topic},
    model::{Origin, topic_hash},
};

/// The group that counts.
pub const GROUP: &str = "g";

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
    /// Replays for other groups.
    pub others_replays: u64,
    /// Records that changed results.
    pub counted: u64,
    /// What `last` compares.
    last: BTreeMap<String, (i64, Origin)>,
    /// The latest event of each element, by set: whether it puts the element in, and the counter that it names.
    latest: BTreeMap<(String, String), Latest>,
}

/// Folds partitions; records of each in the order of their offsets.
pub fn fold(catalog: &Catalog, partitions: &BTreeMap<(String, i32), Vec<Record>>) -> Results {
    fold_where(catalog, partitions, &|_, _, _| true).0
}

/// Whether a record of a partition, at this offset, counts for a key, or at all.
pub type Counts<'c> = &'c dyn Fn(&(String, i32), i64, Option<&str>) -> bool;

/// The same, where a record does not count for every key: asked with the partition, the offset and the key, or with none for
/// the record as a whole. What does not count is remembered for its duplicates, and folded apart: it comes second.
pub fn fold_where(
    catalog: &Catalog,
    partitions: &BTreeMap<(String, i32), Vec<Record>>,
    counts: Counts<'_>,
) -> (Results, Results) {
    let (mut results, mut left_out) = (Results::default(), Results::default());
    for (place @ (name, partition), records) in partitions {
        let Some(topic) = catalog.topic(name) else { continue };
        let mut seen = Seen::new();
        for record in records {
            let counts = |key: Option<&str>| counts(place, record.offset, key);
            let mut split = Split { counts: &counts, results: &mut results, left_out: &mut left_out };
            one(topic, *partition, record, &mut seen, &mut split);
        }
    }
    results.settle_latest();
    left_out.settle_latest();
    results.sets.retain(|_, set| !set.is_empty());
    (results, left_out)
}

type Identity = Vec<String>;
/// Offset and time of every record so far, by its identity.
type Seen = BTreeMap<Identity, Vec<(i64, i64)>>;

/// An event as the shapes say it.
struct Event<'t> {
    kind: &'t EventType,
    id: Option<String>,
    /// The event's own time.
    own_time_ms: Option<i64>,
    time_ms: i64,
    data: Map<String, Value>,
    envelope: Map<String, Value>,
}

fn one(topic: &Topic, partition: i32, record: &Record, seen: &mut Seen, split: &mut Split<'_>) {
    let replay = replay(record);
    if replay.as_ref().is_some_and(|replay| replay.group != GROUP) {
        split.of(None).others_replays += 1;
        return;
    }
    let Some(value) = &record.value else {
        split.of(None).tombstones += 1;
        return;
    };
    let dead = |reason| Dead { topic: topic.name.to_string(), partition, offset: record.offset, reason };
    let event = match decode(topic, record, value) {
        Ok(event) => event,
        Err(reason) => {
            split.of(None).dead.insert(dead(reason));
            return;
        }
    };
    if let Some(identity) = with_number(identity(topic, &event), replay) {
        let (n, w) = (topic.dedupe.offsets, topic.dedupe.window_ms);
        let same = seen.entry(identity).or_default();
        let duplicate =
            same.iter().any(|(offset, time_ms)| *offset >= record.offset - n && (event.time_ms - time_ms).abs() <= w);
        same.push((record.offset, event.time_ms));
        if duplicate {
            split.of(None).duplicates += 1;
            return;
        }
    }
    match effects(topic, &event) {
        Ok(effects) => {
            split.of(None).counted += 1;
            for (effect, change) in effects {
                let origin = Origin { topic: topic_hash(&topic.name), partition, offset: record.offset, effect };
                apply::apply(topic, record, origin, event.time_ms, change, split);
            }
        }
        Err(reason) => {
            split.of(None).dead.insert(dead(reason));
        }
    }
}

/// How a value stands in a key before encoding; `None` for null.
fn rendered(value: &Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Err("bad-field"),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(Some(number.to_string())),
        _ => Err("bad-field"),
    }
}

impl Event<'_> {
    /// The field: in the data, else in the envelope. Null is missing.
    fn value(&self, topic: &Topic, slot: u16) -> Option<&Value> {
        let name = &*topic.fields[usize::from(slot)];
        let there = |map: &'_ Map<String, Value>| map.get(name).is_some_and(|value| !value.is_null());
        let map = if there(&self.data) { &self.data } else { &self.envelope };
        map.get(name).filter(|value| !value.is_null())
    }
}

/// What makes the event the same as another; `None` if it lacks a part.
fn identity(topic: &Topic, event: &Event<'_>) -> Option<Identity> {
    if topic.identity.is_empty() {
        return None;
    }
    let part = |part: &IdentityPart| match part {
        IdentityPart::Id => event.id.clone(),
        IdentityPart::Type => Some(event.kind.name.to_string()),
        IdentityPart::Timestamp => event.own_time_ms.map(|ms| ms.to_string()),
        IdentityPart::Field(slot) => rendered(event.value(topic, *slot)?).ok().flatten(),
    };
    topic.identity.iter().map(part).collect()
}

/// What a record says of itself that was sent again.
struct Replay {
    group: String,
    number: u32,
    origin: String,
}

fn replay(record: &Record) -> Option<Replay> {
    let text = |name: &str| {
        let (_, value) = record.headers.iter().rev().find(|(header, _)| header == name)?;
        String::from_utf8(value.clone()).ok()
    };
    let number = text("replay-number")?.parse().ok().filter(|number| *number > 0)?;
    Some(Replay { group: text("replay-group")?, number, origin: text("replay-origin").unwrap_or_default() })
}

/// A replay is another event than its original by its number, and the same as itself also without an identity.
fn with_number(identity: Option<Identity>, replay: Option<Replay>) -> Option<Identity> {
    let Some(replay) = replay else { return identity };
    let number = format!("replay {}", replay.number);
    Some(match identity {
        Some(parts) => parts.into_iter().chain([number]).collect(),
        None => vec![number, replay.origin],
    })
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
    MemberByTime(String, String, bool, Option<String>),
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
        Amount::Constant(number) => Ok(Some(*number)),
        Amount::Field(field) => decimal(topic, event, *field),
        Amount::Negated(field) => Ok(decimal(topic, event, *field)?.map(|number| -number)),
    };
    macro_rules! given {
        ($number:expr) => {
            match $number? {
                Some(number) => number,
                None => return Ok(None),
            }
        };
    }
    Ok(Some(match action {
        Action::Count { key, by, .. } => Change::Add(filled!(key), given!(amount(by))),
        Action::Max { key, of } => Change::Max(filled!(key), given!(decimal(topic, event, *of))),
        Action::Last { key, of } => Change::Last(filled!(key), given!(decimal(topic, event, *of))),
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
            Change::Top(windows.iter().map(window).collect(), element, given!(amount(by)))
        }
        Action::Member { key, of, is_add, moves, tombstones_ms } => {
            let (key, element) = (filled!(key), filled!(of));
            let moves = match moves {
                Some(moves) => Some(filled!(moves)),
                None => None,
            };
            let change = if tombstones_ms.is_some() { Change::MemberByTime } else { Change::Member };
            change(key, element, *is_add, moves)
        }
        Action::Forward { topic, key } => match key {
            Some(key) => Change::Forward(topic.to_string(), Some(filled!(key))),
            None => Change::Forward(topic.to_string(), None),
        },
    }))
}

fn day(ms: i64) -> String {
    hour(ms)[..10].to_owned()
}

fn hour(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true)[..13].to_owned()
}

/// Fills a template; `None` where an optional field is missing.
fn fill(topic: &Topic, event: &Event<'_>, template: &Template) -> Result<Option<String>, &'static str> {
    let mut text = String::new();
    for part in &template.parts {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Type => text.push_str(&encoded(&event.kind.name)),
            Part::Topic => text.push_str(&encoded(&topic.name)),
            Part::Day => text.push_str(&day(event.time_ms)),
            Part::Hour => text.push_str(&hour(event.time_ms)),
            Part::Field { slot, optional } => match event.value(topic, *slot).map(rendered).transpose()?.flatten() {
                Some(value) => text.push_str(&encoded(&value)),
                None if *optional => return Ok(None),
                None => return Err("missing-field"),
            },
        }
    }
    Ok(Some(text))
}

/// Percent-encoded for `% : { }`, white space and control characters.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        if "%:{}".contains(c) || c.is_whitespace() || c.is_control() {
            c.to_string().bytes().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// Reads digits, a point and an exponent, and moves the point by exponent and scale.
fn scaled(text: &str, scale: u32) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let places = exponent.parse::<i64>().ok()? + i64::from(scale) - fraction.len() as i64;
    let mut digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    for _ in 0..places.unsigned_abs().min(40) {
        if places < 0 {
            digits = (digits % 10 == 0).then_some(digits / 10)?;
        } else {
            digits = digits.checked_mul(10)?;
        }
    }
    i64::try_from(digits).ok()
}

/// A decimal field as an exact integer: with scale 2, 199.99 is 19999. `None` where it may be missing, and is.
fn decimal(topic: &Topic, event: &Event<'_>, field: Decimal) -> Result<Option<i64>, &'static str> {
    let text = match event.value(topic, field.slot) {
        None if field.optional => return Ok(None),
        None => return Err("missing-field"),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err("bad-amount"),
    };
    let number = scaled(&text, field.scale).filter(|number| number.abs() <= 1_000_000_000_000_000);
    number.map(Some).ok_or("bad-amount")
}
