//! A place of a test's own on the shared servers: topics and keys under a prefix.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, path::PathBuf, process::Command};

use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    log::kafka::{KafkaLog, KafkaOptions},
    model::TopicPartition,
    store::{
        Store,
        redis::{RedisOptions, RedisStore},
    },
};

use crate::support::{
    oracle::Results,
    process::{Process, binary},
    results::{self, Partitions},
};

const VIDEO: &str = include_str!("../src/catalog/builtin/video.toml");

/// The Kafka to test with.
pub fn kafka() -> String {
    std::env::var("STREAMGAUGE_TEST_KAFKA").expect("STREAMGAUGE_TEST_KAFKA names the Kafka to test with")
}

/// The Redis to test with.
pub fn redis_url() -> String {
    std::env::var("STREAMGAUGE_TEST_REDIS_URL").expect("STREAMGAUGE_TEST_REDIS_URL names the Redis to test with")
}

/// Topics and keys that no other test has.
pub struct Place {
    /// Stands before each topic.
    pub topic_prefix: String,
    /// Stands before each key.
    pub key_prefix: String,
    /// The broker as this test reaches it.
    pub brokers: String,
    /// The Redis as this test reaches it.
    pub redis_url: String,
    /// Its servers one by one, for redis-cli; none where the URL says it.
    pub redis_nodes: Vec<String>,
    /// Into how many shards the results are split.
    pub store_shards: u16,
    /// A file: the video catalogue with other topic names. Unset: the built-in one.
    pub catalog_path: Option<PathBuf>,
    /// Holds the catalogue.
    pub folder: tempfile::TempDir,
}

