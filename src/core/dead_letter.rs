//! Dead letters: a record that could not be processed, with the reason, in a form from which the original comes back byte
//! for byte (SPEC 7).

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::reason::Reason;
use crate::{
    log::{OutRecord, RecordRef},
    model::TopicPartition,
};

/// Where the original value ended; present where the member `error` was added to it.
pub const ORIGINAL_LENGTH: &str = "dlq-original-length";
/// What was left out of a dead letter that was too large: `value`, or `value,key,headers`.
pub const TRUNCATED: &str = "dlq-truncated";
/// Time of the original record, milliseconds since 1970.
pub const TIMESTAMP: &str = "dlq-timestamp";
/// Names of our headers begin so; a record that already has such loses them.
const PREFIX: &str = "dlq-";
/// Most bytes of key and of headers that a truncated dead letter keeps.
const MAX_KEPT_BYTES: usize = 16_384;

/// A record that failed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// Its partition.
    pub partition: &'a TopicPartition,
    /// The record.
    pub record: &'a RecordRef<'a>,
    /// Why.
    pub reason: &'a Reason,
    /// The group that failed.
    pub group: &'a str,
    /// All attempts, the first too.
    pub attempts: u32,
    /// Time of the first attempt, milliseconds since 1970.
    pub first_attempt_ms: i64,
    /// Time of the last attempt, milliseconds since 1970.
    pub last_attempt_ms: i64,
}

/// The member `error`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorMember<'a> {
    message: &'a str,
    group: &'a str,
    attempts: u32,
    first_attempt_at: &'a str,
    last_attempt_at: &'a str,
    topic: &'a str,
    partition: i32,
    offset: i64,
    /// HTTP status of a delivery; nothing answers when counting.
    status: Option<u16>,
}

/// The dead letter of a failure: key, headers and value of the record, and the error.
///
/// Its time is that of the last attempt, so that the dead letter topic's retention counts from there. Header names that are
/// not UTF-8 are written with replacement characters; a header without a value gets an empty one.
pub fn dead_letter(failure: &Failure<'_>) -> OutRecord {
    let message = failure.reason.to_string();
    let (first, last) = (rfc3339(failure.first_attempt_ms), rfc3339(failure.last_attempt_ms));
    let error = ErrorMember {
        message: &message,
        group: failure.group,
        attempts: failure.attempts,
        first_attempt_at: &first,
        last_attempt_at: &last,
        topic: &failure.partition.topic,
        partition: failure.partition.partition,
        offset: failure.record.offset,
        status: None,
    };
    let mut headers = kept_headers(failure.record);
    headers.extend(error_headers(failure, &error));
    let value = failure.record.value.map(|value| match with_error(value, &error) {
        Some(longer) => {
            headers.push((ORIGINAL_LENGTH.to_owned(), value.len().to_string().into_bytes()));
            longer
        }
        None => value.to_vec(),
    });
    OutRecord {
        key: failure.record.key.map(<[u8]>::to_vec),
        value,
        headers,
        timestamp_ms: Some(failure.last_attempt_ms),
    }
}

/// The dead letter of a failure whose full one is too large for its topic: without the value, and without key and headers
/// where these are large too. Its origin says where the original is, as long as that is retained.
pub fn dead_letter_without_value(failure: &Failure<'_>) -> OutRecord {
    let without_value = RecordRef { value: None, ..*failure.record };
    let mut letter = dead_letter(&Failure { record: &without_value, ..*failure });
    let mut left_out = vec!["value"];
    if letter.key.as_ref().is_some_and(|key| key.len() > MAX_KEPT_BYTES) {
        letter.key = None;
        left_out.push("key");
    }
    let header_bytes: usize = kept_headers(failure.record).iter().map(|(name, value)| name.len() + value.len()).sum();
    if header_bytes > MAX_KEPT_BYTES {
        letter.headers.retain(|(name, _)| name.starts_with(PREFIX));
        left_out.push("headers");
    }
    letter.headers.push((TRUNCATED.to_owned(), left_out.join(",").into_bytes()));
    letter
}

/// The headers of the record, but for those that a dead letter sets.
fn kept_headers(record: &RecordRef<'_>) -> Vec<(String, Vec<u8>)> {
    let headers = record.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX.as_bytes()));
    let owned =
        headers.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.unwrap_or_default().to_vec()));
    owned.collect()
}

