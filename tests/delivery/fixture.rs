//! Members that deliver a topic `t` over a log and a store in memory, to a courier that answers as it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use streamgauge::{
    catalog::{self, Source, plan::Topic},
    core::delivery::{Filter, Mode, Position, Retry},
    log::{FetchLimits, Log, OutRecord},
    model::{Progress, Status, TopicPartition},
    runtime::{
        OffsetReset,
        delivery::{Delivery, DeliveryError, DeliveryParts, Shown, Subscription},
        health::Health,
        producer::{Producer, ProducerOptions},
        routing::Routing,
    },
    store::Store,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    post::Post,
    support::{memory_log::MemoryLog, memory_store::MemoryStore, oracle::Record},
};

/// Far above what anything takes here: tests run on busy machines.
const DEADLINE: Duration = Duration::from_secs(60);
const CATALOG: &str = "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = []\nshape = [\"flat\"]\n[[topic.event]]\ntype = \"e\"\nrules = []\n";

/// Polls until the condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let ends_at = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < ends_at, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A log, a store and a target that members share.
pub struct World {
    pub log: Arc<MemoryLog>,
    pub memory: Arc<MemoryStore>,
    /// What members keep positions in; the memory itself, unless a test puts something before it.
    pub store: Arc<dyn Store>,
    pub courier: Arc<Post>,
    pub retry: Retry,
    pub mode: Mode,
    pub filter: Filter,
    pub start: OffsetReset,
    pub unfinished: usize,
    /// Bytes of blocks that are held at most.
    pub fetch_max_bytes: usize,
    topic: Arc<Topic>,
}

impl World {
    pub fn new(partitions: i32) -> Self {
        Self::of(partitions, CATALOG)
    }

    /// The same, whose topic is tracked.
    pub fn tracked(partitions: i32) -> Self {
        Self::of(partitions, &CATALOG.replace("identity", "track = true\nidentity"))
    }

    fn of(partitions: i32, catalog: &str) -> Self {
        let source = Source { file: "c.toml".to_owned(), text: catalog.to_owned() };
        let topic = Arc::clone(&catalog::compile(&[source]).unwrap().topics[0]);
        let log = MemoryLog::new(partitions, 37);
        ["t", "t.dlq"].into_iter().for_each(|topic| log.have(topic));
        let memory: Arc<MemoryStore> = Arc::default();
        Self {
            log: Arc::new(log),
            store: Arc::clone(&memory) as _,
            memory,
            courier: Arc::default(),
            retry: Retry { max: 3, initial_ms: 20, factor: 2.0, max_delay_ms: 200 },
            mode: Mode::Binary,
            filter: Filter::default(),
            start: OffsetReset::Earliest,
            unfinished: 1_000,
            fetch_max_bytes: 8_000_000,
            topic,
        }
    }

    /// Publishes events of some keys, each to the partition of its key.
    pub fn publish_many(&self, events: usize, keys: usize) {
        for n in 0..events {
            let key = format!("k{}", n % keys);
            let partition = (n % keys) as i32 % self.log.partitions_per_topic();
            let value = json!({ "type": "e", "id": format!("e-{n}"), "key": key, "n": n });
            self.publish(partition, Some(&key), &value, None);
        }
    }

    pub fn publish_to(&self, partition: i32, n: i32) {
        self.publish(partition, None, &json!({ "type": "e", "n": n }), None);
    }

    pub fn publish(&self, partition: i32, key: Option<&str>, value: &Value, replayed_for: Option<&str>) {
        let record = OutRecord {
            key: key.map(|key| key.as_bytes().to_vec()),
            value: Some(value.to_string().into_bytes()),
            headers: replayed_for.map_or_else(Vec::new, |group| {
                vec![("replay-group".to_owned(), group.into()), ("replay-number".to_owned(), b"1".to_vec())]
            }),
            timestamp_ms: Some(7),
        };
        self.log.append(&TopicPartition::new("t", partition), record);
    }

    fn document(&self, partition: i32) -> Option<Vec<u8>> {
        self.memory.held().documents.get(&format!("delivery:g:t:{partition}")).cloned()
    }

    pub fn has_position(&self, partition: i32) -> bool {
        self.document(partition).is_some()
    }

    /// The position that is stored.
    pub fn position(&self, partition: i32) -> Position {
        Position::parse(&self.document(partition).expect("a position")).unwrap()
    }

    /// Whether every partition is delivered to its end, as far as the positions say.
    pub fn is_at_the_end(&self) -> bool {
        let ends = self.log.ends().into_iter().filter(|(partition, _)| &*partition.topic == "t");
        ends.into_iter().all(|(partition, end)| self.position(partition.partition).from() == end)
    }

    /// What is told of an event in the group.
    pub fn status(&self, id: &str) -> Option<Status> {
        self.memory.held().statuses.get(id)?.get("g").cloned()
    }

    /// How far an event is told to be, and after how many attempts.
    pub fn progress(&self, id: &str) -> Option<(Progress, u32)> {
        self.status(id).map(|status| (status.progress, status.attempts))
    }

    /// The dead letters.
    pub fn letters(&self) -> Vec<Record> {
        self.log.records_of(["t.dlq"].into_iter()).into_values().flatten().collect()
    }

    /// Starts a member.
    pub fn member(&self) -> Member {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let log: Arc<dyn Log> = Arc::clone(&self.log) as _;
        let limits = FetchLimits {
            max_wait: Duration::from_millis(20),
            min_bytes: 1,
            max_partition_bytes: 1_000_000,
            max_bytes: 8_000_000,
        };
        let name = format!("member-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let parts = DeliveryParts {
            store: Arc::clone(&self.store),
            producer: Arc::new(Producer::new(Arc::clone(&log), ProducerOptions::default())),
            routing: Arc::new(Routing::new(Arc::clone(&log))),
            health: Arc::new(Health::new(Instant::now())),
            schemas: None,
            limits,
            fetch_max_bytes: self.fetch_max_bytes,
            me: (name.into(), "here".to_owned()),
            session_timeout: Duration::from_millis(600),
            heartbeat_interval: Duration::from_millis(50),
            log: Arc::clone(&log),
        };
        let subscription = Subscription {
            group: "g".to_owned(),
            topics: vec![Arc::clone(&self.topic)],
            filter: self.filter.clone(),
            mode: self.mode,
            concurrency: 8,
            unfinished: self.unfinished,
            start: self.start,
            key: None,
            retries: [(Arc::from("t"), self.retry)].into(),
            target: "memory".to_owned(),
            courier: Arc::clone(&self.courier) as _,
            log,
        };
        let delivery = Delivery::new(parts, vec![subscription]);
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&delivery).run(stop.clone()));
        Member { delivery, stop, running }
    }
}

/// A member of the group.
pub struct Member {
    delivery: Arc<Delivery>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), DeliveryError>>,
}

impl Member {
    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// Ends it at once, with what it holds.
    pub async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
    }

    pub fn shown(&self) -> Shown {
        self.delivery.shown().remove(0)
    }
}
