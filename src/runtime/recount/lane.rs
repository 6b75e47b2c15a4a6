//! A partition's way through the log.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use super::{Machine, RecountError, RecountParts, STALLED_AFTER};
use crate::{
    catalog::plan::Topic,
    core::worker::Worker,
    log::At,
    model::{Checkpoint, StoredPosition, TopicPartition},
    runtime::{
        partition::next_block,
        sameness::renamed,
        takeover::window_from,
        tenure::{Tenure, Verdict},
    },
};

/// A partition that is recounted. It needs no tenure but its own: nobody else writes to the shadow.
pub(super) struct Lane {
    pub(super) tenure: Arc<Tenure>,
    worker: Worker,
    /// The next offset to read.
    read_to: i64,
    /// Everything before it is counted.
    counted_to: i64,
}

impl Lane {
    /// Begins where the group began. The inner error says why the counts of this partition cannot be made again.
    pub(super) async fn begin(
        parts: &RecountParts,
        topic: &Arc<Topic>,
        partition: &TopicPartition,
        position: &StoredPosition,
    ) -> Result<Result<Self, String>, RecountError> {
        let found = parts.log.identity(partition).await?;
        if let Some(change) = renamed(&position.log_identity, &found) {
            return Ok(Err(change.text()));
        }
        let log_start = parts.log.offset_at(partition, At::Start).await?;
        let log_end = parts.log.offset_at(partition, At::End).await?;
        let origin = position.origin.unwrap_or(0);
        if log_start > origin {
            return Ok(Err(format!(
                "log begins at {log_start}, and the group began at {origin}: what lay between cannot be counted again"
            )));
        }
        if let Some(counted) = position.checkpoint.filter(|checkpoint| checkpoint.offset > log_end) {
            return Ok(Err(format!("the store has counted up to {}, but the log ends at {log_end}", counted.offset)));
        }
        let window_from = window_from(topic, origin);
        let read_to = window_from.max(log_start);
        let (topic, secret) = (Arc::clone(topic), Arc::clone(&parts.secret));
        let fingerprint = topic.fingerprint;
        let worker = Worker::new(topic, partition.clone(), secret, origin, parts.batch_events);
        let tenure = Tenure::begin(partition.clone(), fingerprint, None, origin);
        Ok(Ok(Self { tenure, worker, read_to, counted_to: origin }))
    }

    /// Everything before this offset is counted.
    pub(super) fn counted_to(&self) -> i64 {
        self.counted_to
    }

    /// How many offsets are to be read until a checkpoint is reached, or why it cannot be.
    pub(super) fn way_to(&self, checkpoint: Checkpoint) -> Result<u64, String> {
        if checkpoint.fingerprint != self.tenure.fingerprint {
            return Err(format!(
                "it is counted by other rules ({}) than those of this catalogue ({}): verify with the catalogue that counts",
                checkpoint.fingerprint, self.tenure.fingerprint
            ));
        }
        if checkpoint.offset < self.counted_to {
            return Err(format!(
                "the store fell back from offset {} to {} while it was verified: verify again",
                self.counted_to, checkpoint.offset
            ));
        }
        match checkpoint.offset == self.counted_to {
            true => Ok(0),
            false => Ok((checkpoint.offset - self.read_to).unsigned_abs()),
        }
    }

    /// Counts on to exactly this offset: what a block holds behind it is read again when it is its turn. Nothing is sent
    /// anywhere, dead letters and forwards were when this was counted first.
    pub(super) async fn advance(mut self, machine: Arc<Machine>, target: i64) -> Result<Self, RecountError> {
        let mut blocks = machine.fetcher.subscribe(self.tenure.partition.clone(), self.read_to);
        let mut ahead = VecDeque::new();
        while self.counted_to < target {
            let block = tokio::time::timeout(
                STALLED_AFTER,
                next_block(&machine.decoding, &self.worker, &mut blocks, &mut ahead),
            );
            let block = tokio::select! {
                block = block => block.map_err(|_| machine.stalled(&format!("reading {}", self.tenure.partition)))?,
                _ = self.tenure.ended() => return Err(void(&self.tenure)),
            };
            // The fetcher ends with the recount.
            let Some(block) = block else { return Err(machine.stalled("reading the log")) };
            let mut block = block?;
            let up_to = block.next_offset.min(target);
            block.decoded.cut(up_to);
            let batches = self.worker.count(&mut block.decoded, up_to);
            drop(block);
            for mut batch in batches {
                batch.outgoing = Vec::new();
                // It waits at the cap, for a flush that may never come.
                let merged = machine.generations.merge(&self.tenure, batch);
                let merged = tokio::time::timeout(STALLED_AFTER, merged).await;
                let merged = merged.map_err(|_| machine.stalled("writing what was recounted"))?;
                merged.map_err(|overflow| shadow_failed(&self.tenure, overflow.to_string()))?;
            }
            machine.progress.read.fetch_add((up_to - self.read_to).unsigned_abs(), Ordering::Relaxed);
            self.read_to = up_to;
            self.counted_to = self.counted_to.max(up_to);
        }
        Ok(self)
    }
}

/// Why a tenure of the shadow ended, which none should.
pub(super) fn void(tenure: &Tenure) -> RecountError {
    let why = match tenure.verdict() {
        Some(Verdict::Conflict(why)) => format!("something else writes to the shadow keys: {why}"),
        Some(Verdict::Refused(why)) => why,
        None => "it was stopped".to_owned(),
    };
    shadow_failed(tenure, why)
}

fn shadow_failed(tenure: &Tenure, why: String) -> RecountError {
    RecountError::Shadow { partition: tenure.partition.clone(), why }
}
