//! Clients that are not ours against the embedded broker: the Java client, KafkaJS and librdkafka (kcat), each producing
//! idempotently and reading what the others produced, in each compression that it has.

#![expect(clippy::disallowed_methods, reason = "a test waits for the clients that it starts")]
// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{net::SocketAddr, path::Path, process::Command};

use streamgauge::log::broker::{Broker, BrokerConfig, SEGMENT_BYTES};

use crate::kcat::{produce, read_all};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Records that each client sends in each compression.
const EACH: usize = 200;

async fn broker(dir: &Path) -> Broker {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config =
        BrokerConfig { data_dir: dir.to_owned(), listen, fall_back_to_free_port: false, segment_bytes: SEGMENT_BYTES };
    Broker::start(config).await.unwrap()
}

/// Runs a command off the test's own thread, on which the broker may live.
pub async fn run(mut command: Command) -> String {
    tokio::task::spawn_blocking(move || {
        let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("the command is installed");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}\n{}{error}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    })
    .await
    .unwrap()
}

/// A folder that `integration/services` fetches a client into.
pub async fn fetched(what: &str) -> String {
    let mut command = Command::new("integration/services");
    command.arg(what);
    run(command).await.trim().to_owned()
}

/// Produces to the first partition in each compression, and returns what a reader has to find there.
async fn produce_by_kcat(address: &str, topic: &'static str) -> Vec<String> {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut sent = Vec::new();
        for codec in CODECS {
            let lines: Vec<_> = (0..EACH).map(|n| format!("{codec} {n}")).collect();
            let more = ["-p", "0", "-z", codec, "-X", "enable.idempotence=true"];
            produce(&address, topic, &more, (lines.join("\n") + "\n").as_bytes());
            sent.extend(lines);
        }
        sent
    })
    .await
    .unwrap()
}

async fn read_by_kcat(address: &str, topic: &'static str, records: usize) -> Vec<String> {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || read_all(&address, topic, &["-p", "0"], records)).await.unwrap()
}

async fn create(address: &str, topic: &str) {
    let client = rskafka::client::ClientBuilder::new(vec![address.to_owned()]).build().await.unwrap();
    client.controller_client().unwrap().create_topic(topic, 1, 1, 5_000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_java_client_produces_reads_commits_and_administers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let address = broker.local_addr().to_string();
    create(&address, "kcat").await;
    let sent = produce_by_kcat(&address, "kcat").await;
    assert_eq!(read_by_kcat(&address, "kcat", sent.len()).await, sent);
    let jars = fetched("jars").await;
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp", &format!("{jars}/*"), "integration/clients/JavaClient.java"]);
    java.args([&address, "kcat", &sent.len().to_string()]);
    assert!(run(java).await.contains("the Java client is content"));
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafkajs_produces() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path()).await;
    let address = broker.local_addr().to_string();
    let modules = fetched("kafkajs").await;
    let mut node = Command::new("node");
    node.args(["integration/clients/kafkajs.js", &modules, &address, "kafkajs", &EACH.to_string()]);
    assert!(run(node).await.contains("KafkaJS is content"));
    let expected: Vec<_> =
        ["None", "GZIP", "Snappy"].iter().flat_map(|codec| (0..EACH).map(move |n| format!("{codec} {n}"))).collect();
    assert_eq!(read_by_kcat(&address, "kafkajs", expected.len()).await, expected);
    broker.shutdown().await.unwrap();
}
