//! From a record to an event, as SPEC 2 says it, with JSON as `Value`.

use chrono::DateTime;
use serde_json::{Map, Value};
use streamgauge::catalog::plan::{Shape, Topic};

use super::{Event, Record, rendered};

/// The event of a record, or the reason why it is none.
pub(super) fn decode<'t>(topic: &'t Topic, record: &Record, bytes: &[u8]) -> Result<Event<'t>, &'static str> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| "not-json")?;
    let Value::Object(object) = value else { return Err("no-shape") };
    let shaped = |shape: &Shape| shaped(*shape, topic, record, &object);
    let (shape, data, envelope) = topic.shapes.iter().find_map(shaped).ok_or("no-shape")?;
    let text = |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).map(str::to_owned);
    let only = || topic.events.iter().all(|event| event.name == topic.events[0].name).then(|| &*topic.events[0].name);
    let name = match shape {
        Shape::Flat => text(&data, "type").ok_or("no-shape")?,
        Shape::CloudEvents => text(&envelope, "type").or_else(|| only().map(str::to_owned)).ok_or("unknown-type")?,
        Shape::Nested => text(&envelope, "eventType").or_else(|| only().map(str::to_owned)).ok_or("unknown-type")?,
        Shape::Wide => text(&envelope, "eventType").ok_or("no-shape")?,
        Shape::Bare => {
            topic.event_type(&topic.name).map(|event| &*event.name).or_else(only).ok_or("no-shape")?.to_owned()
        }
    };
    let kind = topic.event_type(&name).ok_or("unknown-type")?;
    let (times, id_names): (_, &[&str]) = match shape {
        Shape::CloudEvents => (&envelope, &["id"]),
        Shape::Nested | Shape::Wide => (&envelope, &["eventId"]),
        Shape::Flat => (&data, &["eventId", "id"]),
        Shape::Bare => (&data, &["id", "eventId"]),
    };
    let own_time_ms = own_time(times.get(if shape == Shape::CloudEvents { "time" } else { "timestamp" }))?;
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
fn shaped(shape: Shape, topic: &Topic, record: &Record, object: &Map<String, Value>) -> Option<Shaped> {
    let inner = |name: &str| object.get(name).and_then(Value::as_object).cloned();
    match shape {
        Shape::CloudEvents => cloud_event(record, object).map(|(data, envelope)| (shape, data, envelope)),
        // A wide event may have metadata too: then the type stands beside it.
        Shape::Nested
            if topic.shapes.contains(&Shape::Wide)
                && object.get("eventType").is_some_and(Value::is_string)
                && inner("metadata").is_none_or(|metadata| metadata.get("eventType").is_none_or(Value::is_null)) =>
        {
            None
        }
        Shape::Wide if object.get("eventType").is_some_and(Value::is_string) => {
            // What stands at the top comes before what stands in metadata.
            let mut envelope = inner("metadata").unwrap_or_default();
            envelope.extend(
                object.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())),
            );
            Some((shape, inner("data")?, envelope))
        }
        Shape::Wide => None,
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

/// Data and attributes, if it is a CloudEvent. Attributes stand there also by the names that other envelopes have for them.
fn cloud_event(record: &Record, object: &Map<String, Value>) -> Option<(Map<String, Value>, Map<String, Value>)> {
    let header = |name: &str| record.headers.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value);
    let is_structured =
        header("content-type").is_some_and(|it| it.to_ascii_lowercase().starts_with(b"application/cloudevents"));
    let is_binary = !is_structured && (header("ce_specversion").is_some() || header("ce_type").is_some());
    let (data, mut attributes) = if is_binary {
        let text = |value: &Vec<u8>| Value::from(String::from_utf8_lossy(value).into_owned());
        let all =
            record.headers.iter().filter_map(|(name, value)| Some((name.strip_prefix("ce_")?.to_owned(), text(value))));
        (object.clone(), all.collect())
    } else if is_structured || object.get("specversion").is_some_and(|version| version == "1.0") {
        (object.get("data").and_then(Value::as_object).cloned().unwrap_or_default(), object.clone())
    } else {
        return None;
    };
    for (theirs, ours) in [("userid", "userId"), ("correlationid", "correlationId")] {
        attributes.remove(ours);
        if let Some(value) = attributes.get(theirs).cloned() {
            attributes.insert(ours.to_owned(), value);
        }
    }
    Some((data, attributes))
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
