//! `offsets` as a user runs it, embedded: listed, moved, imported, and refused while a process runs.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use streamgauge::{
    log::kafka::{CommittedOffset, KafkaLog, KafkaOptions},
    model::TopicPartition,
};
use support::process::Process;
use tokio::process::Command;

/// One topic of two partitions whose counter tells each record that was counted, as often as it was.
const CATALOG: &str = "name = \"c\"\n[[topic]]\nname = \"t\"\npartitions = 2\nidentity = []\nkey = [\"k\"]\nshape = [\"flat\"]\n\
                       [[topic.event]]\ntype = \"e\"\nrequired = [\"k\"]\nrules = [{ count = \"seen\" }]\n";
/// Records of the first partition that the tests begin with; the other one has none.
const RECORDS: i64 = 10;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("c.toml"), CATALOG).unwrap();
        Self { folder }
    }

    fn settings(&self) -> [(&'static str, String); 2] {
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        [("DATA_DIR", path("data")), ("CATALOG_PATH", path("c.toml"))]
    }

    fn start(&self) -> Process {
        let settings = self.settings();
        Process::start(&settings.each_ref().map(|(name, value)| (*name, value.as_str())))
    }

    /// Exit code, what it printed, what it complained about.
    async fn offsets(&self, args: &[&str]) -> (i32, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
        command.arg("offsets").args(args).env_clear().envs(self.settings()).env("KAFKA_LISTEN", "127.0.0.1:0");
        let output = command.output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        (output.status.code().unwrap(), serde_json::from_str(&out).unwrap_or(Value::String(out)), err)
    }

    /// What a command that succeeds prints.
    async fn told(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.offsets(args).await;
        assert_eq!((code, &*err), (0, ""), "{args:?}: {out}");
        out
    }

    /// Checkpoint, first offset and lag of both partitions.
    async fn listed(&self) -> [Value; 2] {
        let listed = self.told(&["list"]).await;
        assert_eq!(listed["absentTopics"], json!([]));
        let row = |number: usize| {
            let row = &listed["partitions"][number];
            assert_eq!((&row["topic"], &row["partition"], &row["holder"]), (&json!("t"), &json!(number), &Value::Null));
            json!([row["checkpoint"], row["origin"], row["lag"]])
        };
        [row(0), row(1)]
    }

    /// Runs a process until the counter stands so, and ends it.
    async fn counts_to(&self, seen: i64) {
        let mut process = self.start();
        counted(&mut process, seen).await;
        assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    }
}

async fn counted(process: &mut Process, seen: i64) {
    let is_there = async |process: &Process| {
        let (_, counter) = process.get("/api/counters/seen").await;
        (counter["data"]["stored"] == seen).then_some(())
    };
    process.until(&format!("{seen} counted"), is_there).await;
    let (_, counter) = process.get("/api/counters/seen").await;
    assert_eq!(counter["data"]["value"], seen, "no more than that");
}

/// A place where [`RECORDS`] records were counted, and the group "old" has committed the fourth one's offset, in the embedded
/// log. Nothing runs.
async fn place() -> Place {
    let place = Place::new();
    let mut process = place.start();
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let key = (0..)
        .map(|n| n.to_string())
        .find(|key| streamgauge::core::partitioner::partition_for_key(key.as_bytes(), 2) == 0);
    for _ in 0..RECORDS {
        let event = json!({ "topic": "t", "data": { "k": key } });
        let (status, answer) = process.post("/api/events/publish", &event).await;
        assert_eq!((status, &answer["partition"]), (200, &json!(0)), "{answer}");
    }
    counted(&mut process, RECORDS).await;
    let refused = place.offsets(&["list"]).await;
    assert_eq!((refused.0, refused.1), (1, json!("")));
    assert!(refused.2.contains("is in use by a running streamgauge") && refused.2.contains("stop it"), "{}", refused.2);
    let admin = KafkaLog::connect(KafkaOptions::new(vec![process.broker().await])).admin();
    let committed = CommittedOffset { offset: 4, leader_epoch: None, metadata: String::new() };
    let answers = admin.commit_offsets("old", &[(TopicPartition::new("t", 0), committed)]).await.unwrap();
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    place
}

