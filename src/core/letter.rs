//! Dead letters read back: the original record, byte for byte, and what went wrong with it.
//!
//! The other half of [`super::dead_letter`], which writes them. What a record of a dead letter topic says of itself is believed
//! only as far as it can be replayed by it: the topic that it goes back to is never read from a header.

mod filter;

use serde_json::Value;

pub use self::filter::{Filter, Spot, moment_ms};
use super::{
    dead_letter::{ORIGINAL_LENGTH_HEADER, PREFIX, TIMESTAMP_HEADER, TRUNCATED_HEADER, original_value},
    replay::{self, Replay},
};
use crate::{
    log::{OutRecord, RecordRef},
    model::TopicPartition,
};

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The partition of the dead letter topic that it lies in.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// When it was written, which is the time of the last attempt: milliseconds since 1970.
    pub written_ms: i64,
    /// Why the record could not be processed: a code.
    pub reason: String,
    /// The same in words.
    pub message: String,
    /// The group that could not process it.
    pub group: String,
    /// How often that was tried, as the header says it.
    pub attempts: String,
    /// When it was tried first, RFC 3339, as the header says it.
    pub first_attempt_at: String,
    /// The target's last answer; `None` where it was not delivered but counted, or nobody answered.
    pub status: Option<u16>,
    /// Topic, partition and offset of the original; `None` where the headers do not say it.
    pub source: Option<(String, i32, i64)>,
    /// How often its record was replayed before.
    pub replays: u32,
    /// The original's time, milliseconds since 1970.
    pub original_ms: Option<i64>,
    /// The original's key.
    pub key: Option<Vec<u8>>,
    /// The original's value; `None` where it had none, or where [`Letter::is_whole`] says that it is not here.
    pub value: Option<Vec<u8>>,
    /// The original's headers. Names that are no text are kept as far as they are, and a value that was null is empty.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value was left out, since it was too large for the dead letter topic.
    pub is_truncated: bool,
    /// The original is here, byte for byte.
    pub is_whole: bool,
}

/// Whether a dead letter can be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits to be.
    Waiting,
    /// It was replayed as often as may be, and failed again each time.
    Parked,
    /// It cannot be, for this reason.
    Never(&'static str),
}

/// Reason codes of records that may be counted later by the same rules: the registry did not have their schema.
const MAY_PASS: [&str; 2] = ["unknown-schema", "unreadable"];
/// The reason code of an event that was counted and could only not be forwarded.
const COUNTED_ALREADY: &str = "forward-refused";

impl Letter {
    /// What a record of a dead letter topic is.
    pub fn of(partition: &TopicPartition, record: &RecordRef<'_>) -> Self {
        let bytes = |name: &str| record.header(name);
        let text = |name: &str| bytes(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let told = |name: &str| text(name).unwrap_or_default();
        let source = || {
            let (number, offset) = (text("dlq-partition")?.parse().ok()?, text("dlq-offset")?.parse().ok()?);
            Some((text("dlq-topic")?, number, offset))
        };
        let is_truncated = bytes(TRUNCATED_HEADER).is_some();
        let length = bytes(ORIGINAL_LENGTH_HEADER).map(|length| [(ORIGINAL_LENGTH_HEADER.to_owned(), length.to_vec())]);
        let length = length.as_ref().map_or(&[][..], |length| &length[..]);
        let original = record.value.map(|value| original_value(value, length));
        let is_whole = !is_truncated && original.as_ref().is_none_or(Option::is_some);
        Self {
            partition: partition.clone(),
            offset: record.offset,
            written_ms: record.timestamp_ms,
            reason: told("dlq-reason"),
            message: told("dlq-message"),
            group: told("dlq-group"),
            attempts: told("dlq-attempts"),
            first_attempt_at: told("dlq-first-attempt-at"),
            status: text("dlq-status").and_then(|status| status.parse().ok()),
            source: source(),
            replays: Replay::of(record).map_or(0, |replay| replay.number),
            original_ms: text(TIMESTAMP_HEADER).and_then(|time| time.parse().ok()),
            key: record.key.map(<[u8]>::to_vec),
            value: original.flatten().map(std::borrow::Cow::into_owned),
            headers: original_headers(record),
            is_truncated,
            is_whole,
        }
    }

    /// The event's type, as far as the record names one.
    pub fn event_type(&self) -> Option<String> {
        let header = |name: &str| self.headers.iter().rev().find(|(known, _)| known == name);
        if let Some((_, value)) = header("ce_type") {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        let event: Value = serde_json::from_slice(self.value.as_deref()?).ok()?;
        let places = ["/metadata/eventType", "/eventType", "/type", "/data/type"];
        places.iter().find_map(|place| event.pointer(place)?.as_str().map(str::to_owned))
    }

    /// Whether it can be replayed, where a record is replayed `max_replays` times at most.
    pub fn standing(&self, max_replays: u32) -> Standing {
        if self.source.is_none() || self.group.is_empty() {
            Standing::Never("it does not say where it comes from: another program wrote it")
        } else if self.is_truncated {
            Standing::Never(
                "its value was left out, being too large for this topic: the original lies where `origin` says",
            )
        } else if !self.is_whole {
            Standing::Never("its value is shorter than its header dlq-original-length says: it was changed")
        } else if self.reason == COUNTED_ALREADY {
            Standing::Never("the event was counted, and could only not be forwarded: a replay would count it once more")
        } else if self.replays >= max_replays {
            Standing::Parked
        } else {
            Standing::Waiting
        }
    }

    /// Where it lies, as a replay names it: `topic:partition:offset`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.partition, self.offset)
    }

    /// The original, to be sent to its topic again for the group that failed, and which replay it is. It has its own time again,
    /// so that an event without a time counts for the day on which it happened.
    pub fn replay(&self) -> (OutRecord, u32) {
        let number = self.replays.saturating_add(1);
        let said = [
            (replay::GROUP_HEADER, self.group.clone()),
            (replay::NUMBER_HEADER, number.to_string()),
            (replay::ORIGIN_HEADER, self.place()),
        ];
        let of = self.source.as_ref().filter(|_| !MAY_PASS.contains(&self.reason.as_str()));
        let of = of.map(|(_, _, offset)| (replay::OF_HEADER, offset.to_string()));
        let mut headers = self.headers.clone();
        headers.extend(said.into_iter().chain(of).map(|(name, value)| (name.to_owned(), value.into_bytes())));
        let record =
            OutRecord { key: self.key.clone(), value: self.value.clone(), headers, timestamp_ms: self.original_ms };
        (record, number)
    }
}

/// What the record had before it became a dead letter, and before it was replayed.
fn original_headers(record: &RecordRef<'_>) -> Vec<(String, Vec<u8>)> {
    let named = record.headers.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), *value));
    let own = named.filter(|(name, _)| !name.starts_with(PREFIX) && !replay::is_header(name));
    own.map(|(name, value)| (name, value.unwrap_or_default().to_vec())).collect()
}

#[cfg(test)]
mod tests;
