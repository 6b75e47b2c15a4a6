//! From a record's bytes to an event: shape, envelope, and the fields that the topic's rules need.
//!
//! One pass over the JSON. Values are kept as raw text and read only where a rule asks for them; the rest is skipped, but
//! checked: malformed JSON is found wherever it lies. Of duplicate names in an object the last counts, as in JavaScript.
//! Longer than most files, since one pass reads shapes, envelope and fields together.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use super::{reason::Reason, scalar::Scalar, time};
use crate::{
    catalog::plan::{Priority, Shape, Slot, Topic},
    log::RecordRef,
};

/// Fields that an event holds without an allocation.
const INLINE_FIELDS: usize = 12;

/// Names outside the data that mean something (SPEC 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Envelope {
    Type,
    EventType,
    EventId,
    Id,
    Timestamp,
    Version,
    Priority,
    Metadata,
    Data,
    Pattern,
}

const ENVELOPE: [(&str, Envelope); 10] = [
    ("type", Envelope::Type),
    ("eventType", Envelope::EventType),
    ("eventId", Envelope::EventId),
    ("id", Envelope::Id),
    ("timestamp", Envelope::Timestamp),
    ("version", Envelope::Version),
    ("priority", Envelope::Priority),
    ("metadata", Envelope::Metadata),
    ("data", Envelope::Data),
    ("pattern", Envelope::Pattern),
];

/// Where the members of an object go: the topic's slots, the envelope, or both.
pub struct Layout {
    names: Vec<(Box<str>, Option<Slot>, Option<Envelope>)>,
    slots: usize,
}

impl Layout {
    /// The layout of a topic's events.
    pub fn new(topic: &Topic) -> Self {
        let mut names: Vec<(Box<str>, Option<Slot>, Option<Envelope>)> =
            ENVELOPE.iter().map(|(name, place)| (Box::from(*name), None, Some(*place))).collect();
        for (slot, field) in topic.fields.iter().enumerate() {
            match names.iter_mut().find(|(name, ..)| name == field) {
                Some(entry) => entry.1 = Some(slot as Slot),
                None => names.push((field.clone(), Some(slot as Slot), None)),
            }
        }
        Self { names, slots: topic.fields.len() }
    }
}

/// An event, borrowed from its record.
#[derive(Debug)]
pub struct Event<'a> {
    /// Index into the topic's event types.
    pub event_type: usize,
    /// The shape that it came in.
    pub shape: Shape,
    /// The event's own id.
    pub id: Scalar<'a>,
    /// The event's own time, milliseconds since 1970.
    pub own_time_ms: Option<i64>,
    /// Its own time, or else the record's.
    pub time_ms: i64,
    /// Its own priority, or else the topic's.
    pub priority: Priority,
    fields: SmallVec<[&'a str; INLINE_FIELDS]>,
    envelope_fields: SmallVec<[&'a str; INLINE_FIELDS]>,
}

impl<'a> Event<'a> {
    /// A field: looked for in the data, then in the envelope.
    pub fn field(&self, slot: Slot) -> Scalar<'a> {
        match Scalar::of(self.fields.get(slot as usize).copied().unwrap_or_default()) {
            Scalar::Missing => Scalar::of(self.envelope_fields.get(slot as usize).copied().unwrap_or_default()),
            found => found,
        }
    }
}

/// The members of one object that matter, as raw text; empty text is an absent member.
struct Members<'a> {
    envelope: [&'a str; ENVELOPE.len()],
    fields: SmallVec<[&'a str; INLINE_FIELDS]>,
    /// How many members the object has.
    count: usize,
}

impl<'a> Members<'a> {
    fn get(&self, name: Envelope) -> &'a str {
        self.envelope[name as usize]
    }
}

