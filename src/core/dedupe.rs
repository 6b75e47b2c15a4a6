//! Duplicates, decided by the log alone (invariant 3).
//!
//! Record i is a duplicate if and only if some record j of the same partition has `i - N <= j < i`, the same identity and
//! `|time_i - time_j| <= W`, whether or not j was counted itself. The window forgets by offset only, never by time.

use hashbrown::HashTable;

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

/// A record in the window. 40 bytes.
#[derive(Clone, Copy)]
struct Entry {
    offset: i64,
    time_ms: i64,
    identity: Identity,
    /// Sequence number of the record of the same identity before this one; meaningless once that has left the ring.
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
    /// The latest record of each identity, by sequence number.
    latest: HashTable<u32>,
}

/// Records that a ring holds when it is first needed.
const FIRST_RING: usize = 1024;
const VACANT: Entry = Entry { offset: 0, time_ms: 0, identity: Identity([0, 0]), previous: 0 };

impl Window {
    /// An empty window.
    pub fn new(limits: DedupeWindow) -> Self {
        Self { limits, ring: Vec::new(), first: 0, next: 0, latest: HashTable::new() }
    }

    /// Notes a record and says whether it is a duplicate. Offsets must rise from call to call.
    pub fn insert(&mut self, offset: i64, time_ms: i64, identity: Identity) -> bool {
        if self.limits.offsets == 0 {
            return false;
        }
        self.forget_before(offset.saturating_sub(self.limits.offsets));
        if self.ring.is_empty() {
            self.grow_when_full();
        }
        let Self { ring, latest, first, next, limits } = self;
        let mask = ring.len() - 1;
        let hash = identity.0[0];
        let sequence = *next;
        let held = sequence.wrapping_sub(*first);
        let entry = latest.entry(
            hash,
            |s| ring[*s as usize & mask].identity == identity,
            |s| ring[*s as usize & mask].identity.0[0],
        );
        let mut duplicate = false;
        let mut previous = sequence;
        match entry {
            hashbrown::hash_table::Entry::Occupied(mut known) => {
                previous = *known.get();
                let mut at = previous;
                // All earlier records of the identity in the window count, not only the last.
                loop {
                    let earlier = &ring[at as usize & mask];
                    if time_ms.abs_diff(earlier.time_ms) <= limits.window_ms.unsigned_abs() {
                        duplicate = true;
                        break;
                    }
                    let back = earlier.previous;
                    let is_older = sequence.wrapping_sub(back) > sequence.wrapping_sub(at);
                    if !is_older || sequence.wrapping_sub(back) > held {
                        break;
                    }
                    at = back;
                }
                *known.get_mut() = sequence;
            }
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(sequence);
            }
        }
        // The next record reaches back to one offset less: forgetting that now keeps N records in a ring of N.
        self.forget_before(offset.saturating_add(1).saturating_sub(self.limits.offsets));
        self.grow_when_full();
        let mask = self.ring.len() - 1;
        self.ring[sequence as usize & mask] = Entry { offset, time_ms, identity, previous };
        self.next = sequence.wrapping_add(1);
        duplicate
    }

    /// Records held.
    pub fn len(&self) -> usize {
        self.next.wrapping_sub(self.first) as usize
    }

    /// Whether no record is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn forget_before(&mut self, offset: i64) {
        while self.first != self.next {
            let mask = self.ring.len() - 1;
            let oldest = self.ring[self.first as usize & mask];
            if oldest.offset >= offset {
                return;
            }
            let first = self.first;
            if let Ok(entry) = self.latest.find_entry(oldest.identity.0[0], |s| *s == first) {
                entry.remove();
            }
            self.first = first.wrapping_add(1);
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
