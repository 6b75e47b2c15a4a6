//! Every metric there is: name, kind, labels and help. No other place names one.
//!
//! Names follow the Prometheus conventions ("Metric and label naming"): one prefix, base units, `_total` on counters. Labels
//! are few and bounded: topics, partitions, reasons, routes; never the id of an event, a key or a user.

use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, SharedString, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How values spread over these buckets.
    Histogram(&'static [f64]),
}

/// A metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Unit,
    /// Names of its labels, in the order in which the values are handed in.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Bounds for what takes from a tenth of a millisecond to ten seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds for the way of an event from its producer to the store, which may be long after a standstill.
const LONG_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0];
/// Bounds for keys of one flush.
const KEYS: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 50_000.0, 100_000.0];

macro_rules! metrics_table {
    ($($id:ident: $kind:expr, $unit:ident, $name:literal, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: concat!("streamgauge_", $name),
                kind: $kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )+

        /// Every metric.
        pub static ALL: &[&Metric] = &[$(&$id),+];
    };
}

metrics_table! {
    EVENTS: Kind::Counter, Count, "events_total", ["topic"], "Events counted.";
    SHAPES: Kind::Counter, Count, "events_by_shape_total", ["topic", "shape"], "Events counted, by the shape that they came in.";
    RECORDS: Kind::Counter, Count, "records_total", ["topic"], "Records read, with those that count nothing.";
    DUPLICATES: Kind::Counter, Count, "duplicates_total", ["topic"], "Events not counted because their identity was seen before.";
    TOMBSTONES: Kind::Counter, Count, "tombstones_total", ["topic"], "Records without a value, skipped.";
    OTHERS_REPLAYS: Kind::Counter, Count, "others_replays_total", ["topic"], "Replays of dead letters for other groups, skipped.";
    DEAD_LETTERS: Kind::Counter, Count, "dead_letters_total", ["topic", "reason"], "Records that could not be processed.";
    DEAD_LETTERS_WAITING: Kind::Gauge, Count, "dead_letters_waiting", ["topic"], "Dead letters of the topic that were neither replayed nor purged.";
    REPLAYS: Kind::Counter, Count, "replays_total", ["topic"], "Records of dead letters that this process sent to their topic again.";
    FORWARDS: Kind::Counter, Count, "forwards_total", ["topic"], "Records that rules sent on, by the topic they came from.";
    GAPS: Kind::Counter, Count, "gaps_total", ["topic"], "Times that retention passed the checkpoint.";
    GAP_RECORDS: Kind::Counter, Count, "gap_records_total", ["topic"], "Offsets lost to such gaps.";
    LOG_CHANGES: Kind::Counter, Count, "log_changes_total", ["topic", "change"], "Take-overs that found another cluster, another topic of the same name, or a lost tail; a stopped partition tries again and again.";
    CONFLICTS: Kind::Counter, Count, "conflicts_total", ["topic"], "Tenures ended because the stored checkpoint was not the expected one.";
    REFUSALS: Kind::Counter, Count, "refusals_total", ["topic"], "Sections that the store refused, such as for a wrong type or an overflow.";
    PARTITION_LAG_RECORDS: Kind::Gauge, Count, "partition_lag_records", ["topic", "partition"], "Records between the checkpoint and the high watermark.";
    PARTITION_LAG_SECONDS: Kind::Gauge, Seconds, "partition_lag_seconds", ["topic", "partition"], "Age of the newest counted record while behind; 0 at the end.";
    PARTITIONS_STOPPED: Kind::Gauge, Count, "partitions_stopped", [], "Partitions that wait for somebody to act; the log says why.";
    PARTITIONS_HELD: Kind::Gauge, Count, "partitions_held", [], "Partitions that this member counts.";
    MEMBERS: Kind::Gauge, Count, "members", [], "Members of the group that are alive.";
    TAKEOVER_DURATION: Kind::Histogram(LONG_SECONDS), Seconds, "takeover_duration_seconds", ["topic"], "From getting a partition to counting it: how long it paused on this side.";
    HEARTBEAT_DURATION: Kind::Histogram(SECONDS), Seconds, "heartbeat_duration_seconds", [], "Time of a heartbeat until the store answered.";
    FLUSH_DURATION: Kind::Histogram(SECONDS), Seconds, "flush_duration_seconds", [], "Time of a flush until the store answered.";
    FLUSH_KEYS: Kind::Histogram(KEYS), Count, "flush_keys", [], "Keys written in a flush.";
    FLUSH_FAILURES: Kind::Counter, Count, "flush_failures_total", [], "Flushes that failed and were sent again.";
    PENDING_KEYS: Kind::Gauge, Count, "pending_keys", [], "Keys counted and not yet flushed.";
    PROCESSING_DURATION: Kind::Histogram(SECONDS), Seconds, "processing_duration_seconds", ["topic"], "Time to decode and aggregate a batch.";
    END_TO_END: Kind::Histogram(LONG_SECONDS), Seconds, "end_to_end_seconds", ["topic"], "From a record's own time to its result in the store.";
    PUBLISHED: Kind::Counter, Count, "published_total", ["topic"], "Events published over HTTP.";
    PUBLISH_DUPLICATES: Kind::Counter, Count, "publish_duplicates_total", ["topic"], "Events sent over HTTP that had been published before, under their id.";
    PUBLISH_FAILURES: Kind::Counter, Count, "publish_failures_total", ["topic", "reason"], "Events that were not published.";
    HTTP_REQUESTS: Kind::Counter, Count, "http_requests_total", ["route", "method", "status"], "Requests to the API, by its own route.";
    HTTP_REQUEST_DURATION: Kind::Histogram(SECONDS), Seconds, "http_request_duration_seconds", ["route"], "Time to answer a request.";
    FETCHED_BYTES: Kind::Counter, Bytes, "fetched_bytes_total", ["topic"], "Bytes fetched from the log.";
    LOG_ERRORS: Kind::Counter, Count, "log_errors_total", ["kind"], "Calls to the log that failed.";
    STORE_ERRORS: Kind::Counter, Count, "store_errors_total", [], "Calls to the store that failed.";
    PERSISTENT_TOTALS: Kind::Counter, Count, "persistent_totals_total", [], "Totals that this member copied to the persistent tier.";
    PERSISTENT_COPY_DURATION: Kind::Histogram(LONG_SECONDS), Seconds, "persistent_copy_duration_seconds", [], "Time until the copy was whole.";
    PERSISTENT_COPIED: Kind::Gauge, Seconds, "persistent_copied_timestamp_seconds", [], "When this member last made the copy whole, seconds since 1970; members take turns.";
    PERSISTENT_FAILURES: Kind::Counter, Count, "persistent_failures_total", [], "Copies that failed and are tried again.";
    STORE_RESTORES: Kind::Counter, Count, "store_restores_total", ["kind"], "Shards of an emptied store that were restored from the persistent tier (tier), and partitions that are counted again from where the log begins (log).";
    DELIVERY_ATTEMPTS: Kind::Counter, Count, "delivery_attempts_total", ["group", "outcome"], "Attempts to deliver an event to a subscription, by what came of them: processed, dropped, failed.";
    DELIVERY_RETRIES: Kind::Counter, Count, "delivery_retries_total", ["group"], "Attempts after an event's first.";
    DELIVERY_DEAD_LETTERS: Kind::Counter, Count, "delivery_dead_letters_total", ["group"], "Events that had no attempts left.";
    DELIVERY_UNREADABLE: Kind::Counter, Count, "delivery_unreadable_total", ["group"], "Records that are no events of the catalogue, and were passed over; counting makes dead letters of them.";
    DELIVERY_DURATION: Kind::Histogram(LONG_SECONDS), Seconds, "delivery_duration_seconds", ["group"], "Time of a request to a subscription's target.";
    DELIVERY_UNFINISHED: Kind::Gauge, Count, "delivery_unfinished", ["group"], "Events that this member has read and not finished.";
    DELIVERY_LAG_RECORDS: Kind::Gauge, Count, "delivery_lag_records", ["group"], "Records of this member's partitions that were not read, and events that are not finished.";
    DELIVERY_PARTITIONS_WAITING: Kind::Gauge, Count, "delivery_partitions_waiting", ["group"], "Partitions that take no more, since too much of them is unfinished.";
    DELIVERY_BREAKER: Kind::Gauge, Count, "delivery_breaker_open", ["group"], "1 while the target is left alone after many failures in a row, 0.5 while one event shows whether it answers again, else 0.";
    BUILD_INFO: Kind::Gauge, Count, "build_info", ["version"], "Always 1; the version stands in the label.";
}

