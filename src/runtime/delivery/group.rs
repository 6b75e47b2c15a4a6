//! One subscription's group on this member: its leases, its fetcher, and what its partitions share.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Shared, Subscription,
    courier::Courier,
    gate::{Gate, Target},
    measure::Metrics,
    partition::PartitionTask,
    shown::{Shown, ShownPartition},
};
use crate::{
    catalog::plan::Topic,
    core::{
        backoff::Backoff,
        card::TopicCard,
        delivery::{Filter, Mode, Retry},
    },
    log::At,
    model::{Fingerprint, StoredPosition, TopicPartition},
    runtime::{
        OffsetReset,
        coordinator::Coordinator,
        fetcher::Fetcher,
        handover::Handover,
        leased::{Leased, Member},
        measure as counted,
        outbox::Outbox,
        topics::PartitionCounts,
    },
};

/// How often the log is asked how many partitions the topics have, once all are there.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// How long the log may take to say where a partition ends.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// One subscription's group on this member.
pub(super) struct Group {
    pub name: Arc<str>,
    pub topics: BTreeMap<Arc<str>, Arc<Topic>>,
    pub filter: Filter,
    pub mode: Mode,
    /// Most unfinished events of a partition.
    pub unfinished: usize,
    pub start: OffsetReset,
    /// What signs requests.
    pub key: Option<Vec<u8>>,
    pub retries: BTreeMap<Arc<str>, Retry>,
    pub courier: Arc<dyn Courier>,
    pub gate: Arc<Gate>,
    pub fetcher: Arc<Fetcher>,
    pub outbox: Outbox,
    pub metrics: Metrics,
    /// Held while the first positions of a topic's partitions are fixed.
    pub fixing: Mutex<()>,
    pub member: Member,
    pub shared: Arc<Shared>,
    /// A partition was not known: topics are looked at again.
    pub topics_stale: Notify,
}

impl Group {
    pub fn new(shared: &Arc<Shared>, subscription: Subscription, target: Arc<Target>, member: Member) -> Arc<Self> {
        let Subscription { group, topics, filter, mode, concurrency, unfinished, start, key, retries, .. } =
            subscription;
        let outbox = Outbox {
            producer: Arc::clone(&shared.producer),
            routing: Arc::clone(&shared.routing),
            health: Arc::clone(&shared.health),
            group: group.clone(),
        };
        let health = Arc::clone(&shared.health);
        Arc::new(Self {
            topics: topics.into_iter().map(|topic| (Arc::clone(&topic.name), topic)).collect(),
            filter,
            mode,
            unfinished,
            start,
            key,
            retries,
            courier: subscription.courier,
            gate: Gate::new(&group, concurrency, target),
            fetcher: Fetcher::new(subscription.log, shared.limits, shared.fetch_max_bytes, health),
            outbox,
            metrics: Metrics::new(&group),
            fixing: Mutex::default(),
            member,
            shared: Arc::clone(shared),
            topics_stale: Notify::new(),
            name: group.into(),
        })
    }

    /// When an event of this topic is tried again.
    pub fn retry_of(&self, topic: &str) -> Retry {
        self.retries.get(topic).copied().unwrap_or_default()
    }

