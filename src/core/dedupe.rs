//! Duplicates, decided by the log alone (invariant 3).
//!
//! Record i is a duplicate if and only if some record j of the same partition has `i - N <= j < i`, the same identity and
//! `|time_i - time_j| <= W`, whether or not j was counted itself. The window forgets by offset only, never by time.

use crate::catalog::plan::DedupeWindow;

/// Bytes of the secret that keys identities.
pub const SECRET_BYTES: usize = 192;

/// The key of the identity hash: random in each process, so that no producer can make collisions. The window is rebuilt
/// from the log anyway, so that nothing outside the process ever sees a hash.
#[derive(Clone)]
pub struct IdentitySecret(pub [u8; SECRET_BYTES]);

/// 128 bits that stand for an event's identity within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity([u64; 2]);

impl IdentitySecret {
    /// Hashes the length-prefixed parts of an identity.
    pub fn identify(&self, parts: &[u8]) -> Identity {
        let hash = xxhash_rust::xxh3::xxh3_128_with_secret(parts, &self.0);
        Identity([hash as u64, (hash >> 64) as u64])
    }
}

/// A record in the window: 32 bytes, two to a cache line.
#[derive(Clone, Copy)]
struct Entry {
    identity: Identity,
    time_ms: i64,
    /// The offset's low half: all offsets in the window lie closer together than that.
    offset: u32,
    /// Sequence number of the record of the same identity before this one; its own where there is none. Meaningless once
    /// that has left the ring.
    previous: u32,
}

/// The last N offsets of a partition by identity.
pub struct Window {
    limits: DedupeWindow,
    /// A ring of a power of two: the record with sequence number s lies at s modulo its length. Grows as it fills.
    ring: Vec<Entry>,
    /// Sequence numbers of the oldest record and of the next one.
    first: u32,
    next: u32,
    index: Index,
    /// The offset of the last record.
    last_offset: i64,
}

/// Records that a ring holds when it is first needed.
const FIRST_RING: usize = 1024;
/// Largest window, offsets: their low halves must tell them apart.
const MAX_OFFSETS: i64 = 1 << 30;
const VACANT: Entry = Entry { identity: Identity([0, 0]), time_ms: 0, offset: 0, previous: 0 };

impl Window {
    /// An empty window.
    pub fn new(limits: DedupeWindow) -> Self {
        let limits = DedupeWindow { offsets: limits.offsets.min(MAX_OFFSETS), ..limits };
        Self { limits, ring: Vec::new(), first: 0, next: 0, index: Index::default(), last_offset: 0 }
    }

    /// Brings what the next insertions look at into the processor's cache: for each its own place, and that of a record
    /// which leaves for it. The waits for memory then fall together, instead of one after the other.
    pub fn prefetch(&self, identities: impl Iterator<Item = Identity>) {
        let mut leaving = self.first as usize;
        let mut seen = 0;
        for identity in identities {
            seen ^= self.index.peek(identity);
            if let Some(entry) = self.ring.get(leaving & self.ring.len().wrapping_sub(1)) {
                seen ^= self.index.peek(entry.identity);
            }
            leaving = leaving.wrapping_add(1);
        }
        std::hint::black_box(seen);
    }

    /// Notes a record and says whether it is a duplicate. Offsets must rise from call to call.
    pub fn insert(&mut self, offset: i64, time_ms: i64, identity: Identity) -> bool {
        if self.limits.offsets == 0 {
            return false;
        }
        self.forget_before(offset.saturating_sub(self.limits.offsets), offset);
        self.last_offset = offset;
        let sequence = self.next;
        let (mut duplicate, mut previous) = (false, sequence);
        if !self.ring.is_empty() {
            let mask = self.ring.len() - 1;
            let ring = &self.ring;
            if let Some(slot) = self.index.find(identity, |s| ring[s as usize & mask].identity == identity) {
                previous = self.index.set(slot, sequence);
                duplicate = self.has_near(previous, time_ms);
            }
        }
        // The next record reaches back to one offset less: forgetting that now keeps N records in a ring of N.
        self.forget_before(offset.saturating_add(1).saturating_sub(self.limits.offsets), offset);
        self.grow_when_full();
        let mask = self.ring.len() - 1;
        self.ring[sequence as usize & mask] = Entry { identity, time_ms, offset: offset as u32, previous };
        self.next = sequence.wrapping_add(1);
        if previous == sequence {
            self.index.insert(identity, sequence);
        }
        duplicate
    }

