//! What stands around an event's data: who says when it was, which it is, and how urgent.

use std::borrow::Cow;

use super::{event::Layout, members::Envelope, places::Places, reason::Reason, scalar::Scalar, shape::attribute, time};
use crate::{
    catalog::plan::{Priority, Shape, Slot},
    log::RecordRef,
};

/// Where an event's envelope is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Around<'a> {
    /// The data has all.
    Nothing,
    /// The object `metadata` of a nested event.
    Metadata(&'a Places),
    /// The record of a wide event, and the object `metadata` in it.
    Wide(&'a Places, &'a Places),
    /// The record of a CloudEvent.
    Attributes(&'a Places),
    /// A CloudEvent's attributes are headers.
    Headers,
}

/// What an envelope says of its event.
pub(super) struct Said {
    /// Milliseconds since 1970.
    pub(super) own_time_ms: Option<i64>,
    pub(super) priority: Option<Priority>,
}

impl<'a> Around<'a> {
    /// A field that the data does not have.
    pub(super) fn field(self, layout: &Layout, slot: Slot, text: &'a str, record: &RecordRef<'a>) -> Scalar<'a> {
        match self {
            Self::Nothing => Scalar::Missing,
            Self::Metadata(metadata) => metadata.field(layout, slot, text),
            Self::Wide(top, metadata) => match top.field(layout, slot, text) {
                Scalar::Missing => metadata.field(layout, slot, text),
                found => found,
            },
            Self::Attributes(top) => layout.attribute(slot).map_or(Scalar::Missing, |it| top.value_at(it.index, text)),
            Self::Headers => layout.attribute(slot).map_or(Scalar::Missing, |it| attribute(record, &it.header)),
        }
    }

    /// The W3C trace context, `traceparent` and `tracestate`: the record's headers, else the attributes of a CloudEvent.
    pub(super) fn trace(self, text: &'a str, record: &RecordRef<'a>) -> [(&'static str, Option<Cow<'a, str>>); 2] {
        let names = [
            ("traceparent", "ce_traceparent", Envelope::TraceParent),
            ("tracestate", "ce_tracestate", Envelope::TraceState),
        ];
        names.map(|(name, in_headers, in_value)| {
            let found = match (attribute(record, name), self) {
                (Scalar::Missing, Self::Attributes(top)) => top.envelope_value(in_value, text),
                (Scalar::Missing, Self::Headers) => attribute(record, in_headers),
                (found, _) => found,
            };
            (name, if let Scalar::Text(text) = found { Some(text) } else { None })
        })
    }

    /// The id of an event that came in this shape. One that the shape has no place for is a header.
    pub(super) fn id(self, shape: Shape, data: &Places, text: &'a str, record: &RecordRef<'a>) -> Scalar<'a> {
        let id = match (self, shape) {
            (Self::Nothing, Shape::Bare) => first_of(data, [Envelope::Id, Envelope::EventId], text),
            (Self::Nothing, _) => first_of(data, [Envelope::EventId, Envelope::Id], text),
            (Self::Metadata(envelope) | Self::Wide(envelope, _), _) => envelope.envelope_value(Envelope::EventId, text),
            (Self::Attributes(top), _) => top.envelope_value(Envelope::Id, text),
            (Self::Headers, _) => attribute(record, "ce_id"),
        };
        match id {
            Scalar::Missing => attribute(record, "event-id"),
            id => id,
        }
    }

    /// What is said of an event.
    ///
    /// # Errors
    /// The time that it says is none.
    #[inline]
    pub(super) fn says(&self, data: &Places, text: &str, record: &RecordRef<'_>) -> Result<Said, Reason> {
        let priority = |envelope: &Places| parse_priority(envelope.envelope(Envelope::Priority, text));
        let (own_time_ms, priority) = match self {
            Self::Nothing => (time_of(data, Envelope::Timestamp, text)?, priority(data)),
            Self::Metadata(envelope) => (time_of(envelope, Envelope::Timestamp, text)?, priority(envelope)),
            Self::Wide(top, metadata) => {
                (time_of(top, Envelope::Timestamp, text)?, priority(top).or_else(|| priority(metadata)))
            }
            Self::Attributes(top) => (time_of(top, Envelope::Time, text)?, priority(top)),
            Self::Headers => {
                let priority = attribute(record, "ce_priority");
                let priority = parse_priority(priority.name().unwrap_or_default());
                (own_time_ms(&attribute(record, "ce_time"))?, priority)
            }
        };
        Ok(Said { own_time_ms, priority })
    }
}

/// A priority as JSON or as a header has it.
fn parse_priority(text: &str) -> Option<Priority> {
    if text.is_empty() {
        return None;
    }
    match text {
        "\"critical\"" | "critical" => Some(Priority::Critical),
        "\"high\"" | "high" => Some(Priority::High),
        "\"normal\"" | "normal" => Some(Priority::Normal),
        "\"low\"" | "low" => Some(Priority::Low),
        _ => None,
    }
}

fn first_of<'a>(members: &Places, names: [Envelope; 2], text: &'a str) -> Scalar<'a> {
    let mut values = names.into_iter().map(|name| members.envelope_value(name, text));
    values.find(|value| !matches!(value, Scalar::Missing)).unwrap_or(Scalar::Missing)
}

/// The time that a member has.
#[inline(always)]
fn time_of(members: &Places, name: Envelope, text: &str) -> Result<Option<i64>, Reason> {
    // Milliseconds are what nearly all say.
    match members.envelope_digits(name, text).and_then(time::parse_ms).filter(|ms| time::RANGE_MS.contains(ms)) {
        Some(ms) => Ok(Some(ms)),
        None => own_time_ms(&members.envelope_value(name, text)),
    }
}

#[inline(never)]
fn own_time_ms(value: &Scalar<'_>) -> Result<Option<i64>, Reason> {
    let time_ms = match value {
        Scalar::Missing => return Ok(None),
        Scalar::Integer(digits) => time::parse_ms(digits.as_bytes()),
        Scalar::Text(text) => time::parse_rfc3339_ms(text),
        _ => None,
    };
    match time_ms.filter(|ms| time::RANGE_MS.contains(ms)) {
        Some(ms) => Ok(Some(ms)),
        None => Err(Reason::BadTime { found: shown(value) }),
    }
}

#[cold]
fn shown(value: &Scalar<'_>) -> String {
    match value {
        Scalar::Text(text) => shortened(&format!("{text:?}")),
        Scalar::Integer(digits) | Scalar::Number(digits) => shortened(digits),
        other => other.describe().to_owned(),
    }
}

/// The beginning of a text that may be long.
pub(super) fn shortened(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 80;
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
