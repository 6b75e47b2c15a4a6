//! The API and its document: schemathesis makes requests of the document, right ones and wrong ones, and holds each answer
//! against it: no 5xx, no status, header, type or body that the document does not have, wrong data refused, right data taken.
//! Where the document cannot say what is right, `openapi/schemathesis.toml` says which answers are meant.
//!
//! How many requests are made says the environment: `STREAMGAUGE_OPENAPI_EXAMPLES` of each operation, and
//! `STREAMGAUGE_TEST_SEED`. The defaults are for a run amid the other tests; `just openapi` has more of it.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{process::Command, time::Instant};

use serde_json::Value;
use streamgauge::log::kafka::{KafkaLog, KafkaOptions};

use crate::{
    clients::{fetched, run},
    place::Place,
    support::{
        events::Published,
        examples::{BUILTIN, Examples, today},
        process::Process,
        results,
        target::{Reply, Target},
    },
};

/// Catalogues with schemas, tracked events, rules of each kind. Their events and keys are those of the file's dictionaries.
const CATALOGS: &str = "video,commerce,live";
/// Requests of each operation that are made up at random, beside those that are worked out from the document.
const EXAMPLES: &str = "8";
/// What the requests are made up from, so that a change of the code and not of the dice makes a test fail.
const SEED: &str = "7";

/// Publishes what there is to see: an example of each event type, of which one subscription fails, and dead letters.
async fn furnish(process: &mut Process, log: &KafkaLog) {
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    for (name, text) in BUILTIN.iter().filter(|(name, _)| CATALOGS.contains(name)) {
        let examples = Examples::of(name, text, &today());
        for example in &examples.events {
            let mut event = examples.request(example);
            // Other catalogues' events have the same ids.
            if let Some(id) = event.get("eventId").and_then(Value::as_str) {
                event["eventId"] = format!("{name}-{id}").into();
            }
            let (status, answer) = process
                .until("the topic of an example is made", async |process| {
                    let answer = process.post("/api/events/publish", &event).await;
                    (answer.0 != 503).then_some(answer)
                })
                .await;
            assert_eq!(status, 200, "{event} {answer}");
        }
    }
    let bad = |value: &str| Published { topic: "order.created", key: None, value: value.into(), dead: None };
    results::publish(log, "", &["no JSON", "{}", "[1]"].map(bad)).await;
    let all_lie_there = async |process: &Process| {
        let (_, answer) = process.get("/api/dlq").await;
        let waiting: i64 = answer["data"].as_array()?.iter().filter_map(|topic| topic["waiting"].as_i64()).sum();
        // Three that are no events, and an order that the service does not take.
        (waiting > 3).then_some(())
    };
    process.until("the dead letters", all_lie_there).await;
}

/// Runs schemathesis. Its own words are the failure's.
async fn try_out(url: &str) -> String {
    let set = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let mut command = Command::new(fetched("schemathesis").await);
    command.args(["--config-file", "integration/openapi/schemathesis.toml", "--no-color", "run"]);
    command.args(["--max-examples", &set("STREAMGAUGE_OPENAPI_EXAMPLES", EXAMPLES)]);
    command.args(["--seed", &set("STREAMGAUGE_TEST_SEED", SEED)]).arg(format!("{url}/openapi.json"));
    let began = Instant::now();
    let said = run(command).await;
    eprintln!("{said}\nafter {:.1?}", began.elapsed());
    said
}

/// A service that takes everything but orders.
async fn service() -> (Target, String) {
    let target = Target::start().await;
    target.behave(|got| Reply::status(if got.origin.0 == "order.created" { 500 } else { 200 }));
    let subscription = format!(
        "[[subscription]]\ngroup = \"service\"\ntopics = [\"order.created\", \"payment.succeeded\"]\nstart = \"earliest\"\n\
         url = \"{}\"\nretry = {{ max = 0 }}\n",
        target.url()
    );
    (target, subscription)
}

/// The whole program, with the embedded log.
async fn every_answer_is_of_the_document(settings: &[(&str, &str)]) {
    let (_target, config) = service().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("streamgauge.toml"), config).unwrap();
    let (data, file) = (path("data"), path("streamgauge.toml"));
    let own = [("DATA_DIR", &*data), ("CONFIG_FILE", &*file), ("CATALOG", CATALOGS)];
    let mut process = Process::start(&[&own, settings].concat());
    let url = process.url().await;
    let log = KafkaLog::connect(KafkaOptions::new(vec![process.broker().await]));
    furnish(&mut process, &log).await;
    try_out(&url).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_of_the_document_with_the_embedded_store() {
    every_answer_is_of_the_document(&[]).await;
}

/// Keys of all kinds are asked for as if they were of another one: Redis refuses that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_of_the_document_with_redis() {
    let Place { redis_url, key_prefix, .. } = Place::shared_topics();
    every_answer_is_of_the_document(&[("REDIS_URL", &redis_url), ("REDIS_KEY_PREFIX", &key_prefix)]).await;
}
