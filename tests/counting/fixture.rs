//! Members of a group over a log and a store in memory, wired as the program wires them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use streamgauge::{
    catalog::{self, CatalogChoice, Source, plan::Catalog},
    core::{
        dedupe::{IdentitySecret, SECRET_BYTES},
        register::Scope,
    },
    log::{FetchLimits, Log, OutRecord},
    model::{ShardId, TopicPartition},
    runtime::{
        COUNTING_PART, LOG_PART, OffsetReset, STORE_PART,
        counting::{Counting, CountingError, CountingOptions, CountingParts},
        health::Health,
        mirror::GroupOffsets,
        outside::{LogOutside, Outside},
        persistent::Persistent,
        producer::{Producer, ProducerOptions},
        routing::Routing,
    },
    store::Tier,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{
    faulty_store::FaultyStore,
    memory_log::MemoryLog,
    memory_store::{Held, MemoryStore, tier::MemoryTier},
    oracle::{Results, fold},
};

/// Far above what anything takes here: tests run on busy machines.
const DEADLINE: Duration = Duration::from_secs(60);

/// Polls until the condition holds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let ends_at = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < ends_at, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A log, a store and a catalogue that members share.
pub struct World {
    pub log: Arc<MemoryLog>,
    pub store: Arc<FaultyStore>,
    pub catalog: Arc<Catalog>,
    pub options: CountingOptions,
    /// Where totals are copied to.
    pub tier: Option<Arc<MemoryTier<FaultyStore>>>,
    /// What the broker shows of the group.
    pub group_offsets: Option<Arc<dyn GroupOffsets>>,
}

impl World {
    /// The video catalogue over topics of `partitions` partitions.
    pub fn video(partitions: i32) -> Self {
        Self::of(Catalog::load(&CatalogChoice::default()).unwrap(), partitions)
    }

    /// The same over a store of so many shards.
    pub fn in_shards(self, shards: ShardId) -> Self {
        let store = FaultyStore { inner: MemoryStore::of(shards).into(), ..FaultyStore::default() };
        let catalog = Catalog::clone(&self.catalog).for_shards(shards).unwrap();
        Self { store: Arc::new(store), catalog: Arc::new(catalog), ..self }
    }

    /// A catalogue of one topic `t`, flat, with events `e` without identity.
    pub fn with_rules(rules: &str, partitions: i32) -> Self {
        let text = format!(
            "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = []\nshape = [\"flat\"]\n[[topic.event]]\ntype = \"e\"\nrules = [{rules}]\n"
        );
        let source = Source { file: "c.toml".to_owned(), text };
        Self::of(catalog::compile(&[source]).unwrap_or_else(|findings| panic!("{findings:#?}")), partitions)
    }

    fn of(catalog: Catalog, partitions: i32) -> Self {
        let log = MemoryLog::new(partitions, 37);
        // Made by somebody else: the log has its own mind about how many partitions a topic has.
        catalog.topics.iter().for_each(|topic| log.have(&topic.name));
        Self {
            log: Arc::new(log),
            store: Arc::default(),
            catalog: Arc::new(catalog),
            options: CountingOptions {
                group: "g".to_owned(),
                offset_reset: OffsetReset::Earliest,
                batch_events: 50,
                flush_interval: Duration::from_millis(5),
                topics: Vec::new(),
                partitions: BTreeMap::new(),
                create_topics: true,
                session_timeout: Duration::from_millis(600),
                heartbeat_interval: Duration::from_millis(50),
            },
            tier: None,
            group_offsets: None,
        }
    }

    /// The same with a persistent tier.
    pub fn with_tier(self) -> Self {
        let tier = MemoryTier::new(Arc::clone(&self.store), |store: &FaultyStore| &store.inner);
        Self { tier: Some(Arc::new(tier)), ..self }
    }

    pub fn append(&self, partition: &TopicPartition, value: &str) -> i64 {
        let record = OutRecord { value: Some(value.into()), timestamp_ms: Some(7), ..OutRecord::default() };
        self.log.append(partition, record)
    }

    pub fn held(&self) -> Held {
        self.store.inner.held()
    }

    pub fn counter(&self, key: &str) -> i64 {
        self.held().counters.get(key).copied().unwrap_or(0)
    }

