//! The coordinator: tells the group that this member lives, and starts and stops its partitions' tasks as the leases move.
//!
//! What a lease is for says [`Leased`]: counting and each group of deliveries have a coordinator of their own.
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
    handover::Handover,
    health::Level,
    leased::{Leased, Member},
    measure,
    takeover::counted_by_all,
    topics::PartitionCounts,
};
use crate::{
    core::{
        backoff::Backoff,
        card::{self, Card},
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
pub(super) struct Coordinator<W> {
    work: Arc<W>,
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

impl<W: Leased> Coordinator<W> {
    pub(super) fn new(work: &Arc<W>, counts: watch::Receiver<PartitionCounts>) -> Self {
        Self {
            work: Arc::clone(work),
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
    /// A task has failed, and why: it must not leave its partition silently alone, so it halts everything.
    pub(super) async fn run(mut self, halt: &CancellationToken) -> Result<(), String> {
        let mut outcome = Ok(());
        // The first heartbeat says what this member can count, so it waits for the topics, but not for ever.
        let mut wake_at = Instant::now() + self.member().heartbeat_interval;
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

    fn member(&self) -> &Member {
        self.work.member()
    }

    fn ended(&mut self, ended: Result<TopicPartition, JoinError>) -> Result<(), String> {
        let partition = ended.map_err(|error| error.to_string())?;
        self.places.remove(&partition);
        Ok(())
    }

    /// One heartbeat and what follows from its answer. Returns how long to wait for the next one.
    async fn beat(&mut self, halt: &CancellationToken) -> Duration {
        let orders = self.orders();
        let beliefs = self.work.beliefs();
        let (held, warming) = (W::believed(&beliefs), self.warming());
        let partitions: Vec<TopicPartition> = held.into_iter().chain(warming.iter().cloned()).collect();
        let knows = !self.roster.members.is_empty() && !self.beats.is_multiple_of(BEATS_PER_FULL_ROSTER);
        let beat = Beat {
            about: Some(self.card().to_bytes()),
            known_version: knows.then_some(self.roster.version),
            steps: orders.steps,
            ..self.member().goodbye()
        };
        let began = Instant::now();
        self.beats += 1;
        let (beaten, positions) = match self.member().store.beat(&beat, &partitions).await {
            Ok(answer) => answer,
            Err(error) => return self.failed(&error),
        };
        measure::heartbeat(began.elapsed());
        self.backoff = backoff();
        self.member().health.set(STORE_PART, Level::Ok, "", std::time::Instant::now());
        self.work.compare(&beliefs, &positions);
        for (partition, shards) in partitions.iter().zip(&positions).skip(partitions.len() - warming.len()) {
            if let Some(place) = self.places.get(partition) {
                place.handover.note_counted(counted_by_all(shards));
            }
        }
        if beaten.is_new && !self.roster.members.is_empty() {
            tracing::warn!(member = %self.member().membership.me, group = self.member().membership.group,
                "this member was taken for dead (silent for SESSION_TIMEOUT_MS), or the store fell back: what others have by now \
                 is left to them, the rest goes on; {}", W::UNHARMED);
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
        coordination::orders(&self.member().membership.me, &self.targets, &self.roster, &doing)
    }

    /// How long until the next heartbeat. Members that began together should not go on together: each takes another share of
    /// the interval each time, which only its name and the heartbeat's number decide.
    fn pause(&self, orders: &Orders, has_news: bool) -> Duration {
        let interval = self.member().heartbeat_interval;
        if !orders.steps.is_empty() && has_news {
            Duration::ZERO
        } else if orders.is_moving {
            interval.min(MOVE_INTERVAL)
        } else {
            let share = xxhash_rust::xxh3::xxh3_64_with_seed(self.member().membership.me.as_bytes(), self.beats) % 100;
            interval.mul_f64(0.9 + share as f64 / 1000.0)
        }
    }

    fn learn(&mut self, roster: Roster) {
        let (targets, standing) = coordination::targets(&roster);
        self.targets = targets;
        let membership = &self.member().membership;
        let me = &membership.me;
        membership.stand_by(&standing);
        let counts = |roster: &Roster| roster.leases.values().filter(|lease| lease.holder == *me).count();
        let held = counts(&roster);
        if roster.members.len() != self.roster.members.len() || held != counts(&self.roster) {
            tracing::info!(member = %me, group = membership.group, members = roster.members.len(), held, partitions = self.targets.len(),
                "{held} of {} partitions are held here, {} members", self.targets.len(), roster.members.len());
        }
        self.work.measure(roster.members.len(), held);
        self.roster = Arc::new(roster);
        self.member().membership.note(Arc::clone(&self.roster));
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
        let handover = Handover::new(halt, Arc::clone(&self.changed));
        if phase == Phase::Counting {
            handover.grant();
        }
        // Others give a member only what is on its card, and that has the topics it knows.
        let Some(task) = self.work.begin(&partition, &handover, halt) else { return };
        self.tasks.spawn(task);
        self.places.insert(partition, Place { handover, phase });
    }

    /// What is read ahead of its lease.
    fn warming(&self) -> Vec<TopicPartition> {
        let is_warming = |place: &Place| matches!(place.phase, Phase::Warming | Phase::Warm);
        self.places.iter().filter(|(_, place)| is_warming(place)).map(|(partition, _)| partition.clone()).collect()
    }

    fn card(&self) -> Card {
        let counts = self.counts.borrow();
        let topics = counts.iter().filter_map(|(topic, count)| Some((topic.clone(), self.work.card(topic, *count)?)));
        Card {
            version: card::VERSION,
            host: self.member().membership.host.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            topics: topics.collect(),
            ..Card::default()
        }
    }

    /// What is held is counted on: leases fence nothing, and what cannot be flushed waits, up to the cap of the generations.
    fn failed(&mut self, error: &StoreError) -> Duration {
        measure::store_failed();
        self.member().health.set(STORE_PART, Level::Down, error.to_string(), std::time::Instant::now());
        let delay = if error.is_retriable() { self.backoff.0.next() } else { self.backoff.1.next() };
        tracing::warn!(%error, retry_in_ms = delay.as_millis() as u64, "the group was not told that this member lives");
        delay
    }
}
