//! What an outline says of a record against what reading it name by name says.

use std::sync::Arc;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    catalog::{
        self, Source,
        plan::{Slot, Topic},
        schema::Schema,
    },
    core::{
        event::{Event, Layout, Scratch, decode},
        schema,
    },
    log::RecordRef,
};

fn topic_with_schemas(lines: &str) -> Arc<Topic> {
    let mut topic = Topic::clone(&topic(lines));
    for event in &mut topic.events {
        event.schema = Some(Schema::parse("{}").unwrap());
    }
    Arc::new(topic)
}

fn topic(lines: &str) -> Arc<Topic> {
    let kind = |name: &str, version: &str| {
        let rules = "{ count = \"k:{a}:{b?}\" }, { last = \"l:{userId}\", of = { field = \"n\" } }, \
                     { count = \"v:{version?}:{eventType?}\" }";
        format!("[[topic.event]]\ntype = \"{name}\"\nversion = \"{version}\"\nrequired = [\"a\"]\nrules = [{rules}]\n")
    };
    let types = kind("e", "1") + &kind("f", "1") + &kind("e", "2");
    let text = format!("name = \"c\"\n[[topic]]\nname = \"e\"\n{lines}\n{types}");
    let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text }]).unwrap();
    Arc::clone(catalog.topic("e").unwrap())
}

/// All that can be asked of an event, or why there is none.
fn told(topic: &Topic, layout: &Layout, scratch: &mut Scratch, text: &str) -> String {
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"event-id", Some(b"h"))];
    let record = RecordRef { offset: 0, timestamp_ms: 7, key: None, value: None, headers: &headers };
    match decode(topic, layout, scratch, text.as_bytes(), &record) {
        Ok(event) => {
            let Event { event_type, shape, own_time_ms, time_ms, priority, .. } = &event;
            let fields: Vec<_> = (0..topic.fields.len() as Slot)
                .map(|slot| (event.field(slot), event.is_missing(slot), event.plain_name(slot)))
                .collect();
            let (id, data) = (event.id(), event.data_text());
            assert!(data == text || data == schema::member(text, "data"), "{data} of {text}");
            format!("{event_type} {shape:?} {id:?} {own_time_ms:?} {time_ms} {priority:?} {fields:?} {data}")
        }
        Err(reason) => reason.to_string(),
    }
}

/// Each record after the others as alone.
fn check(topic: &Topic, texts: &[String]) -> Result<usize, TestCaseError> {
    let layout = Layout::new(topic);
    let mut scratch = Scratch::default();
    for text in texts {
        let alone = told(topic, &layout, &mut Scratch::default(), text);
        prop_assert_eq!(told(topic, &layout, &mut scratch, text), alone, "{} of {:#?}", text, texts);
    }
    Ok(scratch.outlines())
}

fn value() -> impl Strategy<Value = String> {
    let odd = [
        "null",
        "true",
        "-1",
        "0",
        "01",
        "1.5",
        "1e3",
        "{}",
        "{\"a\":1}",
        "[1,{}]",
        "[1,",
        "\"\\u0061\"",
        "\"\\n",
        "",
        "1 2",
    ];
    prop_oneof![
        6 => "[ a-zé:%0-9]{0,20}".prop_map(|text| format!("\"{text}\"")),
        4 => "[1-9][0-9]{0,14}",
        1 => select(odd.to_vec()).prop_map(str::to_owned),
    ]
}

