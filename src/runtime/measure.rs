//! What the runtime measures, in one place.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::{core::batch::Tally, log::LogError, model::TopicPartition};

pub(super) fn counted(topic: &str, tally: &Tally) {
    let topic = topic.to_owned();
    counter!("streamgauge_records_total", "topic" => topic.clone()).increment(tally.records);
    counter!("streamgauge_events_total", "topic" => topic.clone()).increment(tally.events);
    counter!("streamgauge_duplicates_total", "topic" => topic.clone()).increment(tally.duplicates);
    counter!("streamgauge_tombstones_total", "topic" => topic.clone()).increment(tally.tombstones);
    counter!("streamgauge_forwards_total", "topic" => topic).increment(tally.forwards);
}

pub(super) fn dead_letter(topic: &str, reason: &'static str) {
    counter!("streamgauge_dead_letters_total", "topic" => topic.to_owned(), "reason" => reason).increment(1);
}

pub(super) fn processed(topic: &str, took: Duration) {
    histogram!("streamgauge_processing_duration_seconds", "topic" => topic.to_owned()).record(took);
}

/// Time from a record's own time to its place in the results.
pub(super) fn end_to_end(topic: &str, took: Duration) {
    histogram!("streamgauge_end_to_end_seconds", "topic" => topic.to_owned()).record(took);
}

pub(super) fn lag(partition: &TopicPartition, records: i64, seconds: f64) {
    let labels = [("topic", partition.topic.to_string()), ("partition", partition.partition.to_string())];
    gauge!("streamgauge_partition_lag_records", &labels).set(records as f64);
    gauge!("streamgauge_partition_lag_seconds", &labels).set(seconds);
}

pub(super) fn flushed(took: Duration, values: usize) {
    histogram!("streamgauge_flush_duration_seconds").record(took);
    histogram!("streamgauge_flush_keys").record(values as f64);
}

pub(super) fn flush_failed() {
    counter!("streamgauge_flush_failures_total").increment(1);
}

pub(super) fn gap(topic: &str, records: i64) {
    counter!("streamgauge_gaps_total", "topic" => topic.to_owned()).increment(1);
    counter!("streamgauge_gap_records_total", "topic" => topic.to_owned()).increment(records.unsigned_abs());
}

pub(super) fn refused(topic: &str) {
    counter!("streamgauge_refusals_total", "topic" => topic.to_owned()).increment(1);
}

pub(super) fn conflict(topic: &str) {
    counter!("streamgauge_conflicts_total", "topic" => topic.to_owned()).increment(1);
}

pub(super) fn fetched(topic: &str, size_bytes: usize) {
    counter!("streamgauge_fetched_bytes_total", "topic" => topic.to_owned()).increment(size_bytes as u64);
}

pub(super) fn log_failed(error: &LogError) {
    counter!("streamgauge_log_errors_total", "kind" => error.kind()).increment(1);
}

pub(super) fn store_failed() {
    counter!("streamgauge_store_errors_total").increment(1);
}

pub(super) fn partitions_stopped(count: usize) {
    gauge!("streamgauge_partitions_stopped").set(count as f64);
}

pub(super) fn pending(values: usize) {
    gauge!("streamgauge_pending_keys").set(values as f64);
}
