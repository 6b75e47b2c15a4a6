//! Events of types that have schemas: each counted, or a dead letter that says where it does not fit.

use std::sync::Arc;

use streamgauge::{
    catalog::{self, plan::Catalog},
    core::{
        batch::Purpose,
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        worker::Worker,
    },
    model::TopicPartition,
};

use crate::support::{blocks::block, oracle::Record};

const CATALOG: &str = r#"
name = "c"
[[topic]]
name = "orders"
[[topic.event]]
type = "order"
version = "1.0"
schema = "order.1.json"
rules = [{ count = "orders:{shop}" }]
[[topic.event]]
type = "order"
version = "2.0"
schema = "order.2.json"
rules = [{ count = "orders:{shop}" }]
[[topic.event]]
type = "note"
rules = [{ count = "notes:{shop}" }]
"#;

fn catalogue() -> Catalog {
    let folder = tempfile::tempdir().unwrap();
    let one = r#"{"type": "object", "properties": {"total": {"type": "integer", "minimum": 0}}}"#;
    let two = r#"{"type": "object", "required": ["total"], "properties": {"total": {"type": "string"}}}"#;
    for (name, text) in [("c.toml", CATALOG), ("order.1.json", one), ("order.2.json", two)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    catalog::compile(&catalog::read_path(&folder.path().join("c.toml")).unwrap()).unwrap()
}

/// What becomes of one record: how often it counts, or the reason with its text.
fn outcome(catalog: &Catalog, value: &str) -> Result<u64, (&'static str, String)> {
    let record = Record { offset: 0, timestamp_ms: 1, key: None, value: Some(value.into()), headers: Vec::new() };
    let topic = Arc::clone(catalog.topic("orders").unwrap());
    let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
    let mut worker = Worker::new(topic, TopicPartition::new("orders", 0), "g".into(), secret, 0, 10);
    let batches = worker.step(&block(&[record], 1, 1), &mut Decoded::default()).unwrap();
    for outgoing in batches.iter().flat_map(|batch| &batch.outgoing) {
        if let Purpose::DeadLetter(reason) = &outgoing.purpose {
            return Err((reason.code(), reason.to_string()));
        }
    }
    Ok(batches.iter().map(|batch| batch.tally.events).sum())
}

#[test]
fn the_version_of_an_event_chooses_its_schema_in_every_shape() {
    let catalog = catalogue();
    let nested = |version: &str, data: &str| {
        format!(r#"{{"metadata":{{"eventType":"order","version":{version}}},"data":{data}}}"#)
    };
    let at = |path: &str, expected: &str| {
        Err(("schema-mismatch", format!("the data does not fit its schema{path}: {expected}")))
    };
    for (value, expected) in [
        (nested("\"1.0\"", r#"{"shop":"a","total":3}"#), Ok(1)),
        (nested("1", r#"{"shop":"a","total":-3}"#), at(" at /total", "value is less than the minimum of 0")),
        (nested("\"1.9\"", r#"{"shop":"a","total":"3"}"#), at(" at /total", "value is not of type \"integer\"")),
        (nested("\"2\"", r#"{"shop":"a","total":"3"}"#), Ok(1)),
        (nested("\"3\"", r#"{"shop":"a"}"#), at("", "\"total\" is a required property")),
        (nested("null", r#"{"shop":"a","total":3}"#), at(" at /total", "value is not of type \"string\"")),
        // Of two members `data` the last counts, here as everywhere.
        (r#"{"metadata":{"eventType":"order","version":1},"data":{"total":"x"},"data":{"shop":"a"}}"#.into(), Ok(1)),
        (r#"{"type":"order","version":"1.0.0","shop":"a","total":3}"#.into(), Ok(1)),
        (r#"{"type":"order","shop":"a","total":3}"#.into(), at(" at /total", "value is not of type \"string\"")),
        // A number that no type holds is none that a schema could judge.
        (nested("1", r#"{"shop":"a","other":1e999}"#), at("", "number out of range at line 1 column 25")),
        // What fits its schema must still have what rules need.
        (nested("1", r#"{"total":3}"#), Err(("missing-field", "field \"shop\" is missing".to_owned()))),
        (r#"{"type":"note","shop":"a","other":1e999}"#.into(), Ok(1)),
    ] {
        assert_eq!(outcome(&catalog, &value), expected, "{value}");
    }
}

#[test]
fn records_that_are_like_one_before_are_checked_each() {
    let topic = Arc::clone(catalogue().topic("orders").unwrap());
    let record = |offset: i64| {
        let total = if offset % 3 == 0 { -offset - 1 } else { offset };
        let value =
            format!(r#"{{"metadata":{{"eventType":"order","version":"1"}},"data":{{"shop":"a","total":{total}}}}}"#);
        Record { offset, timestamp_ms: 1, key: None, value: Some(value.into()), headers: Vec::new() }
    };
    let records: Vec<Record> = (0..90).map(record).collect();
    let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
    let mut worker = Worker::new(topic, TopicPartition::new("orders", 0), "g".into(), secret, 0, 1_000);
    let batches = worker.step(&block(&records, 90, 90), &mut Decoded::default()).unwrap();
    let tally =
        |of: fn(&streamgauge::core::batch::Tally) -> u64| batches.iter().map(|batch| of(&batch.tally)).sum::<u64>();
    assert_eq!((tally(|tally| tally.events), tally(|tally| tally.dead_letters)), (60, 30));
}
