//! Replays: what a dead letter's record does when it comes again.

use std::sync::Arc;

use streamgauge::{
    catalog::{self, Source},
    core::{
        batch::Tally,
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        worker::Worker,
    },
    model::TopicPartition,
};

use crate::support::{
    blocks::block,
    oracle::{GROUP, Record},
};

const CATALOG: &str = "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = [\"id\"]\n[[topic.event]]\ntype = \"e\"\n\
                       rules = [{ count = \"n\" }]\n";

/// Who is meant, and how often: `("g", 2)`; an empty group is no replay.
type Sent = (&'static str, (&'static str, u32));

fn tally(sent: &[Sent], rules_from: i64) -> Tally {
    let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text: CATALOG.to_owned() }]).unwrap();
    let record = |(offset, (value, (group, number))): (i64, &Sent)| {
        let number = number.to_string();
        let headers =
            [("replay-group", *group), ("replay-number", &number), ("replay-origin", "t.dlq:0:7"), ("replay-of", "0")]
                .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        Record {
            offset,
            timestamp_ms: 0,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: if group.is_empty() { Vec::new() } else { headers.into() },
        }
    };
    let records: Vec<Record> = (0..).zip(sent).map(record).collect();
    let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
    let partition = TopicPartition::new("t", 0);
    let mut worker = Worker::new(Arc::clone(&catalog.topics[0]), partition, GROUP.into(), secret, 0, 100);
    worker.rules_begin_at(rules_from);
    let end = records.len() as i64;
    let batches = worker.step(&block(&records, end, end), &mut Decoded::default()).unwrap();
    batches.iter().fold(Tally::default(), |sum, batch| sum.plus(&batch.tally))
}

#[test]
fn a_replay_counts_once_beside_its_original_and_only_for_its_group() {
    const ONE: &str = r#"{"type":"e","id":"1"}"#;
    const NAMELESS: &str = r#"{"type":"e"}"#;
    const BAD: &str = "bad";
    let none = ("", 0);
    // What is sent; then events, duplicates, dead letters and replays for others.
    let cases: &[(&[Sent], [u64; 4])] = &[
        (&[(ONE, none), (ONE, (GROUP, 1))], [2, 0, 0, 0]),
        (&[(ONE, (GROUP, 1)), (ONE, (GROUP, 1))], [1, 1, 0, 0]),
        (&[(ONE, (GROUP, 1)), (ONE, (GROUP, 2)), (ONE, (GROUP, 2))], [2, 1, 0, 0]),
        (&[(ONE, none), (ONE, ("others", 1)), (ONE, none)], [1, 1, 0, 1]),
        (&[(NAMELESS, none), (NAMELESS, none)], [2, 0, 0, 0]),
        // It comes from one dead letter, so it is one event, though nothing names it.
        (&[(NAMELESS, (GROUP, 1)), (NAMELESS, (GROUP, 1)), (NAMELESS, (GROUP, 2))], [2, 1, 0, 0]),
        (&[(BAD, none), (BAD, (GROUP, 1)), (BAD, ("others", 1))], [0, 0, 2, 1]),
        (&[(BAD, ("others", 0))], [0, 0, 1, 0]),
    ];
    for (sent, expected) in cases {
        let tally = tally(sent, 1);
        let seen = [tally.events, tally.duplicates, tally.dead_letters, tally.others_replays];
        assert_eq!(seen, *expected, "{sent:?}");
    }
}

#[test]
fn a_replay_adds_nothing_where_the_rules_count_what_failed_before() {
    const ONE: &str = r#"{"type":"e","id":"1"}"#;
    let replays = [("bad", (GROUP, 1)), (ONE, (GROUP, 1)), (ONE, (GROUP, 2)), (ONE, ("", 0))];
    // The record that failed lies at 0: by rules from 0 on it is judged as its replays are.
    for (rules_from, expected) in [(0, [1, 2, 1]), (1, [3, 0, 1]), (i64::MAX, [3, 0, 1])] {
        let tally = tally(&replays, rules_from);
        assert_eq!([tally.events, tally.duplicates, tally.dead_letters], expected, "rules from {rules_from}");
    }
}
