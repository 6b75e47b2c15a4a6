//! The flusher: writes sealed generations to the store, one at a time, until the store has them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    LOG_PART,
    generation::{Generations, Sealed, SealedSection},
    health::{Beat, Health, Level},
    measure,
    outside::Outside,
    recheck::{conflict, told},
    switching::{self, CheckError},
    tenure::{Tenure, Verdict},
};
use crate::{
    core::backoff::Backoff,
    model::{Outcome, Section, ShardId},
    store::Store,
};

/// A critical event waits no longer than this for its flush.
const CRITICAL_DELAY: Duration = Duration::from_millis(20);
/// So many intervals may pass where everything that waits lies far behind the log's end: the store is spared most of the flushes
/// while a process catches up, and nobody who reads a counter could tell.
const CATCH_UP_INTERVALS: u32 = 4;
/// The flusher is taken for stalled when it has been silent for longer: several deadlines of the store.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// Writes generations to the store.
pub struct Flusher {
    /// What is written.
    pub generations: Arc<Generations>,
    /// Where to.
    pub store: Arc<dyn Store>,
    /// What is noted outside of the store; `None` where rules never change, as in a shadow.
    pub outside: Option<Arc<dyn Outside>>,
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
            wait(&self.generations, self.interval, &stop).await;
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

    /// Sends each shard its sections, all at once, until the store has answered for every one of them. Returns true when it
    /// has. A shard that cannot be reached is waited for: what the others have answered is told to the tenures meanwhile.
    async fn flush(&self, sealed: Sealed, beat: &Beat) -> bool {
        let began = Instant::now();
        let sealed = self.check_rules(sealed, beat).await;
        let shards = (0..).zip(sealed.shards).filter(|(_, sections)| !sections.is_empty());
        let calls: Vec<_> = shards.map(|(shard, sections)| self.flush_shard(shard, sections, beat)).collect();
        if calls.is_empty() {
            return true;
        }
        if join_all(calls).await.contains(&true) {
            self.store_is(Level::Ok, "");
            measure::flushed(began.elapsed(), sealed.weight);
        }
        true
    }

    /// Leaves out the sections whose rules have changed since they were counted. With one shard its own compare says it all.
    async fn check_rules(&self, mut sealed: Sealed, beat: &Beat) -> Sealed {
        let Some(outside) = self.outside.as_deref().filter(|_| sealed.shards.len() > 1) else { return sealed };
        let mut backoff = Backoff::store();
        let tenures = sealed.shards.iter().flatten().map(|sealed| (sealed.tenure.id, Arc::clone(&sealed.tenure)));
        let tenures: Vec<Arc<Tenure>> = BTreeMap::from_iter(tenures).into_values().collect();
        while let Err(error) = switching::check(&*self.store, outside, &tenures).await {
            measure::flush_failed();
            match &error {
                CheckError::Store(error) => self.store_is(Level::Down, &error.to_string()),
                CheckError::Log(error) => {
                    tracing::warn!(%error, "flushing waits: it is not known whether the rules have changed");
                    self.health.set(LOG_PART, Level::Degraded, error.to_string(), std::time::Instant::now());
                }
            }
            if tenures.iter().all(|tenure| !tenure.is_alive()) {
                break;
            }
            tokio::time::sleep(backoff.next()).await;
            beat.beat(std::time::Instant::now());
        }
        for sections in &mut sealed.shards {
            sections.retain(|section| section.tenure.is_alive());
        }
        sealed
    }

    /// Sends the very same sections until the shard has answered for each. Returns false where all of them became void first.
    async fn flush_shard(&self, shard: ShardId, sealed: Vec<SealedSection>, beat: &Beat) -> bool {
        let mut backoff = Backoff::store();
        let (mut tenures, mut sections) = (Vec::new(), Vec::new());
        for SealedSection { tenure, section, newest_ms } in sealed {
            tenures.push((tenure, newest_ms));
            sections.push(section);
        }
        loop {
            // What a tenure holds is void once it has ended: while this waited, or by what another shard has just answered.
            let alive: Vec<bool> = tenures.iter().map(|(tenure, _)| tenure.is_alive()).collect();
            retain(&mut tenures, &alive);
            retain(&mut sections, &alive);
            if sections.is_empty() {
                return false;
            }
            match self.store.apply(shard, &sections).await {
                Ok(outcomes) => {
                    for (((tenure, newest_ms), section), outcome) in tenures.iter().zip(&sections).zip(outcomes) {
                        settle(tenure, shard, section, outcome, *newest_ms);
                    }
                    return true;
                }
                Err(error) => {
                    measure::flush_failed();
                    self.store_is(Level::Down, &error.to_string());
                    let delay = backoff.next();
                    tracing::warn!(%error, shard, retry_in_ms = delay.as_millis() as u64,
                        "flush failed; the same sections are sent again");
                    tokio::time::sleep(delay).await;
                }
            }
            beat.beat(std::time::Instant::now());
        }
    }

