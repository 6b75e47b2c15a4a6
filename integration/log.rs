//! The contract of `Log` on a real Kafka.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use streamgauge::{
    catalog::plan::Compression,
    log::{
        Log,
        kafka::{KafkaLog, KafkaOptions},
    },
};

use crate::{place::kafka, support::log_contract};

/// More than Kafka's default `message.max.bytes`.
const TOO_LARGE_BYTES: usize = 2 * 1024 * 1024;
const COMPRESSIONS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn prefix() -> String {
    format!("contract-{}", uuid::Uuid::new_v4())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_the_contract() {
    let log = KafkaLog::connect(KafkaOptions::new(vec![kafka()]));
    log_contract::all(&log, &prefix(), TOO_LARGE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_can_be_read() {
    let options = KafkaOptions::new(vec![kafka()]);
    let logs = COMPRESSIONS.map(|compression| KafkaLog::connect(KafkaOptions { compression, ..options.clone() }));
    let writers: Vec<&dyn Log> = logs.iter().map(|log| log as &dyn Log).collect();
    log_contract::reads_what_others_compressed(&writers, &logs[0], &prefix()).await;
}
