//! The last records of a partition.

use super::Identity;

/// Most records for which there is room from the start: only what is used of it becomes memory.
const FIRST_PLACES: usize = 1 << 18;

/// A record in the window: 32 bytes, two to a cache line.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) identity: Identity,
    pub(super) time_ms: i64,
    /// The offset's low half: all offsets in the window lie closer together than that.
    pub(super) offset: u32,
    /// Sequence number of the record of the same identity before this one; its own where there is none. Meaningless once
    /// that has left the ring.
    pub(super) previous: u32,
}

/// A ring of so many places, by sequence number. It is filled from its beginning, so that it takes no more memory than it ever
/// held, and nothing is moved as it grows. Its length is no power of two: that would take up to twice the memory.
pub(super) struct Ring {
    entries: Vec<Entry>,
    places: usize,
    /// The place of the next record.
    at: usize,
    /// The sequence number of the next record.
    next: u32,
}

impl Ring {
    /// An empty ring, whose first record will have that sequence number.
    pub(super) const fn new(places: usize, next: u32) -> Self {
        Self { entries: Vec::new(), places, at: 0, next }
    }

    /// Sequence number of the next record.
    pub(super) const fn next(&self) -> u32 {
        self.next
    }

    /// Records that it holds.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the record with that sequence number is still there.
    pub(super) const fn has(&self, sequence: u32) -> bool {
        self.next.wrapping_sub(sequence) as usize <= self.entries.len()
    }

    /// One of the records that it has.
    #[inline]
    pub(super) fn get(&self, sequence: u32) -> &Entry {
        let age = self.next.wrapping_sub(sequence) as usize;
        let around = if age > self.at { self.entries.len() } else { 0 };
        &self.entries[self.at + around - age]
    }

    /// Adds a record, in the place of the oldest once it is full.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        match self.entries.get_mut(self.at) {
            Some(place) => *place = entry,
            None => {
                if self.entries.capacity() == 0 {
                    self.entries.reserve_exact(FIRST_PLACES.min(self.places));
                }
                self.entries.push(entry);
            }
        }
        self.at = if self.at + 1 == self.places { 0 } else { self.at + 1 };
        self.next = self.next.wrapping_add(1);
    }
}
