//! Delivery to subscriptions (SPEC 7): each has a group of its own, whose members share the partitions by leases as counting
//! does, and whose positions lie in the store as documents.
//!
//! A [`group`] has a task for each partition that this member holds ([`partition`]): it [`begin`]s from what is stored, takes
//! events in ([`intake`]) as far as there is room, and sends what may go through a [`gate`] by a [`courier`]. Which event that is,
//! and what an answer means, says [`crate::core::delivery`]. The positions of all [`tenure`]s are kept in one exchange, behind what is
//! told of events that are tracked ([`statuses`]).

mod begin;
mod courier;
mod flight;
mod gate;
mod group;
mod intake;
mod keeper;
mod measure;
mod partition;
mod shown;
mod statuses;
mod tenure;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(super) use self::begin::document;
pub use self::{
    courier::{Courier, Load},
    intake::MAX_HELD_BYTES,
    shown::{Shown, ShownPartition},
};
use self::{gate::Target, group::Group, keeper::Keeper};
use super::{
    DELIVERY_PART, OffsetReset,
    health::{Health, Level},
    leased::Member,
    membership::Membership,
    producer::Producer,
    routing::Routing,
    schemas::Schemas,
};
use crate::{
    catalog::plan::Topic,
    core::delivery::{Filter, Mode, Retry, breaker, throttle},
    log::{FetchLimits, Log},
    model::MemberId,
    store::Store,
};

/// How often gauges and health are told.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// A subscription, ready to run.
pub struct Subscription {
    /// Its group.
    pub group: String,
    /// Its topics.
    pub topics: Vec<Arc<Topic>>,
    /// What it wants of them.
    pub filter: Filter,
    /// How its events are written.
    pub mode: Mode,
    /// Requests in flight.
    pub concurrency: usize,
    /// Most unfinished events of a partition, before it waits.
    pub unfinished: usize,
    /// Where the group begins.
    pub start: OffsetReset,
    /// What signs its requests.
    pub key: Option<Vec<u8>>,
    /// When an event is tried again, by topic.
    pub retries: BTreeMap<Arc<str>, Retry>,
    /// Where it goes: scheme, host and port, or the handlers of this process. Subscriptions with one target share what that takes.
    pub target: String,
    /// Carries its events.
    pub courier: Arc<dyn Courier>,
    /// Reads its blocks. One of its own: a log asks a broker for one offset of a partition at a time, and a group that waits at
    /// the end must not hold up one that catches up.
    pub log: Arc<dyn Log>,
}

/// What deliveries are made of.
pub struct DeliveryParts {
    /// Says where partitions begin and end.
    pub log: Arc<dyn Log>,
    /// Keeps positions and leases.
    pub store: Arc<dyn Store>,
    /// Sends dead letters.
    pub producer: Arc<Producer>,
    /// Chooses their partitions.
    pub routing: Arc<Routing>,
    /// Whom they tell.
    pub health: Arc<Health>,
    /// Who knows schemas that values name, if anybody.
    pub schemas: Option<Arc<dyn Schemas>>,
    /// How to fetch.
    pub limits: FetchLimits,
    /// Bytes of blocks that each group holds at most.
    pub fetch_max_bytes: usize,
    /// This member's name, and that of its machine.
    pub me: (MemberId, String),
    /// `SESSION_TIMEOUT_MS`.
    pub session_timeout: Duration,
    /// `HEARTBEAT_INTERVAL_MS`.
    pub heartbeat_interval: Duration,
}

/// What all groups share.
struct Shared {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    producer: Arc<Producer>,
    routing: Arc<Routing>,
    health: Arc<Health>,
    schemas: Option<Arc<dyn Schemas>>,
    limits: FetchLimits,
    fetch_max_bytes: usize,
    keeper: Keeper,
    /// Bytes of unfinished events.
    held_bytes: AtomicUsize,
}

/// Why deliveries ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// A task has failed: a defect of ours.
    #[error(
        "a task of the deliveries has failed ({0}): report this; what was not finished is delivered again after a restart"
    )]
    Task(String),
}

