//! Why a record is a dead letter.

/// Longest piece of a record that a message repeats, characters.
const MAX_SHOWN: usize = 100;

/// What is wrong with the value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// The text is empty.
    #[error("is empty")]
    Empty,
    /// The number has a fraction.
    #[error("is a number with a fraction")]
    Fraction,
    /// It is a list, an object or a boolean.
    #[error("is a list, an object or a boolean")]
    Type,
}

/// Why a record cannot be counted. [`Reason::code`] is what filters and metrics use; `Display` is what a person reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The value is no JSON.
    #[error("the value is not JSON: {}; publish one JSON object per record", shown(.detail))]
    NotJson {
        /// What the parser said.
        detail: String,
    },
    /// The value is JSON but none of the topic's shapes.
    #[error("the event has none of the shapes of its topic ({shapes}); see `shape` in the catalogue")]
    NoShape {
        /// The topic's shapes.
        shapes: String,
    },
    /// The topic has no event of this type.
    #[error("the topic has no event type {:?}; add it to the catalogue, or publish to its own topic", shown(.found))]
    UnknownType {
        /// The type.
        found: String,
    },
    /// A field is missing, or null.
    #[error("the field `{field}` is missing; the event type requires it, or a rule names it")]
    MissingField {
        /// The field.
        field: String,
    },
    /// A field has a value that no key can have.
    #[error("the field `{field}` {problem}; a text that is not empty or a whole number is expected")]
    BadField {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: FieldProblem,
    },
    /// The event's time cannot be read.
    #[error("the event's time {} cannot be read; milliseconds since 1970 or RFC 3339 are expected", shown(.found))]
    BadTime {
        /// What stands there.
        found: String,
    },
    /// An amount that cannot be added exactly.
    #[error("the amount `{field}` is {}; a number of at most {scale} digits after the point and at most 10^15 in units of the last is expected", shown(.found))]
    BadAmount {
        /// The field.
        field: String,
        /// What stands there.
        found: String,
        /// Digits after the point that are kept.
        scale: u32,
    },
    /// A rendered key or element is too long.
    #[error("`{template}` makes a key of {bytes} bytes; at most {limit} are kept")]
    KeyTooLong {
        /// The template.
        template: String,
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A forward does not fit its topic.
    #[error("the event is too large to be forwarded to {topic}: raise max.message.bytes there")]
    ForwardTooLarge {
        /// The topic that it was to go to.
        topic: String,
    },
    /// A forward went round.
    #[error("the event was forwarded {hops} times, more than {limit}: forwards of several catalogues go round")]
    HopLimit {
        /// How often it was forwarded.
        hops: u32,
        /// The limit.
        limit: u32,
    },
}

impl Reason {
    /// The stable code: header `dlq-reason`, metric label, filter of `dlq list`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not-json",
            Self::NoShape { .. } => "no-shape",
            Self::UnknownType { .. } => "unknown-type",
            Self::MissingField { .. } => "missing-field",
            Self::BadField { .. } => "bad-field",
            Self::BadTime { .. } => "bad-time",
            Self::BadAmount { .. } => "bad-amount",
            Self::KeyTooLong { .. } => "key-too-long",
            Self::ForwardTooLarge { .. } => "forward-too-large",
            Self::HopLimit { .. } => "hop-limit",
        }
    }
}

/// The beginning of a text, so that a message stays short whatever a record holds.
fn shown(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_short() {
        let reason = Reason::UnknownType { found: "ü".repeat(1_000_000) };
        assert!(reason.to_string().chars().count() < MAX_SHOWN + 200);
        assert_eq!(reason.code(), "unknown-type");
    }
}
