//! Generations: what was counted and not yet flushed.
//!
//! The open generation is a sharded map from key to the deltas of each tenure, so that a reader finds a key's pending value
//! in one look-up and a flush still writes one section per tenure. Batches are merged under a shared guard; a seal takes the
//! exclusive one only to swap the map.

mod pending;

use std::{
    collections::{BTreeMap, HashMap},
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
    model::{Delta, Gap, Key, Section},
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
}

/// A sealed generation: one section per tenure that made progress.
pub struct Sealed {
    /// The sections, each with its tenure.
    pub sections: Vec<SealedSection>,
    /// Values in all sections.
    pub weight: usize,
}

/// What one tenure brings to a flush.
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
    /// Even: no flush is being applied. Raised when one is sealed and when it has ended.
    flush_number: AtomicU64,
    /// A flush has ended: there is room again, and readers may look.
    settled: Notify,
    /// A flush is due before the interval.
    due: Notify,
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
        let is_critical = batch.is_critical;
        self.merge_now(tenure, batch)?;
        if is_critical {
            self.is_critical.store(true, Ordering::Release);
        }
        if is_critical || self.weight.load(Ordering::Acquire) >= SEAL_WEIGHT {
            self.due.notify_one();
        }
        Ok(())
    }

    /// Notes a gap: the checkpoint moves over it with the next flush, also if nothing follows.
    pub fn note_gap(&self, tenure: &Arc<Tenure>, gap: Gap) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        note_progress(&open, tenure, gap.to, 0, Some(gap));
        self.has_progress.store(true, Ordering::Release);
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
        self.weight.fetch_add(weight, Ordering::AcqRel);
        note_progress(&open, tenure, batch.next_offset, batch.tally.newest_ms, None);
        self.has_progress.store(true, Ordering::Release);
        Ok(())
    }

    async fn wait_for_room(&self) {
        loop {
            let settled = self.settled.notified();
            if self.weight.load(Ordering::Acquire) < MAX_OPEN_WEIGHT {
                return;
            }
            self.due.notify_one();
            settled.await;
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
            std::mem::take(&mut *guard)
        };
        Some(into_sections(open))
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

    /// Waits until a flush is due before its interval.
    pub async fn due(&self) {
        self.due.notified().await;
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

/// Splits a closed generation by tenure. Void tenures are skipped (invariant 4).
fn into_sections(open: Open) -> Sealed {
    let progress = open.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut deltas: HashMap<TenureId, Vec<(Key, Delta)>> = progress.keys().map(|id| (*id, Vec::new())).collect();
    let mut weight = 0;
    for (key, per_tenure) in open.deltas {
        let mut key = Some(key);
        let mut rest = per_tenure.into_iter().peekable();
        while let Some((id, delta)) = rest.next() {
            // The last tenure takes the key itself: nearly always there is only one.
            let name = if rest.peek().is_some() { key.clone() } else { key.take() };
            if let (Some(section), Some(name)) = (deltas.get_mut(&id), name) {
                weight += delta.weight();
                section.push((name, delta));
            }
        }
    }
    let sections = progress
        .into_values()
        .filter(|progress| progress.tenure.is_alive())
        .map(|Progress { tenure, next_offset, newest_ms, gap }| {
            let section = Section {
                partition: tenure.partition.clone(),
                expect: tenure.stored(),
                next: tenure.checkpoint_at(next_offset),
                gap,
                log_identity: tenure.log_identity(),
                deltas: deltas.remove(&tenure.id).unwrap_or_default(),
            };
            SealedSection { tenure, section, newest_ms }
        })
        .collect();
    Sealed { sections, weight }
}

#[cfg(test)]
mod tests;
