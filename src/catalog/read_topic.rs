//! Reads a catalogue file: topics and event types. Rules are read by `read_rule`.
//!
//! Longer than most files, since each line of a topic is read and judged by a few lines here.

use std::sync::Arc;

use toml::de::DeTable;

use super::{
    draft::{self, DraftEvent, DraftFile, DraftTopic},
    finding::{Finding, Lines},
    plan::{Compression, DedupeWindow, EventType, IdentityPart, Priority, Shape, Slot, Topic},
    read_rule,
    reader::{At, Reader, Table},
    retry, schema, template,
};
use crate::model::{Fingerprint, topic_hash};

/// Most partitions of a topic.
const MAX_PARTITIONS: i64 = 10_000;
/// Most offsets that duplicates are looked for in.
const MAX_DEDUPE_OFFSETS: i64 = 16_777_216;
/// Longest topic name that Kafka takes.
const MAX_TOPIC_NAME: usize = 249;
/// Most rules of an event type.
const MAX_RULES: usize = 1_000;

const FILE_FIELDS: &[&str] = &["name", "topic"];
const TOPIC_FIELDS: &[&str] = &[
    "name",
    "key",
    "shape",
    "partitions",
    "replication",
    "retention",
    "compression",
    "cleanup",
    "identity",
    "dedupe",
    "track",
    "max_retries",
    "retry",
    "priority",
    "sensitive",
    "event",
];
const EVENT_FIELDS: &[&str] = &["type", "version", "required", "schema", "rules"];

/// Reads one file; whatever is wrong goes into `findings`, and the rest is still read.
pub(super) fn file(file: &str, text: &str, findings: &mut Vec<Finding>) -> DraftFile {
    let mut reader = Reader { lines: Lines::new(file, text), findings: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.report(at, format!("not TOML: {}", error.message()), "see https://toml.io for the format");
    }
    let root = Table { values: document.get_ref(), at: 0, what: "a catalogue" };
    reader.only(root, FILE_FIELDS);
    let name = reader.required_text(root, "name", "\"shop\" at the top").map_or("", |name| name.value).to_owned();
    let mut topics = Vec::new();
    for table in reader.tables(root, "topic", "a topic", "tables, each begun with [[topic]]") {
        topics.extend(topic(&mut reader, table, &name));
    }
    if root.values.get("topic").is_none() {
        reader.report(0, "the catalogue has no topic", "add [[topic]] with a name and its [[topic.event]]");
    }
    findings.append(&mut reader.findings);
    DraftFile { name, topics }
}

/// The name fits Kafka.
fn is_topic_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=MAX_TOPIC_NAME).contains(&name.len()) && name.chars().all(fits) && !matches!(name, "." | "..")
}

/// Reports a topic name that Kafka would refuse, or whose dead letter topic it would.
pub(super) fn check_topic_name(reader: &mut Reader<'_>, name: At<&str>) {
    const SUFFIX: &str = ".dlq";
    if !is_topic_name(name.value) || name.value.len() + SUFFIX.len() > MAX_TOPIC_NAME {
        let message = format!("`{}` is no topic name", name.value);
        let help = format!("1 to {} of the characters a-z A-Z 0-9 . _ -", MAX_TOPIC_NAME - SUFFIX.len());
        reader.report(name.at, message, help);
    } else if name.value.ends_with(SUFFIX) {
        let message = format!("`{}` is a dead letter topic", name.value);
        reader.report(name.at, message, "topics that end in .dlq only take dead letters; name another topic");
    }
}

fn topic<'t>(reader: &mut Reader<'t>, table: Table<'t>, catalog: &str) -> Option<DraftTopic> {
    reader.only(table, TOPIC_FIELDS);
    not_yet(reader, table);
    let name = reader.required_text(table, "name", "\"video.views\"");
    if let Some(name) = name {
        check_topic_name(reader, name);
    }
    let mut fields = Vec::new();
    let key = slots(reader, table, "key", &mut fields);
    let identity = identity(reader, table, &mut fields);
    let sensitive = slots(reader, table, "sensitive", &mut fields);
    let (events, drafts) = events(reader, table, &mut fields);
    let names_shapes = table.values.get("shape").is_some();
    let shapes = shapes(reader, table, name.map_or("", |name| name.value), &events);
    let name = name?;
    let topic = Topic {
        name: name.value.into(),
        catalog: catalog.to_owned(),
        key,
        publish_shape: if names_shapes { shapes.first().copied().unwrap_or(Shape::Nested) } else { Shape::Nested },
        shapes,
        partitions: reader.integer(table, "partitions", 1..=MAX_PARTITIONS, 6) as i32,
        replication: replication(reader, table),
        retention_ms: reader.duration_ms(table, "retention", "7d"),
        compression: reader
            .text(table, "compression")
            .and_then(|text| reader.choose(text, "compression", COMPRESSIONS)),
        identity,
        dedupe: dedupe(reader, table),
        track: reader.flag(table, "track"),
        retry: retry::read(reader, table),
        priority: reader.choice(table, "priority", PRIORITIES, Priority::Normal),
        sensitive,
        fields,
        events,
        fingerprint: Fingerprint::default(),
        hash: topic_hash(name.value),
        text: Arc::from(""),
    };
    Some(DraftTopic { place: reader.place(name.at), topic, events: drafts })
}

