//! `topics` as a user runs it, embedded: beside a running process and without one, planned, applied, described and deleted.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use streamgauge::{
    log::kafka::{Admin, ConfigChange, KafkaLog, KafkaOptions, Resource},
    runtime::outside::TOPIC,
};
use support::process::Process;
use tokio::process::Command;

const DAY_MS: &str = "86400000";

/// Arguments, settings beside, the exit code, and what is said.
type Refused<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A folder whose catalogue has one topic `t` of so many partitions, with what a test says beside.
    fn new(partitions: i32, fields: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.write_catalog(partitions, fields);
        place
    }

    fn write_catalog(&self, partitions: i32, fields: &str) {
        let text = format!(
            "name = \"c\"\n[[topic]]\nname = \"t\"\npartitions = {partitions}\nretention = \"1d\"\nidentity = []\nkey = [\"k\"]\n\
             shape = [\"flat\"]\n{fields}\n[[topic.event]]\ntype = \"e\"\nrequired = [\"k\", \"u\"]\n\
             rules = [{{ count = \"seen\" }}, {{ member = \"set:{{k}}\", of = \"{{u}}\", op = \"add\" }}, {{ forward = \"f\" }}]\n"
        );
        std::fs::write(self.folder.path().join("c.toml"), text).unwrap();
    }

    fn settings(&self) -> [(&'static str, String); 2] {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        [("DATA_DIR", path("data")), ("CATALOG_PATH", path("c.toml"))]
    }

    /// A process that is ready.
    async fn start(&self) -> Process {
        let settings = self.settings();
        let mut process = Process::start(&settings.each_ref().map(|(name, value)| (*name, value.as_str())));
        process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
        process
    }

    /// Exit code, what it printed, what it complained about.
    async fn topics(&self, args: &[&str]) -> (i32, Value, String) {
        self.topics_with(args, &[]).await
    }

    async fn topics_with(&self, args: &[&str], settings: &[(&str, &str)]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
        command.arg("topics").args(args).env_clear().envs(self.settings()).env("KAFKA_LISTEN", "127.0.0.1:0");
        let output = command.envs(settings.iter().copied()).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        (output.status.code().unwrap(), serde_json::from_str(&out).unwrap_or(Value::String(out)), err)
    }

    /// The exit code, and each difference as `topic change from -> to: outcome`.
    async fn differences(&self, args: &[&str]) -> (i32, Vec<String>) {
        let (code, out, err) = self.topics(args).await;
        assert_eq!((&*err, &out["unseen"]), ("", &json!({})), "{args:?}: {out}");
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let line = |one: &Value| {
            let what = if one["setting"].is_null() { &one["change"] } else { &one["setting"] };
            let (topic, what) = (word(&one["topic"]), word(what));
            format!("{topic} {what} {} -> {}: {}", word(&one["from"]), word(&one["to"]), word(&one["outcome"]))
        };
        (code, out["differences"].as_array().expect("differences").iter().map(line).collect())
    }
}

async fn admin(process: &mut Process) -> Admin {
    KafkaLog::connect(KafkaOptions::new(vec![process.broker().await])).admin()
}

async fn set(admin: &Admin, topic: &str, name: &str, value: &str) {
    let change = ConfigChange { name: name.to_owned(), value: Some(value.to_owned()) };
    admin.alter_configs(&Resource::Topic(topic.to_owned()), &[change], false).await.unwrap();
}

async fn publish(process: &Process, key: &str) -> i64 {
    let event = json!({ "topic": "t", "data": { "k": key, "u": "u" } });
    let (status, answer) = process.post("/api/events/publish", &event).await;
    assert_eq!(status, 200, "{answer}");
    answer["partition"].as_i64().unwrap()
}

