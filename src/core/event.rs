//! From a record's bytes to an event: shape, envelope, and the fields that the topic's rules need.
//!
//! One pass over the JSON. Values stay where they lie in the record and are read only where a rule asks for them; the rest is
//! skipped, but checked: malformed JSON is found wherever it lies.

use std::borrow::Cow;

pub use super::members::Layout;
use super::{
    envelope::{Around, Said, shortened},
    members::{Envelope, Members},
    outline::Outlines,
    places::Places,
    reason::Reason,
    scalar::Scalar,
    schema,
    shape::{CARRIERS, Carrier, Recognised, by_headers, recognise},
    time,
};
use crate::{
    catalog::plan::{Priority, Shape, Slot, Topic},
    log::RecordRef,
};

/// An event, borrowed from its record.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Index into the topic's event types.
    pub event_type: usize,
    /// The shape that it came in.
    pub shape: Shape,
    /// The event's own time, milliseconds since 1970.
    pub own_time_ms: Option<i64>,
    /// Its own time, or else the record's.
    pub time_ms: i64,
    /// Its own priority, or else the topic's.
    pub priority: Priority,
    text: &'a str,
    layout: &'a Layout,
    record: &'a RecordRef<'a>,
    /// Where fields are looked for first.
    data: &'a Places,
    /// Where they are looked for then.
    around: Around<'a>,
    /// All members of the record, where the data is its member `data`, not the record itself.
    data_of: Option<&'a Places>,
}

impl<'a> Event<'a> {
    /// The event's own id.
    pub fn id(&self) -> Scalar<'a> {
        self.around.id(self.shape, self.data, self.text, self.record)
    }

    /// Whether a field is absent or null, in the data and in the envelope.
    #[inline]
    pub fn is_missing(&self, slot: Slot) -> bool {
        self.data.is_missing(self.layout, slot) && self.in_envelope(slot) == Scalar::Missing
    }

    /// A field's text as it takes part in names, where that is there as it lies; `None` where [`Event::field`] must tell.
    #[inline]
    pub fn plain_name(&self, slot: Slot) -> Option<&'a str> {
        self.text.get(self.data.plain_name(self.layout, slot)?)
    }

    /// The bytes of [`Event::plain_name`]: that they begin and end with a character need not be told again.
    #[inline]
    pub fn plain_bytes(&self, slot: Slot) -> Option<&'a [u8]> {
        self.text.as_bytes().get(self.data.plain_name(self.layout, slot)?)
    }

    /// The data as it lies in the record: where the shape has no place for data alone, the whole record.
    pub fn data_text(&self) -> &'a str {
        let Some(record) = self.data_of else { return self.text };
        match record.envelope(Envelope::Data, self.text) {
            // Not noted, or absent, or null.
            "" => schema::member(self.text, "data"),
            data => data,
        }
    }

    /// A field: looked for in the data, then in the envelope.
    pub fn field(&self, slot: Slot) -> Scalar<'a> {
        match self.data.field(self.layout, slot, self.text) {
            Scalar::Missing => self.in_envelope(slot),
            found => found,
        }
    }

    /// A field that the envelope tells rather than the data.
    pub(super) fn envelope_first(&self, slot: Slot) -> Scalar<'a> {
        match self.in_envelope(slot) {
            Scalar::Missing => self.field(slot),
            found => found,
        }
    }

    fn in_envelope(&self, slot: Slot) -> Scalar<'a> {
        self.around.field(self.layout, slot, self.text, self.record)
    }

    /// The W3C trace context that the event came with, by the names of its headers.
    pub fn trace(&self) -> [(&'static str, Option<Cow<'a, str>>); 2] {
        self.around.trace(self.text, self.record)
    }
}

/// What decoding a record needs in memory: used again from record to record, of one topic.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For each carrier, as the same text can be another event by the headers beside it.
    outlines: [Outlines; CARRIERS],
    members: Members,
}

impl Scratch {
    /// Forgets what it knows of a topic's events.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// How many outlines it has learnt.
    #[cfg(test)]
    pub(super) fn outlines(&self) -> usize {
        self.outlines.iter().map(Outlines::len).sum()
    }
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
    decode_and(topic, layout, scratch, value, record, |event| *event)
}

