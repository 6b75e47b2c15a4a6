//! What the producer promises, on a log of our own that fails as told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use streamgauge::{
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
    runtime::{
        producer::{ProduceError, Producer, ProducerOptions},
        routing::{Routing, RoutingError},
    },
};
use tokio::sync::Semaphore;

/// A log in memory: appends, counts requests, and can be held up or told to fail.
struct Scripted {
    stored: Mutex<HashMap<TopicPartition, Vec<Vec<u8>>>>,
    requests: Mutex<Vec<usize>>,
    failures: Mutex<VecDeque<LogError>>,
    topics: Mutex<Result<Vec<TopicInfo>, LogError>>,
    /// One permit lets one request through.
    gate: Semaphore,
}

impl Scripted {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            stored: Mutex::default(),
            requests: Mutex::default(),
            failures: Mutex::default(),
            topics: Mutex::new(Ok(vec![TopicInfo { name: "t".to_owned(), partitions: 3 }])),
            gate: Semaphore::new(permits),
        })
    }

    fn texts(&self, partition: &TopicPartition) -> Vec<String> {
        let stored = self.stored.lock().unwrap();
        stored.get(partition).into_iter().flatten().map(|v| String::from_utf8(v.clone()).unwrap()).collect()
    }
}

#[async_trait]
impl Log for Scripted {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.topics.lock().unwrap().clone()
    }

    async fn create_topic(&self, _: &TopicSpec) -> Result<bool, LogError> {
        unreachable!("not asked for")
    }

    async fn offset_at(&self, _: &TopicPartition, _: At) -> Result<i64, LogError> {
        unreachable!("not asked for")
    }

    async fn identity(&self, _: &TopicPartition) -> Result<LogIdentity, LogError> {
        unreachable!("not asked for")
    }

    async fn fetch(&self, _: &[FetchPosition], _: FetchLimits) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        unreachable!("not asked for")
    }

    async fn produce(&self, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        self.requests.lock().unwrap().push(records.len());
        self.gate.acquire().await.unwrap().forget();
        if let Some(error) = self.failures.lock().unwrap().pop_front() {
            return records.iter().map(|_| Err(error.clone())).collect();
        }
        let mut stored = self.stored.lock().unwrap();
        let log = stored.entry(partition.clone()).or_default();
        let append = |record: OutRecord| {
            let value = record.value.unwrap();
            if value == b"too large" {
                return Err(LogError::TooLarge { what: "t".to_owned() });
            }
            log.push(value);
            Ok(log.len() as i64 - 1)
        };
        records.into_iter().map(append).collect()
    }
}

const OPEN: usize = 1_000_000;

