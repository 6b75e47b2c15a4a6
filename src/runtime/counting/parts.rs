//! What counting is made of, put together in one place for the program and for the tests.

use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use tokio::sync::{Mutex, Notify};

use super::{Counting, CountingOptions};
use crate::{
    core::dedupe::IdentitySecret,
    log::{FetchLimits, Log},
    model::MemberId,
    runtime::{
        fetcher::Fetcher, health::Health, leased::Member, membership::Membership, outbox::Outbox, outside::Outside,
        producer::Producer, routing::Routing, tally::Tallies, tenure::Tenures,
    },
    store::Store,
};

/// What counting is made of.
pub struct CountingParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What is noted outside of the store.
    pub outside: Arc<dyn Outside>,
    /// Sends dead letters and forwards.
    pub producer: Arc<Producer>,
    /// Chooses their partitions.
    pub routing: Arc<Routing>,
    /// Whom it tells.
    pub health: Arc<Health>,
    /// Where it keeps its tenures.
    pub tenures: Arc<Tenures>,
    /// How to fetch.
    pub limits: FetchLimits,
    /// Bytes of blocks that are held at most (`KAFKA_FETCH_MAX_BYTES`).
    pub fetch_max_bytes: usize,
    /// The key of identities.
    pub secret: IdentitySecret,
    /// This member's name, and that of its machine.
    pub me: (MemberId, String),
    /// What the user chose.
    pub options: CountingOptions,
}

impl Counting {
    /// Counting, not yet started.
    pub fn new(parts: CountingParts) -> Arc<Self> {
        let CountingParts {
            log,
            store,
            outside,
            producer,
            routing,
            health,
            tenures,
            limits,
            fetch_max_bytes,
            secret,
            me,
            options,
        } = parts;
        let group = options.group.clone();
        let membership = Arc::new(Membership::new(group.clone(), me.0, me.1));
        Arc::new(Self {
            member: Member {
                store: Arc::clone(&store),
                health: Arc::clone(&health),
                membership: Arc::clone(&membership),
                session_timeout: options.session_timeout,
                heartbeat_interval: options.heartbeat_interval,
            },
            fetcher: Fetcher::new(Arc::clone(&log), limits, fetch_max_bytes, Arc::clone(&health)),
            outbox: Outbox { producer, routing, health: Arc::clone(&health), group },
            membership,
            log,
            store,
            outside,
            generations: Arc::default(),
            decoding: Arc::default(),
            tenures,
            health,
            secret: Arc::new(secret),
            options,
            tally: Tallies::default(),
            stopped: DashMap::new(),
            topics_stale: Notify::new(),
            fixing_origins: Mutex::default(),
            persistent: OnceLock::new(),
            topic_admin: OnceLock::new(),
        })
    }
}