#[tokio::test]
async fn what_has_drifted_is_shown_and_mended_beside_a_running_process_and_without_one() {
    let place = Place::new(3, "compression = \"lz4\"");
    let nothing = (0, Vec::<String>::new());
    let mut process = place.start().await;
    assert_eq!(place.differences(&["plan"]).await, nothing, "made at the start");

    let admin = admin(&mut process).await;
    set(&admin, "t", "retention.ms", "1000").await;
    set(&admin, "t", "compression.type", "gzip").await;
    let lines = |outcome: &str| {
        vec![
            format!("t compression.type gzip -> lz4: {outcome}"),
            format!("t retention.ms 1000 -> {DAY_MS}: {outcome}"),
        ]
    };
    assert_eq!(place.differences(&["plan"]).await, (1, lines("null")));
    let (_, listed, _) = place.topics(&["list"]).await;
    let states = |topics: &Value| -> Vec<String> {
        let state = |one: &Value| format!("{} {}", one["topic"].as_str().unwrap(), one["state"].as_str().unwrap());
        topics["topics"].as_array().unwrap().iter().map(state).collect()
    };
    assert_eq!(states(&listed), ["f as the catalogue says", "t differs", "t.dlq as the catalogue says"]);
    assert_eq!(place.differences(&["apply"]).await, (0, lines("done")));
    assert_eq!(place.differences(&["apply"]).await, nothing);

    for key in ["a", "b", "c", "d"] {
        publish(&process, key).await;
    }
    let described = async || {
        let (code, out, err) = place.topics(&["describe", "t"]).await;
        assert_eq!((code, &*err, &out["disksUntold"]), (0, "", &json!([])), "{out}");
        let topic = &out["topics"][0];
        let setting = |name: &str| {
            let all = topic["settings"].as_array().unwrap();
            all.iter().find(|one| one["name"] == name).map(|one| (one["value"].clone(), one["setBy"].clone())).unwrap()
        };
        assert_eq!(setting("retention.ms"), (json!(DAY_MS), json!("topic")));
        assert_eq!(setting("retention.bytes"), (json!("-1"), json!("default")));
        let partitions = topic["partitions"].as_array().unwrap();
        assert!(partitions.iter().all(|one| one["replicas"] == json!([one["leader"]])), "{topic}");
        let sum = |of: &dyn Fn(&Value) -> i64| -> i64 { partitions.iter().map(of).sum() };
        let bytes = |one: &Value| one["bytes"].as_object().unwrap().values().map(|bytes| bytes.as_i64().unwrap()).sum();
        (partitions.len(), sum(&|one| one["end"].as_i64().unwrap()), sum(&bytes))
    };
    let (partitions, records, bytes) = described().await;
    assert!((partitions, records) == (3, 4) && bytes > 0, "{partitions} {records} {bytes}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    // What the process leaves the next one opens for itself.
    assert_eq!(place.differences(&["plan"]).await, nothing);
    assert_eq!(described().await, (partitions, records, bytes));
}

#[tokio::test]
async fn a_start_mends_what_loses_nothing_and_says_what_it_leaves() {
    let place = Place::new(2, "");
    let mut process = place.start().await;
    let broker = admin(&mut process).await;
    set(&broker, "t", "compression.type", "zstd").await;
    set(&broker, "t", "retention.ms", "-1").await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    place.write_catalog(4, "");

    let mut process = place.start().await;
    process.says("the topic is as the catalogue says again: compression.type zstd -> producer").await;
    process.says("retention.ms -1 (for ever) -> 86400000 (1d); left to `streamgauge topics apply`").await;
    process.says("the topic differs from the catalogue: partitions 2 -> 4; left").await;
    let left = [
        "t partitions 2 -> 4: null".to_owned(),
        format!("t retention.ms -1 -> {DAY_MS}: null"),
        "t.dlq partitions 2 -> 4: null".to_owned(),
    ];
    assert_eq!(place.differences(&["plan"]).await, (1, left.to_vec()));
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    // One that is not to touch topics does not.
    let settings = place.settings();
    let mut settings = settings.each_ref().map(|(name, value)| (*name, value.as_str())).to_vec();
    settings.push(("TOPICS_AUTO_APPLY", "false"));
    place.write_catalog(4, "compression = \"snappy\"");
    let mut process = Process::start(&settings);
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let (code, lines) = place.differences(&["plan"]).await;
    assert!(code == 1 && lines.contains(&"t compression.type producer -> snappy: null".to_owned()), "{lines:?}");
    assert!(!process.has_said("differs from the catalogue"), "{}", process.said());
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test]
async fn partitions_are_raised_only_when_told_so_and_counted_then() {
    let place = Place::new(1, "");
    let process = place.start().await;
    place.write_catalog(3, "");
    let lines =
        |outcome: &str| vec![format!("t partitions 1 -> 3: {outcome}"), format!("t.dlq partitions 1 -> 3: {outcome}")];
    assert_eq!(place.differences(&["plan"]).await, (1, lines("null")));
    assert_eq!(place.differences(&["apply"]).await, (1, lines("left")));
    let (_, out, _) = place.topics(&["plan", "--topic", "t"]).await;
    assert_eq!(out["differences"][0]["needs"], "allow-repartition");
    let note = out["differences"][0]["note"].as_str().unwrap();
    for part in ["keys move", "order", "duplicate", "member set:{k} add {u}"] {
        assert!(note.contains(part), "{part} is missing in {note}");
    }
    assert_eq!(place.differences(&["apply", "--allow-repartition"]).await, (0, lines("done")));
    assert_eq!(place.differences(&["apply", "--allow-repartition"]).await, (0, Vec::new()));
    drop(process);

    let mut process = place.start().await;
    let key = (0..)
        .map(|n| n.to_string())
        .find(|key| streamgauge::core::partitioner::partition_for_key(key.as_bytes(), 3) == 2);
    assert_eq!(publish(&process, &key.unwrap()).await, 2);
    let is_there = async |process: &Process| {
        let (_, counter) = process.get("/api/counters/seen").await;
        (counter["data"]["stored"] == 1).then_some(())
    };
    process.until("counted", is_there).await;

    // Never fewer.
    place.write_catalog(2, "");
    let left = (1, vec!["t partitions 3 -> 2: left".to_owned()]);
    assert_eq!(place.differences(&["apply", "--allow-repartition"]).await, left);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason() {
    let place = Place::new(2, "replication = 3");
    let (code, lines) = place.differences(&["apply"]).await;
    assert!(code == 1 && lines.len() == 3 && lines.iter().all(|line| line.ends_with(": failed")), "{code} {lines:?}");
    let (_, out, _) = place.topics(&["apply", "--topic", "t"]).await;
    let reason = out["differences"][1]["reason"].as_str().unwrap();
    assert!(reason.contains("creating topic t") && reason.contains("the replication factor is 1"), "{reason}");
    place.write_catalog(2, "");
    assert_eq!(place.differences(&["apply"]).await.0, 0);
    place.write_catalog(2, "replication = 3");
    let (code, lines) = place.differences(&["apply"]).await;
    assert_eq!((code, &*lines[0]), (1, "t replication [1] -> 3: left"));

    place.write_catalog(2, "");
    let nobody = [("KAFKA_BROKERS", "127.0.0.1:1"), ("KAFKA_REQUEST_TIMEOUT_MS", "1000")];
    let cases: &[Refused<'_>] = &[
        (&["plan"], &nobody, 2, "asking the broker for its topics"),
        (&["apply"], &nobody, 2, "Connection refused"),
        (&["list"], &nobody, 1, "Connection refused"),
        (&["plan", "--topic", "tt"], &[], 2, "did you mean t?"),
        (&["describe", "t.dql"], &[], 1, "did you mean t.dlq?"),
        (&["delete"], &[], 2, "<TOPIC"),
        (&["delete", "t", "--all"], &[], 2, "--all"),
        (&["delete", "t"], &[], 1, "give --yes where nobody can be asked"),
        (&["delete", "t.dl", "--yes"], &[], 1, "the broker has no topic \"t.dl\"; did you mean t.dlq?"),
        (&["delete", "t*", "--yes"], &[], 1, "the broker has no topic \"t*\""),
    ];
    for (args, settings, code, reason) in cases {
        let (ended, out, err) = place.topics_with(args, settings).await;
        assert_eq!(ended, *code, "{args:?}: {out}{err}");
        assert!(err.contains(reason), "{args:?}: {reason} is missing in:\n{err}");
    }
    assert_eq!(place.differences(&["plan"]).await, (0, Vec::new()), "nothing was deleted");
}

#[tokio::test]
async fn topics_are_deleted_by_their_names_or_all_of_the_catalogue() {
    let place = Place::new(1, "");
    let mut process = place.start().await;
    let broker = admin(&mut process).await;
    let spec = |name: &str| streamgauge::log::TopicSpec { name: name.to_owned(), partitions: 1, ..Default::default() };
    broker.create_topic(&spec("others"), false).await.unwrap();
    // Ours is kept, by whatever it was made.
    broker.create_topic(&spec(TOPIC), false).await.unwrap();
    let (code, _, err) = place.topics(&["delete", "others", TOPIC, "--yes"]).await;
    assert!(code == 1 && err.contains("nothing was deleted: streamgauge.switches holds which rules"), "{code} {err}");
    broker.delete_topic(TOPIC).await.unwrap();
    let there = async || -> Vec<String> {
        let (_, listed, _) = place.topics(&["list", "--all"]).await;
        let rows = listed["topics"].as_array().unwrap();
        rows.iter()
            .filter(|row| row["state"] != "missing")
            .map(|row| row["topic"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(there().await, ["f", "t", "t.dlq", "others"]);
    let (code, out, _) = place.topics(&["delete", "t.dlq", "--yes"]).await;
    assert_eq!((code, out), (0, json!({ "deleted": ["t.dlq"], "failed": [] })));
    assert_eq!(there().await, ["f", "t", "others"]);
    let (code, out, _) = place.topics(&["delete", "--all", "--yes"]).await;
    assert_eq!((code, out), (0, json!({ "deleted": ["t"], "failed": [] })), "neither forwards nor what others have");
    let (code, out, _) = place.topics(&["delete", "others", "f", "--yes"]).await;
    assert_eq!((code, out), (0, json!({ "deleted": ["others", "f"], "failed": [] })));
    assert_eq!(there().await, Vec::<String>::new());
}
