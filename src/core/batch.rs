//! What one run over consecutive records of a partition brings: deltas, gathered per key, and records to send.

use std::sync::Arc;

use super::{change::Change, delivery::Tried, keys::Keys, reason::Reason, tracked::Tracked};
use crate::{
    catalog::plan::Shape,
    log::OutRecord,
    model::{Delta, GroupStatus, Key, Membership, Origin, Overflow, RecentEntry},
};

/// Consecutive records of one partition, counted but not yet in a generation.
#[derive(Default)]
pub struct Batch {
    /// The offset after the last record looked at.
    pub next_offset: i64,
    /// At most one delta per key.
    pub deltas: Vec<(Key, Delta)>,
    /// Dead letters and forwards, which must be acknowledged before the batch counts (invariant 2).
    pub outgoing: Vec<Outgoing>,
    /// What became of events of a tracked topic, for those shards of the store that lack them.
    pub tracked: Vec<Tracked>,
    /// The same with group and time, as it is stored; whoever has a clock makes it of [`Batch::tracked`].
    pub statuses: Vec<(Box<str>, GroupStatus)>,
    /// What happened to the records.
    pub tally: Tally,
    /// An event of critical priority is among them.
    pub is_critical: bool,
    /// So much follows in the log that nobody waits for these counts alone; whoever reads the log says so.
    pub is_far_behind: bool,
    /// A sum did not fit 64 bits: the partition must stop here, as the store would refuse it too.
    pub overflow: Option<Box<str>>,
}

/// What happened to the records of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records looked at.
    pub records: u64,
    /// Events counted.
    pub events: u64,
    /// How many of these came in each shape, by the place in [`Shape::ALL`].
    pub shapes: [u64; Shape::ALL.len()],
    /// Events that were there before.
    pub duplicates: u64,
    /// Records without a value.
    pub tombstones: u64,
    /// Replays for other groups.
    pub others_replays: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Forwards.
    pub forwards: u64,
    /// Time of the youngest record, milliseconds since 1970.
    pub newest_ms: i64,
}

impl Tally {
    /// The sum of two.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            records: self.records + other.records,
            events: self.events + other.events,
            shapes: std::array::from_fn(|shape| self.shapes[shape] + other.shapes[shape]),
            duplicates: self.duplicates + other.duplicates,
            tombstones: self.tombstones + other.tombstones,
            others_replays: self.others_replays + other.others_replays,
            dead_letters: self.dead_letters + other.dead_letters,
            forwards: self.forwards + other.forwards,
            newest_ms: self.newest_ms.max(other.newest_ms),
        }
    }
}

/// A record that a batch sends.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Offset of the record that it comes from.
    pub offset: i64,
    /// The record that it comes from.
    pub source: Arc<OutRecord>,
    /// Where it goes.
    pub purpose: Purpose,
}

/// Why a record is sent.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// It could not be counted.
    DeadLetter(Reason),
    /// It could not be delivered.
    Undelivered {
        /// Why the last attempt failed.
        reason: Reason,
        /// All attempts.
        tried: Tried,
    },
    /// A rule forwards it.
    Forward {
        /// The topic.
        topic: Box<str>,
        /// Its key there.
        key: Option<Vec<u8>>,
    },
}

/// Adds a change to a delta of its key, without an allocation where the element is known.
///
/// # Errors
/// A sum does not fit 64 bits.
pub(super) fn apply(
    delta: &mut Delta,
    change: &Change,
    keys: &Keys,
    time_ms: i64,
    origin: Origin,
) -> Result<(), Overflow> {
    match (delta, change) {
        (Delta::Count(sum), Change::Count(amount)) => *sum = sum.checked_add(*amount).ok_or(Overflow)?,
        (Delta::Max(highest), Change::Max(value)) => *highest = (*highest).max(*value),
        (Delta::Unique { elements, .. }, Change::Unique { element, .. }) => {
            let element = keys.str(*element);
            if !elements.contains(element) {
                elements.insert(element.into());
            }
        }
        (Delta::Recent { cap, entries }, Change::Recent { element, .. }) => {
            let is_too_old = entries.len() >= *cap
                && entries.first().is_some_and(|oldest| (time_ms, origin) < (oldest.time_ms, oldest.origin));
            if !is_too_old {
                entries.insert(RecentEntry { time_ms, origin, element: keys.str(*element).into() });
                if entries.len() > *cap {
                    entries.pop_first();
                }
            }
        }
        (Delta::Top { sums, .. }, Change::Top { element, amount, .. }) => {
            let element = keys.str(*element);
            match sums.get_mut(element) {
                Some(sum) => *sum = sum.checked_add(*amount).ok_or(Overflow)?,
                None => {
                    sums.insert(element.into(), *amount);
                }
            }
        }
        (Delta::Member { elements }, Change::Member { element, is_add, moves }) => {
            let moves = moves.as_ref().map(|counter| (keys.str(*counter).into(), if *is_add { 1 } else { -1 }));
            let later = Membership::new(*is_add, moves);
            let element = keys.str(*element);
            match elements.get_mut(element) {
                Some(known) => known.merge(later)?,
                None => {
                    elements.insert(element.into(), later);
                }
            }
        }
        (Delta::MemberByTime(presences), Change::MemberByTime { element, .. })
            if presences
                .elements
                .get(keys.str(*element))
                .is_some_and(|known| (known.time_ms, known.origin) > (time_ms, origin)) => {}
        (delta, change) => delta.merge(change.delta(keys, time_ms, origin))?,
    }
    Ok(())
}
