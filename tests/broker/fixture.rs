//! A broker in a folder of its own, and clients for it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{TimeZone, Utc};
use rskafka::{
    BackoffConfig,
    client::{
        Client, ClientBuilder,
        error::{Error as ClientError, ProtocolError},
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::{Record, RecordAndOffset},
};
use streamgauge::log::broker::{Broker, BrokerConfig, SEGMENT_BYTES};

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const TOPIC: &str = "video.views";

pub fn config(dir: &Path, segment_bytes: u64) -> BrokerConfig {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    BrokerConfig { data_dir: dir.join("log"), listen, fall_back_to_free_port: false, segment_bytes }
}

pub async fn start(dir: &Path) -> Broker {
    Broker::start(config(dir, SEGMENT_BYTES)).await.unwrap()
}

pub async fn client(broker: &Broker) -> Client {
    let backoff = BackoffConfig { deadline: Some(DEADLINE), ..BackoffConfig::default() };
    ClientBuilder::new(vec![broker.local_addr().to_string()]).backoff_config(backoff).build().await.unwrap()
}

pub async fn partition(client: &Client) -> Arc<PartitionClient> {
    Arc::new(client.partition_client(TOPIC, 0, UnknownTopicHandling::Error).await.unwrap())
}

pub async fn create(client: &Client) -> Arc<PartitionClient> {
    client.controller_client().unwrap().create_topic(TOPIC, 2, 1, 5_000).await.unwrap();
    partition(client).await
}

pub fn record(value: impl Into<Vec<u8>>) -> Record {
    let timestamp = Utc.timestamp_millis_opt(1_700_000_000_000).unwrap();
    let headers = BTreeMap::from([("h".to_owned(), b"v".to_vec())]);
    Record { key: Some(b"key".to_vec()), value: Some(value.into()), headers, timestamp }
}

pub fn values(records: &[RecordAndOffset]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.record.value.clone().unwrap()).unwrap()).collect()
}

/// Reads from `offset` until `count` records have come, and checks that their offsets have no holes.
pub async fn read(partition: &PartitionClient, offset: i64, count: usize) -> Vec<RecordAndOffset> {
    let (mut found, until) = (Vec::new(), Instant::now() + DEADLINE);
    while found.len() < count {
        assert!(Instant::now() < until, "{} of {count} records came", found.len());
        let next = offset + found.len() as i64;
        found.extend(partition.fetch_records(next, 1..1_000_000, 1_000).await.unwrap().0);
    }
    for (at, record) in found.iter().enumerate() {
        assert_eq!(record.offset, offset + at as i64);
    }
    found
}

pub fn server_error(error: &ClientError) -> Option<ProtocolError> {
    match error {
        ClientError::ServerError { protocol_error, .. } => Some(*protocol_error),
        _ => None,
    }
}

pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("log").join(format!("{TOPIC}-0"))).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs
}

/// A folder whose topic has `count` batches of one record each, valued by their offset.
pub async fn filled(count: i64, segment_bytes: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path(), segment_bytes)).await.unwrap();
    let topic = create(&client(&broker).await).await;
    for offset in 0..count {
        let answered = topic.produce(vec![record(offset.to_string())], Compression::NoCompression).await.unwrap();
        assert_eq!(answered, [offset]);
    }
    read(&topic, 0, count as usize).await;
    broker.shutdown().await.unwrap();
    dir
}

pub fn numbers(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
