//! Generations: what was counted and not yet flushed.
//!
//! The open generation is a sharded map from key to the deltas of each tenure, so that a reader finds a key's pending value
//! in one look-up and a flush still writes one section per tenure. Batches are merged under a shared guard; a seal takes the
//! exclusive one only to swap the map.
//!
//! Longer than most files, since merging, sealing and waiting are read against each other.

mod pending;
mod sealing;

use std::{
    collections::BTreeMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;
use smallvec::{SmallVec, smallvec};
use tokio::sync::Notify;

use super::tenure::{Tenure, TenureId, Verdict};
use crate::{
    core::batch::Batch,
    model::{Delta, Gap, Key, Section, Statuses},
};

/// Values (keys, or elements of keys) at which a flush is due although the interval has not passed.
pub const SEAL_WEIGHT: usize = 100_000;
/// Values at which intake waits for the flush (invariant 5).
pub const MAX_OPEN_WEIGHT: usize = 250_000;

/// Keys carry their hash, so hashing them again would be waste.
#[derive(Default)]
pub struct KnownHash(u64);

impl Hasher for KnownHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type PerTenure = SmallVec<[(TenureId, Delta); 1]>;
type DeltaMap = DashMap<Key, PerTenure, BuildHasherDefault<KnownHash>>;

/// How far a tenure got within a generation.
struct Progress {
    tenure: Arc<Tenure>,
    next_offset: i64,
    newest_ms: i64,
    gap: Option<Gap>,
}

#[derive(Default)]
struct Open {
    deltas: DeltaMap,
    /// In the order in which the tenures began, so that sections are written in it.
    progress: Mutex<BTreeMap<TenureId, Progress>>,
    /// What became of events of tracked topics.
    statuses: Mutex<BTreeMap<TenureId, Statuses>>,
}

/// A sealed generation: for each shard of the store, one section per tenure that made progress.
pub struct Sealed {
    /// The sections by shard, each with its tenure.
    pub shards: Vec<Vec<SealedSection>>,
    /// Values in all sections.
    pub weight: usize,
}

/// What one tenure brings to one shard in a flush.
pub struct SealedSection {
    /// The tenure.
    pub tenure: Arc<Tenure>,
    /// What is written.
    pub section: Section,
    /// Time of the youngest record in it, milliseconds since 1970.
    pub newest_ms: i64,
}

/// The open generation, and the count of flushes that readers watch.
#[derive(Default)]
pub struct Generations {
    open: RwLock<Open>,
    weight: AtomicUsize,
    has_progress: AtomicBool,
    is_critical: AtomicBool,
    /// Something in it does not lie far behind the log's end.
    is_awaited: AtomicBool,
    /// Even: no flush is being applied. Raised when one is sealed and when it has ended.
    flush_number: AtomicU64,
    /// A generation was sealed: there is room again, however long its flush lasts.
    emptied: Notify,
    /// A flush has ended: readers may look.
    settled: Notify,
    /// A flush is due before the interval.
    due: Notify,
    /// Something came that does not lie far behind.
    awaited: Notify,
}

/// Why a batch was not merged.
#[derive(Debug, thiserror::Error)]
#[error("the sum of key {key:?} does not fit 64 bits within one flush; lower the rule's scale")]
pub struct SumOverflow {
    /// The key.
    pub key: Box<str>,
}

impl Generations {
    /// Merges a batch whose dead letters and forwards are acknowledged. Waits at the cap.
    ///
    /// # Errors
    /// A sum does not fit 64 bits. A part of the batch may have been merged then, so the tenure has been ended.
    pub async fn merge(&self, tenure: &Arc<Tenure>, batch: Batch) -> Result<(), SumOverflow> {
        if let Some(key) = batch.overflow {
            let overflow = SumOverflow { key };
            tenure.end(Verdict::Refused(overflow.to_string()));
            return Err(overflow);
        }
        self.wait_for_room().await;
        let (is_critical, is_far_behind) = (batch.is_critical, batch.is_far_behind);
        self.merge_now(tenure, batch)?;
        if is_critical {
            self.is_critical.store(true, Ordering::Release);
        }
        if !is_far_behind {
            self.is_awaited.store(true, Ordering::Release);
            self.awaited.notify_one();
        }
        if is_critical || self.weight.load(Ordering::Acquire) >= SEAL_WEIGHT {
            self.due.notify_one();
        }
        Ok(())
    }

    /// Notes a gap: the checkpoints below its end move over it with the next flush, also if nothing follows.
    pub fn note_gap(&self, tenure: &Arc<Tenure>, gap: Gap) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        note_progress(&open, tenure, gap.to, 0, Some(gap));
        self.has_progress.store(true, Ordering::Release);
        self.is_awaited.store(true, Ordering::Release);
    }

    fn merge_now(&self, tenure: &Arc<Tenure>, batch: Batch) -> Result<(), SumOverflow> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let mut weight = 0;
        for (key, delta) in batch.deltas {
            match open.deltas.entry(key) {
                dashmap::Entry::Occupied(mut known) => {
                    let deltas = known.get_mut();
                    match deltas.iter_mut().find(|(id, _)| *id == tenure.id) {
                        Some((_, earlier)) => {
                            let before = earlier.weight();
                            if earlier.merge(delta).is_err() {
                                // While no seal can come between: half a batch must never be flushed.
                                let overflow = SumOverflow { key: known.key().name.clone() };
                                tenure.end(Verdict::Refused(overflow.to_string()));
                                return Err(overflow);
                            }
                            weight += earlier.weight().saturating_sub(before);
                        }
                        None => {
                            weight += delta.weight();
                            deltas.push((tenure.id, delta));
                        }
                    }
                }
                dashmap::Entry::Vacant(free) => {
                    weight += delta.weight();
                    free.insert(smallvec![(tenure.id, delta)]);
                }
            }
        }
        self.weight.fetch_add(weight + batch.statuses.len(), Ordering::AcqRel);
        note_progress(&open, tenure, batch.next_offset, batch.tally.newest_ms, None);
        if !batch.statuses.is_empty() {
            let mut statuses = open.statuses.lock().unwrap_or_else(PoisonError::into_inner);
            statuses.entry(tenure.id).or_default().extend(batch.statuses);
        }
        self.has_progress.store(true, Ordering::Release);
        Ok(())
    }

    /// Waits for the next seal, not for the end of its flush: with a store that is down that one never comes.
    async fn wait_for_room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.weight.load(Ordering::Acquire) < MAX_OPEN_WEIGHT {
                return;
            }
            self.due.notify_one();
            emptied.await;
        }
    }

    /// Closes the open generation and opens the next one. `None` where nothing moved. The caller flushes it and then
    /// calls [`Generations::settle`].
    pub fn seal(&self) -> Option<Sealed> {
        if !self.has_progress.swap(false, Ordering::AcqRel) {
            return None;
        }
        self.flush_number.fetch_add(1, Ordering::AcqRel);
        let open = {
            let mut guard = self.open.write().unwrap_or_else(PoisonError::into_inner);
            self.weight.store(0, Ordering::Release);
            self.is_critical.store(false, Ordering::Release);
            self.is_awaited.store(false, Ordering::Release);
            std::mem::take(&mut *guard)
        };
        self.emptied.notify_waiters();
        Some(sealing::into_sections(open))
    }

    /// Says that the sealed generation was flushed.
    pub fn settle(&self) {
        self.flush_number.fetch_add(1, Ordering::AcqRel);
        self.settled.notify_waiters();
    }

    /// Even where no flush is being applied; another number once one was. Two equal even numbers: nothing was applied meanwhile.
    pub fn flush_number(&self) -> u64 {
        self.flush_number.load(Ordering::Acquire)
    }

    /// Waits for the end of a flush that has not ended yet.
    pub fn flush_ended(&self) -> impl Future<Output = ()> {
        self.settled.notified()
    }

    /// Waits until a flush is due before its interval.
    pub async fn due(&self) {
        self.due.notified().await;
    }

    /// Whether all that is open lies far behind the log's end.
    pub fn is_far_behind(&self) -> bool {
        self.has_progress.load(Ordering::Acquire) && !self.is_awaited.load(Ordering::Acquire)
    }

    /// Waits until something is open that does not lie far behind.
    pub async fn awaited(&self) {
        while self.is_far_behind() {
            self.awaited.notified().await;
        }
    }

    /// Whether an event of critical priority waits.
    pub fn is_critical(&self) -> bool {
        self.is_critical.load(Ordering::Acquire)
    }

    /// Values in the open generation.
    pub fn weight(&self) -> usize {
        self.weight.load(Ordering::Acquire)
    }

    /// Waits until nothing that a tenure brought is open or being flushed, or the tenure has ended.
    pub async fn flushed(&self, tenure: &Tenure) {
        loop {
            let settled = self.settled.notified();
            let is_flushing = !self.flush_number.load(Ordering::Acquire).is_multiple_of(2);
            let is_open = {
                let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
                open.progress.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&tenure.id)
            };
            if !tenure.is_alive() || (!is_flushing && !is_open) {
                return;
            }
            self.due.notify_one();
            settled.await;
        }
    }
}

fn note_progress(open: &Open, tenure: &Arc<Tenure>, next_offset: i64, newest_ms: i64, gap: Option<Gap>) {
    let mut progress = open.progress.lock().unwrap_or_else(PoisonError::into_inner);
    let entry = progress.entry(tenure.id).or_insert_with(|| Progress {
        tenure: Arc::clone(tenure),
        next_offset,
        newest_ms,
        gap: None,
    });
    entry.next_offset = next_offset;
    entry.newest_ms = entry.newest_ms.max(newest_ms);
    entry.gap = entry.gap.or(gap);
}

#[cfg(test)]
mod tests;
