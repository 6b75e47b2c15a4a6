//! Counting as a whole: what its loops share, and how they start and end.

mod parts;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dashmap::DashMap;
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    COUNTING_PART, LOG_PART, STORE_PART,
    coordinator::Coordinator,
    decoding::Decoding,
    fetcher::Fetcher,
    flusher::Flusher,
    generation::Generations,
    health::{Health, Level},
    leased::{Counted, Member},
    measure,
    membership::Membership,
    origin::OffsetReset,
    outbox::Outbox,
    outside::Outside,
    partition::Stop,
    persistent::Persistent,
    sweeping,
    tally::Tallies,
    tenure::Tenures,
    topics::{self, PartitionCounts, TopicAdmin},
};
use crate::{
    catalog::plan::{Catalog, Topic},
    core::{backoff::Backoff, dedupe::IdentitySecret},
    log::Log,
    model::{Switches, TopicPartition},
    store::{Store, StoreError},
};

pub use parts::CountingParts;

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
    /// `TOPICS_AUTO_APPLY`: create what is missing, and mend what differs.
    pub create_topics: bool,
    /// `SESSION_TIMEOUT_MS`.
    pub session_timeout: Duration,
    /// `HEARTBEAT_INTERVAL_MS`.
    pub heartbeat_interval: Duration,
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
    /// What is noted outside of the store.
    pub outside: Arc<dyn Outside>,
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
    /// This member in its group.
    pub membership: Arc<Membership>,
    /// The same as the coordinator needs it.
    pub(super) member: Member,
    /// A partition was not known: the topics are looked at again.
    pub topics_stale: Notify,
    /// Held while the origins of a topic's partitions are fixed.
    pub fixing_origins: Mutex<()>,
    /// What stands outside the store; set before counting begins, or never.
    pub persistent: OnceLock<Persistent>,
    /// Through whom topics are compared with the catalogue at the start; set before counting begins, or never.
    pub topic_admin: OnceLock<Arc<dyn TopicAdmin>>,
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
            outside: Some(Arc::clone(&self.outside)),
            health: Arc::clone(&self.health),
            interval: self.options.flush_interval,
        };
        let mut machinery = JoinSet::new();
        machinery.spawn(Arc::clone(&self.fetcher).run(fetching.clone()));
        machinery.spawn(flusher.run(flushing.clone(), abandon.clone()));
        machinery.spawn(Arc::clone(&self).report(flushing.clone()));
        machinery.spawn(Arc::clone(&self).copy_totals(flushing.clone()));
        machinery.spawn(Arc::clone(&self).sweep(flushing.clone()));
        let (counts, counted) = watch::channel(PartitionCounts::new());
        let topics = AbortOnDropHandle::new(tokio::spawn(topics::watch(
            Arc::clone(&self),
            chosen.clone(),
            counts,
            COUNTING_PART,
        )));

        // A defect in one task must not leave its partition silently uncounted: it ends the process, loudly.
        let topics_by_name = chosen.iter().map(|topic| (Arc::clone(&topic.name), Arc::clone(topic))).collect();
        let leases = Arc::new(Counted { counting: Arc::clone(&self), topics: topics_by_name });
        let coordinated = Coordinator::new(&leases, counted).run(&stop.child_token()).await;
        let mut outcome = coordinated.map_err(CountingError::Task);
        drop(topics);
        fetching.cancel();
        flushing.cancel();
        while let Some(joined) = machinery.join_next().await {
            outcome = outcome.and(joined.map_err(|error| CountingError::Task(error.to_string())));
        }
        // Not before everything is flushed: others begin where this one has flushed to.
        tokio::select! {
            biased;
            () = self.member.say_goodbye() => {}
            () = abandon.cancelled() => {}
        }
        outcome
    }

    /// Where this process does not count (`ROLES`): keeps the topics there that are published to, and asks the store how it is.
    ///
    /// # Errors
    /// None.
    pub async fn stand_aside(
        self: Arc<Self>,
        catalog: Arc<Catalog>,
        stop: CancellationToken,
    ) -> Result<(), CountingError> {
        let (counts, _counted) = watch::channel(PartitionCounts::new());
        let watching = topics::watch(Arc::clone(&self), catalog.topics.clone(), counts, LOG_PART);
        let asked: Vec<TopicPartition> =
            catalog.topics.first().map(|topic| TopicPartition::new(Arc::clone(&topic.name), 0)).into_iter().collect();
        let asking = async {
            loop {
                let (level, reason) = match self.store.positions(&asked).await {
                    Ok(_) => (Level::Ok, String::new()),
                    Err(error) => (Level::Down, error.to_string()),
                };
                self.health.set(STORE_PART, level, reason, std::time::Instant::now());
                tokio::time::sleep(self.options.heartbeat_interval).await;
            }
        };
        tokio::select! {
            biased;
            () = watching => {}
            () = asking => {}
            () = stop.cancelled() => {}
        }
        Ok(())
    }

    async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        sweeping::run(&*self.store, &stop).await;
    }

    async fn copy_totals(self: Arc<Self>, stop: CancellationToken) {
        if let Some(persistent) = self.persistent.get() {
            persistent.run(&self.health, stop).await;
        }
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
        // Before the first heartbeat: where nobody counts, it says whose rules go on. What cannot be read is told by whoever
        // needs it.
        let first = |topic: &&Topic| TopicPartition::new(Arc::clone(&topic.name), 0);
        let partitions: Vec<TopicPartition> = topics.iter().map(first).collect();
        let positions = self.store.positions(&partitions).await.unwrap_or_default();
        for (partition, shards) in partitions.iter().zip(&positions) {
            self.membership.note_rules(&partition.topic, shards, &Switches::default());
        }
        Ok(())
    }
}
