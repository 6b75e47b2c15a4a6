//! Records as events, in tables: shapes told apart, versions, times, ids, and where fields are looked for.

mod envelopes;

use super::*;
use crate::catalog::{self, Source};

/// A catalogue of one topic `t` with these lines and events.
fn topic(lines: &str, events: &str) -> std::sync::Arc<Topic> {
    let text = format!("name = \"c\"\n[[topic]]\nname = \"t\"\n{lines}\n{events}");
    let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text }]).unwrap();
    std::sync::Arc::clone(catalog.topic("t").unwrap())
}

/// One event type with a field of its own.
fn kind(name: &str, version: &str) -> String {
    format!(
        "[[topic.event]]\ntype = \"{name}\"\nversion = \"{version}\"\nrules = [{{ count = \"k:{{a}}:{{userId?}}\" }}]\n"
    )
}

const RECORD_MS: i64 = 1_700_000_000_000;

/// What a record is: shape, type and version, id, own time, and the field `a`.
type Read = (&'static str, String, Option<String>, Option<i64>, String);

/// Reads a record; where it is a dead letter, the reason's code.
fn read(topic: &Topic, value: &str) -> Result<Read, &'static str> {
    read_with(topic, &[("event-id", "h")], value)
}

/// Reads a record with these headers.
fn read_with(topic: &Topic, headers: &[(&str, &str)], value: &str) -> Result<Read, &'static str> {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
    let record = RecordRef { offset: 0, timestamp_ms: RECORD_MS, key: None, value: None, headers: &headers };
    let (layout, mut scratch) = (Layout::new(topic), Scratch::default());
    let event = decode(topic, &layout, &mut scratch, value.as_bytes(), &record).map_err(|reason| reason.code())?;
    let kind = &topic.events[event.event_type];
    let slot = topic.fields.iter().position(|field| &**field == "a").unwrap();
    assert_eq!(event.time_ms, event.own_time_ms.unwrap_or(RECORD_MS));
    Ok((
        event.shape.name(),
        format!("{}@{}", kind.name, kind.version),
        event.id().name().map(str::to_owned),
        event.own_time_ms,
        event.field(slot as Slot).name().unwrap_or("-").to_owned(),
    ))
}