fn record(text: &str) -> OutRecord {
    OutRecord { value: Some(text.as_bytes().to_vec()), ..OutRecord::default() }
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn down() -> LogError {
    LogError::Unavailable { what: "t:0".to_owned(), reason: "gone".to_owned() }
}

fn fast() -> ProducerOptions {
    ProducerOptions::default()
}

async fn until(condition: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the condition came true");
}

#[tokio::test]
async fn keeps_the_order_and_gathers_what_arrives_meanwhile() {
    let log = Scripted::new(0);
    let producer = Arc::new(Producer::new(log.clone(), fast()));
    let first = tokio::spawn({
        let producer = Arc::clone(&producer);
        async move { producer.send(partition(), record("0")).await }
    });
    until(|| log.requests.lock().unwrap().len() == 1).await;
    let rest: Vec<_> = (1..500).map(|n| (partition(), record(&n.to_string()))).collect();
    let send_rest = producer.send_all(rest);
    log.gate.add_permits(OPEN);
    let offsets: Vec<_> = send_rest.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(first.await.unwrap(), Ok(0));
    assert_eq!(offsets, (1..500).collect::<Vec<i64>>());
    assert_eq!(log.texts(&partition()), (0..500).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(*log.requests.lock().unwrap(), [1, 499], "one in flight, the rest in one batch");
}

#[tokio::test]
async fn answers_what_cannot_be_sent_and_leaves_trying_again_to_the_log() {
    let log = Scripted::new(OPEN);
    let producer = Producer::new(log.clone(), fast());
    let answers = producer.send_all(["a", "too large", "b"].map(|text| (partition(), record(text))).to_vec()).await;
    assert_eq!(answers[0], Ok(0));
    assert!(matches!(answers[1], Err(ProduceError::Log(LogError::TooLarge { .. }))), "{:?}", answers[1]);
    assert_eq!(answers[2], Ok(1));
    assert_eq!(log.texts(&partition()), ["a", "b"]);

    log.failures.lock().unwrap().push_back(down());
    assert_eq!(producer.send(partition(), record("c")).await, Err(ProduceError::Log(down())));
    assert_eq!(producer.send(partition(), record("d")).await, Ok(2));
    assert_eq!(*log.requests.lock().unwrap(), [3, 1, 1], "the log knows better than to store a record twice");
}

#[tokio::test]
async fn batches_have_a_size() {
    let log = Scripted::new(OPEN);
    let size_bytes = record("xxxx").size_bytes();
    let producer = Producer::new(log.clone(), ProducerOptions { batch_bytes: 3 * size_bytes, ..fast() });
    let records = vec![(partition(), record("xxxx")); 10];
    assert!(producer.send_all(records).await.iter().all(Result::is_ok));
    assert_eq!(*log.requests.lock().unwrap(), [3, 3, 3, 1]);
}

#[tokio::test]
async fn full_batches_are_under_way_together_and_in_order() {
    let log = Scripted::new(0);
    let size_bytes = record("x").size_bytes();
    let options = ProducerOptions { batch_bytes: 2 * size_bytes, max_in_flight: 3, ..fast() };
    let producer = Producer::new(log.clone(), options);
    let sent: Vec<_> = (0..9).map(|n| (partition(), record(&n.to_string()))).collect();
    let (answers, ()) = tokio::join!(producer.send_all(sent), async {
        until(|| log.requests.lock().unwrap().len() == 3).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(*log.requests.lock().unwrap(), [2, 2, 2], "three and no more");
        log.gate.add_permits(OPEN);
    });
    assert_eq!(answers, (0..9).map(Ok).collect::<Vec<_>>());
    assert_eq!(log.texts(&partition()), (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(*log.requests.lock().unwrap(), [2, 2, 2, 2, 1]);
}

#[tokio::test]
async fn is_full_at_the_cap_or_waits_for_room() {
    let log = Scripted::new(0);
    let size_bytes = record("x").size_bytes();
    let producer = Producer::new(log.clone(), ProducerOptions { buffer_bytes: 2 * size_bytes, ..fast() });
    let three = || vec![(partition(), record("x")); 3];
    let full = ProduceError::Full { buffer_bytes: 2 * size_bytes };
    let (failing, ()) = tokio::join!(producer.send_all(three()), async { log.gate.add_permits(OPEN) });
    assert_eq!(failing, [Ok(0), Ok(1), Err(full)]);
    assert_eq!(producer.send_all_waiting(three()).await, [Ok(2), Ok(3), Ok(4)]);
    let larger_than_all = record(&"x".repeat(10 * size_bytes));
    assert_eq!(producer.send_waiting(partition(), larger_than_all).await, Ok(5));
}

#[tokio::test]
async fn drains_and_then_takes_nothing() {
    let log = Scripted::new(0);
    let producer = Arc::new(Producer::new(log.clone(), fast()));
    let sent = tokio::spawn({
        let producer = Arc::clone(&producer);
        async move { producer.send(partition(), record("last")).await }
    });
    until(|| log.requests.lock().unwrap().len() == 1).await;
    log.gate.add_permits(OPEN);
    assert!(producer.drain(Duration::from_secs(10)).await);
    assert_eq!(sent.await.unwrap(), Ok(0));
    assert_eq!(producer.send(partition(), record("late")).await, Err(ProduceError::Closed));
    assert_eq!(producer.send_waiting(partition(), record("late")).await, Err(ProduceError::Closed));
}

#[tokio::test]
async fn gives_up_draining_at_the_deadline() {
    let log = Scripted::new(0);
    let producer = Arc::new(Producer::new(log.clone(), fast()));
    let sent = tokio::spawn({
        let producer = Arc::clone(&producer);
        async move { producer.send(partition(), record("stuck")).await }
    });
    until(|| log.requests.lock().unwrap().len() == 1).await;
    assert!(!producer.drain(Duration::from_millis(20)).await);
    assert_eq!(sent.await.unwrap(), Err(ProduceError::Closed));
}

#[tokio::test]
async fn routes_by_key_or_in_turn() {
    let log = Scripted::new(0);
    let routing = Routing::new(log.clone());
    let by_key = routing.partition_for("t", Some(b"21")).await.unwrap();
    assert_eq!(by_key, TopicPartition::new("t", 1_173_551_340 % 3));
    let mut counts = [0; 3];
    for _ in 0..300 * 64 {
        counts[routing.partition_for("t", None).await.unwrap().partition as usize] += 1;
    }
    assert_eq!(counts, [100 * 64; 3]);
    let unknown = Err(RoutingError::UnknownTopic { topic: "u".to_owned() });
    assert_eq!(routing.partition_for("u", None).await, unknown);

    // What is known stays known while the broker is gone.
    *log.topics.lock().unwrap() = Err(down());
    routing.forget();
    assert_eq!(routing.partition_for("t", Some(b"21")).await, Ok(by_key));
    let unavailable = Err(RoutingError::Unavailable { topic: "u".to_owned(), source: down() });
    assert_eq!(routing.partition_for("u", None).await, unavailable);

    *log.topics.lock().unwrap() = Ok(vec![TopicInfo { name: "u".to_owned(), partitions: 1 }]);
    routing.forget();
    assert_eq!(routing.partition_for("u", None).await, Ok(TopicPartition::new("u", 0)));
}