/// Reads a record as an event of the topic.
///
/// # Errors
/// The record is a dead letter for the reason given.
pub fn decode<'a>(
    topic: &Topic,
    layout: &Layout,
    value: &'a [u8],
    record: &RecordRef<'a>,
) -> Result<Event<'a>, Reason> {
    let text = std::str::from_utf8(value).map_err(|error| Reason::NotJson(format!("not UTF-8: {error}")))?;
    let top = members(layout, text)?.ok_or_else(|| no_shape(topic))?;
    for shape in &topic.shapes {
        match shape {
            Shape::Nested if is_object(top.get(Envelope::Metadata)) && is_object(top.get(Envelope::Data)) => {
                return nested(topic, layout, &top, record);
            }
            Shape::Flat if top.get(Envelope::Type).starts_with('"') => {
                let found = top.get(Envelope::Type);
                let event_type = find_type(topic, &Scalar::of(found), top.get(Envelope::Version))?;
                return event(
                    topic,
                    Shape::Flat,
                    event_type,
                    first_of(&top, [Envelope::EventId, Envelope::Id]),
                    top,
                    None,
                    record,
                );
            }
            Shape::Bare if bare_type(topic).is_some() => {
                return bare(topic, layout, top, record);
            }
            _ => {}
        }
    }
    Err(no_shape(topic))
}

fn nested<'a>(topic: &Topic, layout: &Layout, top: &Members<'a>, record: &RecordRef<'a>) -> Result<Event<'a>, Reason> {
    let (Some(metadata), Some(data)) =
        (members(layout, top.get(Envelope::Metadata))?, members(layout, top.get(Envelope::Data))?)
    else {
        return Err(no_shape(topic));
    };
    let event_type = find_type(topic, &Scalar::of(metadata.get(Envelope::EventType)), metadata.get(Envelope::Version))?;
    let id = metadata.get(Envelope::EventId);
    event(topic, Shape::Nested, event_type, id, metadata, Some(data.fields), record)
}

fn bare<'a>(topic: &Topic, layout: &Layout, mut top: Members<'a>, record: &RecordRef<'a>) -> Result<Event<'a>, Reason> {
    // NestJS wraps what a service emits as {"pattern","data"}.
    if top.count == 2 && !top.get(Envelope::Pattern).is_empty() && is_object(top.get(Envelope::Data)) {
        top = members(layout, top.get(Envelope::Data))?.ok_or_else(|| no_shape(topic))?;
    }
    let name = Scalar::Text(bare_type(topic).unwrap_or_default().into());
    let event_type = find_type(topic, &name, top.get(Envelope::Version))?;
    event(topic, Shape::Bare, event_type, first_of(&top, [Envelope::Id, Envelope::EventId]), top, None, record)
}

/// Puts an event together from its envelope, and its data where that is an object of its own.
fn event<'a>(
    topic: &Topic,
    shape: Shape,
    event_type: usize,
    raw_id: &'a str,
    envelope: Members<'a>,
    data: Option<SmallVec<[&'a str; INLINE_FIELDS]>>,
    record: &RecordRef<'a>,
) -> Result<Event<'a>, Reason> {
    let own_time_ms = own_time(envelope.get(Envelope::Timestamp))?;
    let time_ms = own_time_ms.unwrap_or(record.timestamp_ms);
    if !time::RANGE_MS.contains(&time_ms) {
        return Err(Reason::BadTime { found: time_ms.to_string() });
    }
    let id = match Scalar::of(raw_id) {
        Scalar::Missing => record
            .header("event-id")
            .and_then(|id| std::str::from_utf8(id).ok())
            .map_or(Scalar::Missing, |id| Scalar::Text(id.into())),
        id => id,
    };
    let priority = match envelope.get(Envelope::Priority) {
        "\"critical\"" => Priority::Critical,
        "\"high\"" => Priority::High,
        "\"normal\"" => Priority::Normal,
        "\"low\"" => Priority::Low,
        _ => topic.priority,
    };
    let (fields, envelope_fields) = match data {
        Some(data) => (data, envelope.fields),
        None => (envelope.fields, SmallVec::new()),
    };
    Ok(Event { event_type, shape, id, own_time_ms, time_ms, priority, fields, envelope_fields })
}

fn first_of<'a>(members: &Members<'a>, names: [Envelope; 2]) -> &'a str {
    names.into_iter().map(|name| members.get(name)).find(|raw| !raw.is_empty() && *raw != "null").unwrap_or_default()
}

