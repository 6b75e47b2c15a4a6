//! A record becomes a dead letter and comes back.

use proptest::prelude::*;

use super::*;
use crate::core::{
    dead_letter::{DeadLetter, once},
    reason::Reason,
};

fn source() -> TopicPartition {
    TopicPartition::new("orders", 2)
}

/// The record as a group's dead letter, and that read back.
fn back(record: &OutRecord, reason: &Reason) -> Letter {
    let source = source();
    let letter = DeadLetter { source: &source, offset: 41, record, reason, group: "g", tried: once(9), status: None };
    read(&letter.record())
}

fn read(record: &OutRecord) -> Letter {
    let headers: Vec<(&[u8], Option<&[u8]>)> =
        record.headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..]))).collect();
    let record = RecordRef {
        offset: 7,
        timestamp_ms: record.timestamp_ms.unwrap_or_default(),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    Letter::of(&TopicPartition::new("orders.dlq", 2), &record)
}

fn reason() -> Reason {
    Reason::MissingField { field: "orderId".to_owned() }
}

fn record(value: &str) -> OutRecord {
    OutRecord { key: Some(b"k".to_vec()), value: Some(value.into()), headers: Vec::new(), timestamp_ms: Some(5) }
}

#[test]
fn a_letter_says_what_its_headers_say() {
    let letter = back(&record(r#"{"type":"order.created"}"#), &reason());
    assert_eq!(letter.source, Some(("orders".to_owned(), 2, 41)));
    assert_eq!((letter.group.as_str(), letter.reason.as_str()), ("g", "missing-field"));
    assert_eq!((letter.written_ms, letter.original_ms, letter.status), (9, Some(5), None));
    assert_eq!((letter.event_type().as_deref(), letter.place().as_str()), (Some("order.created"), "orders.dlq:2:7"));
    assert_eq!((letter.replays, letter.standing(1)), (0, Standing::Waiting));
}

#[test]
fn a_replay_that_fails_again_has_its_number_and_is_parked_at_last() {
    let mut record = record("{}");
    for number in 1..=3 {
        let letter = back(&record, &reason());
        assert_eq!(letter.standing(3), Standing::Waiting);
        let (replay, said) = letter.replay();
        assert_eq!((said, replay.value.as_deref()), (number, Some(&b"{}"[..])));
        let names: Vec<&str> = replay.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, replay::HEADERS, "those of the replay before are gone");
        record = replay;
    }
    assert_eq!(back(&record, &reason()).standing(3), Standing::Parked);
}

#[test]
fn what_cannot_be_replayed_is_told_apart() {
    let source = source();
    let (whole, reason, refused) = (record("{}"), reason(), Reason::ForwardRefused("too large".to_owned()));
    let made = DeadLetter {
        source: &source,
        offset: 1,
        record: &whole,
        reason: &reason,
        group: "g",
        tried: once(0),
        status: None,
    };
    let mut shortened = made.record();
    shortened.value = Some(b"{".to_vec());
    shortened
        .headers
        .iter_mut()
        .filter(|(name, _)| name == ORIGINAL_LENGTH_HEADER)
        .for_each(|(_, v)| *v = b"9".to_vec());
    for (letter, why) in [
        (read(&made.truncated()), "left out"),
        (read(&shortened), "it was changed"),
        (read(&record("{}")), "another program"),
        (back(&whole, &refused), "counted"),
    ] {
        let Standing::Never(said) = letter.standing(5) else { panic!("{letter:?}") };
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_filter_means_what_it_names() {
    let letter = back(&record(r#"{"metadata":{"eventType":"order.created"},"data":{}}"#), &reason());
    let spot = |partition, offset| Some(Spot { partition, offset });
    let text = |text: &str| Some(text.to_owned());
    let all = Filter::default;
    let cases = [
        (all(), true),
        (Filter { since_ms: Some(9), until_ms: Some(10), ..all() }, true),
        (Filter { since_ms: Some(10), ..all() }, false),
        (Filter { until_ms: Some(9), ..all() }, false),
        (Filter { event_type: text("order.created"), ..all() }, true),
        (Filter { event_type: text("order"), ..all() }, false),
        (Filter { error: text("missing-field"), ..all() }, true),
        (Filter { error: text("orderId"), ..all() }, true),
        (Filter { error: text("missing"), ..all() }, true),
        (Filter { error: text("bad-field"), ..all() }, false),
        (Filter { key: text("k"), ..all() }, true),
        (Filter { key: text(""), ..all() }, false),
        (Filter { group: text("g"), ..all() }, true),
        (Filter { group: text("h"), ..all() }, false),
        (Filter { origin: spot(2, 41), ..all() }, true),
        (Filter { origin: spot(2, 7), ..all() }, false),
        (Filter { letter: spot(2, 7), ..all() }, true),
        (Filter { letter: spot(1, 7), ..all() }, false),
        (Filter { is_parked: true, ..all() }, false),
    ];
    for (filter, expected) in cases {
        assert_eq!(filter.matches(&letter, 5), expected, "{filter:?}");
    }
}

#[test]
fn spots() {
    let spot = |partition, offset| Spot { partition, offset };
    for (text, expected) in [
        ("2:7", Some((None, spot(2, 7)))),
        ("orders.dlq:2:7", Some((Some("orders.dlq"), spot(2, 7)))),
        ("7", None),
        ("-1:7", None),
        ("2:-7", None),
        ("2:x", None),
    ] {
        assert_eq!(Spot::parse(text), expected, "{text}");
    }
}

#[test]
fn moments() {
    const NOW_MS: i64 = 1_000_000_000_000;
    for (text, expected) in [
        ("90s", Some(NOW_MS - 90_000)),
        ("30m", Some(NOW_MS - 1_800_000)),
        ("2h", Some(NOW_MS - 7_200_000)),
        ("7d", Some(NOW_MS - 604_800_000)),
        ("1700000000000", Some(1_700_000_000_000)),
        ("1970-01-01T00:00:01Z", Some(1_000)),
        ("", None),
        ("h", None),
        ("-2h", None),
        ("2w", None),
        ("é", None),
        ("yesterday", None),
        ("99999999999999999999", None),
    ] {
        assert_eq!(moment_ms(text, NOW_MS), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn any_record_comes_back_byte_for_byte(
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
        value in proptest::option::of(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[ \n]{0,2}\\{(\"[a-z]{0,3}\":[0-9]{1,3})?[ \n]{0,2}\\}[ \n]{0,2}".prop_map(String::into_bytes),
        ]),
        headers in proptest::collection::vec(("[a-z-]{0,6}", proptest::collection::vec(any::<u8>(), 0..9)), 0..4),
        replays in 0_u32..3,
    ) {
        let mut record = OutRecord { key, value, headers, timestamp_ms: Some(5) };
        let original = record.clone();
        for _ in 0..replays {
            record = back(&record, &reason()).replay().0;
        }
        let letter = back(&record, &reason());
        prop_assert!(letter.is_whole);
        prop_assert_eq!(letter.replays, replays);
        prop_assert_eq!((&letter.key, &letter.value), (&original.key, &original.value));
        prop_assert_eq!(&letter.headers, &original.headers);
        prop_assert_eq!(letter.original_ms, original.timestamp_ms);
    }
}
