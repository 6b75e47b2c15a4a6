//! Publishing under ids through two processes at once: one record for each id, and both are told the same.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    place::{Place, ready},
    support::{events::fresh_seed, numbered, process::Process, results},
};

const IDS: usize = 10_000;
/// Of these, how many are published one by one; the others in batches.
const SINGLE: usize = 2_000;
const BATCH: usize = 250;
/// Single publishes under way per process.
const AT_ONCE: usize = 16;
/// Rest before an event that is in flight elsewhere is asked for again.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// What the publishers of one process were told.
#[derive(Default)]
struct Told {
    /// The answer for each id, without `duplicate`.
    answers: BTreeMap<String, Value>,
    first: usize,
    duplicates: usize,
    in_flight: usize,
}

impl Told {
    /// Takes an answer in; `false` where the event must be sent again.
    fn take(&mut self, id: &str, answer: &Value) -> bool {
        if answer["success"] != true {
            let status = answer["status"].as_i64();
            assert_eq!(status, Some(409), "{answer}");
            self.in_flight += 1;
            return false;
        }
        let place = ["eventId", "topic", "partition", "offset"].map(|name| answer[name].clone());
        assert_eq!(place[0], *id);
        if answer["duplicate"] == true {
            self.duplicates += 1
        } else {
            self.first += 1
        }
        self.answers.insert(id.to_owned(), json!(place));
        true
    }
}

fn event(topic: &str, n: usize) -> (String, Value) {
    let id = format!("sale-{n}");
    let event = json!({ "topic": topic, "eventId": id, "data": numbered::event("both", n) });
    (id, event)
}

/// Publishes all ids, in this order of batches, each until it is answered.
async fn publish(process: &Process, topic: &str, backwards: bool) -> Told {
    let mut told = Told::default();
    let mut singles: Vec<usize> = (0..SINGLE).collect();
    let mut batches: Vec<Vec<usize>> = (SINGLE..IDS).collect::<Vec<_>>().chunks(BATCH).map(<[usize]>::to_vec).collect();
    if backwards {
        singles.reverse();
        batches.reverse();
    }
    let sending = singles.into_iter().map(async |n| {
        let (id, event) = event(topic, n);
        let mut answers = Vec::new();
        loop {
            let (status, answer) = process.post("/api/events/publish", &event).await;
            answers.push(answer);
            if status != 409 {
                return (id, answers);
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    });
    let sent: Vec<_> = stream::iter(sending).buffer_unordered(AT_ONCE).collect().await;
    for (id, answers) in sent {
        let last = answers.len() - 1;
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(told.take(&id, answer), at == last);
        }
    }
    for mut left in batches {
        while !left.is_empty() {
            let (ids, events): (Vec<_>, Vec<_>) = left.iter().map(|n| event(topic, *n)).unzip();
            let (_, answer) = process.post("/api/events/publish-batch", &json!({ "events": events })).await;
            let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(results.len(), left.len());
            let mut done = ids.iter().zip(results).map(|(id, result)| told.take(id, result)).collect::<Vec<_>>();
            left.retain(|_| !done.remove(0));
            if !left.is_empty() {
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_ids_published_by_two_members_at_once_are_ten_thousand_records() {
    let mut place = Place::own_topics();
    let topic = format!("{}sales-{}", place.topic_prefix, fresh_seed());
    place.write_catalog(&numbered::catalog(&topic, 3));
    let (mut first, mut second) = (place.start(&[]), place.start(&[]));
    ready(&mut first).await;
    ready(&mut second).await;
    let began = Instant::now();
    let (one, other) = tokio::join!(publish(&first, &topic, false), publish(&second, &topic, true));
    eprintln!(
        "{IDS} ids by each of two members within {:.1?}: {} and {} sent, {} and {} were duplicates; {} and {} times in flight",
        began.elapsed(),
        one.first,
        other.first,
        one.duplicates,
        other.duplicates,
        one.in_flight,
        other.in_flight
    );
    assert_eq!(one.answers, other.answers, "both are told the same");
    assert_eq!((one.answers.len(), one.first + other.first), (IDS, IDS));
    assert!(one.first > 0 && other.first > 0, "both have sent some");
    let events = results::read_events(&place.log(), &place.catalog()).await;
    let records: usize = events.values().map(Vec::len).sum();
    eprintln!("{records} records in Kafka");
    assert_eq!(records, IDS);
    place.caught_up(&mut first).await;
    assert_eq!(first.get("/api/counters/all").await.1["data"]["stored"], IDS);
    let (_, answer) = second.post("/api/events/publish", &event(&topic, 7).1).await;
    assert_eq!(answer["duplicate"], true);
    let (status, _) = first
        .post(
            "/api/events/publish",
            &json!({ "topic": topic, "eventId": "sale-7", "data": {"type": "sale", "item": "other"} }),
        )
        .await;
    assert_eq!(status, 422);
}
