//! Deliveries on a real Kafka and Redis, by members that are killed with -9, to a service that fails, hangs, wants fewer
//! requests, and goes away.
//!
//! How many events says `STREAMGAUGE_DELIVERY_EVENTS`; the default is for a debug build amid the other tests, `just delivery` has
//! the whole of it. What happens when is the seed's.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{
    orders::Orders,
    place::{Place, ready},
    support::{
        events::{Random, fresh_seed},
        process::Process,
        results,
        target::{Got, Reply, Target},
    },
};

const MEMBERS: usize = 3;
const KEYS: usize = 5_000;
/// Members that are killed and replaced.
const KILLS: usize = 10;
/// Times that the target goes away and comes back.
const OUTAGES: usize = 2;
/// From how many events on the share of doubled ones means something: what is on its way at a kill does not grow with them.
const MANY: usize = 50_000;
/// How long everything may take.
const DEADLINE: Duration = Duration::from_secs(900);

/// A place with a topic of its own, and where its events go.
struct Post {
    place: Place,
    orders: Orders,
    config: String,
}

impl Post {
    fn new(subscriptions: &str) -> Self {
        let mut place = Place::own_topics();
        let orders = Orders::of(&mut place, KEYS);
        let config = place.folder.path().join("streamgauge.toml").to_str().unwrap().to_owned();
        std::fs::write(&config, subscriptions.replace("TOPIC", &orders.topic)).unwrap();
        Self { place, orders, config }
    }

    fn start(&self) -> Process {
        self.place.start(&[("CONFIG_FILE", &self.config)])
    }

    /// Publishes the events of these numbers.
    async fn publish(&self, numbers: std::ops::Range<usize>) {
        self.orders.publish(&self.place.log(), numbers).await;
    }

    /// The numbers of the events that became dead letters.
    async fn letters(&self) -> BTreeSet<usize> {
        let log = self.place.log();
        let letters = results::read_topics(&log, &[format!("{}.dlq", self.orders.topic)]).await;
        let number = |value: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(value).unwrap();
            value["id"].as_str().unwrap().parse().unwrap()
        };
        letters.values().flatten().map(|letter| number(letter.value.as_deref().unwrap())).collect()
    }
}

/// First deliveries of each key came in the log's order. Returns how many events came at all.
fn assert_order(got: &[Got]) -> usize {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut last: BTreeMap<(i32, usize), i64> = BTreeMap::new();
    for got in got {
        if seen.insert(&got.id) {
            let key = (got.origin.1, got.id.parse::<usize>().unwrap() % KEYS);
            let before = last.insert(key, got.origin.2);
            assert!(before.is_none_or(|before| before < got.origin.2), "key {key:?}: {got:?} after {before:?}");
        }
    }
    seen.len()
}

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_are_killed_deliver_every_event_to_a_service_that_fails_hangs_and_goes_away() {
    let (seed, events) = (fresh_seed(), number("STREAMGAUGE_DELIVERY_EVENTS", 6_000));
    let mut random = Random::new(seed);
    let mut target = Target::start().await;
    let post = Post::new(&format!(
        "[[subscription]]\ngroup = \"shop\"\ntopics = [\"TOPIC\"]\nstart = \"earliest\"\nurl = \"{}\"\ntimeout_ms = 500\n\
         retry = {{ max = 5, initial_ms = 200, max_delay_ms = 2000 }}\n",
        target.url()
    ));
    let dice = AtomicU64::new(seed);
    let began = Instant::now();
    target.behave(move |_| {
        // Bursts of 429: a tenth of a second in each three.
        if began.elapsed().as_millis() % 3_000 < 100 {
            return Reply { retry_after: Some("1".to_owned()), ..Reply::status(429) };
        }
        match Random::new(dice.fetch_add(1, Ordering::SeqCst)).below(100) {
            0..5 => Reply::status(500),
            5 => Reply { after: Duration::from_secs(5), ..Reply::status(500) },
            _ => Reply::default(),
        }
    });
    let mut members: Vec<Process> = (0..MEMBERS).map(|_| post.start()).collect();
    for member in &mut members {
        ready(member).await;
    }
    post.publish(0..events).await;

    // Kills and outages while it delivers: each after another part of the events.
    let troubles = KILLS + OUTAGES;
    for trouble in 1..=troubles {
        let after = events * trouble / (troubles + 2);
        progress(&target, after).await;
        if trouble % (troubles / OUTAGES) == 3 {
            target.go_away().await;
            tokio::time::sleep(Duration::from_millis(500 + random.below(1_500) as u64)).await;
            target.come_back().await;
        } else {
            let mut killed = members.remove(random.below(MEMBERS));
            killed.kill();
            members.push(post.start());
        }
    }
    let letters = finished(&post, &target, events).await;
    let took = began.elapsed();
    let got = target.got();
    let came = assert_order(&got);
    let taken = target.taken_by_id();
    let doubled = taken.values().filter(|count| **count > 1).count();
    let share = doubled as f64 / events as f64;
    eprintln!(
        "{events} events, {} requests in {took:.1?}; {KILLS} members killed with -9, the target away {OUTAGES} times; {} taken, \
         {letters} dead letters, {came} came; {doubled} were answered 2xx more than once: {:.2} %",
        got.len(),
        taken.len(),
        share * 100.0
    );
    assert!(events < MANY || share < 0.01, "{share}");
    for mut member in members {
        assert!(member.terminate().await.success(), "{}", member.said());
    }
}

