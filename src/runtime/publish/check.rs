//! What is looked at before an event is sent: its type, ids, required fields, schema and key.

use serde_json::value::RawValue;

use super::{Draft, MAX_EVENT_ID_BYTES, PublishError, fields::Fields, ids::Ids, mark_name, shape};
use crate::{
    catalog::plan::{EventType, Priority, Shape, Topic},
    core::mark::Content,
};

/// The event's type: the one named, else the topic's only one, else the data's `type`.
///
/// A flat event has its type in its data, so there the two must agree: else the counting side would see the other one.
pub(super) fn event_type<'t>(
    topic: &'t Topic,
    fields: &Fields<'_>,
    named: Option<&str>,
) -> Result<&'t EventType, PublishError> {
    let in_data = fields.text("type");
    let only = topic.events.first().filter(|first| topic.events.iter().all(|event| event.name == first.name));
    let is_flat = topic.publish_shape == Shape::Flat;
    if is_flat && fields.get("type").is_some() && in_data.is_none() {
        return Err(PublishError::Invalid("the data's field \"type\" must be a string: the event's type".to_owned()));
    }
    let name = match (named, &in_data, only) {
        (Some(named), Some(in_data), _) if is_flat && named != in_data => {
            return Err(PublishError::Invalid(format!(
                "eventType is {named:?} but the data's type is {in_data:?}: leave one of them out"
            )));
        }
        (Some(named), _, _) => named,
        (None, Some(in_data), _) if is_flat => in_data,
        (None, _, Some(only)) => &only.name,
        (None, Some(in_data), None) => in_data,
        (None, None, None) => return Err(PublishError::no_type(topic)),
    };
    topic.event_type(name).ok_or_else(|| PublishError::unknown_type(topic, name))
}

/// The id that was given, else a new one. A bare event may have its own in its data.
pub(super) fn event_id(
    topic: &Topic,
    fields: &Fields<'_>,
    draft: &Draft<'_>,
    ids: &mut Ids,
) -> Result<String, PublishError> {
    let own = if topic.publish_shape == Shape::Bare { fields.scalar("id") } else { None };
    match (&draft.event_id, own) {
        (Some(given), Some(own)) if *given != own => Err(PublishError::Invalid(format!(
            "eventId is {given:?} but the data's id is {own:?}: leave one of them out"
        ))),
        (Some(given), _) => Ok(given.clone().into_owned()),
        (None, Some(own)) => Ok(own.into_owned()),
        (None, None) => Ok(draft.idempotency_key.as_deref().map_or_else(|| ids.next().to_string(), str::to_owned)),
    }
}

/// The mark of an event that is published under an id, and what it is known by: everything that its sender gave, the data to
/// the byte. The trace context is the request's, and times are made here: both differ when an event is sent again.
pub(super) fn mark(
    topic: &Topic,
    event_type: &EventType,
    draft: &Draft<'_>,
    key: Option<&[u8]>,
) -> Option<(String, Content)> {
    let id = draft.event_id.as_deref().or(draft.idempotency_key.as_deref())?;
    let given = [&draft.priority, &draft.source, &draft.correlation_id, &draft.user_id];
    let parts = [Some(topic.name.as_bytes()), Some(event_type.name.as_bytes()), key, Some(draft.data.get().as_bytes())];
    let given = given.into_iter().map(|text| text.as_deref().map(str::as_bytes));
    Some((mark_name(id), Content::of(parts.into_iter().chain(given))))
}

pub(super) fn priority(text: &str) -> Result<Priority, PublishError> {
    Priority::of(text)
        .ok_or_else(|| PublishError::Invalid(format!("priority {text:?} is none of critical, high, normal, low")))
}

/// An empty id or key is surely a mistake: all such events would be one.
pub(super) fn ids(draft: &Draft<'_>) -> Result<(), PublishError> {
    let given = [("eventId", &draft.event_id), ("key", &draft.key), ("userId", &draft.user_id)];
    match given.into_iter().find(|(_, value)| value.as_deref() == Some("")) {
        Some((name, _)) => Err(PublishError::Invalid(format!("{name} is empty: give a value or leave it out"))),
        None => once(draft),
    }
}

