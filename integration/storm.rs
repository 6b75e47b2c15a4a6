//! Three members and every kind of rule under a steady stream of events, while members are killed, replaced, stopped and
//! continued, and while their Redis is cut off, deaf, put back to an older copy and emptied. In the end every key equals the
//! fold of the log.
//!
//! How long and how fast says the environment: `STREAMGAUGE_STORM_SECONDS` and `STREAMGAUGE_STORM_EVENTS_PER_SECOND`. The
//! defaults are for a debug build amid the other tests; `just storm` has the whole of it. What happens when is the seed's.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crew;
mod failover;
mod handover;
mod ledger;
mod redis;
mod source;

use std::{collections::BTreeMap, time::Duration};

use streamgauge::store::Store;
use tokio_util::sync::CancellationToken;

use self::{
    crew::{Crew, Harm},
    ledger::Ledger,
    redis::{Fault, Redis},
    source::{Flow, Source},
};
use crate::{
    place::Place,
    support::{
        events::{Random, fresh_seed},
        results,
    },
};

const MEMBERS: usize = 3;
/// Into how many shards results may be split; the seed says.
const SHARDS: [u16; 2] = [1, 3];

/// How long and how fast.
#[derive(Clone, Copy)]
struct Weather {
    lasts: Duration,
    per_second: usize,
}

impl Weather {
    fn forecast() -> Self {
        let number = |name: &str, otherwise: u64| {
            std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
        };
        Self {
            lasts: Duration::from_secs(number("STREAMGAUGE_STORM_SECONDS", 10)),
            per_second: number("STREAMGAUGE_STORM_EVENTS_PER_SECOND", 2_000) as usize,
        }
    }
}

/// Members count a steady stream and are harmed, until this trouble has ended. With what was published and what the trouble says.
async fn under_load<'p, T>(
    place: &'p Place,
    random: &mut Random,
    weather: Weather,
    harm: Harm,
    trouble: impl AsyncFnOnce(&mut Random) -> T,
) -> (Crew<'p>, Flow, T) {
    let source = Source::new(place, random.next(), weather.per_second).await;
    let mut crew = Crew::start(place, MEMBERS).await;
    let over = CancellationToken::new();
    let flow = tokio::spawn(source.run(over.clone()));
    let mut random_of_crew = Random::new(random.next());
    let suffers = crew.suffer(&mut random_of_crew, harm, &over);
    let troubles = async {
        let told = trouble(random).await;
        over.cancel();
        told
    };
    let (told, ()) = tokio::join!(troubles, suffers);
    (crew, flow.await.unwrap(), told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_killed_and_stopped_count_every_key_as_the_fold() {
    let (seed, weather) = (fresh_seed(), Weather::forecast());
    let mut random = Random::new(seed);
    let place = source::place(SHARDS[random.below(SHARDS.len())]);
    let harm = Harm { kill_every: Duration::from_secs(3), stops: true };
    let lasts = async |_: &mut Random| tokio::time::sleep(weather.lasts).await;
    let (mut crew, flow, ()) = under_load(&place, &mut random, weather, harm, lasts).await;
    eprintln!(
        "{flow}, {} shards; {} members killed and replaced, {} stopped",
        place.store_shards, crew.kills, crew.stops
    );
    eprintln!("caught up after {:.1?}", crew.caught_up().await);
    eprintln!("{}", crew.told().await);
    assert!(crew.kills > 0 && crew.stops > 0, "nothing happened");

    let ledger = Ledger::read(&place, flow.events).await;
    ledger.assert_stored(&place).await;
    eprintln!("{ledger}");
    crew.leave().await;
}

/// How many records the store has counted, when it answers.
async fn counted(place: &Place) -> i64 {
    let (store, names) = (place.store(), crew::partitions(place));
    loop {
        if let Ok(stored) = store.positions(&names).await {
            return stored.iter().map(|shards| results::counted_to(shards)).sum();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Lets faults happen one after the other, each kind at least once, until it has lasted long enough.
async fn trouble(redis: &mut Redis, place: &Place, random: &mut Random, lasts: Duration) -> BTreeMap<Fault, usize> {
    let (began, mut happened) = (std::time::Instant::now(), BTreeMap::new());
    while began.elapsed() < lasts || happened.len() < Fault::ALL.len() {
        let mut kinds = Fault::ALL;
        for at in 1..kinds.len() {
            kinds.swap(at, random.below(at + 1));
        }
        for fault in kinds {
            tokio::time::sleep(Duration::from_millis(random.below(800) as u64)).await;
            if fault == Fault::FellBack && (!redis.has_copy() || random.below(2) == 0) {
                redis.copy().await;
                tokio::time::sleep(Duration::from_millis(500 + random.below(1_000) as u64)).await;
            }
            let before = counted(place).await;
            let what = redis.suffer(fault).await;
            let after = counted(place).await;
            eprintln!("{:5.1?} {what}: {before} records were counted, {after} are", began.elapsed());
            *happened.entry(fault).or_insert(0) += 1;
        }
    }
    happened
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_cut_off_deaf_put_back_and_emptied_has_every_key_as_the_fold() {
    let (seed, weather) = (fresh_seed(), Weather::forecast());
    let mut random = Random::new(seed);
    let mut redis = Redis::start().await;
    let shards = SHARDS[random.below(SHARDS.len())];
    let place = Place { redis_url: redis.url(), ..source::place(shards) };
    let harm = Harm { kill_every: Duration::from_secs(7), stops: false };
    let troubles = async |random: &mut Random| trouble(&mut redis, &place, random, weather.lasts).await;
    let (mut crew, flow, happened) = under_load(&place, &mut random, weather, harm, troubles).await;
    eprintln!("{flow}, {shards} shards; {happened:?}, {} members killed and replaced", crew.kills);
    eprintln!("caught up after {:.1?}", crew.caught_up().await);
    eprintln!("{}", crew.told().await);
    let ledger = Ledger::read(&place, flow.events).await;
    ledger.assert_stored(&place).await;
    eprintln!("{ledger}");

    // While nothing comes: only the heartbeat can notice it.
    for fault in [Fault::FellBack, Fault::Emptied] {
        let what = redis.suffer(fault).await;
        eprintln!("idle: {what}; caught up after {:.1?}", crew.caught_up().await);
        ledger.assert_stored(&place).await;
    }
    eprintln!("{}", crew.told().await);
    crew.leave().await;
}
