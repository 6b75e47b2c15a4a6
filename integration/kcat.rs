//! kcat (librdkafka), a client that is not ours: against the embedded broker, and as a source of events for other tests.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    place::ready,
    support::{events::Published, process::Process},
};

/// Stands between key and value: ids hold any other character.
const KEY_MARK: &str = "\u{1f}";

/// Runs kcat with this input and returns what it prints.
pub fn kcat(arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("kcat");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kcat is installed");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success(), "kcat {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Reads a topic from its beginning to its end, again until it has so many records or a minute has passed: what the embedded log
/// has answered can be read once it is synced, and a busy disk takes its time.
pub fn read_all(brokers: &str, topic: &str, more: &[&str], records: usize) -> Vec<String> {
    let ends_at = Instant::now() + Duration::from_secs(60);
    loop {
        let arguments = [&["-C", "-b", brokers, "-t", topic, "-o", "beginning", "-e", "-q"], more].concat();
        let read: Vec<String> = kcat(&arguments, b"").lines().map(str::to_owned).collect();
        if read.len() >= records || Instant::now() >= ends_at {
            return read;
        }
    }
}

/// Produces lines to a topic.
pub fn produce(brokers: &str, topic: &str, more: &[&str], lines: &[u8]) {
    let mut arguments = vec!["-P", "-b", brokers, "-t", topic, "-X", "partitioner=murmur2_random"];
    arguments.extend(more);
    kcat(&arguments, lines);
}

/// Produces events, each to its topic.
pub fn produce_events(brokers: &str, events: &[Published], more: &[&str]) {
    let mut lines: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for event in events {
        let lines = lines.entry(event.topic).or_default();
        if let Some(key) = &event.key {
            lines.extend(key);
            lines.extend(KEY_MARK.as_bytes());
        }
        lines.extend(&event.value);
        lines.push(b'\n');
    }
    for (topic, lines) in lines {
        produce(brokers, topic, &[&["-K", KEY_MARK], more].concat(), &lines);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_lists_produces_to_and_reads_from_the_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(&[("DATA_DIR", folder.path().to_str().unwrap())]);
    ready(&mut process).await;
    let broker = process.broker().await;
    let listed = kcat(&["-L", "-b", &broker], b"");
    for topic in ["video.views", "video.views.dlq", "recommendation.signals"] {
        assert!(listed.contains(&format!("topic \"{topic}\" with 6 partitions")), "{listed}");
    }
    let mut sent = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let value = |n: usize| {
            format!("{{\"type\":\"video.view\",\"videoId\":\"v{}\",\"userId\":\"{codec}\",\"timestamp\":{n}}}", n % 7)
        };
        let lines: String = (0..200).map(|n| format!("v{}{KEY_MARK}{}\n", n % 7, value(n))).collect();
        produce(&broker, "video.views", &["-K", KEY_MARK, "-z", codec], lines.as_bytes());
        sent.extend((0..200).map(value));
    }
    let mut read = read_all(&broker, "video.views", &[], sent.len());
    sent.sort();
    read.sort();
    assert_eq!(read, sent);
    let all = async |process: &Process| process.metric("streamgauge_events_total", "video.views").await;
    process.until("all events counted", async |process| (all(process).await == 1000.0).then_some(())).await;
    let v0 = async |process: &Process| process.get("/api/counters/video:v0:views").await.1["data"]["value"].as_i64();
    process.until("v0", async |process| (v0(process).await == Some(5 * 29)).then_some(())).await;
}
