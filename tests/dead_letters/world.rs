//! A topic with dead letters, in memory, and whoever replays them: stopped at any of its steps, slowed down, or not answered.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use streamgauge::{
    catalog::{self, Source, plan::Catalog},
    core::{
        dead_letter::{DeadLetter, once},
        letter::Filter,
        reason::Reason,
    },
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
    runtime::dead_letters::{Cursor, DeadLetterError, DeadLetterParts, DeadLetters, ReplayOptions, Replayed, Trimming},
};
use tokio::sync::Notify;

use crate::support::{events::Random, memory_log::MemoryLog, memory_store::MemoryStore, oracle::Record};

pub const TOPIC: &str = "orders";
pub const DLQ: &str = "orders.dlq";
pub const PARTITIONS: i32 = 2;
/// For so long a record may be on its way.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
pub const MAX_REPLAYS: u32 = 3;

const CATALOG: &str =
    "name = \"c\"\n[[topic]]\nname = \"orders\"\n[[topic.event]]\ntype = \"e\"\nrules = [{ count = \"n\" }]\n";

pub struct World {
    pub log: Arc<MemoryLog>,
    pub store: Arc<MemoryStore>,
    pub catalog: Arc<Catalog>,
}

/// What happens to the calls of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Nothing goes on before its call of this number, or behind it.
    pub break_at: Option<(usize, bool)>,
    /// Calls take a while, by this seed.
    pub slow_seed: Option<u64>,
    /// The first record that is sent is not answered for; it is stored, or not.
    pub unanswered: Option<bool>,
}

/// A log as one process sees it.
pub struct Seen {
    log: Arc<MemoryLog>,
    faults: Faults,
    steps: AtomicUsize,
    random: Mutex<Random>,
    pub broken: Arc<Notify>,
}

impl World {
    pub fn new() -> Self {
        let source = Source { file: "c.toml".to_owned(), text: CATALOG.to_owned() };
        let log = Arc::new(MemoryLog::new(PARTITIONS, 7));
        log.have(TOPIC);
        Self { log, store: Arc::default(), catalog: Arc::new(catalog::compile(&[source]).unwrap()) }
    }

    /// With so many dead letters, which lie over the partitions.
    pub fn with(letters: usize) -> Self {
        let world = Self::new();
        for number in 0..letters {
            let record = OutRecord {
                key: (number % 3 > 0).then(|| format!("k{number}").into_bytes()),
                value: (number % 5 > 0).then(|| format!("{{\"n\":{number}}}").into_bytes()).or(Some(b"\xff".to_vec())),
                headers: vec![("n".to_owned(), number.to_string().into_bytes())],
                timestamp_ms: Some(number as i64),
            };
            world.fail((number % 2) as i32, number as i64, &record, number as i64);
        }
        world
    }

    /// A record of the topic becomes a dead letter.
    pub fn fail(&self, partition: i32, offset: i64, record: &OutRecord, at_ms: i64) -> i64 {
        let reason = match offset % 2 {
            0 => Reason::NotJson("no".to_owned()),
            _ => Reason::MissingField { field: "x".to_owned() },
        };
        let source = TopicPartition::new(TOPIC, partition);
        let letter = DeadLetter {
            source: &source,
            offset,
            record,
            reason: &reason,
            group: "g",
            tried: once(at_ms),
            status: None,
        };
        self.log.append(&TopicPartition::new(DLQ, partition), letter.record())
    }

    /// A process that replays.
    pub fn process(&self, faults: Faults) -> (DeadLetters, Arc<Seen>) {
        let random = Mutex::new(Random::new(faults.slow_seed.unwrap_or_default()));
        let broken = Arc::default();
        let seen = Arc::new(Seen { log: Arc::clone(&self.log), faults, steps: AtomicUsize::new(0), random, broken });
        let letters = DeadLetters::new(DeadLetterParts {
            log: Arc::clone(&seen) as _,
            store: Arc::clone(&self.store) as _,
            trimming: Arc::clone(&seen) as _,
            catalog: Arc::clone(&self.catalog),
            max_replays: MAX_REPLAYS,
            request_timeout: REQUEST_TIMEOUT,
        });
        (letters, seen)
    }

    /// What lies in the topic, as (headers n, replay-number, replay-origin, replay-group), sorted.
    pub fn replayed(&self) -> Vec<[String; 4]> {
        let records = self.log.records_of([TOPIC].into_iter());
        let text = |record: &Record, name: &str| {
            let found = record.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).unwrap_or_default()
        };
        let mut all: Vec<_> = records
            .values()
            .flatten()
            .map(|record| ["n", "replay-number", "replay-origin", "replay-group"].map(|name| text(record, name)))
            .collect();
        all.sort();
        all
    }
}

/// Replays until the end, waiting where another replay is in the way.
pub async fn replay_all(
    letters: &DeadLetters,
    filter: &Filter,
    options: ReplayOptions,
) -> Result<Replayed, DeadLetterError> {
    let topic = letters.topic(TOPIC)?;
    let (mut sum, mut cursor): (Replayed, Option<Cursor>) = (Replayed::default(), None);
    loop {
        match letters.replay(topic, filter, cursor, options).await {
            Err(error) if error.is_retriable() => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(error),
            Ok(told) => {
                sum.replayed += told.replayed;
                sum.parked += told.parked;
                sum.refused += told.refused;
                cursor = told.cursor;
                if cursor.is_none() {
                    return Ok(sum);
                }
            }
        }
    }
}

impl Seen {
    /// Does a step, unless the process is stopped before or behind it.
    async fn step<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.steps.fetch_add(1, Ordering::SeqCst);
        if let Some(seed) = self.faults.slow_seed {
            let wait = self.random.lock().unwrap().below(40) as u64;
            tokio::time::sleep(Duration::from_millis(wait + seed % 3)).await;
        }
        match self.faults.break_at {
            Some((at, false)) if at == number => self.stop().await,
            Some((at, true)) if at == number => {
                call.await;
                self.stop().await
            }
            _ => call.await,
        }
    }

    async fn stop<T>(&self) -> T {
        self.broken.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Trimming for Seen {
    async fn delete_before(&self, partition: &TopicPartition, offset: i64) -> Result<i64, LogError> {
        self.step(async { self.log.retain_from(partition, offset) }).await;
        Ok(offset)
    }
}

#[async_trait]
impl Log for Seen {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        self.step(self.log.topics()).await
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        self.log.create_topic(topic).await
    }

    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        self.step(self.log.offset_at(partition, at)).await
    }

    // Asked for before each look at a ledger: whoever is stopped here is stopped before or behind a swap.
    async fn identity(&self, partition: &TopicPartition) -> Result<LogIdentity, LogError> {
        self.step(self.log.identity(partition)).await
    }

    async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        self.step(self.log.fetch(positions, limits)).await
    }

    async fn produce(&self, partition: &TopicPartition, mut records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        let Some(is_stored) = self.faults.unanswered.filter(|_| records.len() > 1) else {
            return self.step(self.log.produce(partition, records)).await;
        };
        let first = records.remove(0);
        if is_stored {
            self.log.append(partition, first);
        }
        let lost = Err(LogError::TimedOut { what: "producing".to_owned(), after_ms: 1 });
        let rest = self.step(self.log.produce(partition, records)).await;
        std::iter::once(lost).chain(rest).collect()
    }
}
