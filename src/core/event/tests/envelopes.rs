//! What stands around the data, in each shape: in the value, or in the record's headers.

use super::*;

#[test]
fn an_envelope_says_who_when_and_how_urgent_in_each_shape() {
    let all = topic("", &(kind("e", "1") + &kind("e", "2")));
    let at = Some(1_500);
    for (headers, value, expected) in [
        (
            &[][..],
            r#"{"eventId":"i","eventType":"e","version":"1","timestamp":1500,"data":{},"metadata":{"a":"deep","eventId":"no"}}"#,
            ("wide", "e@1", Some("i"), at, "deep"),
        ),
        (
            &[],
            r#"{"eventType":"e","a":"top","data":{"a":null},"metadata":{"a":"deep"}}"#,
            ("wide", "e@2", None, None, "top"),
        ),
        (
            &[],
            r#"{"specversion":"1.0","id":"i","source":"/s","type":"e","time":"1970-01-01T00:00:01.5Z","version":"1","a":"x","data":{}}"#,
            ("cloudevents", "e@1", Some("i"), at, "x"),
        ),
        // The headers say what the value is.
        (
            &[("content-type", "application/CloudEvents+json; charset=UTF-8")],
            r#"{"id":"i","type":"e","time":null,"data":{"a":1}}"#,
            ("cloudevents", "e@2", Some("i"), None, "1"),
        ),
        (
            &[
                ("ce_specversion", "1.0"),
                ("ce_type", "e"),
                ("ce_id", "i"),
                ("ce_time", "1970-01-01T00:00:01.5Z"),
                ("ce_a", "h"),
            ],
            r#"{"type":"its own","id":"own","timestamp":5}"#,
            ("cloudevents", "e@2", Some("i"), at, "h"),
        ),
        (
            &[("ce_type", "e"), ("ce_version", "1.0"), ("ce_a", "h")],
            r#"{"a":"in"}"#,
            ("cloudevents", "e@1", None, None, "in"),
        ),
        // Such headers beside a topic that takes none mean nothing.
        (&[("content-type", "application/json")], r#"{"type":"e","a":2}"#, ("flat", "e@2", None, None, "2")),
    ] {
        let (shape, kind, id, own_time_ms, a) = expected;
        let expected = (shape, kind.to_owned(), id.map(str::to_owned), own_time_ms, a.to_owned());
        assert_eq!(read_with(&all, headers, value), Ok(expected), "{value}");
    }
    for (headers, value, reason) in [
        (&[("ce_type", "x")][..], "{}", "unknown-type"),
        (&[("ce_type", "e")], "[]", "no-shape"),
        (&[("ce_type", "e")], "{", "not-json"),
        (&[("ce_type", "e"), ("ce_time", "soon")], "{}", "bad-time"),
        (&[("content-type", "application/cloudevents+json")], r#"{"type":"e","time":true}"#, "bad-time"),
    ] {
        assert_eq!(read_with(&all, headers, value), Err(reason), "{headers:?} {value}");
    }
    let flat = topic("shape = [\"flat\"]", &kind("e", "1"));
    let plain = read_with(&flat, &[("ce_type", "x")], r#"{"type":"e","a":3}"#);
    assert_eq!(plain.map(|found| (found.0, found.4)), Ok(("flat", "3".to_owned())));
}

#[test]
fn one_text_is_another_event_by_the_headers_beside_it() {
    let all = topic("", &(kind("e", "1") + &kind("f", "1")));
    let (layout, mut scratch) = (Layout::new(&all), Scratch::default());
    let text = r#"{"type":"e","a":1}"#;
    let binary = |kind: &'static str| vec![(&b"ce_type"[..], Some(kind.as_bytes()))];
    let cases = [(vec![], ("flat", "e")), (binary("f"), ("cloudevents", "f")), (binary("e"), ("cloudevents", "e"))];
    for (headers, expected) in [&cases, &cases, &cases].into_iter().flatten() {
        let record = RecordRef { offset: 0, timestamp_ms: 0, key: None, value: None, headers };
        let event = decode(&all, &layout, &mut scratch, text.as_bytes(), &record).unwrap();
        assert_eq!((event.shape.name(), &*all.events[event.event_type].name), *expected, "{headers:?}");
    }
    assert_eq!(scratch.outlines(), 2);
}

#[test]
fn attributes_have_lower_case_names() {
    let all = topic("", "[[topic.event]]\ntype = \"e\"\nrules = [{ count = \"k:{userId}:{eventId}:{timestamp}\" }]\n");
    let (layout, mut scratch) = (Layout::new(&all), Scratch::default());
    const TIME: &str = "1970-01-01T00:00:00Z";
    let in_value = format!(
        r#"{{"specversion":"1.0","type":"e","id":"i","time":"{TIME}","userid":"u","userId":"no","data":{{}}}}"#
    );
    for (headers, value) in
        [(&[][..], &*in_value), (&[("ce_type", "e"), ("ce_id", "i"), ("ce_time", TIME), ("ce_userid", "u")], "{}")]
    {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        let record = RecordRef { offset: 0, timestamp_ms: 0, key: None, value: None, headers: &headers };
        let event = decode(&all, &layout, &mut scratch, value.as_bytes(), &record).unwrap();
        let field = |name: &str| {
            let slot = all.fields.iter().position(|field| &**field == name).unwrap();
            event.field(slot as Slot).name().map(str::to_owned)
        };
        let found = ["userId", "eventId", "timestamp"].map(field);
        assert_eq!(found, ["u", "i", TIME].map(|text| Some(text.to_owned())), "{value}");
    }
}

#[test]
fn trace_context_comes_from_headers_or_attributes() {
    let all = topic("", &kind("e", "1"));
    let (layout, mut scratch) = (Layout::new(&all), Scratch::default());
    let cloud_event = r#"{"specversion":"1.0","type":"e","traceparent":"v","tracestate":"s","data":{"a":1}}"#;
    for (headers, value, expected) in [
        (&[][..], r#"{"type":"e","traceparent":"v"}"#, [None, None]),
        (&[("traceparent", "h"), ("tracestate", "t")], r#"{"type":"e"}"#, [Some("h"), Some("t")]),
        (&[], cloud_event, [Some("v"), Some("s")]),
        (&[("traceparent", "h")], cloud_event, [Some("h"), Some("s")]),
        (&[("ce_type", "e"), ("ce_traceparent", "c")], "{}", [Some("c"), None]),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        let record = RecordRef { offset: 0, timestamp_ms: 0, key: None, value: None, headers: &headers };
        let event = decode(&all, &layout, &mut scratch, value.as_bytes(), &record).unwrap();
        let found = event.trace().map(|(_, value)| value.map(Cow::into_owned));
        assert_eq!(found, expected.map(|value| value.map(str::to_owned)), "{headers:?} {value}");
    }
}
