//! Callers that share connections, with brokers that are away or no brokers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end here")]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

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

#[tokio::test]
async fn a_broker_that_is_named_wrongly_does_not_end_the_search_for_another() {
    const ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x50";
    let (mut addresses, mut tries) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
        tries.push(tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await?;
            connection.read_i32().await?;
            connection.write_all(ALERT).await
        }));
    }
    let error = Wire::new(KafkaOptions::new(addresses)).leader(&TopicPartition::new("topic", 0)).await.unwrap_err();
    assert!(matches!(&error, LogError::Unavailable { reason, .. } if reason.contains("wants TLS")), "{error:?}");
    for tried in tries {
        timeout(Duration::from_secs(20), tried).await.expect("each is asked").unwrap().unwrap();
    }
}
