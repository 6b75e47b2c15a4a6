//! `offsets` beside a process that counts, the mirrored offsets as Kafka's own tool shows them, and a group that is taken over.

#![expect(clippy::disallowed_methods, reason = "a test waits for the commands that it runs")]
// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    process::{Command, Output},
    sync::LazyLock,
};

use serde_json::{Value, json};
use streamgauge::{
    log::kafka::CommittedOffset,
    log::{Log, OutRecord},
    model::TopicPartition,
    store::Store,
};

use crate::{
    java::jars,
    place::{Place, kafka, ready},
    support::{process::Process, results},
};

const TOPIC: &str = "seen";
/// Records of the first partition to begin with.
const RECORDS: i64 = 20;
/// Time of the first record, milliseconds since 1970: an hour ago, since Kafka takes old records away whenever it looks.
static FIRST_MS: LazyLock<i64> = LazyLock::new(|| chrono::Utc::now().timestamp() * 1_000 - 3_600_000);

/// A topic of this test's own, whose counter tells how often its records were counted.
fn place() -> (Place, String) {
    let mut place = Place::own_topics();
    let topic = format!("{}{TOPIC}", place.topic_prefix);
    place.write_catalog(&format!(
        "name = \"c\"\n[[topic]]\nname = \"{topic}\"\npartitions = 2\nidentity = []\nshape = [\"flat\"]\n\
         [[topic.event]]\ntype = \"e\"\nrules = [{{ count = \"seen\" }}]\n"
    ));
    (place, topic)
}

async fn write(place: &Place, topic: &str, from: i64, count: i64) {
    let record = |n: i64| OutRecord {
        value: Some(br#"{"type":"e"}"#.to_vec()),
        timestamp_ms: Some(*FIRST_MS + 1_000 * n),
        ..OutRecord::default()
    };
    let records = (from..from + count).map(record).collect();
    for answer in place.log().produce(&TopicPartition::new(topic, 0), records).await {
        answer.unwrap();
    }
}

fn group(place: &Place) -> String {
    format!("group-{}", place.topic_prefix.trim_end_matches('.'))
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Exit code, what it printed, what it complained about.
async fn offsets(place: &Place, args: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.arg("offsets").args(args).env_clear();
    command.env("KAFKA_BROKERS", &place.brokers).env("REDIS_URL", &place.redis_url);
    command.env("REDIS_KEY_PREFIX", &place.key_prefix).env("KAFKA_CONSUMER_GROUP", group(place));
    command.env("CATALOG_PATH", place.catalog_path.as_ref().unwrap());
    let output = run(command).await;
    let out = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), out, String::from_utf8(output.stderr).unwrap())
}

async fn told(place: &Place, args: &[&str]) -> Value {
    let (code, out, err) = offsets(place, args).await;
    assert_eq!((code, &*err), (0, ""), "{args:?}: {out}");
    out
}

async fn start(place: &Place) -> Process {
    let group = group(place);
    let mut process = place.start(&[("KAFKA_CONSUMER_GROUP", &group)]);
    ready(&mut process).await;
    process
}

async fn counted(process: &mut Process, seen: i64) {
    let is_there = async |process: &Process| {
        let (_, counter) = process.get("/api/counters/seen").await;
        (counter["data"]["stored"] == seen).then_some(())
    };
    process.until(&format!("{seen} counted"), is_there).await;
}

