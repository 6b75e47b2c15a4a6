//! The coordinator: tells the group that this member lives, and starts and stops its partitions' tasks as the leases move.
//!
//! It decides nothing by itself: what is to be done stands in [`crate::core::coordination`]. Leases save work, they fence
//! nothing (EXACTLY_ONCE, "Sections"). So while the store cannot be reached, what is held is counted on and flushed later; and
//! a member that was taken for dead without being so stops what others have by then, and nothing was counted twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    STORE_PART,
    counting::{Counting, CountingError},
    handover::Handover,
    health::Level,
    measure,
    partition::PartitionTask,
    recheck::Beliefs,
    topics::PartitionCounts,
};
use crate::{
    catalog::plan::Topic,
    core::{
        backoff::Backoff,
        card::{self, Card, TopicCard},
        coordination::{self, Orders, Phase, Targets},
    },
    model::{Beat, LeaseStep, Roster, TopicPartition},
    store::StoreError,
};

/// How often a member looks while a move is pending that it takes part in.
const MOVE_INTERVAL: Duration = Duration::from_millis(100);
/// How long a heartbeat that is under way when everything ends is waited for: heard after the goodbye, it would make a member
/// of a process that is gone.
const LAST_BEAT_GRACE: Duration = Duration::from_millis(500);
/// Heartbeats after which the whole roster is asked for, changed or not: a store that fell back may show another one under a
/// version that is known.
const BEATS_PER_FULL_ROSTER: u64 = 10;

/// Drives this member's share of the group's partitions.
pub(super) struct Coordinator {
    counting: Arc<Counting>,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    counts: watch::Receiver<PartitionCounts>,
    roster: Arc<Roster>,
    targets: Targets,
    places: BTreeMap<TopicPartition, Place>,
    tasks: JoinSet<TopicPartition>,
    /// A partition became warm.
    changed: Arc<Notify>,
    backoff: (Backoff, Backoff),
    beats: u64,
    /// Steps that the last answered heartbeat told; what did not fit is told again, but not at once.
    told: Vec<(TopicPartition, LeaseStep)>,
}

/// A partition that this member does something with.
struct Place {
    handover: Arc<Handover>,
    phase: Phase,
}

fn backoff() -> (Backoff, Backoff) {
    (Backoff::store(), Backoff::person())
}

impl Coordinator {
    pub(super) fn new(
        counting: &Arc<Counting>,
        topics: &[Arc<Topic>],
        counts: watch::Receiver<PartitionCounts>,
    ) -> Self {
        Self {
            counting: Arc::clone(counting),
            topics: topics.iter().map(|topic| (Arc::clone(&topic.name), Arc::clone(topic))).collect(),
            counts,
            roster: Arc::default(),
            targets: Targets::new(),
            places: BTreeMap::new(),
            tasks: JoinSet::new(),
            changed: Arc::default(),
            backoff: backoff(),
            beats: 0,
            told: Vec::new(),
        }
    }

