//! What differs between a catalogue and a broker, as tables; and applying it to a broker in memory.

mod broker;

use super::*;
use crate::{
    catalog::{self, Source},
    log::LogError,
};

use self::broker::Broker;

const DAY_MS: i64 = 86_400_000;

/// A topic `t` of three partitions, kept for a day, with what a test says beside; and the topics around it.
fn wanted_with(fields: &str) -> BTreeMap<String, Wanted> {
    let text = format!(
        "name = \"c\"\n[[topic]]\nname = \"t\"\nkey = [\"k\"]\npartitions = 3\nretention = \"1d\"\n{fields}\n\
         [[topic.event]]\ntype = \"e\"\nrequired = [\"k\", \"u\"]\n\
         rules = [{{ member = \"set:{{k}}\", of = \"{{u}}\", op = \"add\" }},\
         {{ member = \"timed:{{k}}\", of = \"{{u}}\", op = \"add\", order = \"time\" }}, {{ count = \"c:{{k}}\" }}, {{ forward = \"f\" }}]\n"
    );
    wanted(&catalog::compile(&[Source { file: "c.toml".to_owned(), text }]).unwrap().topics)
}

/// A topic as a broker has it that was told nothing but this; Kafka's defaults beside.
fn found(partitions: i32, replication: &[i16], settings: &[(&str, &str)]) -> Found {
    let defaults = [("cleanup.policy", "delete"), ("compression.type", "producer"), ("retention.ms", "604800000")];
    let settings = defaults.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Found { partitions, replication: replication.iter().copied().collect(), settings: settings.collect() }
}

/// The broker has all three topics: `t` so, the others as they should be.
fn with(topic: Found) -> Observed {
    let others = [("t.dlq", found(3, &[1], &[])), ("f", found(1, &[1], &[("cleanup.policy", "compact")]))];
    let others = others.into_iter().map(|(name, found)| (name.to_owned(), found));
    Observed { found: others.chain([("t".to_owned(), topic)]).collect(), unseen: BTreeMap::new() }
}

/// A difference in a line: topic, what it has, what it should have, and what that needs.
fn line(difference: &Difference) -> String {
    let change = match &difference.change {
        Change::Create(spec) => {
            let settings: Vec<String> = spec.configs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("create {} {:?} {}", spec.partitions, spec.replication, settings.join(" "))
        }
        Change::Set { name, from, to } => format!("{name} {from} -> {to}"),
        Change::Partitions { from, to } => format!("partitions {from} -> {to}"),
        Change::Replication { from, to } => format!("replication {from:?} -> {to}"),
    };
    let need = match &difference.need {
        Need::Nothing => "",
        Need::Deletion(_) => ", deletes",
        Need::Repartition(_) => ", repartitions",
        Need::Hand(_) => ", by hand",
    };
    format!("{}: {}{need}", difference.topic, change.trim_end())
}

