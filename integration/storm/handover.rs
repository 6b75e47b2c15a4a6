//! Handover under a steady stream of events: how long partitions pause that move, and those that do not, seen from outside by
//! their checkpoints in Redis.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use streamgauge::{
    model::{MemberId, TopicPartition},
    store::{Store, redis::RedisStore},
};
use tokio_util::sync::CancellationToken;

use super::{
    MEMBERS, Weather,
    crew::{self, Crew, SESSION},
    ledger::Ledger,
    source::{self, Source},
};
use crate::support::{
    events::{Random, fresh_seed},
    results,
};

/// How often checkpoints are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long it is watched when nothing happens, and after something has.
const QUIET: Duration = Duration::from_secs(4);
/// Far above what is promised (1 s; the session and 1 s more): tests run on busy machines. The figures are printed.
const MOST: Duration = Duration::from_secs(20);

/// When each partition's checkpoint was seen to advance.
struct Watched {
    advances: BTreeMap<TopicPartition, Vec<Instant>>,
    slowest_look: Duration,
}

impl Watched {
    async fn watch(store: RedisStore, names: Vec<TopicPartition>, over: CancellationToken) -> Self {
        let mut advances: BTreeMap<TopicPartition, Vec<Instant>> = BTreeMap::new();
        let (mut before, mut slowest_look) = (vec![-1; names.len()], Duration::ZERO);
        while !over.is_cancelled() {
            let began = Instant::now();
            let stored = store.positions(&names).await.unwrap();
            let now = Instant::now();
            for ((name, shards), before) in names.iter().zip(&stored).zip(&mut before) {
                let to = results::counted_to(shards);
                if to > *before {
                    advances.entry(name.clone()).or_default().push(now);
                    *before = to;
                }
            }
            tokio::time::sleep(LOOK_EVERY.saturating_sub(now - began)).await;
            slowest_look = slowest_look.max(began.elapsed());
        }
        Self { advances, slowest_look }
    }

    /// The longest time between two advances of these partitions that ends in a span of time, the shortest first. One that
    /// begins in it and ends behind it is of what happens next.
    fn gaps<'p>(
        &self,
        partitions: impl Iterator<Item = &'p TopicPartition>,
        (from, to): (Instant, Instant),
    ) -> Vec<Duration> {
        let gap = |partition: &TopicPartition| {
            let advances = &self.advances[partition];
            assert!(*advances.last().unwrap() >= to, "{partition} does not go on");
            let pairs = advances.windows(2).filter(|pair| pair[1] > from && pair[1] <= to);
            pairs.map(|pair| pair[1] - pair[0]).max().unwrap()
        };
        let mut gaps: Vec<Duration> = partitions.map(gap).collect();
        gaps.sort_unstable();
        gaps
    }
}

/// Something that happened, from its beginning to well after its end.
struct Event {
    what: &'static str,
    span: (Instant, Instant),
    before: BTreeMap<TopicPartition, MemberId>,
    after: BTreeMap<TopicPartition, MemberId>,
    /// How many partitions were taken over, and for how long on the side of those who did.
    took_over: (f64, f64),
}

impl Event {
    fn report(&self, watched: &Watched) {
        let (moved, stayed): (Vec<_>, Vec<_>) =
            self.before.keys().partition(|partition| self.before[*partition] != self.after[*partition]);
        let moved = watched.gaps(moved.into_iter(), self.span);
        let stayed = watched.gaps(stayed.into_iter(), self.span);
        let (Some(longest), Some(typical)) = (moved.last(), moved.get(moved.len() / 2)) else {
            panic!("{}: nothing moved", self.what)
        };
        let (count, seconds) = self.took_over;
        eprintln!(
            "{}: {} partitions moved and paused {longest:.0?} at most, {typical:.0?} typically ({:.0} ms each on the side that took \
             over); {} stayed, their largest gap was {:.0?}",
            self.what,
            moved.len(),
            seconds / count * 1_000.0,
            stayed.len(),
            stayed.last().unwrap(),
        );
        assert!(*longest < MOST, "{}: {longest:?}", self.what);
    }
}

/// What happens to a member.
enum Change {
    Leaves,
    Comes,
    Dies,
}

/// Lets something happen and watches until shares are level again and some time more.
async fn event(crew: &mut Crew<'_>, what: &'static str, change: Change) -> Event {
    let before = crew.shares().await;
    let who = if let Change::Comes = change { None } else { Some(crew.part()) };
    let taken = crew.took_over().await;
    let from = Instant::now();
    match (change, who) {
        (Change::Leaves, Some(member)) => member.leave().await,
        (Change::Dies, Some(member)) => member.kill(),
        _ => crew.welcome(),
    }
    let after = crew.shares().await;
    tokio::time::sleep(QUIET).await;
    let (count, seconds) = crew.took_over().await;
    let took_over = (count - taken.0, seconds - taken.1);
    Event { what, span: (from, Instant::now()), before, after, took_over }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_partitions_that_move_pause() {
    let (seed, weather) = (fresh_seed(), Weather::forecast());
    let place = source::place(1);
    let mut source = Source::new(&place, Random::new(seed).next(), weather.per_second).await;
    // So that there are duplicate windows to read.
    source.rush(weather.per_second * weather.lasts.as_secs() as usize).await;
    let mut crew = Crew::start(&place, MEMBERS).await;
    crew.caught_up().await;
    crew.shares().await;

    let over = CancellationToken::new();
    let flow = tokio::spawn(source.run(over.clone()));
    tokio::time::sleep(QUIET / 4).await;
    let seen = CancellationToken::new();
    let watched = tokio::spawn(Watched::watch(place.store(), crew::partitions(&place), seen.clone()));
    let quiet_from = Instant::now();
    tokio::time::sleep(QUIET).await;
    let quiet = (quiet_from, Instant::now());
    let events = [
        event(&mut crew, "SIGTERM of one of three", Change::Leaves).await,
        event(&mut crew, "a third one comes", Change::Comes).await,
        event(&mut crew, "kill -9 of one of three", Change::Dies).await,
    ];
    // Every partition is to be seen going on behind the last one.
    tokio::time::sleep(QUIET / 2).await;
    seen.cancel();
    let watched = watched.await.unwrap();
    over.cancel();
    let flow = flow.await.unwrap();

    let quiet = watched.gaps(watched.advances.keys(), quiet);
    eprintln!("{flow}, sessions of {SESSION:?}, the slowest look took {:.0?}", watched.slowest_look);
    eprintln!("nothing happens: the largest gap of {} partitions was {:.0?}", quiet.len(), quiet.last().unwrap());
    events.iter().for_each(|event| event.report(&watched));
    crew.caught_up().await;
    let ledger = Ledger::read(&place, flow.events).await;
    ledger.assert_stored(&place).await;
    eprintln!("{ledger}");
    crew.leave().await;
}