    fn store_is(&self, level: Level, reason: &str) {
        self.health.set(super::STORE_PART, level, reason, std::time::Instant::now());
    }
}

/// Waits until a flush is due: by interval, sooner where a generation asks for it, later where all of it lies far behind.
async fn wait(generations: &Generations, interval: Duration, stop: &CancellationToken) {
    let passed = tokio::time::sleep(interval);
    tokio::pin!(passed);
    tokio::select! {
        biased;
        () = &mut passed => {}
        () = stop.cancelled() => return,
        () = generations.due() => {
            if generations.is_critical() {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(CRITICAL_DELAY.min(interval)) => {}
                    () = &mut passed => {}
                    () = stop.cancelled() => {}
                }
            }
            return;
        }
    }
    tokio::select! {
        biased;
        () = generations.awaited() => {}
        () = generations.due() => {}
        () = stop.cancelled() => {}
        () = tokio::time::sleep(interval * (CATCH_UP_INTERVALS - 1)) => {}
    }
}

fn retain<T>(values: &mut Vec<T>, keep: &[bool]) {
    let mut keep = keep.iter();
    values.retain(|_| keep.next().copied().unwrap_or(true));
}

fn settle(tenure: &Tenure, shard: ShardId, section: &Section, outcome: Outcome, newest_ms: i64) {
    match outcome {
        Outcome::Applied | Outcome::AlreadyApplied => {
            tenure.advance(shard, section.next);
            // Once for all shards.
            if shard != tenure.lowest_shard() {
                return;
            }
            if newest_ms > 0 {
                let age_ms = chrono::Utc::now().timestamp_millis().saturating_sub(newest_ms);
                measure::end_to_end(&tenure.partition.topic, Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)));
            }
            if let Some(gap) = section.gap {
                measure::gap(&tenure.partition.topic, gap.to - gap.from);
            }
        }
        Outcome::Conflict { stored } => {
            let what = format!("the flush expected {}", told(section.expect));
            conflict(tenure, shard, stored, &what);
        }
        Outcome::Refused(refusal) => {
            measure::refused(&tenure.partition.topic);
            tracing::error!(topic = %tenure.partition.topic, partition = tenure.partition.partition, offset = section.next.offset,
                "the store cannot take this partition's counts, so it stops here: {refusal}");
            tenure.end(Verdict::Refused(refusal.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::batch::Batch,
        model::{Fingerprint, TopicPartition},
    };

    const INTERVAL: Duration = Duration::from_millis(100);

    /// How long a flush is waited for after these batches came, each so many milliseconds after it began.
    async fn waits(batches: &[(u64, Batch)]) -> Duration {
        let (generations, stop) = (Generations::default(), CancellationToken::new());
        let tenure = Tenure::begin(TopicPartition::new("t", 0), Fingerprint(1), None, 0);
        let began = Instant::now();
        let merged = async {
            for (at_ms, batch) in batches {
                tokio::time::sleep_until(began + Duration::from_millis(*at_ms)).await;
                let Batch { next_offset, is_critical, is_far_behind, .. } = *batch;
                let batch = Batch { next_offset, is_critical, is_far_behind, ..Batch::default() };
                generations.merge(&tenure, batch).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = merged => unreachable!(),
            () = wait(&generations, INTERVAL, &stop) => {}
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_comes_by_interval_sooner_for_critical_events_and_later_far_behind() {
        let near = || Batch { next_offset: 1, ..Batch::default() };
        let far = || Batch { is_far_behind: true, ..near() };
        let critical = || Batch { is_critical: true, ..near() };
        for (what, batches, expected_ms) in [
            ("nothing comes", vec![], 100),
            ("something near the end", vec![(10, near())], 100),
            ("far behind", vec![(10, far()), (150, far()), (350, far())], 400),
            ("far behind, and then not", vec![(10, far()), (250, near())], 250),
            ("another partition is near", vec![(10, far()), (20, near())], 100),
            ("critical", vec![(10, critical())], 30),
            ("critical just before the interval ends", vec![(90, critical())], 100),
            ("critical amid catching up", vec![(10, far()), (250, critical())], 250),
        ] {
            let waited = waits(&batches).await.as_millis() as u64;
            // The clock of a paused runtime goes in whole milliseconds.
            assert!((expected_ms..expected_ms + 3).contains(&waited), "{what}: {waited} ms, not {expected_ms}");
        }
    }
}