    /// Takes part in the group until `stop`; what is on its way then is waited for, and its position kept.
    ///
    /// # Errors
    /// A task has failed: a defect of ours.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), String> {
        let fetching = CancellationToken::new();
        let fetch = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.fetcher).run(fetching.clone())));
        let (counts, counted) = watch::channel(PartitionCounts::new());
        let looking = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self).look(counts)));
        let outcome = Coordinator::new(&self, counted).run(&stop.child_token()).await;
        drop(looking);
        fetching.cancel();
        let fetched = fetch.await.map_err(|error| error.to_string());
        self.member.say_goodbye().await;
        outcome.and(fetched)
    }

    /// Tells how many partitions the topics have. Never ends.
    async fn look(self: Arc<Self>, counts: watch::Sender<PartitionCounts>) {
        let mut backoff = Backoff::log();
        loop {
            match self.shared.log.topics().await {
                Ok(found) => {
                    let wanted = found.into_iter().filter(|topic| self.topics.contains_key(&*topic.name));
                    let wanted: PartitionCounts = wanted.map(|topic| (topic.name, topic.partitions)).collect();
                    counts.send_if_modified(|known| {
                        let mut has_grown = false;
                        for (topic, count) in wanted {
                            let before = known.entry(topic).or_default();
                            has_grown |= *before < count;
                            *before = (*before).max(count);
                        }
                        has_grown
                    });
                }
                Err(error) => {
                    counted::log_failed(&error);
                    tracing::warn!(%error, group = %self.name, "the log did not say how many partitions the topics have");
                }
            }
            if counts.borrow().len() == self.topics.len() {
                let _ = tokio::time::timeout(LOOK_INTERVAL, self.topics_stale.notified()).await;
            } else {
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }

    /// Looks where the log ends of partitions that wait: they are not read, so nothing else tells how far they are behind.
    pub async fn look_ahead(&self) {
        for tenure in self.shared.keeper.tenures_of(&self.name) {
            if !tenure.is_waiting.load(Ordering::Relaxed) {
                continue;
            }
            let end = self.shared.log.offset_at(&tenure.partition, At::End);
            if let Ok(Ok(end)) = tokio::time::timeout(LOOK_WITHIN, end).await {
                tenure.high_watermark.store(end, Ordering::Relaxed);
            }
        }
    }

    /// How it is, for people.
    pub fn shown(&self) -> Shown {
        let tenures = self.shared.keeper.tenures_of(&self.name);
        let partitions = tenures.iter().map(|tenure| {
            let (to, unfinished, is_read_to) = {
                let queue = tenure.queue();
                let (to, listed) = queue.position();
                (listed.first().map_or(to, |(offset, _)| *offset), queue.len(), queue.taken_to())
            };
            let end = tenure.high_watermark.load(Ordering::Relaxed).max(is_read_to);
            ShownPartition {
                partition: tenure.partition.clone(),
                offset: to,
                unfinished,
                lag: end.saturating_sub(is_read_to).saturating_add(i64::try_from(unfinished).unwrap_or(i64::MAX)),
                is_waiting: tenure.is_waiting.load(Ordering::Relaxed),
            }
        });
        Shown {
            group: self.name.to_string(),
            topics: self.topics.keys().map(ToString::to_string).collect(),
            target: self.gate.target.name.clone(),
            breaker: self.gate.shown(),
            in_flight: self.gate.in_flight(),
            target_limit: self.gate.target.limit(),
            partitions: partitions.collect(),
        }
    }
}

impl Leased for Group {
    type Beliefs = ();
    const UNHARMED: &'static str = "what both deliver comes twice, and nothing is lost by it";

    fn member(&self) -> &Member {
        &self.member
    }

    fn card(&self, topic: &str, partitions: i32) -> Option<TopicCard> {
        // Deliveries do not depend on rules: members with other ones take part alike.
        self.topics.get(topic).map(|_| TopicCard::new(partitions, Fingerprint::default(), None))
    }

    fn beliefs(&self) {}

    fn believed((): &()) -> Vec<TopicPartition> {
        Vec::new()
    }

    /// A position is held against the store at each exchange.
    fn compare(&self, (): &(), _stored: &[Vec<StoredPosition>]) {}

    fn begin(
        self: &Arc<Self>,
        partition: &TopicPartition,
        handover: &Arc<Handover>,
        _halt: &CancellationToken,
    ) -> Option<BoxFuture<'static, TopicPartition>> {
        let topic = Arc::clone(self.topics.get(&*partition.topic)?);
        let (group, partition, handover) = (Arc::clone(self), partition.clone(), Arc::clone(handover));
        Some(PartitionTask { group, topic, partition, handover }.run().boxed())
    }

    fn measure(&self, _members: usize, _held: usize) {}
}