#[tokio::test]
async fn checkpoints_are_listed_and_moved_only_when_told_so() {
    let place = place().await;
    assert_eq!(place.listed().await, [json!([10, 0, 0]), json!([null, 0, 0])]);

    // A dry run says what it would do.
    let dry = place.told(&["set", "t:0=7"]).await;
    assert_eq!(dry["executed"], false);
    let change =
        json!({ "topic": "t", "partition": 0, "from": 10, "to": 7, "incarnation": 1, "countedAgain": 3, "skipped": 0 });
    assert_eq!(dry["changes"], json!([change]));
    assert_eq!(dry["counters"], json!({ "t": ["count seen by +1"] }));
    assert_eq!(place.listed().await[0], json!([10, 0, 0]), "and does not do it");

    let done = place.told(&["set", "t:0=7", "--execute"]).await;
    assert_eq!((&done["executed"], &done["refused"], &done["changes"]), (&json!(true), &json!([]), &dry["changes"]));
    assert_eq!(place.listed().await[0], json!([7, 0, 3]));
    // Before all records, and after all.
    for (to, expected) in [("time:1990-01-01T00:00:00Z", 0), ("time:2200-01-01T00:00:00Z", RECORDS), ("earliest", 0)] {
        let dry = place.told(&["reset", "--topic", "t", "--to", to]).await;
        assert_eq!(
            (&dry["changes"][0]["from"], &dry["changes"][0]["to"]),
            (&json!(7), &json!(expected)),
            "{to}: {dry}"
        );
    }
    place.counts_to(RECORDS + 3).await;

    let back = place.told(&["reset", "--all", "--to", "earliest", "--execute"]).await;
    assert_eq!(back["changes"][0]["incarnation"], 2, "each life has its own number: {back}");
    place.counts_to(RECORDS + 3 + RECORDS).await;

    // Moved forward, what lies between is in no counter; done again, there is nothing to do.
    place.told(&["set", "t:0=2", "--execute"]).await;
    let skip = place.told(&["reset", "--topic", "t", "--to", "latest", "--execute"]).await;
    assert_eq!((&skip["changes"][0]["skipped"], &skip["changes"][0]["to"]), (&json!(8), &json!(10)));
    let again = place.told(&["reset", "--topic", "t", "--to", "latest", "--execute"]).await;
    assert_eq!(again["changes"], json!([]));
    place.counts_to(RECORDS + 3 + RECORDS).await;
}

#[tokio::test]
async fn a_group_of_kafka_is_taken_over_where_it_stands() {
    let place = place().await;
    let dry = place.told(&["import", "--from-group", "old"]).await;
    assert_eq!((&dry["changes"][0]["to"], &dry["changes"][0]["countedAgain"]), (&json!(4), &json!(6)));
    assert!(dry["notes"][0].as_str().unwrap().contains("left as they are: t:1"), "{dry}");
    place.told(&["import", "--from-group", "old", "--execute"]).await;
    assert_eq!(place.listed().await, [json!([4, 0, 6]), json!([null, 0, 0])]);
    place.counts_to(RECORDS + 6).await;
}

#[tokio::test]
async fn a_topic_that_was_made_again_is_counted_on_top_after_a_reset() {
    let place = place().await;
    let mut process = place.start();
    let log = KafkaLog::connect(KafkaOptions::new(vec![process.broker().await]));
    log.admin().delete_topic("t").await.unwrap();
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    // The start makes the topic anew, and does not take it for the one that was counted.
    let mut process = place.start();
    process.says("counting of this partition has stopped").await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    place.told(&["reset", "--topic", "t", "--to", "earliest", "--execute"]).await;
    let mut process = place.start();
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let event = json!({ "topic": "t", "data": { "k": "x" } });
    assert_eq!(process.post("/api/events/publish", &event).await.0, 200);
    counted(&mut process, RECORDS + 1).await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_reason_and_moves_nothing() {
    let place = place().await;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["set", "t:0=11", "--execute"], 1, "t:0: 11 (the log holds 0 to 10)"),
        (&["set", "t:0=1", "t:1=1", "--execute"], 1, "t:1: 1 (the log holds 0 to 0)"),
        (&["set", "t:0=1", "t:0=2", "--execute"], 1, "given twice"),
        (&["set", "t:7=0", "--execute"], 1, "no partition t:7"),
        (&["set", "tt:0=0", "--execute"], 1, "did you mean t?"),
        (&["set", "t:0"], 2, "TOPIC:PARTITION=OFFSET"),
        (&["set"], 2, "TOPIC:PARTITION=OFFSET"),
        (&["reset", "--to", "earliest"], 2, "--topic"),
        (&["reset", "--all", "--topic", "t", "--to", "earliest"], 2, "--topic"),
        (&["reset", "--all"], 2, "--to"),
        (&["reset", "--all", "--to", "yesterday"], 2, "time:2026-11-21T13:00:00Z"),
        (&["reset", "--all", "--to", "offset:5", "--execute"], 1, "t:1: 5 (the log holds 0 to 0)"),
        (&["import", "--from-group", "nobody", "--execute"], 1, "\"nobody\" has committed no offset"),
        (&["list", "--topic", "u"], 1, "no catalogue in force has the topic \"u\""),
    ];
    for (args, code, reason) in cases {
        let (ended, out, err) = place.offsets(args).await;
        assert_eq!(ended, *code, "{args:?}: {out}{err}");
        assert!(err.contains(reason), "{args:?}: {reason} is missing in:\n{err}");
    }
    assert_eq!(place.listed().await, [json!([10, 0, 0]), json!([null, 0, 0])]);
    assert!(Path::new(place.folder.path()).join("data").exists());
}
