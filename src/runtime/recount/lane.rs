//! A partition's way through the log.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Machine, RecountError, RecountParts, STALLED_AFTER,
    stretches::{Stretch, stretches},
};
use crate::{
    catalog::plan::Topic,
    core::{dedupe::IdentitySecret, worker::Worker},
    log::At,
    model::{Checkpoint, Gap, StoredPosition, TopicPartition},
    runtime::{
        partition::next_block,
        sameness::renamed,
        takeover::window_from,
        tenure::{Standing, Tenure, Verdict},
    },
};

/// A partition that is recounted. It needs no tenure but its own: nobody else writes to the shadow.
pub(super) struct Lane {
    pub(super) tenure: Arc<Tenure>,
    worker: Worker,
    group: Arc<str>,
    secret: Arc<IdentitySecret>,
    batch_events: usize,
    /// What is still to be counted, by the rules that count it; the first one is under way.
    stretches: VecDeque<Stretch>,
    /// Hash of the table that these were taken from.
    table: u64,
    /// The next offset to read.
    read_to: i64,
    /// Everything before it was read, by whichever rules.
    furthest: i64,
    log_start: i64,
    /// The log no longer holds all of the duplicate window before the snapshot that it begins at.
    pub(super) has_cut_window: bool,
    /// Everything before it is counted.
    counted_to: i64,
    /// What the log no longer holds of what the group has counted.
    pub(super) gap: Option<Gap>,
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
        let snapshot = parts.snapshot.as_ref().and_then(|snapshot| snapshot.offset(partition));
        let origin = snapshot.or(position.origin).unwrap_or(0);
        if log_start > origin && !parts.accepts_loss {
            let begun = if snapshot.is_some() { "the snapshot was made at" } else { "the group began at" };
            return Ok(Err(format!(
                "log begins at {log_start}, and {begun} {origin}: what lay between cannot be counted again"
            )));
        }
        if let Some(counted) = position.checkpoint.filter(|checkpoint| checkpoint.offset > log_end) {
            return Ok(Err(format!("the store has counted up to {}, but the log ends at {log_end}", counted.offset)));
        }
        let reached = position.checkpoint.map_or(origin, |checkpoint| checkpoint.offset);
        let (begun_at, origin) = (origin, origin.max(log_start.min(reached)));
        let gap = (origin > begun_at).then_some(Gap { from: begun_at, to: origin });
        let stretches = match stretches(parts, topic, (partition, found.topic_id), position, origin).await? {
            Ok(stretches) => stretches,
            Err(why) => return Ok(Err(why)),
        };
        let first = stretches.front().map_or(topic, |stretch| &stretch.topic);
        let window_from = window_from(first, origin);
        let has_cut_window = snapshot.is_some() && window_from.max(0) < log_start;
        let read_to = window_from.max(log_start);
        let (secret, batch_events) = (Arc::clone(&parts.secret), parts.batch_events);
        let group = Arc::clone(&parts.group);
        let worker = Worker::new(
            Arc::clone(first),
            partition.clone(),
            Arc::clone(&group),
            Arc::clone(&secret),
            origin,
            batch_events,
        );
        worker.rules_begin_at(stretches.front().map_or(0, |stretch| stretch.from));
        // The shadow may have more shards than one, all at the beginning.
        let shards = parts.shadow.store.positions(std::slice::from_ref(partition)).await?.first().map_or(1, Vec::len);
        let standings = vec![Standing { checkpoint: None, from: origin }; shards.max(1)];
        let tenure = Tenure::over(partition.clone(), topic.fingerprint, standings, origin);
        Ok(Ok(Self {
            tenure,
            worker,
            group,
            secret,
            batch_events,
            stretches,
            table: position.checkpoint.map_or(0, |checkpoint| checkpoint.rules.table),
            read_to,
            furthest: read_to,
            log_start,
            has_cut_window,
            counted_to: origin,
            gap,
        }))
    }

    /// Everything before this offset is counted.
    pub(super) fn counted_to(&self) -> i64 {
        self.counted_to
    }

    /// The topic under each of the rules by which it is counted that are not those of now.
    pub(super) fn former(&self) -> impl Iterator<Item = &Arc<Topic>> {
        let topics = self.stretches.iter().map(|stretch| &stretch.topic);
        topics.filter(|topic| topic.fingerprint != self.tenure.fingerprint)
    }

    /// How many offsets are to be read until a checkpoint is reached, or why it cannot be.
    pub(super) fn way_to(&self, checkpoint: Checkpoint) -> Result<u64, String> {
        if checkpoint.is_exchanged() {
            return Err(
                "its results are being exchanged for rebuilt ones, or that was broken off: `counters rebuild` ends it"
                    .to_owned(),
            );
        }
        if checkpoint.fingerprint != self.tenure.fingerprint {
            return Err(format!(
                "it is counted by other rules ({}) than those of this catalogue ({}): use the catalogue that counts",
                checkpoint.fingerprint, self.tenure.fingerprint
            ));
        }
        if checkpoint.rules.table != self.table {
            return Err("its rules changed while it was recounted: try again".to_owned());
        }
        if checkpoint.offset < self.counted_to {
            return Err(format!(
                "the store fell back from offset {} to {} while it was recounted: try again",
                self.counted_to, checkpoint.offset
            ));
        }
        match checkpoint.offset == self.counted_to {
            true => Ok(0),
            false => Ok((checkpoint.offset - self.furthest).unsigned_abs()),
        }
    }

    /// Counts on to exactly this offset: what a block holds behind it is read again when it is its turn. Nothing is sent
    /// anywhere, dead letters and forwards were when this was counted first.
    pub(super) async fn advance(mut self, machine: Arc<Machine>, target: i64) -> Result<Self, RecountError> {
        while self.counted_to < target {
            let end = self.stretches.front().and_then(|stretch| stretch.end);
            self.count(&machine, end.map_or(target, |end| end.min(target))).await?;
            if end == Some(self.counted_to) {
                self.enter();
            }
        }
        Ok(self)
    }

    /// Goes on by the next rules, from reading their duplicate window on, as a member does where the rules change.
    fn enter(&mut self) {
        self.stretches.pop_front();
        if let Some(next) = self.stretches.front() {
            let partition = self.tenure.partition.clone();
            let (group, secret) = (Arc::clone(&self.group), Arc::clone(&self.secret));
            let topic = Arc::clone(&next.topic);
            self.worker = Worker::new(topic, partition, group, secret, self.counted_to, self.batch_events);
            self.worker.rules_begin_at(next.from);
            self.read_to = window_from(&next.topic, self.counted_to).max(self.log_start);
        }
    }

    async fn count(&mut self, machine: &Machine, target: i64) -> Result<(), RecountError> {
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
                // Nobody reads the shadow before it is asked to be flushed.
                batch.is_far_behind = true;
                // It waits at the cap, for a flush that may never come.
                let merged = machine.generations.merge(&self.tenure, batch);
                let merged = tokio::time::timeout(STALLED_AFTER, merged).await;
                let merged = merged.map_err(|_| machine.stalled("writing what was recounted"))?;
                merged.map_err(|overflow| shadow_failed(&self.tenure, overflow.to_string()))?;
            }
            let news = u64::try_from(up_to - self.furthest).unwrap_or(0);
            machine.progress.read.fetch_add(news, Ordering::Relaxed);
            self.read_to = up_to;
            self.furthest = self.furthest.max(up_to);
            self.counted_to = self.counted_to.max(up_to);
        }
        Ok(())
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
