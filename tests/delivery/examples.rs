//! The configurations in `examples/`, as they are shipped: every service gets what CATALOGUES says that it gets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::program::Folder;
use crate::support::{
    examples::{BUILTIN, Examples, today},
    target::Target,
};

/// A group, and its topics.
type Group = (&'static str, &'static [&'static str]);

/// By catalogue, the file and its groups.
const SHIPPED: &[(&str, &str, &[Group])] = &[
    (
        "commerce",
        include_str!("../../examples/commerce.toml"),
        &[
            ("notification-service-group", &["order.created", "payment.succeeded", "cart.abandoned"]),
            ("analytics-service-group", &["order.created", "cart.abandoned"]),
            ("email-service-group", &["order.confirmed"]),
            ("recommendation-service-group", &["payment.succeeded", "cart.abandoned"]),
            ("inventory-service-group", &["order.created", "payment.succeeded"]),
            ("payment-service-group", &["order.created"]),
            ("order-service-group", &["payment.succeeded"]),
        ],
    ),
    (
        "creator",
        include_str!("../../examples/creator.toml"),
        &[
            ("subscription-service", &["payment.completed"]),
            ("payment-service", &["subscription.created", "content.post.created"]),
            ("content-service", &["payment.post.purchased", "subscription.created"]),
            ("media-service", &["content.post.deleted"]),
        ],
    ),
];
/// Partitions of each topic of these catalogues.
const PARTITIONS: usize = 6;

/// How many different events of each type a service got.
fn got(target: &Target) -> BTreeMap<String, usize> {
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for got in target.got() {
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        let events = match body.as_array() {
            Some(batch) => {
                batch.iter().map(|event| (text(&event["type"]), text(&event["id"]), &event["data"])).collect()
            }
            None => vec![(got.headers["ce-type"].clone(), got.id, &body)],
        };
        for (event_type, id, data) in events {
            assert!(data.is_object(), "{data}");
            ids.entry(event_type).or_default().insert(id);
        }
    }
    ids.into_iter().map(|(event_type, ids)| (event_type, ids.len())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_of_the_examples_gets_its_events_and_no_others() {
    for (catalog, config, groups) in SHIPPED {
        let mut config = (*config).to_owned();
        let mut targets = Vec::new();
        for port in 9_001..9_001 + groups.len() {
            let target = Target::start().await;
            config = config.replace(&format!("http://127.0.0.1:{port}/events"), &target.url());
            targets.push(target);
        }
        let folder = Folder::new(&config);
        let mut process = folder.start(&[]);
        process.url().await;
        // They begin at the log's end: nothing may be published before they have.
        let wanted: Vec<usize> = groups.iter().map(|(_, topics)| topics.len() * PARTITIONS).collect();
        let begun = process
            .until("all partitions have begun", async |process| {
                let (_, answer) = process.get("/api/deliveries").await;
                let data = answer["data"].as_array()?.clone();
                let partitions = data.iter().map(|group| group["partitions"].as_array().map_or(0, Vec::len));
                partitions.eq(wanted.iter().copied()).then_some(data)
            })
            .await;
        let (_, examples) = BUILTIN.iter().find(|(name, _)| name == catalog).unwrap();
        let examples = Examples::of(catalog, examples, &today());
        for example in &examples.events {
            let (status, answer) = process.post("/api/events/publish", &examples.request(example)).await;
            assert_eq!(status, 200, "{answer}");
        }
        for (((group, topics), target), begun) in groups.iter().zip(&targets).zip(&begun) {
            assert_eq!(begun["group"], *group);
            // One that is there twice comes twice, and is the same event.
            let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            let of_group = |topic: &str| topics.contains(&topic);
            for (number, example) in examples.events.iter().enumerate().filter(|(_, example)| of_group(&example.topic))
            {
                let id =
                    examples.request(example)["eventId"].as_str().map_or_else(|| number.to_string(), str::to_owned);
                expected.entry(example.topic.clone()).or_default().insert(id);
            }
            let expected: BTreeMap<String, usize> =
                expected.into_iter().map(|(topic, ids)| (topic, ids.len())).collect();
            assert_eq!(expected.len(), topics.len(), "{group}: an example of each topic");
            process.until(group, async |_| (got(target) == expected).then_some(())).await;
        }
        assert!(process.terminate().await.success(), "{}", process.said());
    }
}
