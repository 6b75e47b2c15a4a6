//! Counting as a whole: what is shared by the partitions' tasks, and how they start and end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    COUNTING_PART, STORE_PART,
    decoding::Decoding,
    fetcher::Fetcher,
    flusher::Flusher,
    generation::Generations,
    health::{Health, Level},
    measure,
    outbox::Outbox,
    partition::{PartitionTask, Stop},
    takeover::OffsetReset,
    tally::Tallies,
    tenure::{Tenure, Tenures},
    topics,
};
use crate::{
    catalog::plan::{Catalog, Topic},
    core::{backoff::Backoff, dedupe::IdentitySecret},
    log::Log,
    model::TopicPartition,
    store::{Store, StoreError},
};

/// How often the state of the partitions is written to health.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the user chose.
#[derive(Clone, Debug)]
pub struct CountingOptions {
    /// `KAFKA_CONSUMER_GROUP`.
    pub group: String,
    /// `KAFKA_AUTO_OFFSET_RESET`.
    pub offset_reset: OffsetReset,
    /// `BATCH_SIZE`: events a batch at most.
    pub batch_events: usize,
    /// `FLUSH_INTERVAL_MS`.
    pub flush_interval: Duration,
    /// `TOPICS`: only these; empty is all.
    pub topics: Vec<String>,
    /// `PARTITIONS`: only these partitions, of only these topics; empty is all.
    pub partitions: BTreeMap<String, Vec<i32>>,
    /// `TOPICS_AUTO_APPLY`: create what is missing.
    pub create_topics: bool,
}

/// Why counting ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountingError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task has failed: a defect of ours.
    #[error(
        "a task of the counting has failed ({0}): report this; what was not flushed is counted again after a restart"
    )]
    Task(String),
}

/// What the partitions' tasks share.
pub struct Counting {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What is counted and not yet flushed.
    pub generations: Arc<Generations>,
    /// Blocks.
    pub fetcher: Arc<Fetcher>,
    /// Where blocks are decoded.
    pub decoding: Arc<Decoding>,
    /// Dead letters and forwards.
    pub outbox: Outbox,
    /// The tenures that count.
    pub tenures: Arc<Tenures>,
    /// Whom it tells.
    pub health: Arc<Health>,
    /// The key of identities.
    pub secret: Arc<IdentitySecret>,
    /// What the user chose.
    pub options: CountingOptions,
    /// What was counted by this process.
    pub tally: Tallies,
    /// Partitions that have stopped, and why.
    pub stopped: DashMap<TopicPartition, Stop>,
}

