//! A log that lost its beginning or was made again under a group that counts it.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    java::End,
    place::{Place, kafka, ready},
    proof::Proof,
    support::{fault_proxy::FaultProxy, process::Process},
};

/// What is said of a topic that is not the one that was counted.
const MADE_AGAIN: &str = "made again";
/// How long the broker may take to forget a topic.
const DELETED_WITHIN: Duration = Duration::from_secs(30);

/// All sales that are counted.
fn counted(place: &Place) -> i64 {
    let lines = place.redis_cli(&["hgetall", "@counters:aggregated"]);
    let sales = lines.chunks(2).filter(|pair| pair[0].starts_with("item:"));
    sales.map(|pair| pair[1].parse::<i64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_below_a_checkpoint_while_counting_are_a_gap() {
    let mut proof = Proof::with_topic(&[]);
    let topic = proof.topics[0].clone();
    let proxy = FaultProxy::start(&kafka(), 0, 1).await;
    proof.place.brokers = proxy.address();
    proof.sell(0, End::Plain, 0, 10);
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 10);
    // While the process cannot look, records come and go.
    proxy.set_away(true);
    proof.sell(0, End::Plain, 10, 30);
    proof.java.delete_records(&topic, 0, 25);
    proxy.set_away(false);
    proof.wait_for_ends(&mut process).await;
    assert!(process.has_said("gap: the broker no longer holds offsets 10 to 25"), "{}", process.said());
    assert_eq!(process.metric("streamgauge_gap_records_total", "").await, 15.0);
    assert_eq!(proof.place.redis_cli(&["hgetall", "@counters:gaps"]), [format!("{topic}:0:10"), "25".to_owned()]);
    assert_eq!(counted(&proof.place), 10 + 15);
}

/// Deletes the topic and makes it anew, with more records than it had before.
async fn make_again(proof: &mut Proof) {
    let topic = proof.topics[0].clone();
    proof.java.delete(&topic);
    let deadline = Instant::now() + DELETED_WITHIN;
    let create = json!({ "do": "create", "topic": topic, "partitions": 2 });
    // The broker goes on deleting after it has answered.
    while let Some(error) = proof.java.try_ask(&create).get("error") {
        assert!(Instant::now() < deadline, "not deleted within {DELETED_WITHIN:?}: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proof.sell(0, End::Plain, 1_000, 50);
}

/// Waits until the process says loudly that the topic is another one, and counts nothing of it.
async fn assert_noticed(proof: &Proof, process: &mut Process) {
    let topic = &proof.topics[0];
    // With the ways out.
    let is_it = |line: &str| [MADE_AGAIN, topic, "REDIS_KEY_PREFIX"].iter().all(|text| line.contains(text));
    process
        .until("the topic made again is noticed", async |process| process.said().lines().any(is_it).then_some(()))
        .await;
    process
        .until("a partition stopped", async |process| {
            (process.metric("streamgauge_partitions_stopped", "").await >= 1.0).then_some(())
        })
        .await;
    let (_, health) = process.get("/api/health").await;
    assert_ne!(health["status"], "ok", "{health}");
    assert_eq!(counted(&proof.place), 20, "nothing of the new topic is added to what was counted of the old one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_while_counting_stands_still_is_noticed() {
    let mut proof = Proof::with_topic(&[]);
    proof.sell(0, End::Plain, 0, 20);
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 20);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    make_again(&mut proof).await;
    let mut process = proof.place.start(&[]);
    process.url().await;
    assert_noticed(&proof, &mut process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_while_counting_runs_is_noticed() {
    let mut proof = Proof::with_topic(&[]);
    proof.sell(0, End::Plain, 0, 20);
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 20);
    make_again(&mut proof).await;
    assert_noticed(&proof, &mut process).await;
}