/// As [`decode`], for who needs the event only in `then`: where it is built it stays. To copy what was just written costs the
/// processor more than to write it.
///
/// # Errors
/// The record is a dead letter for the reason given.
#[inline]
pub(super) fn decode_and<'a, R>(
    topic: &'a Topic,
    layout: &'a Layout,
    scratch: &'a mut Scratch,
    value: &'a [u8],
    record: &'a RecordRef<'a>,
    then: impl FnOnce(&Event<'a>) -> R,
) -> Result<R, Reason> {
    let text = simdutf8::basic::from_utf8(value).map_err(|_| not_utf8(value))?;
    let Scratch { outlines, members } = scratch;
    let carrier = Carrier::of(layout, record);
    let outlines = &mut outlines[carrier as usize];
    let mut recognised = None;
    if !outlines.has(text) {
        if !members.read(layout, text).map_err(|malformed| not_json(text, malformed.at))? {
            return Err(no_shape(topic));
        }
        let unlike = match carrier {
            Carrier::Binary => by_headers(topic, record)?,
            _ => recognise(topic, members, text, carrier)?,
        };
        outlines.learn(layout, text, unlike);
        recognised = Some(unlike);
    }
    let (recognised, objects) = match (recognised, outlines.current()) {
        (None, Some(outline)) => (outline.recognised, outline.objects.each_ref()),
        (Some(recognised), _) => (recognised, members.objects()),
        (None, None) => return Err(no_shape(topic)),
    };
    let [top, metadata, data] = objects;
    let recognised = if carrier == Carrier::Binary { by_headers(topic, record)? } else { recognised };
    let (data, around) = match recognised.shape {
        Shape::Flat => (top, Around::Nothing),
        Shape::Bare => (if recognised.is_wrapped { data } else { top }, Around::Nothing),
        Shape::Nested => (data, Around::Metadata(metadata)),
        Shape::Wide => (data, Around::Wide(top, metadata)),
        Shape::CloudEvents if carrier == Carrier::Binary => (top, Around::Headers),
        Shape::CloudEvents => (data, Around::Attributes(top)),
    };
    let data_of = (!std::ptr::eq(data, top)).then_some(top);
    let Recognised { shape, event_type, .. } = recognised;
    let Said { own_time_ms, priority } = around.says(data, text, record)?;
    let time_ms = own_time_ms.unwrap_or(record.timestamp_ms);
    if !time::RANGE_MS.contains(&time_ms) {
        return Err(Reason::BadTime { found: time_ms.to_string() });
    }
    let priority = priority.unwrap_or(topic.priority);
    Ok(then(&Event { event_type, shape, own_time_ms, time_ms, priority, text, layout, record, data, around, data_of }))
}

/// The event type with this name, of the version named ([`Topic::version_of`]). No name means the topic's only type.
pub(super) fn find_type(topic: &Topic, name: &Scalar<'_>, version: &str) -> Result<usize, Reason> {
    let unknown = |found: &str| Reason::UnknownType { found: shortened(found), known: known_types(topic) };
    let name = match name {
        Scalar::Text(name) => &**name,
        Scalar::Missing => only_type(topic).ok_or_else(|| unknown(name.describe()))?,
        other => return Err(unknown(other.describe())),
    };
    topic.version_of(name, version).ok_or_else(|| unknown(name))
}

/// The topic's type, where it has only one.
fn only_type(topic: &Topic) -> Option<&str> {
    let first = topic.events.first()?;
    topic.events.iter().all(|event| event.name == first.name).then_some(&*first.name)
}

/// The type of a bare event: the topic's only one, or the one that the topic is named after.
pub(super) fn bare_type(topic: &Topic) -> Option<&str> {
    only_type(topic).or_else(|| topic.event_type(&topic.name).map(|event| &*event.name))
}

fn known_types(topic: &Topic) -> String {
    topic.events.iter().map(|event| &*event.name).collect::<Vec<_>>().join(", ")
}

pub(super) fn no_shape(topic: &Topic) -> Reason {
    Reason::NoShape { expected: topic.shapes.iter().map(|shape| shape.name()).collect::<Vec<_>>().join(" or ") }
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
