//! From a record's bytes to an event: shape, envelope, and the fields that the topic's rules need.
//!
//! One pass over the JSON. Values stay where they lie in the record and are read only where a rule asks for them; the rest is
//! skipped, but checked: malformed JSON is found wherever it lies.

pub use super::members::{Layout, Scratch};
use super::{
    members::{Envelope, Members},
    reason::Reason,
    scalar::Scalar,
    time,
};
use crate::{
    catalog::plan::{Priority, Shape, Slot, Topic},
    log::RecordRef,
};

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
    text: &'a str,
    layout: &'a Layout,
    /// Where fields are looked for first.
    data: &'a Members,
    /// Where they are looked for then.
    envelope: Option<&'a Members>,
}

impl<'a> Event<'a> {
    /// Whether a field is absent or null, in the data and in the envelope.
    pub fn is_missing(&self, slot: Slot) -> bool {
        self.data.is_missing(self.layout, slot, self.text)
            && self.envelope.is_none_or(|envelope| envelope.is_missing(self.layout, slot, self.text))
    }

    /// A field's text as it takes part in names, where that is there as it lies; `None` where [`Event::field`] must tell.
    #[inline]
    pub fn plain_name(&self, slot: Slot) -> Option<&'a str> {
        self.data.plain_name(self.layout, slot, self.text)
    }

    /// A field: looked for in the data, then in the envelope.
    pub fn field(&self, slot: Slot) -> Scalar<'a> {
        match (self.data.field(self.layout, slot, self.text), self.envelope) {
            (Scalar::Missing, Some(envelope)) => envelope.field(self.layout, slot, self.text),
            (found, _) => found,
        }
    }
}

/// A record on its way to an event.
struct Reading<'a> {
    topic: &'a Topic,
    layout: &'a Layout,
    record: &'a RecordRef<'a>,
    text: &'a str,
}

/// Reads a record as an event of the topic that `layout` was made for.
///
/// # Errors
/// The record is a dead letter for the reason given.
pub fn decode<'a>(
    topic: &'a Topic,
    layout: &'a Layout,
    scratch: &'a mut Scratch,
    value: &'a [u8],
    record: &'a RecordRef<'a>,
) -> Result<Event<'a>, Reason> {
    let text = simdutf8::basic::from_utf8(value).map_err(|_| not_utf8(value))?;
    if !scratch.read(layout, text).map_err(|malformed| not_json(text, malformed.at))? {
        return Err(no_shape(topic));
    }
    let Scratch { top, metadata, data } = scratch;
    let reading = Reading { topic, layout, record, text };
    for shape in &topic.shapes {
        match shape {
            Shape::Nested if reading.has_object(top, Envelope::Metadata) && reading.has_object(top, Envelope::Data) => {
                let event_type = reading.find_type(&metadata.envelope_value(Envelope::EventType, text), metadata)?;
                let id = metadata.envelope_value(Envelope::EventId, text);
                return reading.event(Shape::Nested, event_type, id, metadata, Some(data));
            }
            Shape::Flat if top.envelope(Envelope::Type, text).starts_with('"') => {
                let event_type = reading.find_type(&top.envelope_value(Envelope::Type, text), top)?;
                let id = first_of(top, [Envelope::EventId, Envelope::Id], text);
                return reading.event(Shape::Flat, event_type, id, top, None);
            }
            Shape::Bare if bare_type(topic).is_some() => {
                // NestJS wraps what a service emits as {"pattern","data"}.
                let is_wrapped = top.count == 2
                    && !top.envelope(Envelope::Pattern, text).is_empty()
                    && reading.has_object(top, Envelope::Data);
                let members = if is_wrapped { data } else { top };
                let name = Scalar::Text(bare_type(topic).unwrap_or_default().into());
                let event_type = reading.find_type(&name, members)?;
                let id = first_of(members, [Envelope::Id, Envelope::EventId], text);
                return reading.event(Shape::Bare, event_type, id, members, None);
            }
            _ => {}
        }
    }
    Err(no_shape(topic))
}

