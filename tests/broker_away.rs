//! A broker that comes late, goes away amid counting and comes back: it is said, waited for, and counted exactly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

use std::{net::SocketAddr, path::Path};

use serde_json::json;
use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    log::{
        broker::{Broker, BrokerConfig, SEGMENT_BYTES},
        kafka::{KafkaLog, KafkaOptions},
    },
    store::embedded::EmbeddedStore,
};
use support::{
    events::{events_of_these_days, fresh_seed},
    process::Process,
    results,
};

async fn broker(listen: SocketAddr, folder: &Path) -> Broker {
    let data_dir = folder.to_owned();
    let config = BrokerConfig { data_dir, listen, fall_back_to_free_port: false, segment_bytes: SEGMENT_BYTES };
    Broker::start(config).await.unwrap()
}

/// Waits until the part `log` is one of these.
async fn log_is(process: &mut Process, levels: &[&str]) {
    let level = async |process: &Process| process.get("/api/health").await.1["parts"]["log"]["status"].clone();
    let what = format!("the log {levels:?}");
    process
        .until(&what, async |process| {
            let level = level(process).await;
            levels.iter().any(|wanted| level == **wanted).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_may_come_late_go_away_amid_counting_and_come_back() {
    let (logs, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
    let events = events_of_these_days(fresh_seed(), 3_000, 30);
    let first = broker(([127, 0, 0, 1], 0).into(), logs.path()).await;
    let addr = first.local_addr();
    let log = KafkaLog::connect(KafkaOptions::new(vec![addr.to_string()]));
    results::create(&log, &results::topics_of(&catalog), 6).await;
    results::publish(&log, "", &events[..2_000]).await;
    first.shutdown().await.unwrap();

    let settings = [
        ("KAFKA_BROKERS", addr.to_string()),
        ("DATA_DIR", data.path().to_str().unwrap().to_owned()),
        ("KAFKA_RETRIES", "1".to_owned()),
        // A publish is answered by then, long before this test loses its patience.
        ("KAFKA_REQUEST_TIMEOUT_MS", "6000".to_owned()),
        // Small bites, so that the loss comes amid counting.
        ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096".to_owned()),
        ("BATCH_SIZE", "20".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut process = Process::start(&settings);
    process.url().await;
    process.says("the log is not there yet").await;
    assert_eq!(process.get("/readyz").await.0, 503);

    let second = broker(addr, logs.path()).await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let read = async |process: &Process| process.metric("streamgauge_records_total", "").await;
    process.until("counting", async |process| (read(process).await > 0.0).then_some(())).await;
    second.shutdown().await.unwrap();
    log_is(&mut process, &["degraded", "down"]).await;
    let event = json!({ "topic": "video.views", "data": { "type": "video.view", "videoId": "v", "userId": "u" } });
    let (status, answer) = process.post("/api/events/publish", &event).await;
    assert_eq!(status, 503, "{answer}");

    let _third = broker(addr, logs.path()).await;
    results::publish(&log, "", &events[2_000..]).await;
    log_is(&mut process, &["ok"]).await;
    let all = async |process: &Process| (read(process).await >= 3_000.0).then_some(());
    process.until("all counted", all).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let (store, reference) = (data.path().join("store.redb"), data.path().join("reference.redb"));
    let (store, reference) = (EmbeddedStore::open(store).unwrap(), EmbeddedStore::open(reference).unwrap());
    let (counted, of) = results::assert_whole(&log, &store, &reference, &catalog).await;
    assert_eq!((counted, of), (3_000, 3_000));
}
