//! From a publish request to an acknowledged record.
//!
//! A request is checked against the catalogue before anything is sent, so that what the counting side would make a dead
//! letter for want of a type or field is refused here, where its sender can mend it.

mod batch;
mod error;
mod fields;
mod ids;
mod shape;

use std::{borrow::Cow, sync::Arc};

use async_trait::async_trait;
use serde_json::value::RawValue;

pub use batch::{Batch, NotStored};
pub(crate) use error::nearest;
pub use error::{PublishError, SendError};
use fields::Fields;
use ids::Ids;

use crate::{
    catalog::plan::{Catalog, EventType, Priority, Shape, Topic},
    log::OutRecord,
};

/// Where records go: chooses the partition by the record's key (murmur2, as the Java client) and answers once the broker
/// has the record.
#[async_trait]
pub trait Sender: Send + Sync + 'static {
    /// Appends a record. Returns partition and offset.
    ///
    /// # Errors
    /// The record is not stored, or it is unknown whether it is ([`SendError::Unavailable`]).
    async fn send(&self, topic: &str, record: OutRecord) -> Result<(i32, i64), SendError>;

    /// Appends records; those that go to one partition keep their order. One result per record, in order.
    async fn send_all(&self, topic: &str, records: Vec<OutRecord>) -> Vec<Result<(i32, i64), SendError>>;
}

/// An event to publish, as its sender gave it: borrowed from the request.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// The data: a JSON object.
    pub data: &'a RawValue,
    /// `critical`, `high`, `normal` or `low`.
    pub priority: Option<Cow<'a, str>>,
    /// The service that it comes from.
    pub source: Option<Cow<'a, str>>,
    /// What joins it to other events.
    pub correlation_id: Option<Cow<'a, str>>,
    /// The user that it is about; stands in for a field `userId` of the data.
    pub user_id: Option<Cow<'a, str>>,
    /// The record's key; else the values of the topic's key fields.
    pub key: Option<Cow<'a, str>>,
    /// Its id; else a new UUID (version 7).
    pub event_id: Option<Cow<'a, str>>,
    /// Its type; else the topic's only one, else the data's `type`.
    pub event_type: Option<Cow<'a, str>>,
}

/// Where a published event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub event_id: String,
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// Publishes events of the catalogue's topics.
pub struct Publisher {
    catalog: Arc<Catalog>,
    sender: Arc<dyn Sender>,
}

/// A checked event as a record.
struct Prepared {
    topic: Arc<str>,
    event_id: String,
    record: OutRecord,
}

impl Publisher {
    /// Publishes through `sender`.
    pub fn new(catalog: Arc<Catalog>, sender: Arc<dyn Sender>) -> Self {
        Self { catalog, sender }
    }

    /// Publishes one event and waits until the broker has it.
    ///
    /// # Errors
    /// What is wrong with the event, or why the broker does not have it.
    pub async fn publish(&self, topic: &str, draft: &Draft<'_>) -> Result<Receipt, PublishError> {
        let Prepared { topic, event_id, record } = self.prepare(topic, draft, &mut Ids::new())?;
        let size_bytes = record.size_bytes();
        match self.sender.send(&topic, record).await {
            Ok((partition, offset)) => Ok(Receipt { event_id, topic, partition, offset }),
            Err(error) => Err(PublishError::from_send(&topic, size_bytes, error)),
        }
    }

    /// A batch to add events to.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    fn prepare(&self, topic: &str, draft: &Draft<'_>, ids: &mut Ids) -> Result<Prepared, PublishError> {
        let topic = self.catalog.topic(topic).ok_or_else(|| PublishError::unknown_topic(&self.catalog, topic))?;
        let fields = Fields::parse(draft.data)?;
        let event_type = event_type(topic, &fields, draft.event_type.as_deref())?;
        let priority = draft.priority.as_deref().map(parse_priority).transpose()?;
        check_ids(draft)?;
        check_required(topic, event_type, &fields, draft)?;
        let key = match &draft.key {
            Some(key) => Some(key.as_bytes().to_vec()),
            None => partition_key(topic, &fields, draft),
        };
        let event_id = event_id(topic, &fields, draft, ids)?;
        let event = shape::Event { event_type, fields: &fields, draft, priority, event_id: &event_id };
        let (value, headers) = shape::write(topic, &event);
        let record = OutRecord { key, value: Some(value), headers, timestamp_ms: None };
        Ok(Prepared { topic: topic.name.clone(), event_id, record })
    }
}

/// The event's type: the one named, else the topic's only one, else the data's `type`.
///
/// A flat event has its type in its data, so there the two must agree: else the counting side would see the other one.
fn event_type<'t>(topic: &'t Topic, fields: &Fields<'_>, named: Option<&str>) -> Result<&'t EventType, PublishError> {
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
fn event_id(topic: &Topic, fields: &Fields<'_>, draft: &Draft<'_>, ids: &mut Ids) -> Result<String, PublishError> {
    let own = if topic.publish_shape == Shape::Bare { fields.scalar("id") } else { None };
    match (&draft.event_id, own) {
        (Some(given), Some(own)) if *given != own => Err(PublishError::Invalid(format!(
            "eventId is {given:?} but the data's id is {own:?}: leave one of them out"
        ))),
        (Some(given), _) => Ok(given.clone().into_owned()),
        (None, Some(own)) => Ok(own.into_owned()),
        (None, None) => Ok(ids.next().to_string()),
    }
}

fn parse_priority(text: &str) -> Result<Priority, PublishError> {
    match text {
        "critical" => Ok(Priority::Critical),
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        other => Err(PublishError::Invalid(format!("priority {other:?} is none of critical, high, normal, low"))),
    }
}

/// An empty id or key is surely a mistake: all such events would be one.
fn check_ids(draft: &Draft<'_>) -> Result<(), PublishError> {
    let given = [("eventId", &draft.event_id), ("key", &draft.key), ("userId", &draft.user_id)];
    match given.into_iter().find(|(_, value)| value.as_deref() == Some("")) {
        Some((name, _)) => Err(PublishError::Invalid(format!("{name} is empty: give a value or leave it out"))),
        None => Ok(()),
    }
}

/// `null` counts as missing, as it does for the counting side.
fn check_required(
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

/// The values of the topic's key fields, joined with `:`. None of them may be missing, empty, or anything else than a string
/// or a whole number; else the event has no key, and any partition may take it.
///
/// The values stand as they are, without the percent-encoding of counters' names, so that a key is the one that a KafkaJS
/// or Java publisher would give, and both go to one partition.
fn partition_key(topic: &Topic, fields: &Fields<'_>, draft: &Draft<'_>) -> Option<Vec<u8>> {
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
        ("source", _) => draft.source.as_deref(),
        _ => None,
    }
}
