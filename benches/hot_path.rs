//! What an event costs on its way through the core, on one thread: `cargo bench --bench hot_path`.
//!
//! Each number is per event (Criterion's `time` divided by the events of a round is shown as `thrpt`).

#![allow(missing_docs, reason = "Criterion's macros make functions without")]
#![allow(clippy::unwrap_used, reason = "what is wrong in a benchmark ends it")]

use std::{hint::black_box, sync::Arc};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use streamgauge::{
    catalog::{
        CatalogChoice,
        plan::{Action, Catalog, DedupeWindow, Topic},
    },
    core::{
        decode::{Decoded, Decoder},
        dedupe::{IdentitySecret, SECRET_BYTES, Window},
        event::{Layout, Scratch, decode},
        worker::Worker,
    },
    log::{Block, LogError, RecordRef, Records},
    model::TopicPartition,
};

/// Events of a round.
const EVENTS: usize = 10_000;
/// `BATCH_SIZE`'s default.
const BATCH_EVENTS: usize = 10_000;
/// Different videos and users, as many keys as a busy service has in a flush.
const VIDEOS: usize = 2_000;
const USERS: usize = 5_000;

/// Flat views of 108 bytes.
fn values() -> Vec<Vec<u8>> {
    let one = |n: usize| {
        let (video, user) = (n * 7919 % VIDEOS, n * 104_729 % USERS);
        let time_ms = 1_700_000_000_000 + n;
        format!("{{\"type\":\"video.view\",\"videoId\":\"video-{video:08}\",\"userId\":\"user-{user:09}\",\"timestamp\":{time_ms},\"q\":\"0\"}}")
            .into_bytes()
    };
    let values: Vec<Vec<u8>> = (0..EVENTS).map(one).collect();
    assert!(values.iter().all(|value| value.len() == 108), "{} bytes", values[0].len());
    values
}

fn record(offset: usize, value: &[u8]) -> RecordRef<'_> {
    RecordRef { offset: offset as i64, timestamp_ms: 1_700_000_000_000, key: None, value: Some(value), headers: &[] }
}

struct Rows(Arc<Vec<Vec<u8>>>);

impl Records for Rows {
    fn visit(&self, visitor: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError> {
        self.0.iter().enumerate().for_each(|(offset, value)| visitor(record(offset, value)));
        Ok(())
    }
}

/// The topic video.views, with all its rules or with its count alone.
fn views(count_only: bool) -> Arc<Topic> {
    let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
    let mut topic = Topic::clone(catalog.topic("video.views").unwrap());
    if count_only {
        topic.events.iter_mut().for_each(|event| {
            event.rules.retain(|rule| matches!(rule.action, Action::Count { .. }));
        });
    }
    Arc::new(topic)
}

fn reading(c: &mut Criterion) {
    let (topic, values) = (views(false), values());
    let mut group = c.benchmark_group("core");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let layout = Layout::new(&topic);
    let mut scratch = Scratch::default();
    group.bench_function("event", |b| {
        b.iter(|| {
            for (offset, value) in values.iter().enumerate() {
                let record = record(offset, value);
                black_box(decode(&topic, &layout, &mut scratch, value, &record).unwrap());
            }
        });
    });
    let secret = IdentitySecret([7; SECRET_BYTES]);
    let limits = DedupeWindow { window_ms: 3_600_000, offsets: 262_144 };
    for run in [1, 32] {
        group.bench_function(format!("dedupe, {run} at once"), |b| {
            let mut window = Window::new(limits);
            let mut offset = 0_i64;
            let mut identities = Vec::new();
            b.iter(|| {
                for _ in 0..EVENTS / run {
                    identities.clear();
                    identities.extend((0..run as i64).map(|n| secret.identify(&(offset + n).to_le_bytes())));
                    if run > 1 {
                        window.prefetch(identities.iter().copied());
                    }
                    for identity in &identities {
                        offset += 1;
                        black_box(window.insert(offset, offset, *identity));
                    }
                }
            });
        });
    }
    group.finish();
}

fn counting(c: &mut Criterion) {
    let values = Arc::new(values());
    let mut group = c.benchmark_group("core");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (name, topic) in [("count", views(true)), ("all", views(false))] {
        let block = Block {
            next_offset: EVENTS as i64,
            high_watermark: EVENTS as i64,
            log_start: None,
            leader_epoch: None,
            size_bytes: 0,
            records: Box::new(Rows(Arc::clone(&values))),
        };
        let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
        let decoder = Decoder::new(Arc::clone(&topic), "bench".into(), Arc::clone(&secret));
        let mut decoded = Decoded::default();
        group.bench_function(format!("decode, {name}"), |b| {
            b.iter(|| decoder.block(&block, 0, &mut decoded).unwrap());
        });
        group.bench_function(format!("decode and count, {name}"), |b| {
            let partition = TopicPartition::new("video.views", 0);
            b.iter_batched(
                || {
                    Worker::new(
                        Arc::clone(&topic),
                        partition.clone(),
                        "bench".into(),
                        Arc::clone(&secret),
                        0,
                        BATCH_EVENTS,
                    )
                },
                |mut worker| {
                    let batches = worker.step(&block, &mut decoded).unwrap();
                    (worker, batches)
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, reading, counting);
criterion_main!(benches);
