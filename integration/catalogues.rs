//! The five built-in catalogues between a real Kafka and a real Redis: an example of each event type, published over HTTP, by
//! kcat, KafkaJS and the Kafka client of NestJS, makes the keys that the example file names, and no others. The topics have names of their own.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};

use crate::{
    clients::{fetched, run},
    kcat,
    place::{Place, ready},
    support::{
        events::Published,
        examples::{BUILTIN, Example, Examples, today},
        process::Process,
    },
};

const CATALOGS: [&str; 5] = [
    include_str!("../src/catalog/builtin/video.toml"),
    include_str!("../src/catalog/builtin/commerce.toml"),
    include_str!("../src/catalog/builtin/social.toml"),
    include_str!("../src/catalog/builtin/creator.toml"),
    include_str!("../src/catalog/builtin/live.toml"),
];

/// Schemas that lie beside the catalogues.
const SCHEMAS: [(&str, &str); 3] = [
    ("live.user.schema.json", include_str!("../src/catalog/builtin/live.user.schema.json")),
    ("live.stream.schema.json", include_str!("../src/catalog/builtin/live.stream.schema.json")),
    ("live.chat.schema.json", include_str!("../src/catalog/builtin/live.chat.schema.json")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_published_over_http_make_the_keys_that_are_named() {
    for ((name, text), catalog) in BUILTIN.into_iter().zip(CATALOGS) {
        let day = today();
        let publish = async |process: &Process, examples: &Examples, prefix: &str| {
            for example in &examples.events {
                let mut request = examples.request(example);
                request["topic"] = format!("{prefix}{}", example.topic).into();
                let (status, answer) = process.post("/api/events/publish", &request).await;
                assert_eq!(status, 200, "{request} {answer}");
            }
        };
        let made = made(&format!("{name} over HTTP"), catalog, &Examples::of(name, text, &day), publish).await;
        // HTTP gives most events the time of now: a day that ended meanwhile says nothing.
        assert!(made.is_ok() || day != today(), "{}", made.unwrap_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_of_another_client_make_the_keys_that_are_named() {
    for ((name, text), catalog) in BUILTIN.into_iter().zip(CATALOGS) {
        let publish = async |_: &Process, examples: &Examples, prefix: &str| {
            let event = |example: &Example| Published {
                topic: format!("{prefix}{}", example.topic).leak(),
                key: Some(example.key.clone().into_bytes()),
                value: example.value.to_string().into_bytes(),
                dead: None,
            };
            let events: Vec<Published> = examples.events.iter().map(event).collect();
            kcat::produce_events(&crate::place::kafka(), &events, &[]);
        };
        let made = made(&format!("{name} by kcat"), catalog, &Examples::of(name, text, &today()), publish).await;
        made.unwrap();
    }
}

/// Publishes the examples to topics of this run's own, and compares every key in Redis.
async fn made(
    way: &str,
    catalog: &str,
    examples: &Examples,
    publish: impl AsyncFn(&Process, &Examples, &str),
) -> Result<(), String> {
    let mut place = Place::own_topics();
    let prefix = place.topic_prefix.clone();
    let one_partition = if catalog.contains("partitions = ") { "" } else { "partitions = 1\n" };
    let own = catalog
        .replace("[[topic]]\nname = \"", &format!("[[topic]]\n{one_partition}name = \"{prefix}"))
        .replace("forward = \"", &format!("forward = \"{prefix}"));
    for (name, schema) in SCHEMAS {
        std::fs::write(place.folder.path().join(name), schema).unwrap();
    }
    place.write_catalog(&own);
    let mut process = place.start(&[]);
    ready(&mut process).await;
    publish(&process, examples, &prefix).await;
    let counted = async |process: &Process| {
        assert_eq!(process.metric("streamgauge_dead_letters_total", "").await, 0.0, "{way}: {}", process.said());
        (process.metric("streamgauge_events_total", "").await == examples.events.len() as f64).then_some(())
    };
    process.until(way, counted).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    examples.differences(&place.store()).await?;
    let lines = place.redis_cli(&["--scan", "--pattern", "@*"]);
    let names = lines.iter().map(|key| key.strip_prefix(&place.key_prefix).unwrap());
    let found: BTreeSet<&str> = names.filter(|key| !key.starts_with("sg:") && !key.starts_with("counters:")).collect();
    let kinds = examples.expected.iter().filter(|(kind, _)| *kind != "counters");
    let wanted: BTreeSet<&str> = kinds.flat_map(|(_, keys)| keys.keys().map(String::as_str)).collect();
    eprintln!(
        "{way}: {} events, {} counters and {} other keys as named",
        examples.events.len(),
        examples.of_kind("counters").len(),
        wanted.len()
    );
    if found == wanted { Ok(()) } else { Err(format!("{way}: keys {found:?}, not {wanted:?}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_that_services_publish_with_kafkajs_and_nestjs_make_the_keys_that_are_named() {
    let modules = fetched("kafkajs").await;
    for client in ["kafkajs", "nestjs"] {
        for ((name, text), catalog) in BUILTIN.into_iter().zip(CATALOGS) {
            let publish = async |_: &Process, examples: &Examples, prefix: &str| {
                // NestJS sends no key unless it is told one, which is no matter where a topic has one partition.
                let has_key = client == "kafkajs" || catalog.contains("partitions = ");
                let event = |example: &Example| {
                    let key = has_key.then_some(&example.key);
                    json!({ "topic": format!("{prefix}{}", example.topic), "key": key, "value": example.value })
                };
                let file = tempfile::NamedTempFile::new().unwrap();
                let events: Vec<Value> = examples.events.iter().map(event).collect();
                std::fs::write(file.path(), json!(events).to_string()).unwrap();
                let mut node = Command::new("node");
                node.args(["integration/clients/publish.js", &modules, &crate::place::kafka(), client])
                    .arg(file.path());
                assert_eq!(run(node).await.trim(), format!("published {}", events.len()));
            };
            let made =
                made(&format!("{name} by {client}"), catalog, &Examples::of(name, text, &today()), publish).await;
            made.unwrap();
        }
    }
}