#[test]
fn what_differs_is_told_with_what_it_needs() {
    let day = &[("retention.ms", "86400000")][..];
    let same = found(3, &[1], day);
    let cases: &[(&str, &str, Found, &[&str])] = &[
        ("nothing", "", same.clone(), &[]),
        ("kept longer: that deletes", "", found(3, &[1], &[]), &["t: retention.ms 604800000 -> 86400000, deletes"]),
        ("for ever: too", "", found(3, &[1], &[("retention.ms", "-1")]), &["t: retention.ms -1 -> 86400000, deletes"]),
        ("kept shorter", "", found(3, &[1], &[("retention.ms", "1")]), &["t: retention.ms 1 -> 86400000"]),
        ("unreadable", "", found(3, &[1], &[("retention.ms", "?")]), &["t: retention.ms ? -> 86400000, deletes"]),
        (
            "compacted: what is kept is deleted",
            "",
            found(3, &[1], &[day[0], ("cleanup.policy", "compact")]),
            &["t: cleanup.policy compact -> delete, deletes"],
        ),
        (
            "compacted too",
            "",
            found(3, &[1], &[day[0], ("cleanup.policy", "compact,delete")]),
            &["t: cleanup.policy compact,delete -> delete"],
        ),
        (
            "compressed by the broker though the catalogue says nothing",
            "",
            found(3, &[1], &[day[0], ("compression.type", "lz4")]),
            &["t: compression.type lz4 -> producer"],
        ),
        ("the catalogue's codec", "compression = \"zstd\"", same.clone(), &["t: compression.type producer -> zstd"]),
        ("none", "compression = \"none\"", same.clone(), &["t: compression.type producer -> uncompressed"]),
        ("too few partitions", "", found(2, &[1], day), &["t: partitions 2 -> 3, repartitions"]),
        ("too many", "", found(4, &[1], day), &["t: partitions 4 -> 3, by hand"]),
        ("any replication", "", found(3, &[1, 3], day), &[]),
        ("the broker's", "replication = \"broker\"", found(3, &[3], day), &[]),
        (
            "another replication, also of dead letters",
            "replication = 3",
            found(3, &[2, 3], day),
            &["t: replication {2, 3} -> 3, by hand", "t.dlq: replication {1} -> 3, by hand"],
        ),
        ("replication that is not known", "", found(3, &[], day), &[]),
        (
            "several at once",
            "",
            found(1, &[1], &[("compression.type", "gzip")]),
            &[
                "t: partitions 1 -> 3, repartitions",
                "t: compression.type gzip -> producer",
                "t: retention.ms 604800000 -> 86400000, deletes",
            ],
        ),
        ("settings that are not known", "", Found { partitions: 3, ..Found::default() }, &[]),
    ];
    for (what, fields, topic, expected) in cases {
        let differences = plan(&wanted_with(fields), &with(topic.clone()));
        assert_eq!(differences.iter().map(line).collect::<Vec<_>>(), *expected, "{what}");
        assert!(differences.iter().all(
            |difference| difference.need.lacks(Consent::default()).is_none() == (difference.need == Need::Nothing)
        ));
    }
}

#[test]
fn what_is_missing_is_made_with_the_topics_around_it() {
    let create = |topic: &str, rest: &str| format!("{topic}: create 3 {rest}").trim_end().to_owned();
    let cases = [("", "None", ""), ("replication = 2\ncompression = \"gzip\"", "Some(2)", "compression.type=gzip ")];
    for (fields, replication, compression) in cases {
        let settings = format!("{replication} cleanup.policy=delete {compression}retention.ms={DAY_MS}");
        let expected = [
            create("f", replication),
            create("t", &settings),
            create("t.dlq", &format!("{replication} cleanup.policy=delete")),
        ];
        let lines: Vec<String> = plan(&wanted_with(fields), &Observed::default()).iter().map(line).collect();
        assert_eq!(lines, expected, "{fields}");
    }
    // Of what may not be seen nothing is known: neither that it is missing, nor that it is as it should be.
    let unseen = ["f", "t", "t.dlq"].map(|name| (name.to_owned(), "not authorized".to_owned()));
    let observed = Observed { unseen: unseen.into(), ..Observed::default() };
    assert_eq!(plan(&wanted_with(""), &observed), []);
}

#[test]
fn dead_letters_and_forwards_are_compared_less() {
    let mut observed = with(found(3, &[1], &[("retention.ms", "86400000")]));
    let cases = [
        ("t.dlq", found(9, &[1], &[("retention.ms", "5")]), None),
        ("t.dlq", found(1, &[1], &[]), Some("t.dlq: partitions 1 -> 3, repartitions")),
        (
            "t.dlq",
            found(3, &[1], &[("cleanup.policy", "compact")]),
            Some("t.dlq: cleanup.policy compact -> delete, deletes"),
        ),
        ("f", found(1, &[1], &[("cleanup.policy", "compact")]), None),
    ];
    for (topic, given, expected) in cases {
        let before = observed.found.insert(topic.to_owned(), given).unwrap();
        let lines: Vec<String> = plan(&wanted_with(""), &observed).iter().map(line).collect();
        assert_eq!(lines, expected.into_iter().collect::<Vec<_>>(), "{topic}");
        observed.found.insert(topic.to_owned(), before);
    }
}

