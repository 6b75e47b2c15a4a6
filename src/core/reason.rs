//! Why a record is a dead letter.

use super::{decimal::DecimalError, delivery::Trouble};
use crate::catalog::schema::Violation;

/// Why a record could not be counted. Shown to people; its [`Reason::code`] is for programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The value is not JSON.
    #[error("the value is not JSON: {0}")]
    NotJson(String),
    /// The value names a schema that the registry does not have.
    #[error("the value names schema {id}, which the schema registry does not have")]
    UnknownSchema {
        /// The id.
        id: u32,
    },
    /// The schema that the value names does not describe it.
    #[error("the value cannot be read by schema {id}, which it names: {why}")]
    Unreadable {
        /// The id.
        id: u32,
        /// Why.
        why: String,
    },
    /// The value has none of the shapes that the topic takes.
    #[error("the value fits no shape of this topic: expected {expected}")]
    NoShape {
        /// The shapes that the topic takes.
        expected: String,
    },
    /// The event names no type, or one that the topic does not have.
    #[error("event type {found:?} is not one of this topic's: {known}")]
    UnknownType {
        /// What the event names.
        found: String,
        /// The topic's types.
        known: String,
    },
    /// A field is absent or null.
    #[error("field {field:?} is missing")]
    MissingField {
        /// The field.
        field: String,
    },
    /// The data does not fit the schema of its type.
    #[error("{0}")]
    Schema(Violation),
    /// A field cannot stand in a key or as an element.
    #[error("field {field:?} is {found}: expected a string that is not empty, or an integer")]
    BadField {
        /// The field.
        field: String,
        /// What it is.
        found: &'static str,
    },
    /// A field is no amount.
    #[error(
        "field {field:?} {error}: expected a number with at most {scale} digits after the point, within +/-10^15 after scaling"
    )]
    BadAmount {
        /// The field.
        field: String,
        /// Digits after the point that the rule keeps.
        scale: u32,
        /// What is wrong.
        error: DecimalError,
    },
    /// The event's time cannot be read.
    #[error(
        "the event's time is {found}: expected milliseconds since 1970 as an integer, or RFC 3339, between the years 1 and 9999"
    )]
    BadTime {
        /// What was found, cut short.
        found: String,
    },
    /// A key or element would be too long.
    #[error("{what} would have more than {max_bytes} bytes")]
    KeyTooLong {
        /// The template.
        what: String,
        /// Most bytes.
        max_bytes: usize,
    },
    /// The event would be forwarded once too often.
    #[error("the event was forwarded {hops} times already: a loop of forwards?")]
    HopLimit {
        /// Hops so far.
        hops: u32,
    },
    /// The broker does not take the forwarded event: too large, or invalid.
    #[error("the event cannot be forwarded: {0}")]
    ForwardRefused(String),
    /// A subscription's target did not take the event, however often it was tried.
    #[error("{0}")]
    Undelivered(Trouble),
}

impl Reason {
    /// The status that a subscription's target answered, if that is why.
    pub fn status(&self) -> Option<u16> {
        if let Self::Undelivered(trouble) = self { trouble.status() } else { None }
    }

    /// The code in the header `dlq-reason`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not-json",
            Self::UnknownSchema { .. } => "unknown-schema",
            Self::Unreadable { .. } => "unreadable",
            Self::NoShape { .. } => "no-shape",
            Self::UnknownType { .. } => "unknown-type",
            Self::MissingField { .. } => "missing-field",
            Self::Schema(_) => "schema-mismatch",
            Self::BadField { .. } => "bad-field",
            Self::BadAmount { .. } => "bad-amount",
            Self::BadTime { .. } => "bad-time",
            Self::KeyTooLong { .. } => "key-too-long",
            Self::HopLimit { .. } => "hop-limit",
            Self::ForwardRefused(_) => "forward-refused",
            Self::Undelivered(trouble) => trouble.code(),
        }
    }
}
