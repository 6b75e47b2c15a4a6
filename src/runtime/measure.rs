//! What the runtime measures, in one place.

use std::time::Duration;

use crate::{
    catalog::plan::Shape, core::batch::Tally, log::LogError, model::TopicPartition, telemetry::metrics as table,
};

pub(super) fn counted(topic: &str, tally: &Tally) {
    let counts = [
        (&table::RECORDS, tally.records),
        (&table::EVENTS, tally.events),
        (&table::DUPLICATES, tally.duplicates),
        (&table::TOMBSTONES, tally.tombstones),
        (&table::OTHERS_REPLAYS, tally.others_replays),
        (&table::FORWARDS, tally.forwards),
    ];
    for (metric, count) in counts {
        if count > 0 {
            metric.counter(&[topic]).increment(count);
        }
    }
    for (shape, count) in Shape::ALL.into_iter().zip(tally.shapes) {
        if count > 0 {
            table::SHAPES.counter(&[topic, shape.name()]).increment(count);
        }
    }
}

pub(super) fn dead_letter(topic: &str, reason: &'static str) {
    table::DEAD_LETTERS.counter(&[topic, reason]).increment(1);
}

pub(super) fn replayed(topic: &str, records: usize) {
    table::REPLAYS.counter(&[topic]).increment(records as u64);
}

pub(super) fn dead_letters_waiting(topic: &str, letters: i64) {
    table::DEAD_LETTERS_WAITING.gauge(&[topic]).set(letters as f64);
}

pub(super) fn processed(topic: &str, took: Duration) {
    table::PROCESSING_DURATION.histogram(&[topic]).record(took);
}

/// Time from a record's own time to its place in the results.
pub(super) fn end_to_end(topic: &str, took: Duration) {
    table::END_TO_END.histogram(&[topic]).record(took);
}

pub(super) fn lag(partition: &TopicPartition, records: i64, seconds: f64) {
    let labels = [&*partition.topic, &partition.partition.to_string()];
    table::PARTITION_LAG_RECORDS.gauge(&labels).set(records as f64);
    table::PARTITION_LAG_SECONDS.gauge(&labels).set(seconds);
}

pub(super) fn flushed(took: Duration, values: usize) {
    table::FLUSH_DURATION.histogram(&[]).record(took);
    table::FLUSH_KEYS.histogram(&[]).record(values as f64);
}

pub(super) fn flush_failed() {
    table::FLUSH_FAILURES.counter(&[]).increment(1);
}

pub(super) fn gap(topic: &str, records: i64) {
    table::GAPS.counter(&[topic]).increment(1);
    table::GAP_RECORDS.counter(&[topic]).increment(records.unsigned_abs());
}

pub(super) fn log_changed(topic: &str, change: &'static str) {
    table::LOG_CHANGES.counter(&[topic, change]).increment(1);
}

pub(super) fn refused(topic: &str) {
    table::REFUSALS.counter(&[topic]).increment(1);
}

pub(super) fn conflict(topic: &str) {
    table::CONFLICTS.counter(&[topic]).increment(1);
}

pub(super) fn fetched(topic: &str, size_bytes: usize) {
    table::FETCHED_BYTES.counter(&[topic]).increment(size_bytes as u64);
}

pub(super) fn log_failed(error: &LogError) {
    table::LOG_ERRORS.counter(&[error.kind()]).increment(1);
}

pub(super) fn copied(totals: u64, is_whole: bool, took: Duration) {
    table::PERSISTENT_TOTALS.counter(&[]).increment(totals);
    if is_whole {
        table::PERSISTENT_COPY_DURATION.histogram(&[]).record(took);
        table::PERSISTENT_COPIED.gauge(&[]).set(chrono::Utc::now().timestamp_millis() as f64 / 1000.0);
    }
}

pub(super) fn copy_failed() {
    table::PERSISTENT_FAILURES.counter(&[]).increment(1);
}

/// An emptied store was put back from the tier, or a partition of it is counted from the log's start.
pub(super) fn restored(from: &'static str) {
    table::STORE_RESTORES.counter(&[from]).increment(1);
}

pub(super) fn store_failed() {
    table::STORE_ERRORS.counter(&[]).increment(1);
}

pub(super) fn partitions_stopped(count: usize) {
    table::PARTITIONS_STOPPED.gauge(&[]).set(count as f64);
}

/// How many members the group has, and how many partitions this one counts.
pub(super) fn standing(members: usize, held: usize) {
    table::MEMBERS.gauge(&[]).set(members as f64);
    table::PARTITIONS_HELD.gauge(&[]).set(held as f64);
}

pub(super) fn heartbeat(took: Duration) {
    table::HEARTBEAT_DURATION.histogram(&[]).record(took);
}

/// Time from getting a partition to counting it.
pub(super) fn took_over(topic: &str, took: Duration) {
    table::TAKEOVER_DURATION.histogram(&[topic]).record(took);
}

pub(super) fn pending(values: usize) {
    table::PENDING_KEYS.gauge(&[]).set(values as f64);
}
