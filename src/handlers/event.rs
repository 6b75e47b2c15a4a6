//! An event as a handler gets it.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{catalog::plan::Priority, core::delivery::request::Sent, model::TopicPartition};

/// An event, and which attempt this is. `T` is what its data is read as: anything that serde reads from JSON.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event<T = Value> {
    /// Its id; `topic:partition:offset` where its publisher gave none.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// Where it says that it comes from; its topic behind a slash where it does not say.
    pub source: String,
    /// Its time, ms since 1970.
    pub time_ms: i64,
    /// Its priority.
    pub priority: Priority,
    /// The key of its record: events of one key come one after the other. `None` stands behind nobody.
    pub key: Option<Vec<u8>>,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Where its record lies: what makes it one event, whatever its id is.
    pub origin: Origin,
    /// The W3C trace context that it came with.
    pub traceparent: Option<String>,
    /// What belongs to that.
    pub tracestate: Option<String>,
    /// Its data.
    pub data: T,
}

/// Where an event's record lies. Shown as `topic:partition:offset`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Origin {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.topic, self.partition, self.offset)
    }
}

impl<T> Event<T> {
    /// An event to try a handler with: the first attempt of one of this type, of priority normal and without a key, at the
    /// beginning of a topic that is called like it.
    pub fn new(event_type: &str, data: T) -> Self {
        let origin = Origin { topic: event_type.to_owned(), partition: 0, offset: 0 };
        Self {
            id: origin.to_string(),
            event_type: event_type.to_owned(),
            source: format!("/{event_type}"),
            time_ms: 0,
            priority: Priority::Normal,
            key: None,
            attempt: 1,
            origin,
            traceparent: None,
            tracestate: None,
            data,
        }
    }
}

impl Event<Vec<u8>> {
    /// An event with its data as the JSON that came.
    pub(super) fn of(sent: &Sent<'_>, partition: &TopicPartition) -> Self {
        let parcel = sent.parcel;
        let trace = |name: &str| parcel.trace.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        Self {
            id: parcel.id.clone(),
            event_type: parcel.event_type.to_string(),
            source: parcel.source.clone(),
            time_ms: parcel.time_ms,
            priority: parcel.priority,
            key: parcel.record.key.clone(),
            attempt: sent.attempt,
            origin: Origin { topic: partition.topic.to_string(), partition: partition.partition, offset: sent.offset },
            traceparent: trace("traceparent"),
            tracestate: trace("tracestate"),
            data: parcel.data().to_vec(),
        }
    }

    /// The same with its data read.
    ///
    /// # Errors
    /// The data is not what `T` is read from.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<Event<T>, serde_json::Error> {
        let data = serde_json::from_slice(&self.data)?;
        Ok(Event {
            id: self.id,
            event_type: self.event_type,
            source: self.source,
            time_ms: self.time_ms,
            priority: self.priority,
            key: self.key,
            attempt: self.attempt,
            origin: self.origin,
            traceparent: self.traceparent,
            tracestate: self.tracestate,
            data,
        })
    }
}
