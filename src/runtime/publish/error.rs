//! Why an event was not published.

use crate::catalog::{
    plan::{Catalog, Topic},
    schema::Violation,
};

/// How alike two names must be (1.0 is equal) before one is suggested for the other.
const LEAST_LIKENESS: f64 = 0.6;

/// Why a record was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The broker does not have the topic.
    #[error("the broker does not have the topic")]
    UnknownTopic,
    /// The record is larger than the topic takes.
    #[error("the record is larger than the topic takes")]
    TooLarge,
    /// The broker finds the record invalid, or refuses this client.
    #[error("the broker refused the record: {0}")]
    Invalid(String),
    /// Too much waits to be sent already.
    #[error("too many records wait for the broker")]
    Full,
    /// The broker cannot be reached, or does not take the record now. It is not stored.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The broker did not answer in time. The record may be stored.
    #[error("the broker has not confirmed the record: {0}")]
    Unconfirmed(String),
}

/// Why an event was not published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No catalogue has the topic.
    #[error("no catalogue has the topic {topic:?}{}", suggestion(nearest))]
    UnknownTopic {
        /// The topic.
        topic: String,
        /// The name most like it.
        nearest: Option<String>,
    },
    /// The topic has no such event type.
    #[error("topic {topic} has no event type {event_type:?}{}", suggestion(nearest))]
    UnknownType {
        /// The topic.
        topic: String,
        /// The type.
        event_type: String,
        /// The name most like it.
        nearest: Option<String>,
    },
    /// The topic has several types and the event names none.
    #[error("topic {topic} has several event types: give eventType (or data.type) as one of {}", types.join(", "))]
    NoType {
        /// The topic.
        topic: String,
        /// Its types.
        types: Vec<String>,
    },
    /// Fields that the type requires are missing or null.
    #[error("{event_type} needs the field{} {} in its data", if fields.len() == 1 { "" } else { "s" }, fields.join(", "))]
    Missing {
        /// The type.
        event_type: String,
        /// The fields.
        fields: Vec<String>,
    },
    /// The data does not fit the schema of its type.
    #[error("{event_type}: {violation}")]
    Schema {
        /// The type.
        event_type: String,
        /// What does not fit, and where.
        violation: Violation,
    },
    /// Something else in the request is wrong; the text says what.
    #[error("{0}")]
    Invalid(String),
    /// The record is larger than the topic takes.
    #[error("the record of {size_bytes} bytes is larger than topic {topic} takes (its max.message.bytes)")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Its size before compression, bytes.
        size_bytes: usize,
    },
    /// The broker refused the record; sending it again will not help.
    #[error("{0}")]
    Refused(String),
    /// Too much waits to be sent already; nothing was stored.
    #[error("too many records wait for the broker; nothing was stored")]
    Full,
    /// The broker does not have the record.
    #[error("{0}")]
    Unavailable(String),
    /// The broker has not confirmed the record; it may or may not be stored.
    #[error("{0}")]
    Unconfirmed(String),
    /// Another request is publishing the event of this id.
    #[error("event {event_id:?} is being published by another request: ask again in a moment for what became of it")]
    InFlight {
        /// The id.
        event_id: String,
    },
    /// Another event was published under this id.
    #[error(
        "an event with other content was published under the id {event_id:?} within the last hour: a repetition must be \
         the same in topic, type, key, data and everything beside it; give another event another id"
    )]
    OtherContent {
        /// The id.
        event_id: String,
    },
    /// The store does not say whether the event was published before, so it was not sent.
    #[error("whether the event was published before is not known, so it was not sent: {0}")]
    Store(String),
}

impl PublishError {
    pub(crate) fn unknown_topic(catalog: &Catalog, topic: &str) -> Self {
        let nearest = nearest(topic, catalog.topics.iter().map(|known| &*known.name));
        Self::UnknownTopic { topic: topic.to_owned(), nearest }
    }

    pub(super) fn unknown_type(topic: &Topic, event_type: &str) -> Self {
        let nearest = nearest(event_type, topic.events.iter().map(|event| &*event.name));
        Self::UnknownType { topic: topic.name.to_string(), event_type: event_type.to_owned(), nearest }
    }

    pub(super) fn no_type(topic: &Topic) -> Self {
        let mut types: Vec<String> = topic.events.iter().map(|event| event.name.to_string()).collect();
        types.dedup();
        Self::NoType { topic: topic.name.to_string(), types }
    }

    pub(super) fn from_send(topic: &str, size_bytes: usize, error: SendError) -> Self {
        match error {
            SendError::TooLarge => Self::TooLarge { topic: topic.to_owned(), size_bytes },
            SendError::Invalid(reason) => {
                Self::Refused(format!("topic {topic}: the broker refused the record: {reason}"))
            }
            SendError::Full => Self::Full,
            // Topics are created at start and may be a moment late; an operator sees the reason in the answer.
            SendError::UnknownTopic => Self::Unavailable(format!(
                "the broker does not have topic {topic} (yet): it is created at start unless TOPICS_AUTO_APPLY=false"
            )),
            SendError::Unavailable(reason) => Self::Unavailable(format!("topic {topic}: {reason}")),
            SendError::Unconfirmed(reason) => Self::Unconfirmed(format!("topic {topic}: {reason}")),
        }
    }

    /// A short fixed name, for metrics and problem types.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownTopic { .. } => "unknown-topic",
            Self::UnknownType { .. } => "unknown-event-type",
            Self::NoType { .. } => "no-event-type",
            Self::Missing { .. } => "missing-field",
            Self::Schema { .. } => "schema-mismatch",
            Self::Invalid(_) => "invalid-event",
            Self::TooLarge { .. } => "record-too-large",
            Self::Refused(_) => "record-refused",
            Self::Full => "overloaded",
            Self::Unavailable(_) | Self::Unconfirmed(_) => "broker-unavailable",
            Self::InFlight { .. } => "in-flight",
            Self::OtherContent { .. } => "other-content",
            Self::Store(_) => "store-unavailable",
        }
    }
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// The known name that is most like `name`, if one is like it at all.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let length = name.chars().count() as f64;
    // Names of such different lengths are never so alike, and comparing takes as long as both lengths multiplied.
    let can_be_like = |known: &&str| {
        let known = known.chars().count() as f64;
        known.min(length) >= LEAST_LIKENESS * known.max(length)
    };
    let likeness = known.filter(can_be_like).map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let best = likeness.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LEAST_LIKENESS).then(|| best.1.to_owned())
}
