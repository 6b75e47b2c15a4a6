//! Loading the topic to measure on, in a process of its own, so that its memory and time are not those of the counting.

use std::sync::Arc;

use anyhow::Context;
use tokio::time::Instant;

use super::{Args, Shape, order};
use crate::{
    app,
    config::Config,
    core::partitioner::partition_for_key,
    log::{Log, OutRecord},
    model::TopicPartition,
    runtime::producer::Producer,
};

/// Events handed over at once.
const CHUNK: u64 = 20_000;
/// Milliseconds over which the events spread, up to now: recent enough that no window is expired.
const SPREAD_MS: u64 = 60_000;

/// Loads `args.events` events into an existing topic; tells their size and how long it took.
pub(super) async fn load(log: &Arc<dyn Log>, config: &Config, topic: &str, args: &Args) -> anyhow::Result<String> {
    let began = Instant::now();
    let producer = Producer::new(Arc::clone(log), app::producer_options(config));
    let mut events = Events::new(topic, args);
    for chunk in (0..args.events).step_by(CHUNK as usize) {
        let records = (chunk..args.events.min(chunk + CHUNK)).map(|number| events.event(number)).collect();
        for result in producer.send_all_waiting(records).await {
            result?;
        }
    }
    Ok(format!(
        "loaded {} {} events of {} bytes over {} videos and {} users in {:.1} s",
        args.events,
        args.shape.told(),
        events.event_bytes,
        args.videos,
        args.users,
        began.elapsed().as_secs_f64()
    ))
}

/// Has another process load the topic, with the same settings.
pub(super) async fn load_elsewhere(topic: &str) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let arguments: Vec<std::ffi::OsString> =
        std::env::args_os().skip(1).chain(["--load".into(), topic.into()]).collect();
    #[expect(clippy::disallowed_methods, reason = "the measurement waits for it and ends with it")]
    let loaded =
        tokio::task::spawn_blocking(move || std::process::Command::new(program).args(arguments).output()).await??;
    let told = String::from_utf8_lossy(&loaded.stdout).trim().to_owned();
    anyhow::ensure!(loaded.status.success(), "loading failed: {}{told}", String::from_utf8_lossy(&loaded.stderr));
    Ok(told)
}

/// The events of a run: the same for the same arguments.
struct Events<'a> {
    args: &'a Args,
    topic: Arc<str>,
    first_ms: i64,
    state: u64,
    /// Videos by whether they lie in the partition that gets the greater share.
    videos: [Vec<u64>; 2],
    event_bytes: usize,
}

impl<'a> Events<'a> {
    fn new(topic: &str, args: &'a Args) -> Self {
        let mut videos = [Vec::new(), Vec::new()];
        for video in 0..args.videos {
            let is_first = partition_for_key(name(video).as_bytes(), args.partitions) == 0;
            videos[usize::from(is_first)].push(video);
        }
        let first_ms = chrono::Utc::now().timestamp_millis() - SPREAD_MS as i64;
        Self { args, topic: topic.into(), first_ms, state: 1, videos, event_bytes: 0 }
    }

    fn event(&mut self, number: u64) -> (TopicPartition, OutRecord) {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (draw, user) = (self.state >> 33, (self.state >> 20) % self.args.users);
        let number_of_video = match self.args.skew {
            0 => draw % self.args.videos,
            share => {
                let some = &self.videos[usize::from(number % 100 < share)];
                some.get((draw % some.len().max(1) as u64) as usize).copied().unwrap_or(0)
            }
        };
        let video = match self.args.shape {
            Shape::Order => order::id(number),
            Shape::Flat | Shape::Nested => name(number_of_video),
        };
        let time_ms = self.first_ms + (number % SPREAD_MS) as i64;
        let value = match self.args.shape {
            Shape::Flat => format!(
                "{{\"type\":\"video.view\",\"videoId\":\"{video}\",\"userId\":\"u{user:06}\",\"timestamp\":{time_ms},\"device\":\"mobile-ios\"}}",
            ),
            Shape::Nested => format!(
                "{{\"metadata\":{{\"eventId\":\"e{number:012}\",\"eventType\":\"video.view\",\"timestamp\":{time_ms},\"version\":\"1.0\",\
                 \"priority\":\"normal\",\"source\":\"video-service\",\"correlationId\":\"c{number:012}\",\"userId\":\"u{user:06}\"}},\
                 \"data\":{{\"videoId\":\"{video}\",\"userId\":\"u{user:06}\",\"device\":{{\"kind\":\"mobile\",\"os\":\"ios\",\"app\":\"5.12.1\"}},\
                 \"watchedSeconds\":{},\"quality\":\"1080p\",\"tags\":[\"sports\",\"live\"]}}}}",
                draw % 3600,
            ),
            Shape::Order => order::event(number, user, draw, time_ms),
        };
        self.event_bytes = value.len();
        let is_first = matches!(self.args.shape, Shape::Order) && number % 100 < self.args.skew;
        let partition = if is_first { 0 } else { partition_for_key(video.as_bytes(), self.args.partitions) };
        let record =
            OutRecord { key: Some(video.into_bytes()), value: Some(value.into_bytes()), ..OutRecord::default() };
        (TopicPartition::new(Arc::clone(&self.topic), partition), record)
    }
}

fn name(video: u64) -> String {
    format!("v{video:06}")
}