/// Waits until so many different events were taken.
async fn progress(target: &Target, events: usize) {
    let ends_at = Instant::now() + DEADLINE;
    while target.different() < events {
        assert!(Instant::now() < ends_at, "{} of {events} events were taken in {DEADLINE:?}", target.different());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until every event was taken or is a dead letter. Returns how many dead letters there are.
async fn finished(post: &Post, target: &Target, events: usize) -> usize {
    let ends_at = Instant::now() + DEADLINE;
    loop {
        let letters = post.letters().await;
        let mut done: BTreeSet<usize> = target.taken_by_id().keys().map(|id| id.parse().unwrap()).collect();
        done.extend(&letters);
        if done.len() == events {
            return letters.len();
        }
        assert!(Instant::now() < ends_at, "{} of {events} events are finished", done.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_target_down_changes_nothing_for_the_other_and_its_backlog_is_delivered_when_it_is_back() {
    const EVENTS: usize = 1_500;
    let (one, mut two) = (Target::start().await, Target::start().await);
    let subscription = |group: &str, target: &Target| {
        format!(
            "[[subscription]]\ngroup = \"{group}\"\ntopics = [\"TOPIC\"]\nstart = \"earliest\"\nurl = \"{}\"\nconcurrency = 8\n\
             timeout_ms = 1000\nretry = {{ max = 100, initial_ms = 200, max_delay_ms = 1000 }}\n",
            target.url()
        )
    };
    let post = Post::new(&format!("{}{}", subscription("one", &one), subscription("two", &two)));
    let mut member = post.start();
    ready(&mut member).await;
    // Warmed up: the topic is there, and its partitions have begun.
    post.publish(0..EVENTS).await;
    progress(&one, EVENTS).await;
    progress(&two, EVENTS).await;
    let before = latency(&post, &one, EVENTS..2 * EVENTS).await;
    two.go_away().await;
    let during = latency(&post, &one, 2 * EVENTS..3 * EVENTS).await;
    let (status, answer) = member.get("/api/deliveries").await;
    assert_eq!((status, &answer["data"][0]["breaker"]), (200, &serde_json::json!("closed")), "{answer}");
    assert_ne!(answer["data"][1]["breaker"], "closed", "{answer}");
    two.come_back().await;
    let began = Instant::now();
    progress(&two, 3 * EVENTS).await;
    eprintln!(
        "p99 of the other target's events, from publishing: {before:.1?} while both answer, {during:.1?} while one is down; back, its \
         backlog of {EVENTS} took {:.1?}",
        began.elapsed()
    );
    assert!(during < before * 4 + Duration::from_millis(200), "{before:?}, {during:?}");
    assert_eq!(assert_order(&two.got()), 3 * EVENTS);
    assert!(member.terminate().await.success(), "{}", member.said());
}

/// Publishes events in small lots, and tells how long 99 of 100 took until the target had them.
async fn latency(post: &Post, target: &Target, numbers: std::ops::Range<usize>) -> Duration {
    const LOT: usize = 10;
    let mut published: BTreeMap<String, Instant> = BTreeMap::new();
    for lot in numbers.clone().step_by(LOT) {
        let now = Instant::now();
        published.extend((lot..lot + LOT).map(|number| (number.to_string(), now)));
        post.publish(lot..lot + LOT).await;
    }
    progress(target, numbers.end).await;
    let mut took: Vec<Duration> =
        target.got().iter().filter_map(|got| Some(got.at.duration_since(*published.get(&got.id)?))).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