/// What an event is published once by.
fn once(draft: &Draft<'_>) -> Result<(), PublishError> {
    match (draft.event_id.as_deref(), draft.idempotency_key.as_deref()) {
        (Some(id), Some(key)) if id != key => Err(PublishError::Invalid(format!(
            "eventId is {id:?} but Idempotency-Key is {key:?}: leave one of them out"
        ))),
        (Some(id), _) | (None, Some(id)) if id.len() > MAX_EVENT_ID_BYTES => Err(PublishError::Invalid(format!(
            "eventId (or Idempotency-Key) has at most {MAX_EVENT_ID_BYTES} bytes, this one {}",
            id.len()
        ))),
        _ => Ok(()),
    }
}

/// `null` counts as missing, as it does for the counting side.
pub(super) fn required(
    topic: &Topic,
    event_type: &EventType,
    fields: &Fields<'_>,
    draft: &Draft<'_>,
) -> Result<(), PublishError> {
    let names = event_type.required.iter().filter_map(|slot| topic.fields.get(usize::from(*slot)));
    let missing: Vec<String> = names
        .filter(|name| !fields.has(name) && from_envelope(topic, fields, draft, name).is_none())
        .map(|name| name.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(PublishError::Missing { event_type: event_type.name.to_string(), fields: missing })
}

/// As the counting side will see it: the data, or the whole record in a shape that has no place for data alone. There the data's
/// own `version` chooses the schema.
pub(super) fn schema(
    topic: &Topic,
    event_type: &EventType,
    fields: &Fields<'_>,
    draft: &Draft<'_>,
    value: &[u8],
) -> Result<(), PublishError> {
    let has_data_member = !matches!(topic.publish_shape, Shape::Flat | Shape::Bare);
    let version = fields.get("version").filter(|_| !has_data_member).map_or("", RawValue::get);
    let event_type = topic.version_of(&event_type.name, version).map_or(event_type, |index| &topic.events[index]);
    let Some(schema) = &event_type.schema else { return Ok(()) };
    let data = if has_data_member { draft.data.get() } else { std::str::from_utf8(value).unwrap_or_default() };
    schema.check(data).map_err(|violation| PublishError::Schema { event_type: event_type.name.to_string(), violation })
}

/// The values of the topic's key fields, joined with `:`. None of them may be missing, empty, or anything else than a string
/// or a whole number; else the event has no key, and any partition may take it.
///
/// The values stand as they are, without the percent-encoding of counters' names, so that a key is the one that a KafkaJS
/// or Java publisher would give, and both go to one partition.
pub(super) fn partition_key(topic: &Topic, fields: &Fields<'_>, draft: &Draft<'_>) -> Option<Vec<u8>> {
    if topic.key.is_empty() {
        return None;
    }
    let mut key = String::new();
    for slot in &topic.key {
        let name = topic.fields.get(usize::from(*slot))?;
        let value = match fields.has(name) {
            true => fields.scalar(name)?,
            false => from_envelope(topic, fields, draft, name)?.into(),
        };
        if !key.is_empty() {
            key.push(':');
        }
        key.push_str(&value);
    }
    Some(key.into_bytes())
}

/// A field that the data lacks but the event's envelope will have. A bare event has no envelope, and in a flat one the
/// data's own `null` stands in the way.
fn from_envelope<'d>(topic: &Topic, fields: &Fields<'_>, draft: &'d Draft<'_>, name: &str) -> Option<&'d str> {
    match (name, topic.publish_shape) {
        (_, Shape::Bare) => None,
        (_, Shape::Flat) if fields.get(name).is_some() => None,
        ("userId", _) => draft.user_id.as_deref(),
        ("source", Shape::Nested | Shape::Wide | Shape::CloudEvents) => Some(shape::source(draft)),
        ("source", _) => draft.source.as_deref(),
        _ => None,
    }
}
