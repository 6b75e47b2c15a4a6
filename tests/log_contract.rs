//! The contract of `Log`, on the embedded broker and on brokers that are not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support {
    pub mod log_contract;
}

use std::time::Duration;

use streamgauge::{
    catalog::plan::Compression,
    log::{
        Log,
        broker::{Broker, BrokerConfig, SEGMENT_BYTES},
        kafka::{KafkaLog, KafkaOptions},
    },
};
use support::log_contract;

/// More than a batch of the embedded broker may have.
const TOO_LARGE_BYTES: usize = 17 * 1024 * 1024;
const COMPRESSIONS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// A broker on a free port, and the folder that it lives in.
async fn broker() -> (Broker, KafkaOptions, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = BrokerConfig {
        data_dir: folder.path().to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        fall_back_to_free_port: false,
        segment_bytes: SEGMENT_BYTES,
    };
    let broker = Broker::start(config).await.unwrap();
    let options = KafkaOptions::new(vec![broker.local_addr().to_string()]);
    (broker, options, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_keeps_the_contract() {
    let (_broker, options, _folder) = broker().await;
    // Not compressed, so that what is too large takes little time to send.
    let log = KafkaLog::connect(KafkaOptions { compression: Compression::None, ..options });
    log_contract::all(&log, "contract", TOO_LARGE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_can_be_read() {
    let (_broker, options, _folder) = broker().await;
    let logs = COMPRESSIONS.map(|compression| KafkaLog::connect(KafkaOptions { compression, ..options.clone() }));
    let writers: Vec<&dyn Log> = logs.iter().map(|log| log as &dyn Log).collect();
    log_contract::reads_what_others_compressed(&writers, &logs[0], "contract").await;
}

#[tokio::test]
async fn a_broker_that_is_gone_or_silent_is_an_error_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = KafkaOptions {
        request_timeout: Duration::from_secs(1),
        ..KafkaOptions::new(vec![silent.local_addr().unwrap().to_string()])
    };
    let deadline = options.request_timeout + Duration::from_millis(500);
    log_contract::errs_within_the_deadline(&KafkaLog::connect(options.clone()), deadline).await;
    drop(silent);
    log_contract::errs_within_the_deadline(&KafkaLog::connect(options), deadline).await;
}