#[test]
fn shapes_are_told_apart_in_order() {
    let all = topic("", &kind("e", "1"));
    let only_bare = topic("shape = [\"bare\"]", &kind("e", "1"));
    let flat_first = topic("shape = [\"flat\", \"nested\"]", &kind("e", "1"));
    let two_types = topic("", &(kind("e", "1") + &kind("f", "1")));
    let both = r#"{"type":"e","a":"top","metadata":{},"data":{"a":"in"}}"#;
    for (topic, value, expected) in [
        (&all, both, Ok(("nested", "in"))),
        (&flat_first, both, Ok(("flat", "top"))),
        (&only_bare, both, Ok(("bare", "top"))),
        (&all, r#"{"type":"e","a":1}"#, Ok(("flat", "1"))),
        (&all, r#"{"type":5,"a":1}"#, Ok(("bare", "1"))),
        (&all, r#"{"a":1}"#, Ok(("bare", "1"))),
        (&two_types, r#"{"a":1}"#, Err("no-shape")),
        // Wide has its type at the top, also where it has metadata.
        (&all, r#"{"eventType":"e","data":{"a":5}}"#, Ok(("wide", "5"))),
        (&all, r#"{"eventType":"e","data":{"a":5},"metadata":{"sessionId":"s"}}"#, Ok(("wide", "5"))),
        (&all, r#"{"eventType":"x","data":{"a":5},"metadata":{"eventType":"e"}}"#, Ok(("nested", "5"))),
        (&flat_first, r#"{"eventType":"x","data":{"a":5},"metadata":{}}"#, Ok(("nested", "5"))),
        (&all, r#"{"eventType":"x","data":{"a":5}}"#, Err("unknown-type")),
        (&all, r#"{"eventType":5,"data":{},"a":6}"#, Ok(("bare", "6"))),
        (&all, r#"{"specversion":"1.0","type":"e","data":{"a":7},"metadata":{}}"#, Ok(("cloudevents", "7"))),
        (&all, r#"{"specversion":"1.0","type":"e"}"#, Ok(("cloudevents", "-"))),
        (&all, r#"{"specversion":"1.0","type":"e","data":"text"}"#, Ok(("cloudevents", "-"))),
        (&all, r#"{"specversion":"2.0","type":"e","a":8}"#, Ok(("flat", "8"))),
        (&flat_first, r#"{"specversion":"1.0","type":"e","a":9}"#, Ok(("flat", "9"))),
        (&flat_first, r#"{"a":1}"#, Err("no-shape")),
        (&all, r#"{"metadata":{},"data":[],"a":2}"#, Ok(("bare", "2"))),
        // A bare event may have a type of its own, and be wrapped by NestJS.
        (&only_bare, r#"{"type":"its own","a":3}"#, Ok(("bare", "3"))),
        (&only_bare, r#"{"pattern":"e","data":{"a":4}}"#, Ok(("bare", "4"))),
        (&only_bare, r#"{"pattern":{"cmd":"e"},"data":{"a":4}}"#, Ok(("bare", "4"))),
        (&only_bare, r#"{"pattern":"e","data":{"a":4},"a":5}"#, Ok(("bare", "5"))),
        (&only_bare, r#"{"pattern":"e","data":7}"#, Ok(("bare", "-"))),
        (&all, "[1]", Err("no-shape")),
        (&all, "5", Err("no-shape")),
        (&all, "5 5", Err("not-json")),
        (&all, "{\"a\":1", Err("not-json")),
        (&all, "{\"a\":1} x", Err("not-json")),
        (&all, r#"{"type":"e","ignored":{"deep":[1,}}"#, Err("not-json")),
        (&all, "", Err("not-json")),
    ] {
        let found = read(topic, value).map(|(shape, .., a)| (shape, a));
        assert_eq!(found, expected.map(|(shape, a)| (shape, a.to_owned())), "{value}");
    }
    let (layout, mut scratch) = (Layout::new(&all), Scratch::default());
    let record = RecordRef { offset: 0, timestamp_ms: 0, key: None, value: None, headers: &[] };
    let invalid = decode(&all, &layout, &mut scratch, b"{\"type\":\"e\",\"a\":\"\xff\"}", &record);
    assert_eq!(invalid.unwrap_err().code(), "not-json");
}

#[test]
fn types_and_versions_are_found() {
    let topic = topic("", &(kind("e", "1") + &kind("f", "1.0") + &kind("e", "2.0.0")));
    for (value, expected) in [
        (r#"{"type":"e","version":"1"}"#, Ok("e@1")),
        (r#"{"type":"e","version":"2"}"#, Ok("e@2")),
        (r#"{"type":"e","version":2}"#, Ok("e@2")),
        (r#"{"type":"e","version":"1.0.0"}"#, Ok("e@1")),
        (r#"{"type":"e","version":1.0}"#, Ok("e@1")),
        (r#"{"type":"e","version":"1.0.1"}"#, Ok("e@2")),
        (r#"{"type":"e"}"#, Ok("e@2")),
        (r#"{"type":"e","version":"9"}"#, Ok("e@2")),
        (r#"{"type":"f","version":"3"}"#, Ok("f@1")),
        (r#"{"type":"g"}"#, Err("unknown-type")),
        (r#"{"type":""}"#, Err("unknown-type")),
        (r#"{"metadata":{"eventType":"f"},"data":{}}"#, Ok("f@1")),
        (r#"{"metadata":{},"data":{"type":"f"}}"#, Err("unknown-type")),
        (r#"{"metadata":{"eventType":5},"data":{}}"#, Err("unknown-type")),
    ] {
        assert_eq!(read(&topic, value).map(|found| found.1), expected.map(str::to_owned), "{value}");
    }
}

#[test]
fn ids_come_from_the_event_and_else_from_the_header() {
    let topic = topic("", &kind("e", "1"));
    for (value, expected) in [
        (r#"{"type":"e","eventId":"x","id":"y"}"#, Some("x")),
        (r#"{"type":"e","eventId":null,"id":7}"#, Some("7")),
        (r#"{"type":"e"}"#, Some("h")),
        // It has an id, though one that names nothing: it is never taken for a duplicate.
        (r#"{"type":"e","id":""}"#, None),
        (r#"{"type":"e","id":1.5}"#, None),
        (r#"{"id":"y","eventId":"x"}"#, Some("y")),
        (r#"{"metadata":{"eventId":"m"},"data":{"id":"d"}}"#, Some("m")),
        (r#"{"metadata":{"id":"m"},"data":{"eventId":"d"}}"#, Some("h")),
    ] {
        assert_eq!(read(&topic, value).unwrap().2.as_deref(), expected, "{value}");
    }
}

#[test]
fn times_are_read_or_refused() {
    let topic = topic("", &kind("e", "1"));
    for (time, expected) in [
        ("1700000000000", Ok(Some(1_700_000_000_000))),
        ("-1", Ok(Some(-1))),
        ("\"1970-01-01T00:00:01.5+00:00\"", Ok(Some(1_500))),
        ("null", Ok(None)),
        ("253402300799999", Ok(Some(253_402_300_799_999))),
        ("253402300800000", Err("bad-time")),
        ("-62135596800001", Err("bad-time")),
        ("99999999999999999999999", Err("bad-time")),
        ("1.5", Err("bad-time")),
        ("1e3", Err("bad-time")),
        ("\"soon\"", Err("bad-time")),
        ("\"\"", Err("bad-time")),
        ("true", Err("bad-time")),
        ("{}", Err("bad-time")),
    ] {
        for value in [
            format!("{{\"type\":\"e\",\"timestamp\":{time}}}"),
            format!("{{\"metadata\":{{\"timestamp\":{time}}},\"data\":{{\"timestamp\":5}}}}"),
            format!("{{\"pattern\":\"e\",\"data\":{{\"timestamp\":{time}}}}}"),
        ] {
            assert_eq!(read(&topic, &value).map(|found| found.3), expected, "{value}");
        }
    }
}

#[test]
fn fields_are_looked_for_in_the_data_then_in_the_envelope() {
    let topic = topic("", &kind("e", "1"));
    for (value, expected) in [
        (r#"{"metadata":{"a":"outer"},"data":{"a":"inner"}}"#, "inner"),
        (r#"{"metadata":{"a":"outer"},"data":{"a":null}}"#, "outer"),
        (r#"{"metadata":{"a":"outer"},"data":{}}"#, "outer"),
        (r#"{"metadata":{"a":"outer"},"data":{"a":""}}"#, "-"),
        // Beside both it is neither.
        (r#"{"metadata":{},"data":{},"a":"beside"}"#, "-"),
        // Of duplicate names the last counts, also where it is null.
        (r#"{"type":"e","a":"first","a":"last"}"#, "last"),
        (r#"{"type":"e","a":"first","a":null}"#, "-"),
        (r#"{"metadata":{},"data":{"a":1},"data":{"a":2}}"#, "2"),
        // A name may be written with escapes.
        (r#"{"type":"e","\u0061":"escaped"}"#, "escaped"),
        (r#"{"type":"e","a":"\u00e9\n"}"#, "é\n"),
    ] {
        assert_eq!(read(&topic, value).unwrap().4, expected, "{value}");
    }
}