impl Counting {
    /// Counts the catalogue's topics until `stop`; then finishes what is at hand and flushes it. `abandon` ends it at once.
    ///
    /// # Errors
    /// The store belongs to another group, may evict, or refuses us, and nothing was counted; or a task has failed.
    pub async fn run(
        self: Arc<Self>,
        catalog: Arc<Catalog>,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> Result<(), CountingError> {
        let chosen: Vec<Arc<Topic>> =
            catalog.topics.iter().filter(|topic| self.is_chosen(&topic.name)).cloned().collect();
        tokio::select! {
            biased;
            opened = self.open(&chosen) => opened?,
            () = stop.cancelled() => return Ok(()),
        }
        let fetching = CancellationToken::new();
        let flushing = CancellationToken::new();
        let flusher = Flusher {
            generations: Arc::clone(&self.generations),
            store: Arc::clone(&self.store),
            health: Arc::clone(&self.health),
            tenures: Arc::clone(&self.tenures),
            interval: self.options.flush_interval,
        };
        let mut machinery = JoinSet::new();
        machinery.spawn(Arc::clone(&self.fetcher).run(fetching.clone()));
        machinery.spawn(flusher.run(flushing.clone(), abandon));
        machinery.spawn(Arc::clone(&self).report(flushing.clone()));

        // A defect in one task must not leave its partition silently uncounted: it ends the process, loudly.
        let halt = stop.child_token();
        let mut tasks = JoinSet::new();
        tokio::select! {
            biased;
            () = self.begin(&chosen, &mut tasks, &halt) => {}
            () = halt.cancelled() => {}
        }
        let mut failure = None;
        let mut watched = async |set: &mut JoinSet<()>| {
            while let Some(joined) = set.join_next().await {
                if let Err(error) = joined {
                    halt.cancel();
                    failure.get_or_insert(CountingError::Task(error.to_string()));
                }
            }
        };
        watched(&mut tasks).await;
        fetching.cancel();
        flushing.cancel();
        watched(&mut machinery).await;
        failure.map_or(Ok(()), Err)
    }

    fn is_chosen(&self, topic: &str) -> bool {
        let CountingOptions { topics, partitions, .. } = &self.options;
        (topics.is_empty() || topics.iter().any(|name| name == topic))
            && (partitions.is_empty() || partitions.contains_key(topic))
    }

    async fn open(&self, chosen: &[Arc<Topic>]) -> Result<(), StoreError> {
        let names: Vec<String> = chosen.iter().map(|topic| topic.name.to_string()).collect();
        let mut backoff = Backoff::store();
        loop {
            match self.store.open(&self.options.group, &names).await {
                Ok(()) => {
                    self.health.set(STORE_PART, Level::Ok, "", std::time::Instant::now());
                    break;
                }
                Err(error) if error.is_retriable() => {
                    measure::store_failed();
                    let delay = backoff.next();
                    tracing::warn!(%error, retry_in_ms = delay.as_millis() as u64, "the store is not there yet");
                    self.health.set(STORE_PART, Level::Down, error.to_string(), std::time::Instant::now());
                    // Publishing needs the topics and no store: it must not wait for one.
                    tokio::join!(tokio::time::sleep(delay), topics::ensure(self, chosen));
                }
                Err(error) => return Err(error),
            }
        }
        let topics: Vec<&Topic> = chosen.iter().map(AsRef::as_ref).collect();
        super::takeover::keep_texts(self, &topics).await;
        Ok(())
    }

    /// Starts a task for each partition as soon as its topic is there. Goes on until the topics of dead letters and forwards
    /// are there too: without them a partition waits at its first bad record.
    async fn begin(self: &Arc<Self>, chosen: &[Arc<Topic>], tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        let mut waiting: Vec<Arc<Topic>> = chosen.to_vec();
        let mut backoff = Backoff::log();
        let mut is_whole = false;
        while !waiting.is_empty() || !is_whole {
            let counts;
            (counts, is_whole) = topics::ensure(self, chosen).await;
            waiting.retain(|topic| {
                let Some(count) = counts.get(&*topic.name) else { return true };
                let partitions = self.partitions_of(&topic.name, *count);
                tracing::info!(topic = %topic.name, partitions = partitions.len(), "counting");
                for partition in partitions {
                    let task = PartitionTask { counting: Arc::clone(self), topic: Arc::clone(topic), partition };
                    tasks.spawn(task.run(stop.clone()));
                }
                false
            });
            if !waiting.is_empty() {
                let names: Vec<&str> = waiting.iter().map(|topic| &*topic.name).collect();
                let why = format!("waiting for topics: {}", names.join(", "));
                self.health.set(COUNTING_PART, Level::Degraded, why, std::time::Instant::now());
            }
            if !waiting.is_empty() || !is_whole {
                tokio::time::sleep(backoff.next()).await;
            }
        }
        self.health.set(COUNTING_PART, Level::Ok, "", std::time::Instant::now());
    }

    fn partitions_of(&self, topic: &str, count: i32) -> Vec<TopicPartition> {
        let name: Arc<str> = topic.into();
        let is_chosen =
            |partition: &i32| self.options.partitions.get(topic).is_none_or(|chosen| chosen.contains(partition));
        (0..count).filter(is_chosen).map(|partition| TopicPartition::new(Arc::clone(&name), partition)).collect()
    }

    /// Tells health and metrics which partitions stand, and sums up each second what was counted.
    async fn report(self: Arc<Self>, stop: CancellationToken) {
        let mut last = self.tally.total();
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = tokio::time::sleep(REPORT_INTERVAL) => {}
                () = stop.cancelled() => {}
            }
            let tenures = self.tenures.alive();
            for tenure in tenures.iter().filter(|tenure| tenure.has_flushed()) {
                self.stopped.remove(&tenure.partition);
            }
            let stopped: Vec<String> =
                self.stopped.iter().map(|entry| format!("{}: {}", entry.key(), entry.value().why)).collect();
            measure::partitions_stopped(stopped.len());
            if !stopped.is_empty() {
                self.health.set(COUNTING_PART, Level::Degraded, stopped.join("; "), std::time::Instant::now());
            } else if !tenures.is_empty() {
                self.health.set(COUNTING_PART, Level::Ok, "", std::time::Instant::now());
            }
            let total = self.tally.total();
            if total.records > last.records {
                tracing::info!(
                    records = total.records - last.records,
                    events = total.events - last.events,
                    duplicates = total.duplicates - last.duplicates,
                    dead_letters = total.dead_letters - last.dead_letters,
                    committed = committed(&tenures),
                    "counted in the last second"
                );
            }
            last = total;
        }
    }
}

/// Where the partitions that have moved stand in the store, as `topic:partition=offset`.
fn committed(tenures: &[Arc<Tenure>]) -> String {
    /// Partitions named in one line.
    const MAX_SHOWN: usize = 32;
    let moved = tenures.iter().filter(|tenure| tenure.has_flushed()).take(MAX_SHOWN);
    let shown = moved.filter_map(|tenure| Some(format!("{}={}", tenure.partition, tenure.stored()?.offset)));
    shown.collect::<Vec<_>>().join(" ")
}
