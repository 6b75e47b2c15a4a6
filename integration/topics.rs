//! `topics` on a real Kafka: Kafka's own tools show exactly the catalogue afterwards, and what the broker does not let us do
//! is told in its words.

#![expect(clippy::disallowed_methods, reason = "a test waits for the commands that it runs")]
// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, process::Command};

use serde_json::{Value, json};
use streamgauge::{
    core::partitioner::partition_for_key,
    log::{Log, TopicSpec},
};

use crate::{
    access::{DENIED_PREFIX, SEEING_USER, USER, sasl},
    java::jars,
    place::{Place, kafka, ready},
};

/// A topic of this test's own with so many partitions, kept for three days, its dead letters, and one that it forwards to.
fn catalog(place: &mut Place, topic: &str, partitions: i32) {
    place.write_catalog(&format!(
        "name = \"c\"\n[[topic]]\nname = \"{topic}\"\nkey = [\"k\"]\npartitions = {partitions}\nreplication = 1\nretention = \"3d\"\n\
         compression = \"zstd\"\nshape = [\"flat\"]\nidentity = []\n[[topic.event]]\ntype = \"e\"\nrequired = [\"k\"]\n\
         rules = [{{ count = \"seen\" }}, {{ member = \"set:{{k}}\", of = \"{{k}}\", op = \"add\" }}, {{ forward = \"{topic}.out\" }}]\n"
    ));
}

fn place(topic_prefix: &str, partitions: i32) -> (Place, String) {
    let mut place = Place::own_topics();
    let topic = format!("{topic_prefix}{}t", place.topic_prefix);
    catalog(&mut place, &topic, partitions);
    (place, topic)
}

/// Exit code, what it printed, what it complained about.
async fn topics(place: &Place, args: &[&str], settings: &[(&'static str, String)]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.arg("topics").args(args).env_clear().env("KAFKA_BROKERS", &place.brokers);
    command.env("CATALOG_PATH", place.catalog_path.as_ref().unwrap());
    command.envs(settings.iter().map(|(name, value)| (*name, value)));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let out = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), out, String::from_utf8(output.stderr).unwrap())
}

/// The exit code, and each difference as `topic change from -> to: outcome`, the topic without its own name before.
async fn differences(place: &Place, topic: &str, args: &[&str]) -> (i32, Vec<String>) {
    let (code, out, err) = topics(place, args, &[]).await;
    assert_eq!((&*err, &out["unseen"]), ("", &json!({})), "{args:?}: {out}");
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |one: &Value| {
        let what = if one["setting"].is_null() { &one["change"] } else { &one["setting"] };
        let suffix = one["topic"].as_str().unwrap().strip_prefix(topic).unwrap().to_owned();
        let (what, to) = (word(what), if one["change"] == "create" { String::new() } else { word(&one["to"]) });
        format!("t{suffix} {what} {} -> {to}: {}", word(&one["from"]), word(&one["outcome"]))
    };
    (code, out["differences"].as_array().expect("differences").iter().map(line).collect())
}

