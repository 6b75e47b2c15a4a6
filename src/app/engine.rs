//! The engine: counting with all that it needs.

use std::{sync::Arc, time::Instant};

use super::{BrokerTopics, Parts, mirror::Broker};
use crate::{
    catalog::plan::Catalog,
    config::Config,
    core::dedupe::{IdentitySecret, SECRET_BYTES},
    log::FetchLimits,
    model::MemberId,
    runtime::{
        COUNTING_PART, LOG_PART, OffsetReset, STORE_PART,
        counted::Counted,
        counting::{Counting, CountingOptions, CountingParts},
        health::Health,
        mirror::GroupOffsets,
        persistent::Persistent,
        producer::{Producer, ProducerOptions},
        routing::Routing,
    },
};

/// Bytes that publishing, dead letters and forwards may have waiting for the broker, together.
const PRODUCE_BUFFER_BYTES: usize = 32 * 1024 * 1024;
/// Longest name of a machine that a member says of itself.
const MAX_HOST_CHARS: usize = 128;

/// Counting with all that it needs, not yet started.
pub struct Engine {
    /// Counting, with its tallies.
    pub counting: Arc<Counting>,
    /// Sends records.
    pub producer: Arc<Producer>,
    /// Chooses partitions.
    pub routing: Arc<Routing>,
    /// How the process is.
    pub health: Arc<Health>,
}

impl Engine {
    /// Wires counting to its parts.
    pub fn new(config: &Config, parts: &Parts) -> Self {
        let health = Arc::new(Health::new(Instant::now()));
        for part in [LOG_PART, STORE_PART, COUNTING_PART] {
            if part != COUNTING_PART || config.roles.count {
                health.add_part(part, part == LOG_PART, Instant::now());
            }
        }
        let log = Arc::clone(&parts.log);
        let routing = Arc::new(Routing::new(Arc::clone(&log)));
        let producer = Arc::new(Producer::new(Arc::clone(&log), producer_options(config)));
        let counting = Counting::new(CountingParts {
            log,
            store: Arc::clone(&parts.store),
            outside: Arc::clone(&parts.outside),
            producer: Arc::clone(&producer),
            routing: Arc::clone(&routing),
            health: Arc::clone(&health),
            tenures: Arc::default(),
            limits: fetch_limits(config),
            fetch_max_bytes: config.kafka.fetch_max_bytes,
            secret: identity_secret(),
            me: (member_id(), host()),
            options: counting_options(config),
        });
        Self { counting, producer, routing, health }
    }

    /// Knows whether an event is counted.
    pub fn counted(&self, parts: &Parts) -> Arc<Counted> {
        let (tenures, generations) = (Arc::clone(&self.counting.tenures), Arc::clone(&self.counting.generations));
        Arc::new(Counted::new(tenures, generations, Arc::clone(&parts.store)))
    }

    /// Lets counting look at what stands outside the store; before it begins.
    pub fn look_outside(&self, config: &Config, catalog: &Catalog, parts: &Parts) {
        let offsets: Option<Arc<dyn GroupOffsets>> =
            config.kafka.mirror_offsets.then(|| Arc::new(Broker(parts.admin.clone())) as _);
        let interval = config.counting.counter_flush_interval;
        let persistent = Persistent::new(catalog, parts.tier.clone(), offsets, interval);
        // Once for each engine.
        let _ = self.counting.persistent.set(persistent);
        parts.lend_registry(&self.counting.decoding, &self.health);
        let _ = self.counting.topic_admin.set(Arc::new(BrokerTopics(parts.admin.clone())));
    }
}

/// How records are sent.
pub fn producer_options(config: &Config) -> ProducerOptions {
    ProducerOptions {
        linger: config.kafka.linger,
        batch_bytes: config.kafka.batch_bytes,
        buffer_bytes: PRODUCE_BUFFER_BYTES,
        max_in_flight: config.kafka.max_in_flight,
        ..ProducerOptions::default()
    }
}

fn counting_options(config: &Config) -> CountingOptions {
    CountingOptions {
        group: config.kafka.group.clone(),
        offset_reset: match config.kafka.offset_reset {
            crate::config::OffsetReset::Earliest => OffsetReset::Earliest,
            crate::config::OffsetReset::Latest => OffsetReset::Latest,
        },
        batch_events: config.counting.batch_size,
        flush_interval: config.counting.flush_interval,
        topics: config.counting.topics.clone().unwrap_or_default(),
        partitions: config.counting.partitions.clone().unwrap_or_default(),
        create_topics: config.counting.topics_auto_apply,
        session_timeout: config.counting.session_timeout,
        heartbeat_interval: config.counting.heartbeat_interval,
    }
}

/// How blocks are fetched.
pub(super) fn fetch_limits(config: &Config) -> FetchLimits {
    FetchLimits {
        max_wait: config.counting.batch_timeout,
        min_bytes: config.kafka.fetch_min_bytes,
        max_partition_bytes: config.kafka.fetch_max_partition_bytes,
        // Two answers make up what is held, so that the next one comes while this one is counted.
        max_bytes: i32::try_from(config.kafka.fetch_max_bytes / 2)
            .unwrap_or(i32::MAX)
            .max(config.kafka.fetch_max_partition_bytes),
    }
}

/// A key for this process alone.
pub(super) fn identity_secret() -> IdentitySecret {
    let mut secret = [0; SECRET_BYTES];
    for chunk in secret.chunks_mut(16) {
        chunk.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..chunk.len()]);
    }
    IdentitySecret(secret)
}

/// A name that no process had before.
fn member_id() -> MemberId {
    uuid::Uuid::new_v4().to_string().into()
}

/// The machine's name, for people.
fn host() -> String {
    let named = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    let name = named.unwrap_or_default();
    name.trim().chars().take(MAX_HOST_CHARS).collect()
}