#[test]
fn more_partitions_name_what_they_break() {
    let needs = |observed: &Observed| -> Vec<String> {
        plan(&wanted_with(""), observed).iter().map(|difference| difference.need.to_string()).collect()
    };
    let mut observed = with(found(1, &[1], &[("retention.ms", "86400000")]));
    let [need] = &needs(&observed)[..] else { panic!("one difference") };
    for part in ["--allow-repartition", "order", "duplicate", "windows are per partition", "member set:{k} add {u}"] {
        assert!(need.contains(part), "{part} is missing in {need}");
    }
    assert!(!need.contains("count c:{k}") && !need.contains("timed:"), "{need}");
    observed = with(found(3, &[1], &[("retention.ms", "86400000")]));
    observed.found.insert("t.dlq".to_owned(), found(1, &[1], &[]));
    assert!(needs(&observed)[0].contains("nothing is counted from them"), "{:?}", needs(&observed));
}

/// What is said of each difference after it was tried.
async fn applied(broker: &Broker, fields: &str, consent: Consent) -> Vec<String> {
    let wanted = wanted_with(fields);
    let names: Vec<String> = wanted.keys().cloned().collect();
    let differences = plan(&wanted, &broker.observe(&names).await.unwrap());
    let outcomes = apply(broker, broker, &wanted, differences, consent).await;
    let outcome = |outcome: &Outcome| match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Left(_) => "left".to_owned(),
        Outcome::Failed(error) => error.to_string(),
    };
    outcomes.iter().map(|(difference, told)| format!("{} => {}", line(difference), outcome(told))).collect()
}

#[tokio::test]
async fn what_is_applied_is_not_there_to_do_a_second_time() {
    const NOTHING: [String; 0] = [];
    let all = Consent { deletion: true, repartition: true };
    let broker = Broker::new(&[]);
    assert_eq!(applied(&broker, "", Consent::default()).await.len(), 3);
    assert_eq!(applied(&broker, "", Consent::default()).await, NOTHING);

    broker.change("t", found(2, &[1], &[("compression.type", "lz4"), ("retention.ms", "99999999999")]));
    let lines = |outcomes: [&str; 3]| {
        let [partitions, compression, retention] = outcomes;
        vec![
            format!("t: partitions 2 -> 3, repartitions => {partitions}"),
            format!("t: compression.type lz4 -> producer => {compression}"),
            format!("t: retention.ms 99999999999 -> 86400000, deletes => {retention}"),
        ]
    };
    let without = applied(&broker, "", Consent::default()).await;
    assert_eq!(without, lines(["left", "done", "left"]));
    assert_eq!(
        applied(&broker, "", all).await,
        [&lines(["done", "", "done"])[0], &lines(["", "", "done"])[2]].map(String::clone)
    );
    assert_eq!(applied(&broker, "", all).await, NOTHING);
}

#[tokio::test]
async fn a_setting_that_the_broker_refuses_holds_up_neither_the_topic_nor_the_other_settings() {
    let broker = Broker::new(&["compression.type"]);
    let refusal = "changing the settings of t: PolicyViolation: compression.type is ours";
    let told = applied(&broker, "compression = \"gzip\"", Consent::default()).await;
    let t: Vec<&str> = told.iter().map(String::as_str).filter(|line| line.starts_with("t:")).collect();
    assert_eq!(
        t,
        [
            "t: create 3 None cleanup.policy=delete compression.type=gzip retention.ms=86400000 => done",
            &format!("t: compression.type producer -> gzip => {refusal}"),
            // It was made just now, so it is empty.
            "t: retention.ms 604800000 -> 86400000 => done",
        ]
    );
    let again = applied(&broker, "compression = \"gzip\"", Consent::default()).await;
    assert_eq!(again, [format!("t: compression.type producer -> gzip => {refusal}")]);
}

#[tokio::test]
async fn what_somebody_else_has_made_meanwhile_may_hold_records() {
    let broker = Broker::new(&[]);
    let wanted = wanted_with("");
    let differences = plan(&wanted, &Observed::default());
    broker.change("t", found(3, &[1], &[]));
    let outcomes = apply(&broker, &broker, &wanted, differences, Consent::default()).await;
    let retention = outcomes.iter().find(|(difference, _)| matches!(difference.change, Change::Set { .. })).unwrap();
    assert!(matches!(retention.1, Outcome::Left(_)), "{outcomes:?}");
    assert!(matches!(broker.set("absent", "retention.ms", "1").await, Err(LogError::Unknown { .. })));
}