/// Records of a few forms, with a value of its own in each place, some of them spoilt.
fn text() -> impl Strategy<Value = String> {
    let forms = [
        r#"{"type":"e","a":$,"b":$,"timestamp":$}"#,
        r#"{"type":"f","a":$,"userId":$,"n":$,"priority":"high"}"#,
        r#"{"type":"e","version":"1","a":$,"n":$}"#,
        r#" { "type" : "e" , "a" : $ , "x" : $ } "#,
        r#"{"type":$,"a":$,"id":$}"#,
        r#"{"a":$,"a":$,"type":"e"}"#,
        r#"{"\u0061":$,"type":"e"}"#,
        r#"{"metadata":{"eventId":$,"eventType":"e","timestamp":$},"data":{"a":$,"b":$}}"#,
        r#"{"metadata":{"eventType":"f","userId":$,"version":$},"data":{"a":$}}"#,
        r#"{"metadata":{"eventType":"e"},"data":{"a":$},"data":{"b":$}}"#,
        r#"{"metadata":{"eventType":"e"},"data":$}"#,
        r#"{"eventId":$,"eventType":"e","b":$,"data":{"a":$},"metadata":{"userId":$}}"#,
        r#"{"eventType":"f","data":{"a":$},"metadata":$,"metadata":{"b":$}}"#,
        r#"{"eventType":"f","data":{"a":$},"metadata":{"b":$},"metadata":$}"#,
        r#"{"specversion":"1.0","type":"e","id":$,"time":$,"userid":$,"data":{"a":$}}"#,
        r#"{"specversion":$,"type":"e","data":$,"a":$}"#,
        r#"{"specversion":"1.0","type":"e","data":{"a":$},"data":5}"#,
        r#"{"eventType":"f","data":{"a":$},"metadata":{"b":$},"metadata":5}"#,
        r#"{"pattern":"e","data":{"a":$,"id":$}}"#,
        r#"{"pattern":$,"data":{"a":$},"n":$}"#,
        r#"{"a":$,"list":[$,$],"n":$}"#,
        r#"{"type":"e","data":{"a":$}}"#,
        "$",
    ];
    let values = proptest::collection::vec(value(), 4);
    let spoilt = prop_oneof![9 => Just(None), 1 => (any::<prop::sample::Index>(), "[\"\\\\,:}{1é ]").prop_map(Some)];
    (select(forms.to_vec()), values, spoilt).prop_map(|(form, values, spoilt)| {
        let mut values = values.into_iter();
        let text: String = form
            .split_inclusive('$')
            .map(|piece| match piece.strip_suffix('$') {
                Some(before) => format!("{before}{}", values.next().unwrap_or_default()),
                None => piece.to_owned(),
            })
            .collect();
        match spoilt {
            Some((at, with)) if !text.is_empty() => {
                let mut characters: Vec<char> = text.chars().collect();
                let at = at.index(characters.len());
                characters[at] = with.chars().next().unwrap_or('"');
                characters.into_iter().collect()
            }
            _ => text,
        }
    })
}

proptest! {
    #[test]
    fn a_record_after_others_is_what_it_is_alone(
        texts in proptest::collection::vec(text(), 1..40),
        lines in select(vec![
            "",
            "shape = [\"flat\"]",
            "shape = [\"bare\"]",
            "shape = [\"bare\", \"nested\"]",
            "shape = [\"wide\", \"cloudevents\"]",
        ]),
    ) {
        check(&topic(lines), &texts)?;
        check(&topic_with_schemas(lines), &texts)?;
    }
}

#[test]
fn records_of_one_form_have_one_outline() {
    let all = topic("");
    for form in [
        r#"{"type":"e","a":"$","b":$,"timestamp":170000000000$}"#,
        r#"{"metadata":{"eventId":"$","eventType":"e"},"data":{"a":"$","x":[$]}}"#,
    ] {
        let texts: Vec<String> = (1..100).map(|n| form.replace('$', &n.to_string())).collect();
        assert_eq!(check(&all, &texts).unwrap(), 1, "{form}");
    }
    // Where no record is like another, few are learnt.
    let texts: Vec<String> = (0..1000).map(|n| format!("{{\"type\":\"e\",\"a\":1,\"x{n}\":1}}")).collect();
    assert!(check(&all, &texts).unwrap() <= MAX_OUTLINES);
}

#[test]
fn fields_with_the_names_of_objects_have_no_outline() {
    let text = "name = \"c\"\n[[topic]]\nname = \"e\"\n[[topic.event]]\ntype = \"e\"\nrequired = [\"data\"]\nrules = [{ count = \"k\" }]\n";
    let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text: text.to_owned() }]).unwrap();
    let texts: Vec<String> = (0..9).map(|n| format!("{{\"type\":\"e\",\"data\":{{\"a\":{n}}}}}")).collect();
    assert_eq!(check(catalog.topic("e").unwrap(), &texts).unwrap(), 0);
}
