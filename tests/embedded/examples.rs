//! The example events of the five built-in catalogues, published over HTTP and by the Kafka protocol: every key that they make
//! is the one that the example file names.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use streamgauge::log::kafka::{KafkaLog, KafkaOptions};

use crate::{
    Folder,
    support::{
        events::Published,
        examples::{BUILTIN, Example, Examples, differences, today},
        process::Process,
        results,
    },
};

#[test]
fn every_event_type_of_every_built_in_catalogue_has_an_example() {
    for (name, text) in BUILTIN {
        Examples::of(name, text, &today()).assert_complete();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_published_over_http_make_the_keys_that_are_named() {
    for (name, text) in BUILTIN {
        let day = today();
        let (folder, examples) = (Folder::new(), Examples::of(name, text, &day));
        let mut process = started(&folder, name).await;
        for example in &examples.events {
            let request = examples.request(example);
            let (status, answer) = process.post("/api/events/publish", &request).await;
            assert_eq!((status, &answer["success"]), (200, &json!(true)), "{request} {answer}");
        }
        let made = made(&mut process, &folder, &examples, name).await;
        // HTTP gives most events the time of now: a day that ended meanwhile says nothing.
        assert!(made.is_ok() || day != today(), "{name} over HTTP: {}", made.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_sent_by_the_kafka_protocol_make_the_keys_that_are_named() {
    for (name, text) in BUILTIN {
        let (folder, examples) = (Folder::new(), Examples::of(name, text, &today()));
        let mut process = started(&folder, name).await;
        let log = KafkaLog::connect(KafkaOptions::new(vec![process.broker().await]));
        let event = |example: &Example| Published {
            topic: example.topic.clone().leak(),
            key: Some(example.key.clone().into_bytes()),
            value: example.value.to_string().into_bytes(),
            dead: None,
        };
        results::publish(&log, "", &examples.events.iter().map(event).collect::<Vec<_>>()).await;
        made(&mut process, &folder, &examples, name).await.unwrap_or_else(|error| panic!("{name} by Kafka: {error}"));
    }
}

async fn started(folder: &Folder, catalog: &str) -> Process {
    let mut process = folder.start(&[("CATALOG", catalog)]);
    process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    process
}

/// All events count, none is a dead letter; then what lies in the store and the log is compared.
async fn made(process: &mut Process, folder: &Folder, examples: &Examples, name: &str) -> Result<(), String> {
    let events = examples.events.len() as f64;
    let counted = async |process: &Process| {
        assert_eq!(process.metric("streamgauge_dead_letters_total", "").await, 0.0, "{name}: {}", process.said());
        (process.metric("streamgauge_events_total", "").await == events).then_some(())
    };
    process.until(name, counted).await;
    assert_eq!(process.metric("streamgauge_events_by_shape_total", "").await, events, "{name}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    examples.differences(&folder.store()).await?;
    let (_broker, log) = folder.log().await;
    let targets: Vec<String> = examples.forwards.keys().cloned().collect();
    let mut forwarded = BTreeMap::new();
    for ((name, _), records) in results::read_topics(&log, &targets).await {
        *forwarded.entry(name).or_insert(0) += records.len();
    }
    let forwarded = forwarded.into_iter().map(|(name, records)| (name, Value::from(records))).collect();
    differences("forwards", &forwarded, &examples.forwards)
}