fn error_headers(failure: &Failure<'_>, error: &ErrorMember<'_>) -> Vec<(String, Vec<u8>)> {
    let texts = [
        ("dlq-reason", failure.reason.code().to_owned()),
        ("dlq-message", error.message.to_owned()),
        ("dlq-group", error.group.to_owned()),
        ("dlq-attempts", error.attempts.to_string()),
        ("dlq-first-attempt-at", error.first_attempt_at.to_owned()),
        ("dlq-last-attempt-at", error.last_attempt_at.to_owned()),
        ("dlq-topic", error.topic.to_owned()),
        ("dlq-partition", error.partition.to_string()),
        ("dlq-offset", error.offset.to_string()),
        ("dlq-status", "null".to_owned()),
        (TIMESTAMP, failure.record.timestamp_ms.to_string()),
    ];
    texts.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()
}

fn rfc3339(ms: i64) -> String {
    // A time beyond the calendar stands as its number: the letter is sent all the same.
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| ms.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Bytes from the last `}` to the end: the brace and white space.
fn tail_length(value: &[u8]) -> usize {
    let white = |byte: &&u8| matches!(**byte, b' ' | b'\t' | b'\n' | b'\r');
    1 + value.iter().rev().take_while(white).count()
}

/// The value with the member `error` before its last brace; `None` where it is no JSON object.
///
/// What follows the new member, the brace and white space, is as it was: so the original is what stands before the member
/// and what stands after it.
fn with_error(value: &[u8], error: &ErrorMember<'_>) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let body = text.trim_start_matches([' ', '\t', '\n', '\r']).strip_prefix('{')?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let is_empty = body.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('}');
    let member = serde_json::to_vec(error).ok()?;
    let (head, tail) = value.split_at(value.len().checked_sub(tail_length(value))?);
    let comma: &[u8] = if is_empty { b"" } else { b"," };
    Some([head, comma, b"\"error\":", &member, tail].concat())
}

/// The original value of a dead letter, byte for byte, from its value and its header [`ORIGINAL_LENGTH`]; `None` where the
/// two do not fit together, so that the letter was changed since.
pub fn original_value(value: &[u8], original_length: Option<&[u8]>) -> Option<Vec<u8>> {
    let Some(length) = original_length else { return Some(value.to_vec()) };
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    let tail = tail_length(value);
    let head = value.get(..length.checked_sub(tail)?)?;
    let (rest, tail) = value.split_at(value.len().checked_sub(tail)?);
    let inserted = rest.get(head.len()..)?;
    let is_ours = inserted.strip_prefix(b",").unwrap_or(inserted).starts_with(b"\"error\":");
    (is_ours && tail.first() == Some(&b'}')).then(|| [head, tail].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn letter_of(record: &RecordRef<'_>, make: fn(&Failure<'_>) -> OutRecord) -> OutRecord {
        make(&Failure {
            partition: &TopicPartition::new("video.views", 3),
            record,
            reason: &Reason::MissingField { field: "videoId".to_owned() },
            group: "streamgauge",
            attempts: 1,
            first_attempt_ms: 1_700_000_000_000,
            last_attempt_ms: 1_700_000_000_123,
        })
    }

    fn record<'a>(value: &'a [u8], headers: &'a [(&'a [u8], Option<&'a [u8]>)]) -> RecordRef<'a> {
        RecordRef { offset: 42, timestamp_ms: 5, key: Some(b"k"), value: Some(value), headers }
    }

    fn header<'r>(record: &'r OutRecord, name: &str) -> Option<&'r [u8]> {
        record.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn back(value: &[u8]) -> Vec<u8> {
        let letter = letter_of(&record(value, &[]), dead_letter);
        original_value(letter.value.as_deref().unwrap(), header(&letter, ORIGINAL_LENGTH)).unwrap()
    }

    #[test]
    fn an_object_gets_one_more_member_and_headers_say_the_same() {
        let headers: [(&[u8], Option<&[u8]>); 3] =
            [(b"trace", Some(b"t")), (b"dlq-reason", Some(b"old")), (b"none", None)];
        let letter = letter_of(&record(b"{\"a\":1}", &headers), dead_letter);
        let value: Value = serde_json::from_slice(letter.value.as_deref().unwrap()).unwrap();
        let expected = serde_json::from_str::<Value>(
            r#"{"a":1,"error":{"message":"the field `videoId` is missing; the event type requires it, or a rule names it",
            "group":"streamgauge","attempts":1,"firstAttemptAt":"2023-11-14T22:13:20.000Z",
            "lastAttemptAt":"2023-11-14T22:13:20.123Z","topic":"video.views","partition":3,"offset":42,"status":null}}"#,
        );
        assert_eq!(value, expected.unwrap());
        for (name, text) in [
            ("trace", "t"),
            ("none", ""),
            ("dlq-reason", "missing-field"),
            ("dlq-group", "streamgauge"),
            ("dlq-attempts", "1"),
            ("dlq-first-attempt-at", "2023-11-14T22:13:20.000Z"),
            ("dlq-last-attempt-at", "2023-11-14T22:13:20.123Z"),
            ("dlq-topic", "video.views"),
            ("dlq-partition", "3"),
            ("dlq-offset", "42"),
            ("dlq-status", "null"),
            ("dlq-original-length", "7"),
            ("dlq-timestamp", "5"),
        ] {
            assert_eq!(header(&letter, name), Some(text.as_bytes()), "{name}");
        }
        assert_eq!(letter.headers.iter().filter(|(name, _)| name == "dlq-reason").count(), 1);
        assert_eq!((letter.key.as_deref(), letter.timestamp_ms), (Some(&b"k"[..]), Some(1_700_000_000_123)));
    }

    #[test]
    fn originals_come_back() {
        for (value, gets_member) in [
            (&b"{}"[..], true),
            (b"{ }", true),
            (b" {\"a\":{}} \r\n", true),
            (b"{\"error\":1}", true),
            (b"{\"a\":\"}\"}\n\n", true),
            (b"[1]", false),
            (b"not json", false),
            (b"{\"a\":1} x", false),
            (b"{\"a\":\"\xff\"}", false),
            (b"{", false),
            (b"", false),
            (b"null", false),
        ] {
            let letter = letter_of(&record(value, &[]), dead_letter);
            assert_eq!(header(&letter, ORIGINAL_LENGTH).is_some(), gets_member, "{value:?}");
            if gets_member {
                assert!(
                    serde_json::from_slice::<Value>(letter.value.as_deref().unwrap()).unwrap()["error"].is_object()
                );
            }
            assert_eq!(back(value), value);
        }
        assert_eq!(letter_of(&RecordRef { value: None, ..record(b"", &[]) }, dead_letter).value, None);
    }

    #[test]
    fn a_letter_that_was_changed_is_not_taken_apart() {
        for (value, length) in [(&b"{}"[..], &b"9"[..]), (b"{\"a\":1}", b"3"), (b"", b"0"), (b"{}", b"x"), (b"}", b"1")]
        {
            assert_eq!(original_value(value, Some(length)), None, "{value:?}");
        }
    }

    #[test]
    fn a_letter_that_is_too_large_says_what_is_missing() {
        let large = vec![b'x'; MAX_KEPT_BYTES + 1];
        let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(&large))];
        let small = letter_of(&record(b"{}", &[(b"h", Some(b"v"))]), dead_letter_without_value);
        assert_eq!((small.value.as_deref(), header(&small, TRUNCATED)), (None, Some(&b"value"[..])));
        assert_eq!((header(&small, "h"), header(&small, "dlq-offset")), (Some(&b"v"[..]), Some(&b"42"[..])));
        let all = RecordRef { key: Some(&large), ..record(b"{}", &headers) };
        let letter = letter_of(&all, dead_letter_without_value);
        assert_eq!(header(&letter, TRUNCATED), Some(&b"value,key,headers"[..]));
        assert!(letter.size_bytes() < MAX_KEPT_BYTES);
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(back(&value), value);
        }

        #[test]
        fn any_object_comes_back(
            members in proptest::collection::btree_map(".*", ".*", 0..4),
            before in "[ \t\r\n]{0,3}",
            after in "[ \t\r\n]{0,3}",
        ) {
            let value = format!("{before}{}{after}", serde_json::to_string(&members).unwrap()).into_bytes();
            prop_assert_eq!(back(&value), value);
        }
    }
}