    /// Takes part in the group until `halt`; then its tasks end, without a goodbye: what they have counted is flushed first.
    ///
    /// # Errors
    /// A task has failed: it must not leave its partition silently uncounted, so it halts everything.
    pub(super) async fn run(mut self, halt: &CancellationToken) -> Result<(), CountingError> {
        let mut outcome = Ok(());
        // The first heartbeat says what this member can count, so it waits for the topics, but not for ever.
        let mut wake_at = Instant::now() + self.counting.options.heartbeat_interval;
        while !halt.is_cancelled() {
            tokio::select! {
                biased;
                () = halt.cancelled() => break,
                () = sleep_until(wake_at) => {}
                () = self.changed.notified() => {}
                Ok(()) = self.counts.changed() => {}
                Some(ended) = self.tasks.join_next() => {
                    outcome = self.ended(ended);
                    if outcome.is_err() {
                        break;
                    }
                }
            }
            let given_up = async {
                halt.cancelled().await;
                tokio::time::sleep(LAST_BEAT_GRACE).await;
            };
            let pause = tokio::select! {
                biased;
                pause = self.beat(halt) => pause,
                () = given_up => break,
            };
            wake_at = Instant::now() + pause;
        }
        halt.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            outcome = outcome.and(self.ended(ended));
        }
        outcome
    }

    fn ended(&mut self, ended: Result<TopicPartition, JoinError>) -> Result<(), CountingError> {
        let partition = ended.map_err(|error| CountingError::Task(error.to_string()))?;
        self.places.remove(&partition);
        Ok(())
    }

    /// One heartbeat and what follows from its answer. Returns how long to wait for the next one.
    async fn beat(&mut self, halt: &CancellationToken) -> Duration {
        let orders = self.orders();
        let beliefs = Beliefs::now(&self.counting);
        let (held, warming) = (beliefs.partitions().cloned(), self.warming());
        let partitions: Vec<TopicPartition> = held.chain(warming.iter().cloned()).collect();
        let knows = !self.roster.members.is_empty() && !self.beats.is_multiple_of(BEATS_PER_FULL_ROSTER);
        let beat = Beat {
            about: Some(self.card().to_bytes()),
            known_version: knows.then_some(self.roster.version),
            steps: orders.steps,
            ..self.counting.goodbye()
        };
        let began = Instant::now();
        self.beats += 1;
        let (beaten, positions) = match self.counting.store.beat(&beat, &partitions).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error),
        };
        measure::heartbeat(began.elapsed());
        self.backoff = backoff();
        self.counting.health.set(STORE_PART, Level::Ok, "", std::time::Instant::now());
        beliefs.compare(&self.counting, &positions);
        for (partition, shards) in partitions.iter().zip(&positions).skip(partitions.len() - warming.len()) {
            if let (Some(place), Some(shard)) = (self.places.get(partition), shards.first()) {
                place.handover.note_counted(shard.checkpoint.map_or(0, |checkpoint| checkpoint.offset));
            }
        }
        if beaten.is_new && !self.roster.members.is_empty() {
            tracing::warn!(member = %self.counting.membership.me,
                "this member was taken for dead (silent for SESSION_TIMEOUT_MS), or the store fell back: what others have by now \
                 is left to them, the rest goes on; no count is lost or doubled by it");
        }
        let has_news = beaten.roster.is_some();
        if let Some(roster) = beaten.roster {
            self.learn(roster);
        }
        let was_told = std::mem::replace(&mut self.told, beat.steps);
        let orders = self.orders();
        let pause = self.pause(&orders, has_news || orders.steps != was_told && orders.steps != self.told);
        self.follow(orders, halt);
        pause
    }

    /// What is to be done as things stand now.
    fn orders(&mut self) -> Orders {
        for place in self.places.values_mut() {
            if place.phase == Phase::Warming && place.handover.is_warm() {
                place.phase = Phase::Warm;
            }
        }
        let doing = self.places.iter().map(|(partition, place)| (partition.clone(), place.phase)).collect();
        coordination::orders(&self.counting.membership.me, &self.targets, &self.roster, &doing)
    }

    /// How long until the next heartbeat. Members that began together should not go on together: each takes another share of
    /// the interval each time, which only its name and the heartbeat's number decide.
    fn pause(&self, orders: &Orders, has_news: bool) -> Duration {
        let interval = self.counting.options.heartbeat_interval;
        if !orders.steps.is_empty() && has_news {
            Duration::ZERO
        } else if orders.is_moving {
            interval.min(MOVE_INTERVAL)
        } else {
            let share = xxhash_rust::xxh3::xxh3_64_with_seed(self.counting.membership.me.as_bytes(), self.beats) % 100;
            interval.mul_f64(0.9 + share as f64 / 1000.0)
        }
    }

    fn learn(&mut self, roster: Roster) {
        let me = &self.counting.membership.me;
        let standing;
        (self.targets, standing) = coordination::targets(&roster);
        self.counting.membership.stand_by(&standing);
        let counts = |roster: &Roster| roster.leases.values().filter(|lease| lease.holder == *me).count();
        let held = counts(&roster);
        if roster.members.len() != self.roster.members.len() || held != counts(&self.roster) {
            tracing::info!(member = %me, members = roster.members.len(), held, partitions = self.targets.len(),
                "{held} of {} partitions are held here, {} members", self.targets.len(), roster.members.len());
        }
        self.roster = Arc::new(roster);
        self.counting.membership.note(Arc::clone(&self.roster));
    }

    fn follow(&mut self, orders: Orders, halt: &CancellationToken) {
        for partition in orders.stop {
            if let Some(place) = self.places.get_mut(&partition) {
                place.phase = Phase::Stopping;
                place.handover.stop.cancel();
            }
        }
        for partition in orders.warm {
            self.begin(partition, Phase::Warming, halt);
        }
        for partition in orders.count {
            if !self.places.contains_key(&partition) {
                self.begin(partition.clone(), Phase::Counting, halt);
            }
            if let Some(place) = self.places.get_mut(&partition) {
                place.phase = Phase::Counting;
                place.handover.grant();
            }
        }
    }

    fn begin(&mut self, partition: TopicPartition, phase: Phase, halt: &CancellationToken) {
        // Others give a member only what is on its card, and that has the topics it knows.
        let Some(topic) = self.topics.get(&*partition.topic) else { return };
        let handover = Handover::new(halt, Arc::clone(&self.changed));
        if phase == Phase::Counting {
            handover.grant();
        }
        let task = PartitionTask {
            counting: Arc::clone(&self.counting),
            topic: Arc::clone(topic),
            partition: partition.clone(),
            handover: Arc::clone(&handover),
        };
        self.tasks.spawn(task.run(halt.clone()));
        self.places.insert(partition, Place { handover, phase });
    }

    /// What is read ahead of its lease.
    fn warming(&self) -> Vec<TopicPartition> {
        let is_warming = |place: &Place| matches!(place.phase, Phase::Warming | Phase::Warm);
        self.places.iter().filter(|(_, place)| is_warming(place)).map(|(partition, _)| partition.clone()).collect()
    }

    fn card(&self) -> Card {
        let counts = self.counts.borrow();
        let topics = self.topics.values().filter_map(|topic| {
            let only = self.counting.options.partitions.get(&*topic.name).map(Vec::as_slice);
            let count = counts.get(&*topic.name)?;
            Some((topic.name.to_string(), TopicCard::new(*count, topic.fingerprint, only)))
        });
        Card {
            version: card::VERSION,
            host: self.counting.membership.host.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            topics: topics.collect(),
        }
    }

    /// What is held is counted on: leases fence nothing, and what cannot be flushed waits, up to the cap of the generations.
    fn failed(&mut self, error: &StoreError) -> Duration {
        measure::store_failed();
        self.counting.health.set(STORE_PART, Level::Down, error.to_string(), std::time::Instant::now());
        let delay = if error.is_retriable() { self.backoff.0.next() } else { self.backoff.1.next() };
        tracing::warn!(%error, retry_in_ms = delay.as_millis() as u64, "the group was not told that this member lives");
        delay
    }
}