impl<'a> Reading<'a> {
    fn has_object(&self, members: &Members, name: Envelope) -> bool {
        members.envelope(name, self.text).starts_with('{')
    }

    /// The event type with this name; of several versions the one named, else the newest. No name means the topic's only
    /// type.
    fn find_type(&self, name: &Scalar<'_>, envelope: &Members) -> Result<usize, Reason> {
        let topic = self.topic;
        let unknown = |found: &str| Reason::UnknownType { found: shortened(found), known: known_types(topic) };
        let name = match name {
            Scalar::Text(name) => &**name,
            Scalar::Missing => only_type(topic).ok_or_else(|| unknown(name.describe()))?,
            other => return Err(unknown(other.describe())),
        };
        let version = envelope.envelope(Envelope::Version, self.text);
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

    /// Puts an event together from its envelope, and its data where that is an object of its own.
    fn event(
        self,
        shape: Shape,
        event_type: usize,
        id: Scalar<'a>,
        envelope: &'a Members,
        data: Option<&'a Members>,
    ) -> Result<Event<'a>, Reason> {
        let Self { topic, layout, record, text } = self;
        let own_time_ms = own_time(envelope.envelope_value(Envelope::Timestamp, text), || {
            shortened(envelope.envelope(Envelope::Timestamp, text))
        })?;
        let time_ms = own_time_ms.unwrap_or(record.timestamp_ms);
        if !time::RANGE_MS.contains(&time_ms) {
            return Err(Reason::BadTime { found: time_ms.to_string() });
        }
        let id = match id {
            Scalar::Missing => record
                .header("event-id")
                .and_then(|id| std::str::from_utf8(id).ok())
                .map_or(Scalar::Missing, |id| Scalar::Text(id.into())),
            id => id,
        };
        let priority = match envelope.envelope(Envelope::Priority, text) {
            "\"critical\"" => Priority::Critical,
            "\"high\"" => Priority::High,
            "\"normal\"" => Priority::Normal,
            "\"low\"" => Priority::Low,
            _ => topic.priority,
        };
        let (data, envelope) = match data {
            Some(data) => (data, Some(envelope)),
            None => (envelope, None),
        };
        Ok(Event { event_type, shape, id, own_time_ms, time_ms, priority, text, layout, data, envelope })
    }
}

fn first_of<'a>(members: &Members, names: [Envelope; 2], text: &'a str) -> Scalar<'a> {
    let values = names.into_iter().map(|name| members.envelope_value(name, text));
    values.into_iter().find(|value| *value != Scalar::Missing).unwrap_or(Scalar::Missing)
}

fn own_time(value: Scalar<'_>, shown: impl FnOnce() -> String) -> Result<Option<i64>, Reason> {
    let time_ms = match value {
        Scalar::Missing => return Ok(None),
        Scalar::Integer(digits) => time::parse_ms(digits),
        Scalar::Text(text) => time::parse_rfc3339_ms(&text),
        _ => None,
    };
    match time_ms.filter(|ms| time::RANGE_MS.contains(ms)) {
        Some(ms) => Ok(Some(ms)),
        None => Err(Reason::BadTime { found: shown() }),
    }
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

fn not_utf8(value: &[u8]) -> Reason {
    let why = std::str::from_utf8(value).map_or_else(|error| error.to_string(), |_| String::new());
    Reason::NotJson(format!("not UTF-8: {why}"))
}

/// serde_json's words for what is wrong, which say it by line and column.
fn not_json(text: &str, at: usize) -> Reason {
    let told = serde_json::from_str::<serde::de::IgnoredAny>(text).err().map(|error| error.to_string());
    Reason::NotJson(told.unwrap_or_else(|| format!("malformed at byte {at}")))
}

#[cfg(test)]
mod tests;
