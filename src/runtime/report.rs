//! What is told each second: to health, to the metrics and to the log.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{COUNTING_PART, counting::Counting, health::Level, measure, tenure::Tenure};

/// How often the state of the partitions is written to health.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

impl Counting {
    /// Tells health and metrics which partitions stand, and sums up each second what was counted.
    pub(super) async fn report(self: Arc<Self>, stop: CancellationToken) {
        let mut last = self.tally.total();
        let mut had_stopped = false;
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(REPORT_INTERVAL) => {}
            }
            let tenures = self.tenures.alive();
            for tenure in tenures.iter().filter(|tenure| tenure.has_flushed()) {
                self.stopped.remove(&tenure.partition);
            }
            let stopped: Vec<String> =
                self.stopped.iter().map(|entry| format!("{}: {}", entry.key(), entry.value().why)).collect();
            measure::partitions_stopped(stopped.len());
            if !stopped.is_empty() {
                self.health.set(COUNTING_PART, Level::Degraded, stopped.join("; "), std::time::Instant::now());
            } else if had_stopped || !tenures.is_empty() {
                self.health.set(COUNTING_PART, Level::Ok, "", std::time::Instant::now());
            }
            had_stopped = !stopped.is_empty();
            let total = self.tally.total();
            if total.records > last.records {
                tracing::info!(
                    records = total.records - last.records,
                    events = total.events - last.events,
                    duplicates = total.duplicates - last.duplicates,
                    dead_letters = total.dead_letters - last.dead_letters,
                    committed = committed(&tenures),
                    "counted in the last second"
                );
            }
            last = total;
        }
    }
}

/// Where the partitions that have moved stand in the store, as `topic:partition=offset`.
fn committed(tenures: &[Arc<Tenure>]) -> String {
    /// Partitions named in one line.
    const MAX_SHOWN: usize = 32;
    let moved = tenures.iter().filter(|tenure| tenure.has_flushed()).take(MAX_SHOWN);
    let shown = moved.filter_map(|tenure| Some(format!("{}={}", tenure.partition, tenure.counted_to()?)));
    shown.collect::<Vec<_>>().join(" ")
}
