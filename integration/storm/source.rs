//! Events of all kinds of rules at a steady rate, straight to Kafka, as a seed says.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use streamgauge::{
    catalog::plan::Compression,
    core::partitioner::partition_for_key,
    log::{
        Log, OutRecord,
        kafka::{KafkaLog, KafkaOptions},
    },
    model::TopicPartition,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    place::{Place, kafka},
    support::{
        events::{Published, Random, events_of_these_days},
        results,
    },
};

/// Partitions of each topic.
pub const PARTITIONS: i32 = 3;
/// How often what is due is published.
const TICK: Duration = Duration::from_millis(20);
/// One in so many is a rating.
const RATINGS: usize = 10;
/// One in so many was sent before, seconds ago; the generator itself repeats some within a second.
const RESENT: usize = 50;
/// One in so many is bad.
const BAD: usize = 500;
/// Events that may be sent again.
const KEPT: usize = 5_000;
const RATING_TOPIC: &str = "video.ratings";
/// What the video catalogue has no rule for: amounts of a field, the greatest, the last by event time.
const RATING_RULES: &str = r#"
[[topic]]
name = "TOPIC"
partitions = 3
key = ["videoId"]
shape = ["flat"]
identity = ["type", "videoId", "userId", "timestamp"]

[[topic.event]]
type = "video.rating"
required = ["videoId", "userId"]
rules = [
  { count = "video:{videoId}:stars", by = { field = "stars", scale = 1 } },
  { max = "video:{videoId}:best", of = { field = "stars", scale = 1 } },
  { last = "video:{videoId}:latest", of = { field = "stars", scale = 1 } },
]
"#;

/// A place of its own with every kind of rule.
pub fn place(shards: u16) -> Place {
    let mut place = Place { store_shards: shards, ..Place::own_topics() };
    let video = std::fs::read_to_string(place.catalog_path.as_ref().unwrap()).unwrap();
    let topic = format!("{}{RATING_TOPIC}", place.topic_prefix);
    place.write_catalog(&(video + &RATING_RULES.replace("TOPIC", &topic)));
    place
}

/// Publishes at a steady rate.
pub struct Source {
    log: KafkaLog,
    /// The topics with their partitions.
    counts: BTreeMap<String, i32>,
    prefix: String,
    per_second: usize,
    seconds: mpsc::Receiver<Vec<Published>>,
    ready: std::vec::IntoIter<Published>,
    /// Events that the broker has answered.
    published: usize,
}

/// What was published.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub events: usize,
    pub per_second: f64,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events published, {:.0} a second", self.events, self.per_second)
    }
}

impl Source {
    /// Creates the topics of a place.
    pub async fn new(place: &Place, seed: u64, per_second: usize) -> Self {
        let options = KafkaOptions { compression: Compression::Lz4, ..KafkaOptions::new(vec![kafka()]) };
        let log = KafkaLog::connect(options);
        results::create(&log, &results::topics_of(&place.catalog()), PARTITIONS).await;
        let topics = log.topics().await.unwrap();
        let counts = topics.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        Self {
            log,
            counts,
            prefix: place.topic_prefix.clone(),
            per_second,
            seconds: feed(seed, per_second),
            ready: Vec::new().into_iter(),
            published: 0,
        }
    }

    /// Publishes so many at once.
    pub async fn rush(&mut self, events: usize) {
        for _ in 0..events.div_ceil(self.per_second) {
            self.publish(self.per_second).await;
        }
    }

    /// Publishes at the steady rate until it is over. Says of all that it has ever published how many there were.
    pub async fn run(mut self, over: CancellationToken) -> Flow {
        let (began, before) = (Instant::now(), self.published);
        while !over.is_cancelled() {
            let due = (began.elapsed().as_secs_f64() * self.per_second as f64) as usize;
            // After a standstill not all at once.
            let due = due.saturating_sub(self.published - before).min(self.per_second / 4);
            self.publish(due).await;
            tokio::time::sleep(TICK).await;
        }
        let per_second = (self.published - before) as f64 / began.elapsed().as_secs_f64();
        Flow { events: self.published, per_second }
    }

    async fn publish(&mut self, count: usize) {
        let mut batches: BTreeMap<TopicPartition, Vec<OutRecord>> = BTreeMap::new();
        for index in 0..count {
            let event = self.next().await;
            let name = format!("{}{}", self.prefix, event.topic);
            let count = self.counts[&name];
            let number = event.key.as_ref().map_or(index as i32 % count, |key| partition_for_key(key, count));
            let record = OutRecord { key: event.key, value: Some(event.value), ..OutRecord::default() };
            batches.entry(TopicPartition::new(name.as_str(), number)).or_default().push(record);
        }
        let log = &self.log;
        let calls =
            batches.into_iter().map(|(partition, records)| async move { log.produce(&partition, records).await });
        for answer in join_all(calls).await.into_iter().flatten() {
            answer.unwrap();
        }
        self.published += count;
    }

    async fn next(&mut self) -> Published {
        loop {
            match self.ready.next() {
                Some(event) => return event,
                None => self.ready = self.seconds.recv().await.unwrap().into_iter(),
            }
        }
    }
}

/// The events of one second after the other, made ahead on a thread that ends with the receiver.
fn feed(seed: u64, per_second: usize) -> mpsc::Receiver<Vec<Published>> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut random = Random::new(seed);
        let mut kept: Vec<Published> = Vec::new();
        loop {
            let (ratings, resent) = (per_second / RATINGS, if kept.is_empty() { 0 } else { per_second / RESENT });
            let count = per_second - ratings - resent;
            let mut second = events_of_these_days(random.next(), count, count / BAD);
            second.extend((0..ratings).map(|_| rating(&mut random)));
            second.extend((0..resent).map(|_| kept[random.below(kept.len())].clone()));
            for at in 1..second.len() {
                second.swap(at, random.below(at + 1));
            }
            kept.extend(second.iter().take(KEPT / 10).cloned());
            while kept.len() > KEPT {
                kept.swap_remove(random.below(kept.len()));
            }
            if sender.blocking_send(second).is_err() {
                return;
            }
        }
    });
    receiver
}

fn rating(random: &mut Random) -> Published {
    const DAY_MS: usize = 86_400_000;
    let (video, user) = (format!("v{}", random.below(300)), format!("u{}", random.below(200)));
    let stars = random.below(50) as f64 / 10.0;
    let time_ms = chrono::Utc::now().timestamp_millis() - random.below(DAY_MS) as i64;
    let value =
        json!({ "type": "video.rating", "videoId": video, "userId": user, "stars": stars, "timestamp": time_ms });
    Published { topic: RATING_TOPIC, key: Some(video.into_bytes()), value: value.to_string().into_bytes(), dead: None }
}
