//! An embedded log and store, counted and verified within the test's own process, wired as the program wires them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use streamgauge::{
    app::{Engine, Parts, Shadow},
    catalog::{CatalogChoice, plan::Catalog},
    config::{Config, load},
    log::kafka::{KafkaLog, KafkaOptions},
    model::{Checkpoint, Delta, Key, LogIdentity, Outcome, Section, TopicPartition},
    runtime::{
        outside,
        recount::{RecountError, Value, Verified},
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{events::Published, results};

const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);
const PARTITIONS: i32 = 3;

/// A data folder that is open here.
pub struct Place {
    folder: tempfile::TempDir,
    config: Config,
    pub catalog: Arc<Catalog>,
    pub parts: Parts,
}

/// Counting under way.
pub struct Counting {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Counting {
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

impl Place {
    pub async fn new() -> Self {
        Self::of(Catalog::load(&CatalogChoice::default()).unwrap()).await
    }

    pub async fn of(catalog: Catalog) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(catalog);
        let settings = [
            ("DATA_DIR", folder.path().to_str().unwrap()),
            ("KAFKA_LISTEN", "127.0.0.1:0"),
            ("FLUSH_INTERVAL_MS", "10"),
            ("TOPICS_AUTO_APPLY", "false"),
        ];
        let settings = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let config = load(&settings, None).unwrap().config;
        let parts = Parts::open(&config, &catalog).await.unwrap();
        results::create(&*parts.log, &results::topics_of(&catalog), PARTITIONS).await;
        let letters: Vec<String> = catalog.topics.iter().map(|topic| topic.dead_letter_topic()).collect();
        results::create(&*parts.log, &letters, 1).await;
        let forwards: Vec<String> =
            catalog.topics.iter().flat_map(|topic| topic.forward_targets().map(str::to_owned)).collect();
        results::create(&*parts.log, &forwards, 1).await;
        results::create(&*parts.log, &[outside::TOPIC.to_owned()], 1).await;
        Self { folder, config, catalog, parts }
    }

    pub async fn publish(&self, events: &[Published]) {
        results::publish(&*self.parts.log, "", events).await;
    }

    pub fn start_counting(&self) -> Counting {
        let engine = Engine::new(&self.config, &self.parts);
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let (catalog, stopping) = (Arc::clone(&self.catalog), stop.clone());
        let running = tokio::spawn(async move {
            Arc::clone(&engine.counting).run(catalog, stopping, abandon).await.unwrap();
        });
        Counting { stop, running }
    }

    /// Counts to the end of the log.
    pub async fn count(&self) {
        let counting = self.start_counting();
        self.counted().await;
        counting.stop().await;
    }

    /// Waits until all is counted that lies in the log now.
    pub async fn counted(&self) {
        let events = results::read_events(&*self.parts.log, &self.catalog).await;
        let began = Instant::now();
        while results::count(&results::counted_part(&*self.parts.store, &events).await) < results::count(&events) {
            assert!(began.elapsed() < DEADLINE, "not counted within {DEADLINE:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Verifies some topics; none is all.
    pub async fn verify(&self, topics: &[&str]) -> Result<Verified, RecountError> {
        let names: Vec<String> = topics.iter().map(ToString::to_string).collect();
        let chosen = if names.is_empty() { self.catalog.topics.clone() } else { self.catalog.with_shared_keys(&names) };
        let is_part = chosen.len() < self.catalog.topics.len();
        let shadow = Shadow::open(&self.config, &self.parts).await.unwrap();
        let mut recount = shadow.recount(&self.config, &self.parts, chosen, is_part);
        let verified = recount.verify().await;
        recount.end().await;
        shadow.remove().await.unwrap();
        verified
    }

    /// Counts all anew by the rules of now.
    pub async fn rebuild(&self) {
        let shadow = Shadow::for_rebuild(&self.config, &self.parts).await.unwrap();
        let mut recount = shadow.recount(&self.config, &self.parts, self.catalog.topics.clone(), false);
        assert_eq!(recount.plan(&self.config.kafka.group).await.unwrap().obstacles, [""; 0]);
        recount.rebuild(shadow.exchange(), shadow.id(), None).await.unwrap();
        recount.end().await;
        shadow.remove().await.unwrap();
    }

    /// Writes results that no record has brought.
    pub async fn tamper(&self, deltas: Vec<(Key, Delta)>) {
        let section = Section {
            partition: TopicPartition::new("somebody:else", 0),
            expect: None,
            next: Checkpoint { offset: 1, ..Checkpoint::default() },
            gap: None,
            log_identity: LogIdentity::default(),
            switches: None,
            deltas,
            statuses: Vec::new(),
        };
        assert_eq!(self.parts.store.apply(0, &[section]).await.unwrap(), [Outcome::Applied]);
    }

    /// Changes the store's file while nobody has it.
    pub async fn in_file(&mut self, change: impl FnOnce(&redb::WriteTransaction)) {
        let elsewhere = tempfile::tempdir().unwrap();
        let mut config = self.config.clone();
        config.data_dir = elsewhere.path().to_owned();
        let other = Parts::open(&config, &self.catalog).await.unwrap();
        std::mem::replace(&mut self.parts, other).close().await.unwrap();
        let database = redb::Database::open(self.folder.path().join("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        change(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let again = Parts::open(&self.config, &self.catalog).await.unwrap();
        std::mem::replace(&mut self.parts, again).close().await.unwrap();
    }

    /// A partition of a topic with at least ten records.
    pub async fn a_partition_of(&self, topic: &str) -> TopicPartition {
        let records = results::read_topics(&*self.parts.log, &[topic.to_owned()]).await;
        let ((topic, number), _) = records.iter().find(|(_, records)| records.len() >= 10).expect("a partition");
        TopicPartition::new(topic.as_str(), *number)
    }

    /// Removes the first records of a partition.
    pub async fn forget_before(&self, partition: &TopicPartition, offset: i64) {
        let addr = self.parts.broker_addr().expect("an embedded log");
        let admin = KafkaLog::connect(KafkaOptions::new(vec![addr.to_string()])).admin();
        assert_eq!(admin.delete_records(partition, offset).await.unwrap(), offset);
    }

    /// What lies in the folder beside log and store.
    pub fn left(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("verify")).collect()
    }

    pub async fn counters(&self) -> BTreeMap<String, i64> {
        let (mut counters, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let page = self.parts.store.scan("", &cursor, 1_000).await.unwrap();
            counters.extend(page.counters);
            match page.cursor {
                Some(next) => cursor = next,
                None => return counters,
            }
        }
    }
}

/// What is stored and what was recounted of a key that differs.
pub fn find(found: &Verified, name: &str) -> (Value, Value) {
    let difference = found.differences.iter().find(|difference| difference.key == name).expect(name);
    (difference.stored.clone(), difference.recounted.clone())
}
