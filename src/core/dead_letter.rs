//! Dead letters: a record that could not be counted or delivered, with the reason, so that it can be looked at, mended and replayed.
//!
//! The value is kept byte for byte. A JSON object gets one more member `error` at its end, and the header
//! `dlq-original-length` says how long the original was; any other value stays as it is, and so does an object that is
//! followed by white space, since its end could not be told afterwards. The headers tell the error in every case.

use serde::{Serialize, de::IgnoredAny};

use super::{delivery::Tried, reason::Reason, time};
use crate::{log::OutRecord, model::TopicPartition};

/// Every header of ours begins so.
pub const PREFIX: &str = "dlq-";
/// Header: length of the original value, bytes, where a member `error` was added to it.
pub const ORIGINAL_LENGTH_HEADER: &str = "dlq-original-length";
/// Header: the value (and what else was too large) was left out, since the topic does not take so large a record.
pub const TRUNCATED_HEADER: &str = "dlq-truncated";
/// Header: the record's own time, milliseconds since 1970. The dead letter itself has the time of the attempt, so that the
/// retention of its topic runs from there.
pub const TIMESTAMP_HEADER: &str = "dlq-timestamp";
/// Most bytes of key, and of all original headers together, that a truncated dead letter keeps.
const MAX_KEPT_BYTES: usize = 16 * 1024;
/// Most characters of a message.
const MAX_MESSAGE_CHARS: usize = 1000;

/// What a dead letter is made of.
pub struct DeadLetter<'a> {
    /// The partition that the record lies in.
    pub source: &'a TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The record.
    pub record: &'a OutRecord,
    /// Why it could not be processed.
    pub reason: &'a Reason,
    /// The group that could not process it.
    pub group: &'a str,
    /// Its attempts, the first too; counting makes one.
    pub tried: Tried,
    /// What the target answered last; `None` when counting, and where no answer came.
    pub status: Option<u16>,
}

/// The one attempt that counting makes.
pub fn once(at_ms: i64) -> Tried {
    Tried { attempts: 1, first_ms: at_ms, last_ms: at_ms }
}

/// The member `error` (SPEC 7).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorMember<'a> {
    message: &'a str,
    group: &'a str,
    attempts: u32,
    first_attempt_at: String,
    last_attempt_at: String,
    topic: &'a str,
    partition: i32,
    offset: i64,
    /// Null when counting: a delivery has the target's answer here.
    status: Option<u16>,
}