impl Metric {
    /// The counter of these label values. Looking it up costs an allocation: keep it where it is used often.
    pub fn counter(&self, values: &[&str]) -> Counter {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        metrics::counter!(self.name, &self.labelled(values))
    }

    /// The gauge of these label values.
    pub fn gauge(&self, values: &[&str]) -> Gauge {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        metrics::gauge!(self.name, &self.labelled(values))
    }

    /// The histogram of these label values.
    pub fn histogram(&self, values: &[&str]) -> Histogram {
        debug_assert!(matches!(self.kind, Kind::Histogram(_)), "{}", self.name);
        metrics::histogram!(self.name, &self.labelled(values))
    }

    fn labelled(&self, values: &[&str]) -> Vec<(SharedString, SharedString)> {
        debug_assert_eq!(self.labels.len(), values.len(), "{} has labels {:?}", self.name, self.labels);
        let names = self.labels.iter().map(|name| SharedString::const_str(name));
        names.zip(values.iter().map(|value| SharedString::from_owned((*value).to_owned()))).collect()
    }

    fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram(_) => metrics::describe_histogram!(self.name, self.unit, self.help),
        }
    }
}

/// Why metrics could not begin.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter refused its settings.
    #[error("the metrics exporter refused its buckets: {0}")]
    Build(#[from] BuildError),
    /// Something else in this process collects metrics already.
    #[error("metrics were begun twice in this process")]
    Twice,
}

