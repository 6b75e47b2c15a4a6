//! What many callers at once get from brokers that are away.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::net::TcpListener;

use super::*;

/// Callers that all want a leader at the same moment.
const CROWD: usize = 50;

#[tokio::test]
async fn a_crowd_that_waits_for_a_broker_which_is_away_tries_once_or_twice_and_not_each_in_turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let hangs_up = tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(connection);
        }
    });
    let wire = Wire::new(KafkaOptions::new(vec![address]));
    let partitions: Vec<TopicPartition> = (0..CROWD).map(|i| TopicPartition::new(format!("topic-{i}"), 0)).collect();
    let answers = join_all(partitions.iter().map(|partition| wire.leader(partition))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(LogError::Unavailable { .. }))), "{answers:?}");
    // Those who came after the first try had begun wait for a second.
    assert!((1..=2).contains(&tries.load(Ordering::Relaxed)), "{tries:?} tries");
    hangs_up.abort();
}