    /// Whether a record of the chain that begins at `at` is close in time. All earlier records of the identity in the window
    /// count, not only the last.
    fn has_near(&self, mut at: u32, time_ms: i64) -> bool {
        let (mask, first) = (self.ring.len() - 1, self.first);
        loop {
            let earlier = &self.ring[at as usize & mask];
            if time_ms.abs_diff(earlier.time_ms) <= self.limits.window_ms.unsigned_abs() {
                return true;
            }
            // Steps back from the newest: what has left the ring lies further back than its first.
            let back = earlier.previous;
            if back == at || back.wrapping_sub(first) >= at.wrapping_sub(first) {
                return false;
            }
            at = back;
        }
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.next.wrapping_sub(self.first) as usize
    }

    /// Whether no record is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the records below `offset`; `newest` is at least the greatest offset held.
    fn forget_before(&mut self, offset: i64, newest: i64) {
        // As distances from the newest, since only low halves are kept. What lies further back than a low half can say has
        // all been left behind at once: a hole in the log.
        let reach = newest.saturating_sub(offset);
        if newest.saturating_sub(self.last_offset) > MAX_OFFSETS {
            self.first = self.next;
            self.index.clear();
            return;
        }
        while self.first != self.next {
            let oldest = self.ring[self.first as usize & (self.ring.len() - 1)];
            if i64::from((newest as u32).wrapping_sub(oldest.offset)) <= reach {
                return;
            }
            self.index.remove(oldest.identity, self.first);
            self.first = self.first.wrapping_add(1);
        }
    }

    fn grow_when_full(&mut self) {
        let held = self.len();
        if held < self.ring.len() {
            return;
        }
        let length = (self.ring.len() * 2).max(FIRST_RING);
        let mut ring = vec![VACANT; length];
        for step in 0..held as u32 {
            let sequence = self.first.wrapping_add(step);
            ring[sequence as usize & (length - 1)] = self.ring[sequence as usize & (self.ring.len() - 1)];
        }
        self.ring = ring;
        self.index.grow_for(length);
    }
}

/// The latest record of each identity: open addressing with linear probing. A slot holds a part of the identity's hash beside
/// the sequence number, so that neither a search nor a removal touches the ring before it has found its place; nothing is
/// marked as removed, what lies behind moves up.
#[derive(Default)]
struct Index {
    /// The tag in the upper half, the sequence number in the lower one; 0 is free, since no tag is 0.
    slots: Vec<u64>,
}

impl Index {
    fn tag(identity: Identity) -> u32 {
        ((identity.0[0] >> 32) as u32).max(1)
    }

    /// The slot where a tag would best lie.
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// How far a slot lies behind another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }

    fn peek(&self, identity: Identity) -> u64 {
        self.slots.get(self.home(Self::tag(identity))).copied().unwrap_or_default()
    }

    /// The slot of an identity, which `is_same` tells by sequence number.
    fn find(&self, identity: Identity, is_same: impl Fn(u32) -> bool) -> Option<usize> {
        let tag = Self::tag(identity);
        let mut slot = self.home(tag);
        while let Some(entry) = self.slots.get(slot).filter(|entry| **entry != 0) {
            if (entry >> 32) as u32 == tag && is_same(*entry as u32) {
                return Some(slot);
            }
            slot = self.after(slot);
        }
        None
    }

