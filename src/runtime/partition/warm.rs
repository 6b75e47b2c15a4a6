//! Warming: the duplicate window is read while another member counts on, so that a planned move pauses a partition only for
//! what that one has counted meanwhile.

use std::collections::VecDeque;

use super::PartitionTask;
use crate::{
    core::{backoff::Backoff, worker::Worker},
    log::{At, LogError},
    runtime::takeover::{Start, ask, counted_by_all, stored_positions, window_from},
};

/// Records that need not be read before the lease comes: they take some 20 ms. Below it a warm member does not follow the one
/// that counts, since every look costs the broker an answer.
const NEAR_RECORDS: i64 = 20_000;
/// How often a member that is about to say that it is warm looks again how far the partition is counted: behind one that
/// catches up as fast as this one reads it would never be near.
const MAX_PASSES: usize = 4;

/// A duplicate window that was read ahead of the lease.
pub(super) struct Warmed {
    worker: Worker,
    /// The first offset that was read.
    read_from: i64,
    /// The next one to read.
    read_to: i64,
}

impl Warmed {
    /// The worker of a tenure that is still to be told from where on it counts, and where it reads on. `None` where the window does not fit: the store fell back meanwhile.
    pub(super) fn begin(self, start: &Start) -> Option<(Worker, i64)> {
        if self.read_to > start.count_from || self.read_from > start.fetch_from {
            return None;
        }
        Some((self.worker, self.read_to.max(start.fetch_from)))
    }
}

impl PartitionTask {
    /// Waits for the lease, and reads the duplicate window meanwhile. `None` where there is none to read, or no time to.
    pub(super) async fn warm(&self) -> Option<Warmed> {
        let mut backoff = Backoff::log();
        loop {
            if self.handover.granted_at().is_some() {
                return None;
            }
            match self.warm_once().await {
                Ok(warmed) => return warmed,
                Err(error) => {
                    let delay = backoff.next();
                    tracing::warn!(topic = %self.partition.topic, partition = self.partition.partition, %error,
                        retry_in_ms = delay.as_millis() as u64, "the duplicate window could not be read ahead");
                    // Whoever holds the partition counts on: it is not handed to a member that cannot read it.
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }

    async fn warm_once(&self) -> Result<Option<Warmed>, LogError> {
        let counting = &self.counting;
        let stored = stored_positions(counting, &self.partition).await;
        let log_start = ask(counting, || counting.log.offset_at(&self.partition, At::Start)).await?;
        let mut counted_to = counted_by_all(&stored);
        let read_from = window_from(&self.topic, counted_to).max(log_start);
        // It counts nothing until it is told from where on.
        let worker = self.worker(&self.topic, i64::MAX);
        let mut warmed = Warmed { worker, read_from, read_to: read_from };
        for pass in 0.. {
            if warmed.read_to < counted_to && !self.topic.identity.is_empty() {
                self.read_window(&mut warmed, counted_to).await?;
            }
            let far_behind = self.handover.counted_to() > warmed.read_to.saturating_add(NEAR_RECORDS);
            if !far_behind || pass >= MAX_PASSES || self.topic.identity.is_empty() {
                self.handover.is_warm_now();
            }
            match self.handover.granted_or_counted_beyond(warmed.read_to.saturating_add(NEAR_RECORDS)).await {
                Some(newer) => counted_to = newer,
                None => break,
            }
        }
        Ok(Some(warmed))
    }

    /// Reads the window up to an offset. Where the lease comes before it is through, the rest is left to the tenure.
    async fn read_window(&self, warmed: &mut Warmed, counted_to: i64) -> Result<(), LogError> {
        let mut blocks = self.counting.fetcher.subscribe(self.partition.clone(), warmed.read_to);
        let mut ahead = VecDeque::new();
        while warmed.read_to < counted_to && self.handover.granted_at().is_none() {
            let Some(block) = self.next_block(&warmed.worker, &mut blocks, &mut ahead).await else {
                // The fetcher has ended, and the process with it.
                return std::future::pending().await;
            };
            let block = block?;
            // Nothing behind the checkpoint: it may be counted yet, by whoever goes on from there.
            let up_to = block.next_offset.min(counted_to);
            warmed.worker.remember(&block.decoded, up_to);
            warmed.read_to = warmed.read_to.max(up_to);
        }
        Ok(())
    }
}
