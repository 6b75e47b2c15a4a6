//! The whole program with nothing installed: a bug, its dead letters, the bug mended, and a replay that is killed again and again.

use std::{path::Path, time::Duration};

use serde_json::Value;
use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    log::{
        broker::{Broker, BrokerConfig, SEGMENT_BYTES},
        kafka::{KafkaLog, KafkaOptions},
    },
};

use crate::support::{
    events::{Random, fresh_seed},
    process::Process,
    replays::{catalog, counted, publish, replays, run, waiting},
    results,
};

const TOPIC: &str = "orders";
const ORDERS: usize = 3_000;

fn start(folder: &Path, scale: u32) -> Process {
    let file = folder.join("catalog.toml");
    std::fs::write(&file, catalog(TOPIC, scale)).unwrap();
    let (data, file) = (folder.join("data"), file.to_str().unwrap().to_owned());
    // Whoever was killed may have been sending for so long, and five seconds more.
    let settings =
        [("DATA_DIR", data.to_str().unwrap()), ("CATALOG_PATH", &file), ("KAFKA_REQUEST_TIMEOUT_MS", "1000")];
    Process::start(&settings)
}

async fn ready(process: &mut Process) -> String {
    let url = process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bug_is_mended_and_what_it_failed_is_replayed_once_through_kills() {
    const KILLS: usize = 5;
    let seed = fresh_seed();
    let mut random = Random::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path(), 1);
    let url = ready(&mut process).await;
    publish(&process, TOPIC, 0..ORDERS).await;
    waiting(&mut process, TOPIC, ORDERS).await;

    let (code, told) = run(&url, &["dlq", "list", TOPIC, "--error", "totalAmount", "--limit", "2"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["letters"][0]["reason"]), (Some(0), &Value::from("bad-amount")));
    let place = told["letters"][0]["letter"].as_str().unwrap().trim_start_matches("orders.dlq:").to_owned();
    let (code, told) = run(&url, &["dlq", "show", TOPIC, &place]).await;
    assert!(code == Some(0) && told.contains("totalAmount"), "{told}");
    assert_eq!(process.terminate().await.code(), Some(0));

    for round in 0..=KILLS {
        let mut process = start(folder.path(), 2);
        let url = ready(&mut process).await;
        if round == KILLS {
            let (code, told) = run(&url, &["dlq", "replay", TOPIC]).await;
            assert_eq!(code, Some(0), "{told}");
            counted(&mut process, ORDERS).await;
            waiting(&mut process, TOPIC, 0).await;
            assert!(process.has_said("audit: dlq replay"), "{}", process.said());
            assert_eq!(process.terminate().await.code(), Some(0));
            break;
        }
        let replay = tokio::spawn(async move { run(&url, &["dlq", "replay", TOPIC]).await });
        // It waits for the claim that the one before may have left; then it is killed amid.
        let before = process.metric("streamgauge_replays_total", "").await;
        process
            .until("a replay", async |process| {
                (process.metric("streamgauge_replays_total", "").await > before || replay.is_finished()).then_some(())
            })
            .await;
        tokio::time::sleep(Duration::from_micros(random.below(30_000) as u64)).await;
        process.kill();
        replay.await.unwrap();
    }

    let config = BrokerConfig {
        data_dir: folder.path().join("data/log"),
        listen: ([127, 0, 0, 1], 0).into(),
        fall_back_to_free_port: false,
        segment_bytes: SEGMENT_BYTES,
    };
    let broker = Broker::start(config).await.unwrap();
    let log = KafkaLog::connect(KafkaOptions::new(vec![broker.local_addr().to_string()]));
    let choice = CatalogChoice { names: Vec::new(), path: Some(folder.path().join("catalog.toml")) };
    let records = results::read_events(&log, &Catalog::load(&choice).unwrap()).await;
    let found = replays(&records);
    let doubled: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
    assert!(doubled.is_empty() && found.len() == ORDERS, "seed {seed}: {} replayed, doubled: {doubled:?}", found.len());
    broker.shutdown().await.unwrap();
}