async fn end(mut process: Process) {
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

/// What `kafka-consumer-groups --describe` prints of a partition: committed offset, log end, lag.
async fn described(group: &str, topic: &str, partition: i32) -> Option<[String; 3]> {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &jars()]);
    java.args(["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", &kafka()]);
    let output = run({
        java.args(["--describe", "--group", group]);
        java
    })
    .await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let partition = partition.to_string();
    let columns = |line: &str| -> Option<[String; 3]> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_it = words.len() > 5 && words[..3] == [group, topic, &partition];
        is_it.then(|| [words[3], words[4], words[5]].map(str::to_owned))
    };
    text.lines().find_map(columns)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_held_are_not_moved_and_counting_goes_on_from_where_they_are_put() {
    let (place, topic) = place();
    results::create(&place.log(), std::slice::from_ref(&topic), 2).await;
    write(&place, &topic, 0, RECORDS).await;
    let mut process = start(&place).await;
    counted(&mut process, RECORDS).await;

    let (first, target) = (TopicPartition::new(&*topic, 0), format!("{topic}:0=15"));
    let listed = told(&place, &["list"]).await;
    let row = &listed["partitions"][0];
    assert_eq!((&row["checkpoint"], &row["lag"], &row["logEnd"]), (&json!(RECORDS), &json!(0), &json!(RECORDS)));
    let member = row["holder"]["member"].as_str().expect("a holder").to_owned();
    assert_eq!(listed["partitions"][1]["holder"]["member"], json!(member));
    for args in [&["set", &*target, "--execute"][..], &["reset", "--all", "--to", "earliest", "--execute"]] {
        let (code, out, err) = offsets(&place, args).await;
        assert_eq!((code, out), (1, Value::Null), "{err}");
        for part in ["nothing was changed", &format!("{topic}:0"), &member, "Stop"] {
            assert!(err.contains(part), "{part} is missing in {err}");
        }
    }
    let dry = told(&place, &["set", &target]).await;
    assert!(dry["notes"][0].as_str().unwrap().contains(&member), "{dry}");
    let before = place.store().positions(std::slice::from_ref(&first)).await.unwrap()[0][0].checkpoint.unwrap();
    assert_eq!((before.offset, before.incarnation), (RECORDS, 0));

    // Who has said goodbye holds nothing.
    end(process).await;
    // The sixth second from the end: five records are counted again.
    let to = chrono::DateTime::from_timestamp_millis(*FIRST_MS + 1_000 * (RECORDS - 5) - 500).unwrap().to_rfc3339();
    let dry = told(&place, &["reset", "--topic", &topic, "--to", &format!("time:{to}")]).await;
    assert_eq!((&dry["changes"][0]["to"], &dry["changes"][0]["countedAgain"]), (&json!(15), &json!(5)), "{dry}");
    told(&place, &["set", &target, "--execute"]).await;
    let after = place.store().positions(std::slice::from_ref(&first)).await.unwrap()[0][0].checkpoint.unwrap();
    assert_eq!((after.offset, after.incarnation, after.fingerprint), (15, 1, before.fingerprint));
    let mut process = start(&place).await;
    counted(&mut process, RECORDS + 5).await;
    write(&place, &topic, RECORDS, 3).await;
    counted(&mut process, RECORDS + 5 + 3).await;
    process.kill();

    // A dead member counts as there until its session has ended.
    let deadline = std::time::Instant::now() + crate::support::process::PATIENCE;
    let done = loop {
        let (code, out, err) = offsets(&place, &["reset", "--all", "--to", "latest", "--execute"]).await;
        if code == 0 {
            break out;
        }
        assert!(err.contains("held now") && std::time::Instant::now() < deadline, "{err}");
    };
    assert!(done["changes"].as_array().unwrap().iter().all(|change| change["countedAgain"] == 0), "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkas_own_tool_shows_the_lag_and_a_group_of_others_is_left_alone() {
    let (place, topic) = place();
    let group = group(&place);
    results::create(&place.log(), std::slice::from_ref(&topic), 2).await;
    write(&place, &topic, 0, RECORDS).await;
    let mut process = start(&place).await;
    counted(&mut process, RECORDS).await;
    let committed = |group: String, topic: String| {
        let admin = place.log().admin();
        async move {
            let asked = [TopicPartition::new(topic, 0)];
            let answer = admin.committed_offsets(&group, Some(&asked)).await.unwrap().remove(0);
            answer.1.unwrap()
        }
    };
    let shown = async |_: &Process| {
        let committed = committed(group.clone(), topic.clone()).await?;
        assert!(committed.metadata.starts_with("streamgauge "), "{committed:?}");
        (committed.offset == RECORDS).then_some(())
    };
    process.until("the mirrored offset", shown).await;
    process.says("checkpoints are mirrored").await;
    assert_eq!(described(&group, &topic, 0).await.unwrap(), ["20", "20", "0"]);
    // What was counted last is shown by the end at the latest; what comes behind it is lag.
    write(&place, &topic, RECORDS, 4).await;
    counted(&mut process, RECORDS + 4).await;
    end(process).await;
    assert_eq!(described(&group, &topic, 0).await.unwrap(), ["24", "24", "0"]);
    write(&place, &topic, RECORDS + 4, 2).await;
    assert_eq!(described(&group, &topic, 0).await.unwrap(), ["24", "26", "2"]);

    // Somebody else's offset is not overwritten.
    let foreign = CommittedOffset { offset: 7, leader_epoch: None, metadata: String::new() };
    let partition = TopicPartition::new(&*topic, 0);
    place.log().admin().commit_offsets(&group, &[(partition, foreign.clone())]).await.unwrap().remove(0).1.unwrap();
    let mut process = start(&place).await;
    counted(&mut process, RECORDS + 6).await;
    process.says("belongs to others").await;
    let (_, health) = process.get("/api/health").await;
    assert!(health.to_string().contains("MIRROR_OFFSETS=false"), "{health}");
    end(process).await;
    assert_eq!(committed(group.clone(), topic.clone()).await, Some(foreign));
    assert!(place.log().admin().describe_group("nobody-knows").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_taken_over_where_it_stands() {
    let (place, topic) = place();
    results::create(&place.log(), std::slice::from_ref(&topic), 2).await;
    write(&place, &topic, 0, RECORDS).await;
    let old = format!("old-{}", group(&place));
    let committed = CommittedOffset { offset: 12, leader_epoch: None, metadata: String::new() };
    let partition = TopicPartition::new(&*topic, 0);
    place.log().admin().commit_offsets(&old, &[(partition, committed)]).await.unwrap().remove(0).1.unwrap();
    let done = told(&place, &["import", "--from-group", &old, "--execute"]).await;
    let change = &done["changes"][0];
    assert_eq!((&change["from"], &change["to"], &change["skipped"]), (&Value::Null, &json!(12), &json!(12)));
    assert!(done["notes"][0].as_str().unwrap().contains(&format!("left as they are: {topic}:1")), "{done}");
    // There the group begins, for a recount too; where nothing was imported it has not begun.
    let listed = told(&place, &["list"]).await;
    let origins = [0, 1].map(|partition: usize| &listed["partitions"][partition]["origin"]);
    assert_eq!(origins, [&json!(12), &Value::Null]);
    let mut process = start(&place).await;
    counted(&mut process, RECORDS - 12).await;
    end(process).await;
}
