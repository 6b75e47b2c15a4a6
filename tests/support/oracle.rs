//! A naive fold of records into results, written from the promises alone and without the core: one record at a time, JSON as
//! `Value`, exact sets for uniques. What streamgauge stores must equal what this says.
//! Longer than most files, since the whole way of a record is to be read in one place.

mod apply;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use streamgauge::{
    catalog::plan::{Action, Amount, Catalog, Decimal, EventType, IdentityPart, Part, Shape, Template, Topic},
    model::{Origin, topic_hash},
};

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
    fold_where(catalog, partitions, &|_, _| true)
}

/// The same of those records of a partition that count; the others are only remembered for their duplicates.
pub fn fold_where(
    catalog: &Catalog,
    partitions: &BTreeMap<(String, i32), Vec<Record>>,
    counts: &dyn Fn(&(String, i32), i64) -> bool,
) -> Results {
    let mut results = Results::default();
    // What the records that do not count bring.
    let mut left_out = Results::default();
    for (place @ (name, partition), records) in partitions {
        let Some(topic) = catalog.topic(name) else { continue };
        let mut seen: Vec<(i64, Identity, i64)> = Vec::new();
        for record in records {
            let results = if counts(place, record.offset) { &mut results } else { &mut left_out };
            one(topic, *partition, record, &mut seen, results);
        }
    }
    results.sets.retain(|_, set| !set.is_empty());
    results
}

type Identity = Vec<String>;

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
                apply::apply(topic, record, origin, event.time_ms, change, results);
            }
        }
        Err(reason) => {
            results.dead.insert(dead(reason));
        }
    }
}

fn decode<'t>(topic: &'t Topic, record: &Record, bytes: &[u8]) -> Result<Event<'t>, &'static str> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| "not-json")?;
    let Value::Object(object) = value else { return Err("no-shape") };
    let (shape, data, envelope) = topic.shapes.iter().find_map(|shape| shaped(*shape, &object)).ok_or("no-shape")?;
    let text = |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let only = || topic.events.iter().all(|event| event.name == topic.events[0].name).then(|| &*topic.events[0].name);
    let name = match shape {
        Shape::Flat => text(&data, "type").ok_or("no-shape")?,
        Shape::Nested => text(&envelope, "eventType").or_else(|| only().map(str::to_owned)).ok_or("unknown-type")?,
        Shape::Bare => {
            topic.event_type(&topic.name).map(|event| &*event.name).or_else(only).ok_or("no-shape")?.to_owned()
        }
    };
    let kind = topic.event_type(&name).ok_or("unknown-type")?;
    let (times, id_names): (_, &[&str]) = match shape {
        Shape::Nested => (&envelope, &["eventId"]),
        Shape::Flat => (&data, &["eventId", "id"]),
        Shape::Bare => (&data, &["id", "eventId"]),
    };
    let own_time_ms = own_time(times.get("timestamp"))?;
    let from_header = record.headers.iter().rev().find(|(header, _)| header == "event-id");
    // The first that is there counts, also where it is nothing that names an event.
    let own_id = id_names.iter().filter_map(|name| times.get(*name)).find(|id| !id.is_null());
    let id = match own_id {
        Some(id) => rendered(id).ok().flatten(),
        None => from_header.map(|(_, id)| String::from_utf8_lossy(id).into_owned()),
    };
    let time_ms = own_time_ms.unwrap_or(record.timestamp_ms);
    Ok(Event { kind, id, own_time_ms, time_ms, data, envelope })
}

/// The shape, the data and the envelope.
type Shaped = (Shape, Map<String, Value>, Map<String, Value>);

/// Data and envelope, if the object has the shape.
fn shaped(shape: Shape, object: &Map<String, Value>) -> Option<Shaped> {
    match shape {
        Shape::Nested => match (object.get("metadata"), object.get("data")) {
            (Some(Value::Object(metadata)), Some(Value::Object(data))) => Some((shape, data.clone(), metadata.clone())),
            _ => None,
        },
        Shape::Flat => object.get("type")?.is_string().then(|| (shape, object.clone(), Map::new())),
        Shape::Bare => match (object.get("pattern"), object.get("data")) {
            (Some(Value::String(_)), Some(Value::Object(data))) if object.len() == 2 => {
                Some((shape, data.clone(), Map::new()))
            }
            _ => Some((shape, object.clone(), Map::new())),
        },
    }
}

fn own_time(value: Option<&Value>) -> Result<Option<i64>, &'static str> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.as_i64().map(Some).ok_or("bad-time"),
        Some(Value::String(text)) => {
            DateTime::parse_from_rfc3339(text).map(|time| Some(time.timestamp_millis())).map_err(|_| "bad-time")
        }
        Some(_) => Err("bad-time"),
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

/// A decimal field as an exact integer: with scale 2, 199.99 is 19999.
fn decimal(topic: &Topic, event: &Event<'_>, field: Decimal) -> Result<i64, &'static str> {
    let text = match event.value(topic, field.slot).ok_or("missing-field")? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return Err("bad-amount"),
    };
    scaled(&text, field.scale).filter(|number| number.abs() <= 1_000_000_000_000_000).ok_or("bad-amount")
}
