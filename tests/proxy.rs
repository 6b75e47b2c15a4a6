//! Through a proxy that cuts, delays, swallows and half-closes connections: what was answered is in the log once and in
//! order, and is counted once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

use std::{collections::BTreeMap, time::Duration};

use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    log::{
        broker::{Broker, BrokerConfig, SEGMENT_BYTES},
        kafka::{KafkaLog, KafkaOptions},
    },
    store::embedded::EmbeddedStore,
};
use support::{
    events::fresh_seed,
    fault_proxy::FaultProxy,
    numbered::{self, Ledger},
    oracle::fold,
    process::Process,
    results,
};

const TOPIC: &str = "numbered";
const PARTITIONS: i32 = 6;
const EVENTS_EACH: usize = 7_500;
const PUBLISHERS: [&str; 4] = ["a", "b", "c", "d"];
/// A fault for about this many requests.
const FAULT_EVERY: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_network_lose_and_double_nothing() {
    let seed = fresh_seed();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig {
        data_dir: folder.path().join("log"),
        listen: ([127, 0, 0, 1], 0).into(),
        fall_back_to_free_port: false,
        segment_bytes: SEGMENT_BYTES,
    })
    .await
    .unwrap();
    let address = broker.local_addr().to_string();
    let proxy = FaultProxy::start(&address, seed, FAULT_EVERY).await;
    let path = folder.path().join("catalog.toml");
    std::fs::write(&path, numbered::catalog(TOPIC, PARTITIONS)).unwrap();
    let data = folder.path().join("data");
    let mut process = Process::start(&[
        ("KAFKA_BROKERS", &proxy.address()),
        ("KAFKA_REQUEST_TIMEOUT_MS", "1000"),
        ("CATALOG_PATH", path.to_str().unwrap()),
        ("DATA_DIR", data.to_str().unwrap()),
    ]);
    process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;

    proxy.set_wild(true);
    let publish = PUBLISHERS.map(|by| numbered::publish(&process, TOPIC, by, EVENTS_EACH, Duration::ZERO));
    let ledgers = futures::future::join_all(publish).await;
    let ledgers: BTreeMap<String, Ledger> = PUBLISHERS.map(str::to_owned).into_iter().zip(ledgers).collect();
    proxy.set_wild(false);
    proxy.assert_each_fault_happened();

    let log = KafkaLog::connect(KafkaOptions::new(vec![address]));
    let catalog = Catalog::load(&CatalogChoice { names: Vec::new(), path: Some(path) }).unwrap();
    numbered::until_readable(&log, TOPIC, &ledgers).await;
    let events = results::read_events(&log, &catalog).await;
    numbered::assert_once(&events, &ledgers);
    let counted = async |process: &Process| {
        let (_, answer) = process.get("/api/counters/all").await;
        (answer["data"]["stored"] == results::count(&events)).then_some(())
    };
    process.until("all counted", counted).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let (store, reference) = (data.join("store.redb"), folder.path().join("reference.redb"));
    let (store, reference) = (EmbeddedStore::open(store).unwrap(), EmbeddedStore::open(reference).unwrap());
    results::assert_stored(&store, &reference, &fold(&catalog, &events)).await;
}