    pub fn checkpoint(&self, partition: &TopicPartition) -> Option<i64> {
        self.store.inner.checkpoints().get(partition).copied()
    }

    /// The partitions of the catalogue.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let chosen =
            |name: &str| self.options.topics.is_empty() || self.options.topics.iter().any(|topic| topic == name);
        let topics = self.catalog.topics.iter().filter(|topic| chosen(&topic.name));
        let count = self.log.partitions_per_topic();
        topics.flat_map(|topic| (0..count).map(|number| TopicPartition::new(&*topic.name, number))).collect()
    }

    /// What the fold says of everything that was ever appended.
    pub fn expected(&self) -> Results {
        fold(&self.catalog, &self.log.records_of(self.catalog.topics.iter().map(|topic| &*topic.name)))
    }

    /// Whether every partition of the catalogue is counted to its end.
    pub fn is_counted(&self) -> bool {
        let checkpoints = self.store.inner.checkpoints();
        let reached = |partition: &TopicPartition| checkpoints.get(partition).copied().unwrap_or(0);
        let ends = self.log.ends();
        let mut ends = ends.iter().filter(|(partition, _)| self.catalog.topic(&partition.topic).is_some());
        ends.all(|(partition, end)| reached(partition) == *end)
    }

    pub async fn until_counted(&self) {
        until("every partition is counted to its end", || self.is_counted()).await;
    }

    /// What is noted outside of the store, the same for every member.
    pub fn outside(&self) -> Arc<dyn Outside> {
        let scope = Scope { prefix: String::new(), group: "g".to_owned(), shards: self.store.inner.shards() };
        Arc::new(LogOutside::new(Arc::clone(&self.log) as _, scope, self.options.create_topics))
    }

    /// Starts a member.
    pub fn member(&self) -> Member {
        self.member_with(self.options.clone())
    }

    /// Starts a member that knows of no other one, as if it were cut off: it counts every partition.
    pub fn loner(&self) -> Member {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.member_with(CountingOptions { group: format!("alone-{number}"), ..self.options.clone() })
    }

    /// Starts a member with options of its own.
    pub fn member_with(&self, options: CountingOptions) -> Member {
        let log: Arc<dyn Log> = Arc::clone(&self.log) as _;
        let now = Instant::now();
        let health = Arc::new(Health::new(now));
        [LOG_PART, STORE_PART, COUNTING_PART].into_iter().for_each(|part| health.add_part(part, false, now));
        let limits = FetchLimits {
            max_wait: Duration::from_millis(20),
            min_bytes: 1,
            max_partition_bytes: 1_000_000,
            max_bytes: 8_000_000,
        };
        let counting = Counting::new(CountingParts {
            store: Arc::clone(&self.store) as _,
            outside: self.outside(),
            producer: Arc::new(Producer::new(Arc::clone(&log), ProducerOptions::default())),
            routing: Arc::new(Routing::new(Arc::clone(&log))),
            log,
            health,
            tenures: Arc::default(),
            limits,
            fetch_max_bytes: 1_000_000,
            secret: IdentitySecret([9; SECRET_BYTES]),
            me: (uuid::Uuid::new_v4().to_string().into(), "here".to_owned()),
            options,
        });
        let tier = self.tier.clone().map(|tier| tier as Arc<dyn Tier>);
        let persistent = Persistent::new(&self.catalog, tier, self.group_offsets.clone(), Duration::from_millis(20));
        assert!(counting.persistent.set(persistent).is_ok());
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let run = Arc::clone(&counting).run(Arc::clone(&self.catalog), stop.clone(), abandon.clone());
        Member { counting, stop, abandon, running: tokio::spawn(run) }
    }
}

/// A running member.
pub struct Member {
    pub counting: Arc<Counting>,
    stop: CancellationToken,
    abandon: CancellationToken,
    running: JoinHandle<Result<(), CountingError>>,
}

impl Member {
    /// Ends it in order: what is merged is flushed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// Ends it at once, with what it holds.
    pub async fn kill(self) {
        self.abandon.cancel();
        self.running.abort();
        let _ = self.running.await;
    }

    /// Why a partition has stopped.
    pub fn stopped(&self, partition: &TopicPartition) -> Option<String> {
        self.counting.stopped.get(partition).map(|stop| stop.why.clone())
    }
}
