//! Which shape a record has (SPEC 2), and which event type it is by that.
//!
//! A CloudEvent may say in the record's headers what it is; every other shape is told by the value alone. Attributes of
//! CloudEvents are read by the names of its Kafka binding: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>.

use super::{
    event::{bare_type, find_type, no_shape},
    members::{Envelope, Layout, Members},
    places::Places,
    reason::Reason,
    scalar::Scalar,
};
use crate::{
    catalog::plan::{Shape, Topic},
    log::RecordRef,
};

/// What a record says of itself in its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Carrier {
    /// Nothing: the value tells.
    Value,
    /// The value is a CloudEvent.
    Structured,
    /// The value is the data of a CloudEvent, whose attributes are headers.
    Binary,
}

/// How many carriers there are.
pub(super) const CARRIERS: usize = 3;

impl Carrier {
    /// What a record's headers say, where the topic takes CloudEvents.
    #[inline]
    pub(super) fn of(layout: &Layout, record: &RecordRef<'_>) -> Self {
        match layout.takes_cloud_events && !record.headers.is_empty() {
            true => Self::named(record),
            false => Self::Value,
        }
    }

    fn named(record: &RecordRef<'_>) -> Self {
        const MEDIA_TYPE: &[u8] = b"application/cloudevents";
        let begins = |value: &[u8]| value.get(..MEDIA_TYPE.len()).is_some_and(|it| it.eq_ignore_ascii_case(MEDIA_TYPE));
        if record.header("content-type").is_some_and(begins) {
            Self::Structured
        } else if record.header("ce_specversion").or_else(|| record.header("ce_type")).is_some() {
            Self::Binary
        } else {
            Self::Value
        }
    }
}

/// What a record is, as its text and its carrier say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recognised {
    pub(super) shape: Shape,
    /// Index into the topic's event types.
    pub(super) event_type: usize,
    /// As NestJS wraps what a service emits.
    pub(super) is_wrapped: bool,
}

/// What a record is. The binary mode of CloudEvents is told by [`by_headers`].
pub(super) fn recognise(topic: &Topic, members: &Members, text: &str, carrier: Carrier) -> Result<Recognised, Reason> {
    let [top, metadata, data] = members.objects();
    let is_object = |name: Envelope| top.envelope(name, text).starts_with('{');
    let is_text = |name: Envelope| top.envelope(name, text).starts_with('"');
    for shape in &topic.shapes {
        let is_wrapped =
            *shape == Shape::Bare && members.count() == 2 && is_object(Envelope::Data) && has_pattern(top, text);
        let (name, envelope) = match shape {
            Shape::CloudEvents if carrier == Carrier::Structured || is_version_1(top, text) => {
                (top.envelope_value(Envelope::Type, text), top)
            }
            // A wide event may have `metadata` too, but has its type beside it.
            Shape::Nested
                if is_object(Envelope::Metadata)
                    && is_object(Envelope::Data)
                    && !(topic.shapes.contains(&Shape::Wide)
                        && is_text(Envelope::EventType)
                        && metadata.envelope(Envelope::EventType, text).is_empty()) =>
            {
                (metadata.envelope_value(Envelope::EventType, text), metadata)
            }
            Shape::Wide if is_object(Envelope::Data) && is_text(Envelope::EventType) => {
                (top.envelope_value(Envelope::EventType, text), top)
            }
            Shape::Flat if is_text(Envelope::Type) => (top.envelope_value(Envelope::Type, text), top),
            Shape::Bare if bare_type(topic).is_some() => {
                let name = Scalar::Text(bare_type(topic).unwrap_or_default().into());
                (name, if is_wrapped { data } else { top })
            }
            _ => continue,
        };
        let event_type = find_type(topic, &name, envelope.envelope(Envelope::Version, text))?;
        return Ok(Recognised { shape: *shape, event_type, is_wrapped });
    }
    Err(no_shape(topic))
}

/// What the record of a CloudEvent in binary mode is.
pub(super) fn by_headers(topic: &Topic, record: &RecordRef<'_>) -> Result<Recognised, Reason> {
    let version = attribute(record, "ce_version");
    let event_type = find_type(topic, &attribute(record, "ce_type"), version.name().unwrap_or_default())?;
    Ok(Recognised { shape: Shape::CloudEvents, event_type, is_wrapped: false })
}

/// An attribute of a CloudEvent in binary mode, by the name of its header.
pub(super) fn attribute<'a>(record: &RecordRef<'a>, header: &str) -> Scalar<'a> {
    match record.header(header).map(std::str::from_utf8) {
        None => Scalar::Missing,
        Some(Ok(text)) => Scalar::Text(text.into()),
        Some(Err(_)) => Scalar::Other,
    }
}

fn is_version_1(top: &Places, text: &str) -> bool {
    top.envelope(Envelope::SpecVersion, text) == "\"1.0\""
}

/// NestJS wraps what a service emits as `{"pattern","data"}`.
fn has_pattern(top: &Places, text: &str) -> bool {
    !top.envelope(Envelope::Pattern, text).is_empty()
}