/// What the format knows and this version does not do.
fn not_yet<'t>(reader: &mut Reader<'t>, table: Table<'t>) {
    let cleanup = reader.text(table, "cleanup");
    match cleanup.map(|text| text.value) {
        None | Some("delete") => {}
        Some("compact" | "compact,delete" | "delete,compact") => {
            let help = "write \"delete\": from a compacted topic records vanish, so it cannot be counted exactly";
            reader.not_yet(cleanup.map_or(table.at, |text| text.at), "a compacted topic", help);
        }
        Some(_) => reader.choice(table, "cleanup", &[("delete", ())], ()),
    }
}

const COMPRESSIONS: &[(&str, Compression)] = &[
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

const PRIORITIES: &[(&str, Priority)] =
    &[("critical", Priority::Critical), ("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];

/// The slots of a list of field names.
fn slots<'t>(reader: &mut Reader<'t>, table: Table<'t>, list: &str, fields: &mut Vec<Box<str>>) -> Vec<Slot> {
    let names = reader.texts(table, list).unwrap_or_default();
    names.into_iter().filter_map(|name| slot(reader, name, fields)).collect()
}

/// The slot of one field.
pub(super) fn slot(reader: &mut Reader<'_>, name: At<&str>, fields: &mut Vec<Box<str>>) -> Option<Slot> {
    if let Err((message, help)) = template::field_name(name.value) {
        reader.report(name.at, message, help);
        return None;
    }
    let slot = draft::intern(fields, name.value);
    if slot.is_none() {
        let message = format!("the topic mentions more than {} fields", draft::MAX_FIELDS);
        reader.report(name.at, message, "split it into several topics");
    }
    slot
}

fn identity<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Vec<Box<str>>) -> Vec<IdentityPart> {
    let Some(names) = reader.texts(table, "identity") else { return vec![IdentityPart::Id] };
    let part = |name: At<&str>| match name.value {
        "id" => Some(IdentityPart::Id),
        "type" => Some(IdentityPart::Type),
        "timestamp" => Some(IdentityPart::Timestamp),
        _ => slot(reader, name, fields).map(IdentityPart::Field),
    };
    names.into_iter().filter_map(part).collect()
}

fn dedupe<'t>(reader: &mut Reader<'t>, table: Table<'t>) -> DedupeWindow {
    const WINDOW: &str = "1h";
    const OFFSETS: i64 = 262_144;
    let wanted = "a table, as { window = \"1h\", offsets = 262144 }";
    let Some(given) = reader.table(table, "dedupe", "a dedupe window", wanted) else {
        return DedupeWindow { window_ms: super::duration::parse_ms(WINDOW).unwrap_or_default(), offsets: OFFSETS };
    };
    reader.only(given, &["window", "offsets"]);
    DedupeWindow {
        window_ms: reader.duration_ms(given, "window", WINDOW),
        offsets: reader.integer(given, "offsets", 0..=MAX_DEDUPE_OFFSETS, OFFSETS),
    }
}

fn replication<'t>(reader: &mut Reader<'t>, table: Table<'t>) -> Option<i16> {
    let found = reader.value(table, "replication")?;
    if found.value.as_str().is_some() {
        reader.choice(table, "replication", &[("broker", ())], ());
        return None;
    }
    Some(reader.integer(table, "replication", 1..=i64::from(i16::MAX), 1) as i16)
}

