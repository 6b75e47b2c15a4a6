//! Loading the topic to measure on.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Args, Loaded};
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

/// Loads `args.events` flat video.view events, evenly over videos and users.
pub(super) async fn load(log: &Arc<dyn Log>, config: &Config, topic: &str, args: &Args) -> anyhow::Result<Loaded> {
    let began = Instant::now();
    let producer = Producer::new(Arc::clone(log), app::producer_options(config));
    let first_ms = chrono::Utc::now().timestamp_millis() - SPREAD_MS as i64;
    let topic: Arc<str> = topic.into();
    let mut event_bytes = 0;
    let mut state = 1_u64;
    for chunk in (0..args.events).step_by(CHUNK as usize) {
        let mut records = Vec::with_capacity(CHUNK as usize);
        for number in chunk..args.events.min(chunk + CHUNK) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let video = format!("v{:06}", (state >> 33) % args.videos);
            let user = (state >> 20) % args.users;
            let time_ms = first_ms + (number % SPREAD_MS) as i64;
            let value = format!(
                "{{\"type\":\"video.view\",\"videoId\":\"{video}\",\"userId\":\"u{user:06}\",\"timestamp\":{time_ms},\"device\":\"mobile-ios\"}}",
            );
            event_bytes = value.len();
            let partition =
                TopicPartition::new(Arc::clone(&topic), partition_for_key(video.as_bytes(), args.partitions));
            let record =
                OutRecord { key: Some(video.into_bytes()), value: Some(value.into_bytes()), ..OutRecord::default() };
            records.push((partition, record));
        }
        for result in producer.send_all_waiting(records).await {
            result?;
        }
    }
    Ok(Loaded { event_bytes, took: began.elapsed() })
}