/// Collects the metrics of this process and writes them out.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

impl Exporter {
    /// The metrics in the Prometheus text format, as `/metrics` answers.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }

    /// Folds the samples of histograms into their buckets. Call it every [`UPKEEP_INTERVAL_MS`]: samples pile up in memory
    /// where nobody scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// How often [`Exporter::upkeep`] wants to be called, ms.
pub const UPKEEP_INTERVAL_MS: u64 = 5_000;

/// The exporter that this process began with.
static BEGUN: OnceLock<Exporter> = OnceLock::new();

/// Begins to collect metrics for the whole process, unless something in it does already. What we began before goes on; where
/// it is another library, it gets our metrics too, and what this returns stays empty.
///
/// # Errors
/// The exporter refused its settings.
pub fn install_or_join() -> Result<Exporter, MetricsError> {
    if let Some(begun) = BEGUN.get() {
        return Ok(begun.clone());
    }
    match install() {
        Ok(exporter) => Ok(BEGUN.get_or_init(|| exporter).clone()),
        Err(MetricsError::Twice) => match BEGUN.get() {
            Some(begun) => Ok(begun.clone()),
            None => Ok(Exporter(builder()?.build_recorder().handle())),
        },
        Err(error) => Err(error),
    }
}

/// Begins to collect metrics, for the whole process.
///
/// # Errors
/// [`MetricsError::Twice`] where metrics were begun before.
pub fn install() -> Result<Exporter, MetricsError> {
    let recorder = builder()?.build_recorder();
    let exporter = Exporter(recorder.handle());
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Twice)?;
    ALL.iter().for_each(|metric| metric.describe());
    BUILD_INFO.gauge(&[env!("CARGO_PKG_VERSION")]).set(1.0);
    Ok(exporter)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    ALL.iter().try_fold(PrometheusBuilder::new(), |builder, metric| match metric.kind {
        Kind::Histogram(buckets) => builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), buckets),
        Kind::Counter | Kind::Gauge => Ok(builder),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_units_and_labels_follow_the_conventions() {
        let mut names = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}: counters, and they alone, end in _total"
            );
            let bare = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(bare.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}: the unit stands in the name");
            assert_eq!(bare.ends_with("_bytes"), metric.unit == Unit::Bytes, "{name}: the unit stands in the name");
            assert!(matches!(metric.unit, Unit::Seconds | Unit::Bytes | Unit::Count), "{name}: base units only");
            assert!(metric.help.ends_with('.'), "{name}: help is a sentence");
            for label in metric.labels {
                let bounded = [
                    "topic",
                    "shape",
                    "partition",
                    "reason",
                    "route",
                    "method",
                    "status",
                    "kind",
                    "version",
                    "change",
                    "group",
                    "outcome",
                ];
                assert!(bounded.contains(label), "{name}: {label} may have no bound");
            }
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted(), "{name}");
            }
        }
    }

    #[test]
    fn what_is_counted_is_rendered_with_its_help() {
        let recorder = builder().expect("buckets").build_recorder();
        let exporter = Exporter(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            ALL.iter().for_each(|metric| metric.describe());
            DEAD_LETTERS.counter(&["video.views", "not_json"]).increment(2);
            PENDING_KEYS.gauge(&[]).set(7.0);
            FLUSH_DURATION.histogram(&[]).record(0.002);
            exporter.upkeep();
        });
        let text = exporter.render();
        for line in [
            "# HELP streamgauge_dead_letters_total Records that could not be processed.",
            "# TYPE streamgauge_dead_letters_total counter",
            r#"streamgauge_dead_letters_total{topic="video.views",reason="not_json"} 2"#,
            "streamgauge_pending_keys 7",
            r#"streamgauge_flush_duration_seconds_bucket{le="0.0025"} 1"#,
            "streamgauge_flush_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
