//! Duplicates, decided by the log alone (invariant 3).
//!
//! Record i is a duplicate if and only if some record j of the same partition has `i - N <= j < i`, the same identity and
//! `|time_i - time_j| <= W`, whether or not j was counted itself. The window forgets by offset only, never by time.

mod index;

use self::index::Index;
use crate::catalog::plan::DedupeWindow;

/// Bytes of the secret that keys identities.
pub const SECRET_BYTES: usize = 192;

/// The key of the identity hash: random in each process, so that no producer can make collisions. The window is rebuilt
/// from the log anyway, so that nothing outside the process ever sees a hash.
#[derive(Clone)]
pub struct IdentitySecret(pub [u8; SECRET_BYTES]);

/// 128 bits that stand for an event's identity within this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// A ring of a power of two: the record with sequence number s lies at s modulo that. It is filled from its beginning, so
    /// that it takes no more memory than it ever held, and nothing is moved as it grows.
    ring: Vec<Entry>,
    mask: usize,
    /// Sequence numbers of the oldest record and of the next one.
    first: u32,
    next: u32,
    index: Index,
    /// The offset of the last record.
    last_offset: i64,
}

/// Records for which the ring has room from the start: only what is used of it becomes memory.
const FIRST_RING: usize = 1 << 18;
/// Largest window, offsets: their low halves must tell them apart.
const MAX_OFFSETS: i64 = 1 << 30;

impl Window {
    /// An empty window.
    pub fn new(limits: DedupeWindow) -> Self {
        let limits = DedupeWindow { offsets: limits.offsets.min(MAX_OFFSETS), ..limits };
        let mask = usize::try_from(limits.offsets).unwrap_or(0).next_power_of_two() - 1;
        Self { limits, ring: Vec::new(), mask, first: 0, next: 0, index: Index::default(), last_offset: 0 }
    }

    /// Brings what the next insertions look at into the processor's cache: for each its own place, and that of a record
    /// which leaves for it. The waits for memory then fall together, instead of one after the other.
    pub fn prefetch(&self, identities: impl Iterator<Item = Identity>) {
        let mut leaving = self.first as usize;
        let mut seen = 0;
        for identity in identities {
            seen ^= self.index.peek(identity);
            if let Some(entry) = self.ring.get(leaving & self.mask) {
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
        if offset.saturating_sub(self.last_offset) > self.limits.offsets {
            // A hole in the log: low halves of offsets would not tell how far back its other side lies.
            self.first = self.next;
            self.index.clear();
        }
        self.last_offset = offset;
        let sequence = self.next;
        let (mut duplicate, mut previous) = (false, sequence);
        let (ring, mask) = (&self.ring, self.mask);
        if let Some(slot) = self.index.find(identity, |s| ring[s as usize & mask].identity == identity) {
            previous = self.index.set(slot, sequence);
            duplicate = self.has_near(previous, offset, time_ms);
        }
        self.forget_for(offset);
        self.put(sequence, Entry { identity, time_ms, offset: offset as u32, previous });
        self.next = sequence.wrapping_add(1);
        if previous == sequence {
            self.index.make_room_for(self.len(), self.mask + 1);
            self.index.insert(identity, sequence);
        }
        duplicate
    }

    /// Whether a record of the chain that begins at `at` is close in time. All earlier records of the identity in the window
    /// count, not only the last.
    fn has_near(&self, mut at: u32, offset: i64, time_ms: i64) -> bool {
        let (mask, first) = (self.mask, self.first);
        loop {
            let earlier = &self.ring[at as usize & mask];
            if i64::from((offset as u32).wrapping_sub(earlier.offset)) > self.limits.offsets {
                return false;
            }
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

    /// Forgets what lies out of reach of the record behind this one, so that a ring of N is enough for N offsets.
    fn forget_for(&mut self, offset: i64) {
        let reach = self.limits.offsets - 1;
        while self.first != self.next {
            let oldest = self.ring[self.first as usize & self.mask];
            if i64::from((offset as u32).wrapping_sub(oldest.offset)) <= reach {
                return;
            }
            self.index.remove(oldest.identity, self.first);
            self.first = self.first.wrapping_add(1);
        }
    }

    fn put(&mut self, sequence: u32, entry: Entry) {
        let at = sequence as usize & self.mask;
        match self.ring.get_mut(at) {
            Some(place) => *place = entry,
            None => {
                // Sequence numbers begin at a multiple of the ring's length, so the next place is the one behind the last.
                debug_assert_eq!(at, self.ring.len());
                if self.ring.capacity() == 0 {
                    self.ring.reserve_exact(FIRST_RING.min(self.mask + 1));
                }
                self.ring.push(entry);
            }
        }
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
            window.first = 0_u32.wrapping_sub(window.mask as u32 + 1);
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
        assert_eq!((window.len(), window.ring.len(), window.index.slots.len()), (5000, 8192, 12_288));
        assert!(window.insert(20_000, 0, identity(15_000)));
        assert!(!window.insert(20_001, 0, identity(10_000)));
    }
}
