//! From a record to an event, and from an event's fields to the texts and numbers of rules, as the promises say.

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use streamgauge::catalog::plan::{Decimal, EventType, IdentityPart, Part, Shape, Template, Topic};

use super::Record;

pub type Identity = Vec<String>;

/// An event as the shapes say it.
pub struct Event<'t> {
    pub kind: &'t EventType,
    pub id: Option<String>,
    /// The event's own time.
    pub own_time_ms: Option<i64>,
    pub time_ms: i64,
    pub data: Map<String, Value>,
    pub envelope: Map<String, Value>,
}

pub fn decode<'t>(topic: &'t Topic, record: &Record, bytes: &[u8]) -> Result<Event<'t>, &'static str> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| "not-json")?;
    let Value::Object(object) = value else { return Err("no-shape") };
    let (shape, data, envelope) = topic.shapes.iter().find_map(|shape| shaped(*shape, &object)).ok_or("no-shape")?;
    let text = |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let only = || topic.events.iter().all(|event| event.name == topic.events[0].name).then(|| &*topic.events[0].name);
    let name = match shape {
        Shape::Flat => text(&data, "type").ok_or("no-shape")?,
        Shape::Nested => text(&envelope, "eventType")
            .or_else(|| only().map(str::to_owned))
            .or_else(|| text(&data, "type"))
            .ok_or("no-shape")?,
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
    let given = id_names.iter().find_map(|name| times.get(*name).filter(|id| !id.is_null()));
    let id = given.and_then(|id| rendered(id).ok().flatten());
    let id = id.or_else(|| from_header.map(|(_, id)| String::from_utf8_lossy(id).into_owned()));
    let time_ms = own_time_ms.unwrap_or(record.timestamp_ms);
    Ok(Event { kind, id, own_time_ms, time_ms, data, envelope })
}

/// The shape, the data and the envelope.
pub type Shaped = (Shape, Map<String, Value>, Map<String, Value>);

/// Data and envelope, if the object has the shape.
pub fn shaped(shape: Shape, object: &Map<String, Value>) -> Option<Shaped> {
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

pub fn own_time(value: Option<&Value>) -> Result<Option<i64>, &'static str> {
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
pub fn rendered(value: &Value) -> Result<Option<String>, &'static str> {
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
    pub fn value(&self, topic: &Topic, slot: u16) -> Option<&Value> {
        let name = &*topic.fields[usize::from(slot)];
        let there = |map: &'_ Map<String, Value>| map.get(name).is_some_and(|value| !value.is_null());
        let map = if there(&self.data) { &self.data } else { &self.envelope };
        map.get(name).filter(|value| !value.is_null())
    }
}

/// What makes the event the same as another; `None` if it lacks a part.
pub fn identity(topic: &Topic, event: &Event<'_>) -> Option<Identity> {
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

pub fn day(ms: i64) -> String {
    hour(ms)[..10].to_owned()
}

pub fn hour(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true)[..13].to_owned()
}

/// Fills a template; `None` where an optional field is missing.
pub fn fill(topic: &Topic, event: &Event<'_>, template: &Template) -> Result<Option<String>, &'static str> {
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
pub fn encoded(value: &str) -> String {
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

/// A decimal field as an exact integer: with scale 2, 199.99 is 19999.
pub fn decimal(topic: &Topic, event: &Event<'_>, field: Decimal) -> Result<i64, &'static str> {
    let text = match event.value(topic, field.slot).ok_or("missing-field")? {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return Err("bad-amount"),
    };
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}").parse::<i128>().map_err(|_| "bad-amount")?;
    // How many more digits after the point the text has than are kept.
    let surplus = fraction.len() as i32 - exponent.parse::<i32>().map_err(|_| "bad-amount")? - field.scale as i32;
    let power = 10_i128.checked_pow(surplus.unsigned_abs()).ok_or("bad-amount")?;
    let number = match surplus {
        1.. if digits % power != 0 => return Err("bad-amount"),
        1.. => digits / power,
        _ => digits.checked_mul(power).ok_or("bad-amount")?,
    };
    i64::try_from(number).ok().filter(|number| number.abs() <= 1_000_000_000_000_000).ok_or("bad-amount")
}