/// The deliveries of this process.
pub struct Delivery {
    shared: Arc<Shared>,
    groups: Vec<Arc<Group>>,
}

impl Delivery {
    /// Deliveries, not yet started.
    pub fn new(parts: DeliveryParts, subscriptions: Vec<Subscription>) -> Arc<Self> {
        let keeper = Keeper::new(Arc::clone(&parts.store), Arc::clone(&parts.health), parts.session_timeout);
        let shared = Arc::new(Shared {
            log: parts.log,
            store: parts.store,
            producer: parts.producer,
            routing: parts.routing,
            health: parts.health,
            schemas: parts.schemas,
            limits: parts.limits,
            fetch_max_bytes: parts.fetch_max_bytes,
            keeper,
            held_bytes: AtomicUsize::new(0),
        });
        let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
        for subscription in &subscriptions {
            *wanted.entry(&subscription.target).or_default() += subscription.concurrency;
        }
        let most = |wanted: usize| u32::try_from(wanted).unwrap_or(u32::MAX).min(throttle::MAX_IN_FLIGHT);
        let targets: BTreeMap<String, Arc<Target>> = wanted
            .into_iter()
            .map(|(name, wanted)| (name.to_owned(), Target::new(name.to_owned(), most(wanted))))
            .collect();
        let groups = subscriptions.into_iter().filter_map(|subscription| {
            let target = Arc::clone(targets.get(&subscription.target)?);
            let (me, host) = parts.me.clone();
            let membership = Membership::new(roster_name(&subscription.group), me, host);
            let member = Member {
                store: Arc::clone(&shared.store),
                health: Arc::clone(&shared.health),
                membership: Arc::new(membership),
                session_timeout: parts.session_timeout,
                heartbeat_interval: parts.heartbeat_interval,
            };
            Some(Group::new(&shared, subscription, target, member))
        });
        let groups = groups.collect();
        Arc::new(Self { shared, groups })
    }

    /// Delivers until `stop`; what is on its way then is waited for, and positions are kept.
    ///
    /// # Errors
    /// A task has failed.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), DeliveryError> {
        // A token of its own: what fails here is told by the outcome, and stops nothing else by itself.
        let stop = stop.child_token();
        let mut groups = JoinSet::new();
        for group in &self.groups {
            groups.spawn(Arc::clone(group).run(stop.clone()));
        }
        let keeping = CancellationToken::new();
        let work = async {
            let mut outcome = Ok(());
            while let Some(ended) = groups.join_next().await {
                let ended = ended.map_err(|error| error.to_string()).and_then(|ended| ended);
                if let Err(why) = ended {
                    // A defect in one group must not leave its events silently undelivered: it ends the process, loudly.
                    outcome = Err(DeliveryError::Task(why));
                    stop.cancel();
                }
            }
            keeping.cancel();
            outcome
        };
        let (outcome, ()) = tokio::join!(work, async {
            tokio::select! {
                () = self.shared.keeper.run(keeping.clone()) => {}
                () = self.tell() => {}
            }
        });
        outcome
    }

    /// How each subscription is on this member.
    pub fn shown(&self) -> Vec<Shown> {
        self.groups.iter().map(|group| group.shown()).collect()
    }

    /// Tells gauges and health. Never ends.
    async fn tell(&self) {
        loop {
            for group in &self.groups {
                group.look_ahead().await;
            }
            let shown = self.shown();
            shown.iter().for_each(measure::shown);
            let open = shown.iter().filter(|shown| shown.breaker != breaker::Shown::Closed);
            let open: Vec<String> =
                open.map(|shown| format!("{} is not answered by {}", shown.group, shown.target)).collect();
            let level = if open.is_empty() { Level::Ok } else { Level::Degraded };
            self.shared.health.set(DELIVERY_PART, level, open.join("; "), std::time::Instant::now());
            tokio::time::sleep(TELL_INTERVAL).await;
        }
    }
}

/// The name of a group's roster: beside those of counting groups, which may have any name.
pub(super) fn roster_name(group: &str) -> String {
    format!("delivery:{group}")
}

/// The time that attempts are told by, milliseconds since 1970.
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
