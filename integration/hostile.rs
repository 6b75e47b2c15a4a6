//! Ten thousand hostile events between a real Kafka and a real Redis, again and again: all are dealt with, and memory stays flat.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use streamgauge::{
    log::{Log, OutRecord},
    model::TopicPartition,
};

use crate::{
    place::{Place, ready},
    support::{
        events::{Random, fresh_seed},
        hostile::{CATALOG, Expected, Hostile, hostile},
        process::Process,
    },
};

const EVENTS: usize = 10_000;
const PARTITIONS: usize = 3;
/// Records in one call: with some of a megabyte each.
const CHUNK: usize = 1_000;
/// How often they come.
const ROUNDS: usize = 6;
/// The first of them fill buffers and caches.
const WARM_ROUNDS: usize = 3;
/// What may be held more after three further rounds: a share of what came in them. On a quiet machine it is none; on a busy one more
/// of what was fetched waits at once.
const SLACK_SHARE: f64 = 0.3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_and_every_hostile_event_is_counted_or_a_dead_letter() {
    let mut place = Place::own_topics();
    let topic = format!("{}t", place.topic_prefix);
    place.write_catalog(&CATALOG.replace("name = \"t\"", &format!("name = \"{topic}\"\npartitions = {PARTITIONS}")));
    let mut random = Random::new(fresh_seed());
    let events: Vec<Hostile> = (0..EVENTS).map(|_| hostile(&mut random)).collect();
    let good = events.iter().filter(|event| matches!(event.expected, Expected::Counts(..))).count();
    let bad = events.iter().filter(|event| matches!(event.expected, Expected::Dead(_))).count();
    let bytes: usize = events.iter().map(|event| event.value.len()).sum();
    let (log, topic): (_, Arc<str>) = (place.log(), topic.into());
    let mut process = place.start(&[]);
    ready(&mut process).await;
    let (mut peaks, mut sent) = (Vec::new(), 0);
    for round in 1..=ROUNDS {
        for (number, chunk) in events.chunks(CHUNK).enumerate() {
            let record = |event: &Hostile| OutRecord {
                value: Some(event.value.clone()),
                headers: event.headers.clone(),
                ..OutRecord::default()
            };
            let partition = TopicPartition::new(Arc::clone(&topic), (number % PARTITIONS) as i32);
            for stored in log.produce(&partition, chunk.iter().map(record).collect()).await {
                stored.unwrap();
            }
            sent += chunk.len();
            dealt_with(&mut process, sent).await;
        }
        let (counted, dead) = dealt_with(&mut process, sent).await;
        assert!(counted >= round * good && dead >= round * bad, "{counted} of {good} a round, {dead} of {bad}");
        peaks.push(process.peak_memory_mib());
    }
    eprintln!("{EVENTS} hostile events of {bytes} bytes a round; peak memory after each: {peaks:?} MiB");
    let came_mib = (bytes * (ROUNDS - WARM_ROUNDS)) as f64 / f64::from(1 << 20);
    let grown_mib = peaks[ROUNDS - 1] - peaks[WARM_ROUNDS - 1];
    assert!(
        (grown_mib as f64) < SLACK_SHARE * came_mib,
        "memory grows: {peaks:?} MiB, {came_mib:.0} MiB came meanwhile"
    );
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

/// Waits until so many are counted or dead letters, and all of it is stored; says how many of each.
async fn dealt_with(process: &mut Process, sent: usize) -> (usize, usize) {
    process
        .until("all are dealt with", async |process| {
            let counted = process.metric("streamgauge_events_total", "").await as usize;
            let dead = process.metric("streamgauge_dead_letters_total", "").await as usize;
            let is_stored = process.metric("streamgauge_pending_keys", "").await == 0.0;
            (counted + dead >= sent && is_stored).then(|| {
                assert_eq!(counted + dead, sent, "{counted} counted, {dead} dead letters");
                (counted, dead)
            })
        })
        .await
}