fn own_time(raw: &str) -> Result<Option<i64>, Reason> {
    let time_ms = match Scalar::of(raw) {
        Scalar::Missing => return Ok(None),
        Scalar::Integer(digits) => digits.parse().ok(),
        Scalar::Text(text) => time::parse_rfc3339_ms(&text),
        _ => None,
    };
    match time_ms.filter(|ms| time::RANGE_MS.contains(ms)) {
        Some(ms) => Ok(Some(ms)),
        None => Err(Reason::BadTime { found: shortened(raw) }),
    }
}

/// The event type with this name; of several versions the one named, else the newest. No name means the topic's only type.
fn find_type(topic: &Topic, name: &Scalar<'_>, version: &str) -> Result<usize, Reason> {
    let unknown = |found: &str| Reason::UnknownType { found: shortened(found), known: known_types(topic) };
    let name = match name {
        Scalar::Text(name) => &**name,
        Scalar::Missing => only_type(topic).ok_or_else(|| unknown(name.describe()))?,
        other => return Err(unknown(other.describe())),
    };
    let mut newest = None;
    for (index, event) in topic.events.iter().enumerate() {
        if &*event.name == name {
            if is_version(version, &event.version) {
                return Ok(index);
            }
            newest = Some(index);
        }
    }
    newest.ok_or_else(|| unknown(name))
}

/// Whether a raw version is this one of the catalogue, whose trailing zeros are cut: `1`, `1.0` and `1.0.0` are the same.
fn is_version(raw: &str, version: &str) -> bool {
    let zeros = raw.trim_matches('"').strip_prefix(version);
    zeros.is_some_and(|mut zeros| {
        while let Some(rest) = zeros.strip_prefix(".0") {
            zeros = rest;
        }
        zeros.is_empty()
    })
}

/// The topic's type, where it has only one.
fn only_type(topic: &Topic) -> Option<&str> {
    let first = topic.events.first()?;
    topic.events.iter().all(|event| event.name == first.name).then_some(&*first.name)
}

/// The type of a bare event: the topic's only one, or the one that the topic is named after.
fn bare_type(topic: &Topic) -> Option<&str> {
    only_type(topic).or_else(|| topic.event_type(&topic.name).map(|event| &*event.name))
}

fn known_types(topic: &Topic) -> String {
    topic.events.iter().map(|event| &*event.name).collect::<Vec<_>>().join(", ")
}

fn no_shape(topic: &Topic) -> Reason {
    Reason::NoShape { expected: topic.shapes.iter().map(|shape| shape.name()).collect::<Vec<_>>().join(" or ") }
}

fn shortened(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 80;
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_object(raw: &str) -> bool {
    raw.starts_with('{')
}

/// The members of the object that `text` holds; `None` where it holds something else.
fn members<'a>(layout: &Layout, text: &'a str) -> Result<Option<Members<'a>>, Reason> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Object(layout).deserialize(&mut deserializer).and_then(|found| deserializer.end().map(|()| found));
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_data() => {
            // Well-formed so far, and no object. What follows must be looked at before the shape can be blamed.
            serde_json::from_str::<IgnoredAny>(text).map(|_| None).map_err(|error| Reason::NotJson(error.to_string()))
        }
        Err(error) => Err(Reason::NotJson(error.to_string())),
    }
}

struct Object<'l>(&'l Layout);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members { envelope: [""; ENVELOPE.len()], fields: smallvec![""; self.0.slots], count: 0 };
        while let Some(place) = map.next_key_seed(Name(self.0))? {
            members.count += 1;
            let Some(index) = place else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let raw = map.next_value::<&'de RawValue>()?.get();
            let (_, slot, envelope) = &self.0.names[index];
            if let Some(slot) = slot {
                members.fields[*slot as usize] = raw;
            }
            if let Some(envelope) = envelope {
                members.envelope[*envelope as usize] = raw;
            }
        }
        Ok(members)
    }
}

/// A member's name, looked up in the layout.
struct Name<'l>(&'l Layout);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.names.iter().position(|(known, ..)| **known == *name))
    }
}

#[cfg(test)]
mod tests;