impl DeadLetter<'_> {
    /// The record for the dead letter topic.
    pub fn record(&self) -> OutRecord {
        let message = self.message();
        let mut headers = self.headers(&message);
        let value = self.record.value.as_ref().map(|value| match self.with_error(value, &message) {
            Some(longer) => {
                headers.push((ORIGINAL_LENGTH_HEADER.to_owned(), value.len().to_string().into_bytes()));
                longer
            }
            None => value.clone(),
        });
        let kept = self.record.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned();
        let headers = kept.chain(headers).collect();
        OutRecord { key: self.record.key.clone(), value, headers, timestamp_ms: Some(self.tried.last_ms) }
    }

    /// The same without the value, for a record that is too large for the dead letter topic. It says so; the headers
    /// tell where the whole record lies.
    pub fn truncated(&self) -> OutRecord {
        let size: usize = self.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut headers = if size <= MAX_KEPT_BYTES { self.record.headers.clone() } else { Vec::new() };
        headers.retain(|(name, _)| !name.starts_with(PREFIX));
        headers.extend(self.headers(&self.message()));
        headers.push((TRUNCATED_HEADER.to_owned(), b"true".to_vec()));
        let key = self.record.key.clone().filter(|key| key.len() <= MAX_KEPT_BYTES);
        OutRecord { key, value: None, headers, timestamp_ms: Some(self.tried.last_ms) }
    }

    fn message(&self) -> String {
        self.reason.to_string().chars().take(MAX_MESSAGE_CHARS).collect()
    }

    fn headers(&self, message: &str) -> Vec<(String, Vec<u8>)> {
        let status = self.status.map_or_else(|| "null".to_owned(), |status| status.to_string());
        [
            ("dlq-reason", self.reason.code()),
            ("dlq-message", message),
            ("dlq-group", self.group),
            ("dlq-attempts", &self.tried.attempts.to_string()),
            ("dlq-first-attempt-at", &time::rfc3339(self.tried.first_ms)),
            ("dlq-last-attempt-at", &time::rfc3339(self.tried.last_ms)),
            ("dlq-topic", &self.source.topic),
            ("dlq-partition", &self.source.partition.to_string()),
            ("dlq-offset", &self.offset.to_string()),
            ("dlq-status", &status),
            (TIMESTAMP_HEADER, &self.record.timestamp_ms.unwrap_or_default().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .into()
    }

    /// The value with one more member; `None` where it is no JSON object that ends with its last byte.
    fn with_error(&self, value: &[u8], message: &str) -> Option<Vec<u8>> {
        let is_object = value.trim_ascii_start().first() == Some(&b'{') && value.last() == Some(&b'}');
        if !is_object || serde_json::from_slice::<IgnoredAny>(value).is_err() {
            return None;
        }
        let member = ErrorMember {
            message,
            group: self.group,
            attempts: self.tried.attempts,
            first_attempt_at: time::rfc3339(self.tried.first_ms),
            last_attempt_at: time::rfc3339(self.tried.last_ms),
            topic: &self.source.topic,
            partition: self.source.partition,
            offset: self.offset,
            status: self.status,
        };
        let body = &value[..value.len() - 1];
        let is_empty = body.trim_ascii() == b"{";
        let mut longer = body.to_vec();
        longer.extend_from_slice(if is_empty { b"\"error\":" } else { b",\"error\":" });
        serde_json::to_writer(&mut longer, &member).ok()?;
        longer.push(b'}');
        Some(longer)
    }
}

/// The value as it was before the dead letter was made, byte for byte; `None` where the headers and the value do not
/// belong together.
pub fn original_value<'a>(value: &'a [u8], headers: &[(String, Vec<u8>)]) -> Option<std::borrow::Cow<'a, [u8]>> {
    let Some((_, length)) = headers.iter().rev().find(|(name, _)| name == ORIGINAL_LENGTH_HEADER) else {
        return Some(value.into());
    };
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let mut original = value.get(..length.checked_sub(1)?)?.to_vec();
    original.push(b'}');
    Some(original.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(value: &[u8]) -> OutRecord {
        let record = OutRecord {
            key: Some(b"v1".to_vec()),
            value: Some(value.to_vec()),
            headers: vec![("traceparent".into(), b"00-ab".to_vec()), ("dlq-reason".into(), b"old".to_vec())],
            timestamp_ms: Some(5),
        };
        let reason = Reason::MissingField { field: "videoId".into() };
        let source = TopicPartition::new("video.views", 2);
        let tried = once(0);
        DeadLetter { source: &source, offset: 41, record: &record, reason: &reason, group: "g", tried, status: None }
            .record()
    }

    #[test]
    fn an_object_gets_one_more_member_and_headers_tell_the_rest() {
        for value in ["{\"a\":1}", "{}", "{ }", " {\"a\":{}}"] {
            let made = letter(value.as_bytes());
            let text = String::from_utf8(made.value.clone().unwrap()).unwrap();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                json["error"],
                serde_json::json!({"message": "field \"videoId\" is missing", "group": "g", "attempts": 1,
                    "firstAttemptAt": "1970-01-01T00:00:00.000Z", "lastAttemptAt": "1970-01-01T00:00:00.000Z",
                    "topic": "video.views", "partition": 2, "offset": 41, "status": null})
            );
            assert!(text.starts_with(&value[..value.len() - 1]), "{text}");
            let header = |name: &str| {
                let found: Vec<_> = made.headers.iter().filter(|(known, _)| known == name).collect();
                assert_eq!(found.len(), 1, "{name}");
                String::from_utf8(found[0].1.clone()).unwrap()
            };
            assert_eq!(header("dlq-reason"), "missing-field");
            assert_eq!(header("dlq-offset"), "41");
            assert_eq!(header("traceparent"), "00-ab");
            assert_eq!(header("dlq-original-length"), value.len().to_string());
            assert_eq!(made.key.as_deref(), Some(&b"v1"[..]));
        }
    }

    #[test]
    fn a_truncated_letter_says_so() {
        let record = OutRecord {
            key: Some(vec![b'k'; MAX_KEPT_BYTES + 1]),
            value: Some(vec![0; 9]),
            headers: vec![("h".into(), vec![0; MAX_KEPT_BYTES])],
            timestamp_ms: None,
        };
        let reason = Reason::NotJson("x".repeat(9999));
        let source = TopicPartition::new("t", 0);
        let tried = Tried { attempts: 4, first_ms: 0, last_ms: 1 };
        let status = Some(503);
        let made =
            DeadLetter { source: &source, offset: 7, record: &record, reason: &reason, group: "g", tried, status }
                .truncated();
        let header = |name: &str| made.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..]);
        assert_eq!((header("dlq-attempts"), header("dlq-status")), (Some(&b"4"[..]), Some(&b"503"[..])));
        assert_eq!(header("dlq-last-attempt-at"), Some(&b"1970-01-01T00:00:00.001Z"[..]));
        assert!(made.value.is_none() && made.key.is_none());
        assert!(made.headers.iter().any(|(name, value)| name == TRUNCATED_HEADER && value == b"true"));
        assert!(made.size_bytes() < 4096, "{}", made.size_bytes());
    }

    proptest::proptest! {
        #[test]
        fn every_value_comes_back_byte_for_byte(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let made = letter(&value);
            let original = original_value(made.value.as_deref().unwrap(), &made.headers).unwrap();
            proptest::prop_assert_eq!(&*original, &value[..]);
        }

        #[test]
        fn every_object_comes_back_byte_for_byte(
            name in "[a-z\"\\\\{}]{0,5}", inner in "[ \\t\\n]{0,3}", after in "[ \\n]{0,2}", number in 0..1000,
        ) {
            let value = format!("{inner}{{{inner}{}:{number}{inner}}}{after}", serde_json::to_string(&name).unwrap());
            let made = letter(value.as_bytes());
            proptest::prop_assert_eq!(after.is_empty(), made.value.as_deref().unwrap().len() > value.len());
            let original = original_value(made.value.as_deref().unwrap(), &made.headers).unwrap();
            proptest::prop_assert_eq!(&*original, value.as_bytes());
        }
    }
}