/// The shapes of a topic. Where it names none: all that can be told apart here.
fn shapes<'t>(reader: &mut Reader<'t>, table: Table<'t>, topic: &str, events: &[EventType]) -> Vec<Shape> {
    let names_one_type = events.iter().all(|event| events.first().is_some_and(|first| first.name == event.name))
        || events.iter().any(|event| &*event.name == topic);
    let Some(names) = reader.texts(table, "shape") else {
        return Shape::ALL.into_iter().filter(|shape| *shape != Shape::Bare || names_one_type).collect();
    };
    if names.is_empty() {
        reader.report(table.at, "`shape` is an empty list", "name a shape, or leave `shape` out to take all");
    }
    let mut shapes = Vec::new();
    for name in names {
        let known = Shape::ALL.map(|shape| (shape.name(), shape));
        let Some(shape) = reader.choose(name, "shape", &known) else { continue };
        if shape == Shape::Bare && !names_one_type {
            let help = "give the topic one event type, or the name of one of its types, or take another shape";
            reader.report(name.at, format!("a bare event on `{topic}` would not say which type it is"), help);
        }
        shapes.push(shape);
    }
    shapes
}

fn events<'t>(
    reader: &mut Reader<'t>,
    table: Table<'t>,
    fields: &mut Vec<Box<str>>,
) -> (Vec<EventType>, Vec<DraftEvent>) {
    let tables = reader.tables(table, "event", "an event type", "tables, each begun with [[topic.event]]");
    if table.values.get("event").is_none() {
        let help = "add [[topic.event]] with a type; topics that rules only forward to need not be listed";
        reader.report(table.at, "the topic has no event type", help);
    }
    let mut read: Vec<(EventType, DraftEvent)> =
        tables.into_iter().filter_map(|table| event(reader, table, fields)).collect();
    // Of several versions of a type the newest stands last, whatever the file's order.
    let first_of: Vec<Box<str>> = read.iter().map(|(event, _)| event.name.clone()).collect();
    read.sort_by_key(|(event, _)| {
        let numbers: Vec<u64> = event.version.split('.').filter_map(|number| number.parse().ok()).collect();
        (first_of.iter().position(|name| *name == event.name), numbers)
    });
    read.into_iter().unzip()
}

fn event<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Vec<Box<str>>) -> Option<(EventType, DraftEvent)> {
    reader.only(table, EVENT_FIELDS);
    let name = reader.required_text(table, "type", "\"video.view\"");
    let version = version(reader, table);
    let required = slots(reader, table, "required", fields);
    let schema = reader.text(table, "schema").and_then(|name| schema::read(reader, name));
    let wanted = "a list of tables, as [{ count = \"video:{videoId}:views\" }]";
    let tables = reader.tables(table, "rules", "a rule", wanted);
    if tables.len() > MAX_RULES {
        reader.report(table.at, format!("the event type has more than {MAX_RULES} rules"), "split it");
    }
    let mut rules = Vec::new();
    let mut drafts = Vec::new();
    for (effect, table) in tables.into_iter().take(MAX_RULES).enumerate() {
        if let Some((rule, draft)) = read_rule::rule(reader, table, effect as u16, fields) {
            rules.push(rule);
            drafts.push(draft);
        }
    }
    let name = name?;
    if name.value.len() > MAX_TOPIC_NAME || name.value.chars().any(char::is_control) {
        let help = format!("at most {MAX_TOPIC_NAME} bytes and no control characters");
        reader.report(name.at, format!("{:?} is no event type", name.value), help);
    }
    let event = EventType { name: name.value.into(), version, required, schema, rules };
    Some((event, DraftEvent { place: reader.place(name.at), rules: drafts }))
}

fn version<'t>(reader: &mut Reader<'t>, table: Table<'t>) -> Box<str> {
    let Some(text) = reader.text(table, "version") else { return "1".into() };
    normal_version(text.value).unwrap_or_else(|| {
        let message = format!("{:?} is no version", text.value);
        reader.report(text.at, message, "write numbers with points, as \"1.0\"; the default is \"1.0\"");
        "1".into()
    })
}

/// A version with its trailing zeros cut: `1`, `1.0` and `1.0.0` are all `1`; `None` where it is none.
fn normal_version(text: &str) -> Option<Box<str>> {
    let numbers: Option<Vec<u64>> = text
        .split('.')
        .map(|number| number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit())))
        .collect();
    let mut numbers = numbers?;
    while numbers.len() > 1 && numbers.last() == Some(&0) {
        numbers.pop();
    }
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    Some(words.join(".").into())
}
