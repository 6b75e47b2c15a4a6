//! The faults of `tests/proxy.rs` before a real Kafka, counted into a real Redis.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, time::Duration};

use crate::{
    java::Java,
    place::{Place, kafka, ready},
    support::{
        events::fresh_seed,
        fault_proxy::FaultProxy,
        numbered::{self, Ledger},
        oracle::fold,
        results,
    },
};

const PARTITIONS: i32 = 6;
const EVENTS_EACH: usize = 7_500;
const PUBLISHERS: [&str; 4] = ["a", "b", "c", "d"];
/// A fault for about this many requests.
const FAULT_EVERY: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_network_before_a_real_kafka_lose_and_double_nothing() {
    let proxy = FaultProxy::start(&kafka(), fresh_seed(), FAULT_EVERY).await;
    let mut place = Place { brokers: proxy.address(), ..Place::own_topics() };
    let topic = format!("{}numbered", place.topic_prefix);
    place.write_catalog(&numbered::catalog(&topic, PARTITIONS));
    let mut process = place.start(&[("KAFKA_REQUEST_TIMEOUT_MS", "1000")]);
    ready(&mut process).await;

    proxy.set_wild(true);
    let publish = PUBLISHERS.map(|by| numbered::publish(&process, &topic, by, EVENTS_EACH, Duration::ZERO));
    let ledgers = futures::future::join_all(publish).await;
    let ledgers: BTreeMap<String, Ledger> = PUBLISHERS.map(str::to_owned).into_iter().zip(ledgers).collect();
    proxy.set_wild(false);
    proxy.assert_each_fault_happened();

    // Kafka's own consumer says what the log holds.
    let events = Java::start(&kafka()).dump(&topic);
    numbered::assert_once(&events, &ledgers);
    place.counted_to_the_end(&mut process, &place.store(), &events, |_| true).await;
    results::assert_stored(&place.store(), &place.reference(), &fold(&place.catalog(), &events)).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
