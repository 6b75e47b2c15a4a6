//! The flusher: writes sealed generations to the store, one at a time, until the store has them.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    SHARD,
    generation::{Generations, Sealed, SealedSection},
    health::{Beat, Health, Level},
    measure,
    recheck::{conflict, told},
    tenure::{Tenure, Verdict},
};
use crate::{
    core::backoff::Backoff,
    model::{Outcome, Section},
    store::Store,
};

/// A critical event waits no longer than this for its flush.
const CRITICAL_DELAY: Duration = Duration::from_millis(20);
/// The flusher is taken for stalled when it has been silent for longer: several deadlines of the store.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// Writes generations to the store.
pub struct Flusher {
    /// What is written.
    pub generations: Arc<Generations>,
    /// Where to.
    pub store: Arc<dyn Store>,
    /// Whom it tells.
    pub health: Arc<Health>,
    /// `FLUSH_INTERVAL_MS`.
    pub interval: Duration,
}

impl Flusher {
    /// Flushes by interval, at a cap, or within 20 ms of a critical event, until `stop`; then flushes what is left.
    ///
    /// `abandon` ends it at once, also in the middle of a store that does not answer: what is not flushed is counted
    /// again from the log after the next start.
    pub async fn run(self, stop: CancellationToken, abandon: CancellationToken) {
        let beat = self.health.watch("flusher", MAX_SILENCE + self.interval, std::time::Instant::now());
        loop {
            self.wait(&stop).await;
            beat.beat(std::time::Instant::now());
            let is_last = stop.is_cancelled();
            if let Some(sealed) = self.generations.seal() {
                let done = tokio::select! {
                    biased;
                    done = self.flush(sealed, &beat) => done,
                    () = abandon.cancelled() => false,
                };
                self.generations.settle();
                measure::pending(self.generations.weight());
                if !done {
                    return;
                }
            }
            if is_last {
                return;
            }
        }
    }

    async fn wait(&self, stop: &CancellationToken) {
        let interval = tokio::time::sleep(self.interval);
        tokio::pin!(interval);
        tokio::select! {
            biased;
            () = &mut interval => {}
            () = stop.cancelled() => {}
            () = self.generations.due() => {
                if self.generations.is_critical() {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep(CRITICAL_DELAY.min(self.interval)) => {}
                        () = &mut interval => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Sends the very same sections until the store has answered for each. Returns true when it has.
    async fn flush(&self, sealed: Sealed, beat: &Beat) -> bool {
        let began = Instant::now();
        let mut backoff = Backoff::store();
        let (mut tenures, mut sections) = (Vec::new(), Vec::new());
        for SealedSection { tenure, section, newest_ms } in sealed.sections {
            tenures.push((tenure, newest_ms));
            sections.push(section);
        }
        loop {
            if sections.is_empty() {
                return true;
            }
            match self.store.apply(SHARD, &sections).await {
                Ok(outcomes) => {
                    for (((tenure, newest_ms), section), outcome) in tenures.iter().zip(&sections).zip(outcomes) {
                        settle(tenure, section, outcome, *newest_ms);
                    }
                    self.store_is(Level::Ok, "");
                    measure::flushed(began.elapsed(), sealed.weight);
                    return true;
                }
                Err(error) => {
                    measure::flush_failed();
                    self.store_is(Level::Down, &error.to_string());
                    let delay = backoff.next();
                    tracing::warn!(%error, retry_in_ms = delay.as_millis() as u64, "flush failed; the same sections are sent again");
                    tokio::time::sleep(delay).await;
                    // What a tenure holds is void once it has ended, also in flight.
                    let alive: Vec<bool> = tenures.iter().map(|(tenure, _)| tenure.is_alive()).collect();
                    retain(&mut tenures, &alive);
                    retain(&mut sections, &alive);
                }
            }
            beat.beat(std::time::Instant::now());
        }
    }

    fn store_is(&self, level: Level, reason: &str) {
        self.health.set(super::STORE_PART, level, reason, std::time::Instant::now());
    }
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    values.retain(|_| keep.next().copied().unwrap_or(true));
}

fn settle(tenure: &Tenure, section: &Section, outcome: Outcome, newest_ms: i64) {
    match outcome {
        Outcome::Applied | Outcome::AlreadyApplied => {
            tenure.advance(section.next);
            if newest_ms > 0 {
                let age_ms = chrono::Utc::now().timestamp_millis().saturating_sub(newest_ms);
                measure::end_to_end(&tenure.partition.topic, Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)));
            }
            if let Some(gap) = section.gap {
                measure::gap(&tenure.partition.topic, gap.to - gap.from);
            }
        }
        Outcome::Conflict { stored } => {
            conflict(tenure, &format!("the store has {}, the flush expected {}", told(stored), told(section.expect)));
        }
        Outcome::Refused(refusal) => {
            measure::refused(&tenure.partition.topic);
            tracing::error!(topic = %tenure.partition.topic, partition = tenure.partition.partition, offset = section.next.offset,
                "the store cannot take this partition's counts, so it stops here: {refusal}");
            tenure.end(Verdict::Refused(refusal.to_string()));
        }
    }
}