/// Runs one of Kafka's own tools.
async fn tool(main: &str, args: &[&str]) -> String {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &jars(), main]);
    java.args(["--bootstrap-server", &kafka()]).args(args);
    let output = tokio::task::spawn_blocking(move || java.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What `kafka-topics --describe` says: partitions, replication factor.
async fn described(topic: &str) -> (String, String) {
    let text = tool("org.apache.kafka.tools.TopicCommand", &["--describe", "--topic", topic]).await;
    let head = text.lines().find(|line| line.contains("PartitionCount:")).unwrap();
    let field = |name: &str| head.split_once(name).unwrap().1.split_whitespace().next().unwrap().to_owned();
    let rows = text.lines().filter(|line| line.contains("Partition: ")).count();
    assert_eq!(rows.to_string(), field("PartitionCount:"), "{text}");
    (field("PartitionCount:"), field("ReplicationFactor:"))
}

/// What `kafka-configs --describe` says that the topic has of its own, or of all that is in force.
async fn configured(topic: &str, all: bool) -> BTreeMap<String, String> {
    let mut args = vec!["--describe", "--entity-type", "topics", "--entity-name", topic];
    args.extend(all.then_some("--all"));
    let text = tool("kafka.admin.ConfigCommand", &args).await;
    let setting = |line: &str| {
        let (name, value) = line.trim().split_once(" sensitive=")?.0.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(setting).collect()
}

async fn alter(topic: &str, settings: &str) {
    let args = ["--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", settings];
    tool("kafka.admin.ConfigCommand", &args).await;
}

fn settings(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_own_tools_show_exactly_the_catalogue_and_what_drifts_is_mended() {
    let (place, topic) = place("", 3);
    let created =
        |outcome: &str| ["t", "t.dlq", "t.out"].map(|name| format!("{name} create null -> : {outcome}")).to_vec();
    assert_eq!(differences(&place, &topic, &["plan"]).await, (1, created("null")));
    assert_eq!(differences(&place, &topic, &["apply"]).await, (0, created("done")));
    let three = ("3".to_owned(), "1".to_owned());
    let of_events =
        settings(&[("cleanup.policy", "delete"), ("compression.type", "zstd"), ("retention.ms", "259200000")]);
    let expected = [
        (topic.clone(), of_events.clone()),
        (format!("{topic}.dlq"), settings(&[("cleanup.policy", "delete")])),
        (format!("{topic}.out"), settings(&[])),
    ];
    for (topic, own) in &expected {
        assert_eq!((described(topic).await, configured(topic, false).await), (three.clone(), own.clone()), "{topic}");
    }
    assert_eq!(differences(&place, &topic, &["apply"]).await, (0, Vec::new()), "there is nothing to do");

    alter(&topic, "retention.ms=999999999,cleanup.policy=compact,compression.type=lz4,max.message.bytes=2000000").await;
    alter(&format!("{topic}.dlq"), "cleanup.policy=[compact,delete],retention.ms=5000").await;
    let drifted = |outcome: &str| {
        vec![
            format!("t cleanup.policy compact -> delete: {outcome}"),
            format!("t compression.type lz4 -> zstd: {outcome}"),
            format!("t retention.ms 999999999 -> 259200000: {outcome}"),
            format!("t.dlq cleanup.policy compact,delete -> delete: {outcome}"),
        ]
    };
    assert_eq!(differences(&place, &topic, &["plan"]).await, (1, drifted("null")));
    assert_eq!(differences(&place, &topic, &["apply"]).await, (0, drifted("done")));
    // What the catalogue says nothing of stays as somebody has set it.
    let kept = settings(&[("max.message.bytes", "2000000")]).into_iter().chain(of_events.clone()).collect();
    assert_eq!(configured(&topic, false).await, kept);
    assert_eq!(configured(&format!("{topic}.dlq"), false).await["retention.ms"], "5000");
    assert_eq!(differences(&place, &topic, &["apply"]).await, (0, Vec::new()));

    // A start mends what deletes no records.
    alter(&topic, "retention.ms=1000,compression.type=gzip").await;
    alter(&format!("{topic}.dlq"), "cleanup.policy=compact").await;
    let mut process = place.start(&[]);
    ready(&mut process).await;
    process.says("retention.ms 1000 (1s) -> 259200000 (3d)").await;
    process.says("cleanup.policy compact -> delete; left to `streamgauge topics apply`").await;
    let left = vec!["t.dlq cleanup.policy compact -> delete: null".to_owned()];
    assert_eq!(differences(&place, &topic, &["plan"]).await, (1, left));
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_others_have_made_without_a_codec_keeps_batches_as_they_were_produced() {
    let (mut place, topic) = place("", 2);
    let text = std::fs::read_to_string(place.catalog_path.as_ref().unwrap()).unwrap();
    place.write_catalog(&text.replace("compression = \"zstd\"\n", ""));
    let spec = |name: &str, configs| TopicSpec { name: name.to_owned(), partitions: 2, replication: None, configs };
    place.log().create_topic(&spec(&topic, settings(&[("compression.type", "snappy")]))).await.unwrap();
    assert_eq!(differences(&place, &topic, &["apply"]).await.0, 0);
    assert_eq!(configured(&topic, true).await["compression.type"], "producer");
    // And where nobody has said anything, nobody needs to.
    let out = format!("{topic}.out");
    assert!(!configured(&out, false).await.contains_key("compression.type"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_partitions_are_made_when_told_so_with_what_that_breaks_and_are_counted() {
    let (mut place, topic) = place("", 2);
    assert_eq!(differences(&place, &topic, &["apply"]).await.0, 0);
    catalog(&mut place, &topic, 4);
    let lines =
        |outcome: &str| vec![format!("t partitions 2 -> 4: {outcome}"), format!("t.dlq partitions 2 -> 4: {outcome}")];
    let (_, out, _) = topics(&place, &["plan"], &[]).await;
    let note = out["differences"][0]["note"].as_str().unwrap();
    for part in ["keys move to other partitions", "duplicate", "windows are per partition", "member set:{k} add {k}"] {
        assert!(note.contains(part), "{part} is missing in {note}");
    }
    assert_eq!(differences(&place, &topic, &["apply"]).await, (1, lines("left")));
    assert_eq!(described(&topic).await.0, "2");
    assert_eq!(differences(&place, &topic, &["apply", "--allow-repartition"]).await, (0, lines("done")));
    assert_eq!(
        (described(&topic).await.0, described(&format!("{topic}.out")).await.0),
        ("4".to_owned(), "2".to_owned())
    );

    let mut process = place.start(&[]);
    ready(&mut process).await;
    let key = (0..).map(|n| n.to_string()).find(|key| partition_for_key(key.as_bytes(), 4) == 3).unwrap();
    let event = json!({ "topic": topic, "data": { "k": key } });
    let (status, answer) = process.post("/api/events/publish", &event).await;
    assert_eq!((status, &answer["partition"]), (200, &json!(3)), "{answer}");
    let is_there = async |process: &crate::support::process::Process| {
        (process.get("/api/counters/seen").await.1["data"]["stored"] == 1).then_some(())
    };
    process.until("counted", is_there).await;
    let (_, out, _) = topics(&place, &["describe", &topic], &[]).await;
    let last = &out["topics"][0]["partitions"][3];
    assert_eq!(
        (&last["leader"], &last["inSync"], &last["firstOffset"], &last["end"]),
        (&json!(1), &json!([1]), &json!(0), &json!(1))
    );
    assert!(last["bytes"]["1"].as_i64().unwrap() > 0, "{last}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    catalog(&mut place, &topic, 3);
    let left = (1, vec!["t partitions 4 -> 3: left".to_owned()]);
    assert_eq!(differences(&place, &topic, &["apply", "--allow-repartition"]).await, left, "never fewer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_refuses_is_told_in_its_words_and_what_it_hides_is_not_taken_for_missing() {
    let (place, topic) = place(DENIED_PREFIX, 3);
    let seeing = sasl("scram-sha-512", SEEING_USER);
    let blind = sasl("scram-sha-512", USER);
    let reasons = |out: &Value| -> Vec<String> {
        let all = out["differences"].as_array().unwrap().iter();
        all.map(|one| format!("{} {}", one["outcome"].as_str().unwrap(), one["reason"].as_str().unwrap_or_default()))
            .collect()
    };
    // It sees that they are missing, and may not make them.
    let (code, out, err) = topics(&place, &["apply"], &seeing).await;
    assert_eq!((code, &*err, reasons(&out).len()), (1, "", 3), "{out}");
    for reason in reasons(&out) {
        for part in ["failed", &format!("creating topic {topic}"), "uthorization", "grant the client this right"] {
            assert!(reason.contains(part), "{part} is missing in {reason}");
        }
    }
    // Who sees nothing can say nothing.
    let (code, out, _) = topics(&place, &["plan"], &blind).await;
    assert_eq!((code, &out["differences"], out["unseen"].as_object().unwrap().len()), (2, &json!([]), 3), "{out}");

    let others = TopicSpec { name: topic.clone(), partitions: 1, ..TopicSpec::default() };
    place.log().create_topic(&others).await.unwrap();
    let (code, out, _) = topics(&place, &["apply", "--allow-repartition", "--topic", &topic], &seeing).await;
    let why = out["unseen"][&topic].as_str().unwrap();
    assert!(code == 1 && why.contains("reading the settings of") && why.contains("uthorization"), "{code} {out}");
    assert!(reasons(&out)[0].contains(&format!("raising topic {topic} to 3 partitions")), "{out}");
    let (code, out, _) = topics(&place, &["delete", &topic, "--yes"], &seeing).await;
    assert_eq!((code, &out["deleted"]), (1, &json!([])));
    assert!(out["failed"][0]["reason"].as_str().unwrap().contains("uthorization"), "{out}");
    let (code, _, err) = topics(&place, &["delete", "__consumer_offsets", "--yes"], &[]).await;
    assert!(code == 1 && (err.contains("Kafka's own") || err.contains("has no topic")), "{code} {err}");
    let (code, out, _) = topics(&place, &["delete", &topic, "--yes"], &[]).await;
    assert_eq!((code, &out["deleted"]), (0, &json!([topic])), "{out}");
}