    /// Notes a later record of the slot's identity; returns the one before.
    fn set(&mut self, slot: usize, sequence: u32) -> u32 {
        let before = self.slots[slot];
        self.slots[slot] = before >> 32 << 32 | u64::from(sequence);
        before as u32
    }

    fn insert(&mut self, identity: Identity, sequence: u32) {
        self.put(u64::from(Self::tag(identity)) << 32 | u64::from(sequence));
    }

    fn put(&mut self, entry: u64) {
        let mut slot = self.home((entry >> 32) as u32);
        while self.slots[slot] != 0 {
            slot = self.after(slot);
        }
        self.slots[slot] = entry;
    }

    /// Frees the slot of an identity, if this is still its latest record.
    fn remove(&mut self, identity: Identity, sequence: u32) {
        let tag = Self::tag(identity);
        let wanted = u64::from(tag) << 32 | u64::from(sequence);
        let mut free = self.home(tag);
        while self.slots[free] != wanted {
            if self.slots[free] == 0 {
                return;
            }
            free = self.after(free);
        }
        let mut slot = free;
        loop {
            slot = self.after(slot);
            let entry = self.slots[slot];
            if entry == 0 {
                break;
            }
            // It may move up unless that would bring it before its home.
            if self.distance(self.home((entry >> 32) as u32), slot) >= self.distance(free, slot) {
                self.slots[free] = entry;
                free = slot;
            }
        }
        self.slots[free] = 0;
    }

    fn clear(&mut self) {
        self.slots.fill(0);
    }

    /// Makes room for as many identities, with a third of the slots left free.
    fn grow_for(&mut self, identities: usize) {
        let old = std::mem::replace(&mut self.slots, vec![0; identities + identities / 2]);
        old.into_iter().filter(|entry| *entry != 0).for_each(|entry| self.put(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(n: u64) -> Identity {
        // Equal low halves on purpose: the table must compare the whole identity.
        Identity([n % 3, n])
    }

    /// The rule, word for word, over all records.
    fn naive(limits: DedupeWindow, records: &[(i64, i64, u64)]) -> Vec<bool> {
        let is_duplicate = |i: usize| {
            let (offset, time, id) = records[i];
            records[..i]
                .iter()
                .any(|(o, t, d)| *d == id && *o >= offset - limits.offsets && (time - t).abs() <= limits.window_ms)
        };
        (0..records.len()).map(is_duplicate).collect()
    }

    proptest::proptest! {
        #[test]
        fn equals_the_rule_word_for_word(
            offsets in 0_i64..40, window_ms in 0_i64..30,
            steps in proptest::collection::vec((1_i64..4, -40_i64..40, 0_u64..6), 0..300),
        ) {
            let limits = DedupeWindow { window_ms, offsets };
            let mut offset = 0;
            let records: Vec<_> = steps.iter().map(|(gap, time, id)| { offset += gap; (offset, *time, *id) }).collect();
            let mut window = Window::new(limits);
            // Begins close to the end of the sequence numbers, so that they wrap.
            window.first = u32::MAX - 20;
            window.next = window.first;
            let got: Vec<bool> = records.iter().map(|(o, t, d)| window.insert(*o, *t, identity(*d))).collect();
            proptest::prop_assert_eq!(got, naive(limits, &records));
            proptest::prop_assert!(window.len() <= limits.offsets as usize);
        }
    }

    #[test]
    fn grows_as_it_fills_and_forgets_by_offset() {
        let limits = DedupeWindow { window_ms: i64::MAX, offsets: 5000 };
        let mut window = Window::new(limits);
        for offset in 0..20_000 {
            assert!(!window.insert(offset, 0, identity(offset as u64)), "{offset}");
        }
        assert_eq!((window.len(), window.ring.len()), (5000, 8192));
        assert!(window.insert(20_000, 0, identity(15_000)));
        assert!(!window.insert(20_001, 0, identity(10_000)));
    }
}