impl Place {
    /// The built-in video catalogue under its own names; only the keys are this test's own.
    pub fn shared_topics() -> Self {
        Self {
            topic_prefix: String::new(),
            key_prefix: format!("flow-{}:", uuid::Uuid::new_v4()),
            brokers: kafka(),
            redis_url: redis_url(),
            redis_nodes: Vec::new(),
            store_shards: 1,
            catalog_path: None,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The video catalogue with topics of this test's own, of three partitions each.
    pub fn own_topics() -> Self {
        let topic_prefix = format!("t{}.", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let catalog = VIDEO
            .replace("name = \"video.", &format!("partitions = 3\nname = \"{topic_prefix}video."))
            .replace("forward = \"", &format!("forward = \"{topic_prefix}"));
        let mut place = Self { topic_prefix, ..Self::shared_topics() };
        place.write_catalog(&catalog);
        place
    }

    /// Makes this the catalogue.
    pub fn write_catalog(&mut self, text: &str) {
        let path = self.folder.path().join("catalog.toml");
        std::fs::write(&path, text).unwrap();
        self.catalog_path = Some(path);
    }

    /// The catalogue.
    pub fn catalog(&self) -> Catalog {
        let choice = match &self.catalog_path {
            Some(path) => CatalogChoice { names: Vec::new(), path: Some(path.clone()) },
            None => CatalogChoice::default(),
        };
        Catalog::load(&choice).unwrap()
    }

    /// A process that counts here.
    pub fn start(&self, settings: &[(&str, &str)]) -> Process {
        self.start_with(&["run"], settings)
    }

    /// A command that is run here.
    pub fn start_with(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Process {
        self.start_program(Command::new(binary()).args(arguments), settings)
    }

    /// Another program with a service in it, here.
    pub fn start_program(&self, program: &mut Command, settings: &[(&str, &str)]) -> Process {
        let store_shards = self.store_shards.to_string();
        let mut all = vec![
            ("STORE_SHARDS", store_shards.as_str()),
            ("KAFKA_BROKERS", self.brokers.as_str()),
            ("REDIS_URL", &self.redis_url),
            ("REDIS_KEY_PREFIX", &self.key_prefix),
            // Tests kill: who comes next waits for the session of the dead.
            ("SESSION_TIMEOUT_MS", "1000"),
        ];
        if let Some(path) = &self.catalog_path {
            all.push(("CATALOG_PATH", path.to_str().unwrap()));
        }
        all.extend(settings);
        Process::start_program(program, &all)
    }

    /// The log, without the detour that a test may have put between it and the process.
    pub fn log(&self) -> KafkaLog {
        KafkaLog::connect(KafkaOptions::new(vec![kafka()]))
    }

    /// The store.
    pub fn store(&self) -> RedisStore {
        self.store_under("", self.store_shards)
    }

    /// An empty store beside it.
    pub fn reference(&self) -> RedisStore {
        self.store_under("reference-", 1)
    }

    fn store_under(&self, before: &str, shards: u16) -> RedisStore {
        let key_prefix = format!("{before}{}", self.key_prefix);
        RedisStore::connect(&RedisOptions { key_prefix, shards, ..redis_options(&self.redis_url) })
    }

    /// What redis-cli prints, line by line, of all servers. `@` before a word stands for the key prefix.
    pub fn redis_cli(&self, words: &[&str]) -> Vec<String> {
        let word =
            |word: &&str| word.strip_prefix('@').map_or(word.to_string(), |key| format!("{}{key}", self.key_prefix));
        let words: Vec<_> = words.iter().map(word).collect();
        let urls = if self.redis_nodes.is_empty() { std::slice::from_ref(&self.redis_url) } else { &self.redis_nodes };
        let mut lines = Vec::new();
        for url in urls {
            let output =
                Command::new("redis-cli").args(["--no-auth-warning", "-u", url]).args(&words).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success() && !text.contains("ERR"), "{words:?}: {text}");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }

    /// Waits until everything is counted that lies in the log now, and returns it.
    pub async fn caught_up(&self, process: &mut Process) -> Partitions {
        let (log, store) = (self.log(), self.store());
        let events = results::read_events(&log, &self.catalog()).await;
        self.counted_to_the_end(process, &store, &events, |_| true).await;
        events
    }

    /// Waits until these partitions are counted to their end.
    pub async fn counted_to_the_end(
        &self,
        process: &mut Process,
        store: &dyn Store,
        events: &Partitions,
        which: impl Fn(&TopicPartition) -> bool,
    ) {
        let partition = |(topic, number): &(String, i32)| TopicPartition::new(topic.as_str(), *number);
        let ends = events.iter().filter_map(|(name, records)| Some((partition(name), records.last()?.offset + 1)));
        let (names, ends): (Vec<_>, Vec<_>) = ends.filter(|(name, _)| which(name)).unzip();
        process
            .until("all partitions counted to the end", async |_| {
                let stored = store.positions(&names).await.ok()?;
                let stored = stored.iter().map(|shards| results::counted_to(shards));
                stored.eq(ends.iter().copied()).then_some(())
            })
            .await;
    }

    /// The store is whole and counted to the end of the log, and holds no key that has no reason to be.
    pub async fn assert_complete(&self) -> usize {
        let (log, catalog) = (self.log(), self.catalog());
        let (counted, of) = results::assert_whole(&log, &self.store(), &self.reference(), &catalog).await;
        assert_eq!(counted, of);
        let events = results::read_events(&log, &catalog).await;
        self.assert_keys(&crate::support::oracle::fold(&catalog, &events));
        counted
    }

    /// The keys in Redis are those of the results, and ours.
    pub fn assert_keys(&self, expected: &Results) {
        let found = self.redis_cli(&["--scan", "--pattern", &format!("{}*", self.key_prefix)]);
        let tags: Vec<String> = (0..self.store_shards).map(|shard| format!("{{{shard}}}:")).collect();
        let untagged = |key: &str| tags.iter().find_map(|tag| key.strip_prefix(tag)).unwrap_or(key).to_owned();
        let found = found.iter().map(|key| untagged(key.strip_prefix(&self.key_prefix).unwrap()));
        let is_result = |key: &String| !key.starts_with("sg:") && !key.starts_with("counters:");
        let found: BTreeSet<String> = found.filter(is_result).collect();
        let now_ms = chrono::Utc::now().timestamp_millis();
        let is_alive = |at: &Option<i64>| at.is_none_or(|at| at > now_ms);
        let uniques = expected.uniques.iter().filter(|(_, (at, _))| is_alive(at)).map(|(key, _)| key);
        let tops = expected.tops.iter().filter(|(_, (at, _))| is_alive(at)).map(|(key, _)| key);
        let others = expected.recents.keys().chain(expected.sets.keys());
        let wanted: BTreeSet<String> = uniques.chain(tops).chain(others).cloned().collect();
        assert_eq!(found, wanted);
    }
}

/// Waits until the API answers and the process is ready.
pub async fn ready(process: &mut Process) {
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
}

/// Waits until the process has counted so many records since it was started.
pub async fn counted(process: &mut Process, records: usize) {
    let enough = async |process: &Process| {
        (process.metric("streamgauge_records_total", "").await >= records as f64).then_some(())
    };
    process.until("progress", enough).await;
}

/// The options of the Redis at a URL, read as the program reads its REDIS_URL.
pub fn redis_options(url: &str) -> RedisOptions {
    let environment = [("REDIS_URL".to_owned(), url.to_owned())].into();
    let config = streamgauge::config::load(&environment, None).unwrap().config;
    let streamgauge::config::StoreChoice::Redis(redis) = config.store else { panic!("{url} is no Redis") };
    streamgauge::app::redis_options(&redis).unwrap()
}
