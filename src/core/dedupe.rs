//! Duplicates, decided by the log alone (invariant 3).
//!
//! Record i is a duplicate if and only if some record j of the same partition has `i - N <= j < i`, the same identity and
//! `|time_i - time_j| <= W`, whether or not j was counted itself. The window forgets by offset only, never by time.

mod index;
mod parts;
mod ring;

pub use self::parts::Parts;
use self::{
    index::Index,
    ring::{Entry, Ring},
};
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
    #[inline]
    pub fn identify(&self, parts: &[u8]) -> Identity {
        let hash = self.hash(parts);
        Identity([hash as u64, (hash >> 64) as u64])
    }

    /// A number, since that comes back in registers.
    #[inline(never)]
    fn hash(&self, parts: &[u8]) -> u128 {
        xxhash_rust::xxh3::xxh3_128_with_secret(parts, &self.0)
    }
}

/// The last N offsets of a partition by identity.
pub struct Window {
    limits: DedupeWindow,
    ring: Ring,
    /// How many records there were since the last hole.
    noted: usize,
    index: Index,
    /// The offset of the last record.
    last_offset: i64,
}

/// Largest window, offsets: the low halves of sequence numbers and a tag must fit an index's place.
const MAX_OFFSETS: i64 = 1 << 27;

impl Window {
    /// An empty window.
    pub fn new(limits: DedupeWindow) -> Self {
        let limits = DedupeWindow { offsets: limits.offsets.clamp(0, MAX_OFFSETS), ..limits };
        // Offsets rise by at least one from record to record, so that the window holds no more records than offsets.
        let index = Index::new(limits.offsets as u32);
        Self { limits, ring: Ring::new(limits.offsets as usize, 0), noted: 0, index, last_offset: 0 }
    }

    /// Most bytes that a window of these limits takes.
    pub const fn bytes(limits: &DedupeWindow) -> u64 {
        let offsets = if limits.offsets < MAX_OFFSETS { limits.offsets } else { MAX_OFFSETS };
        if offsets <= 0 {
            return 0;
        }
        let ring = offsets as usize * size_of::<Entry>();
        (ring + Index::bytes(offsets as usize)) as u64
    }

    /// Brings what the next insertions look at into the processor's cache. The waits for memory then fall together, instead
    /// of one after the other.
    pub fn prefetch(&self, identities: impl Iterator<Item = Identity>) {
        std::hint::black_box(identities.fold(0, |seen, identity| seen ^ self.index.peek(identity)));
    }

    /// Notes a record and says whether it is a duplicate. Offsets must rise from call to call.
    pub fn insert(&mut self, offset: i64, time_ms: i64, identity: Identity) -> bool {
        if self.limits.offsets == 0 {
            return false;
        }
        if offset.saturating_sub(self.last_offset) > self.limits.offsets {
            // A hole in the log: low halves of offsets would not tell how far back its other side lies.
            self.noted = 0;
            self.index.clear();
        }
        self.last_offset = offset;
        let sequence = self.ring.next();
        let (mut duplicate, mut previous) = (false, sequence);
        let found = self.index.find(identity, sequence, |s| self.ring.get(s).identity == identity);
        if let Some(found) = found {
            previous = found.sequence;
            duplicate = self.has_near(previous, offset, time_ms);
        }
        if found.is_none() {
            let most = self.limits.offsets as usize + 1;
            self.index.make_room_for(self.noted + 1, most, sequence, |s| self.ring.get(s).identity);
        }
        self.ring.push(Entry { identity, time_ms, offset: offset as u32, previous });
        match found {
            Some(found) => self.index.set(found, identity, sequence),
            None => self.index.insert(identity, sequence),
        }
        self.noted += 1;
        duplicate
    }

    /// Whether a record of the chain that begins at `at` is close in time. All earlier records of the identity in the window
    /// count, not only the last.
    fn has_near(&self, mut at: u32, offset: i64, time_ms: i64) -> bool {
        loop {
            let earlier = self.ring.get(at);
            if i64::from((offset as u32).wrapping_sub(earlier.offset)) > self.limits.offsets {
                return false;
            }
            if time_ms.abs_diff(earlier.time_ms) <= self.limits.window_ms.unsigned_abs() {
                return true;
            }
            let back = earlier.previous;
            if back == at || !self.ring.has(back) {
                // The first one, or the place in the ring has another record now.
                return false;
            }
            at = back;
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
            window.ring = Ring::new(offsets as usize, 0_u32.wrapping_sub(offsets as u32 + 1));
            let got: Vec<bool> = records.iter().map(|(o, t, d)| window.insert(*o, *t, identity(*d))).collect();
            proptest::prop_assert_eq!(got, naive(limits, &records));
            proptest::prop_assert!(window.ring.len() <= offsets as usize);
        }
    }

    /// Windows of many buckets, that grow, are swept and pass identities on, against the last record of each identity.
    #[test]
    fn large_and_crowded_windows_keep_to_the_rule() {
        let mut dice = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |end: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % end
        };
        // Offsets of the window, identities, and homes that they share.
        for (offsets, identities, homes) in
            [(300, 700, 1 << 20), (1000, 1500, 7), (5000, 100_000, 60), (40_000, 60_000, 1 << 30)]
        {
            let limits = DedupeWindow { window_ms: i64::MAX, offsets };
            let mut window = Window::new(limits);
            window.ring = Ring::new(offsets as usize, 0_u32.wrapping_sub(offsets as u32 + 1));
            let mut last = std::collections::HashMap::new();
            let (mut offset, mut duplicates) = (0, 0);
            for _ in 0..30_000 + 4 * offsets {
                offset += 1 + i64::from(below(50) == 0) * below(3) as i64 + i64::from(below(20_000) == 0) * offsets;
                let number = below(identities);
                let home = number % homes;
                let identity = Identity([home.wrapping_mul(0x9e37_79b9_7f4a_7c15), number]);
                let expected = last.insert(number, offset).is_some_and(|last| offset - last <= offsets);
                duplicates += usize::from(expected);
                assert_eq!(window.insert(offset, 0, identity), expected, "offset {offset} of a window of {offsets}");
            }
            assert!(duplicates > 100, "{duplicates}");
        }
    }

    #[test]
    fn grows_as_it_fills_and_forgets_by_offset() {
        let limits = DedupeWindow { window_ms: i64::MAX, offsets: 5000 };
        let mut window = Window::new(limits);
        for offset in 0..20_000 {
            assert!(!window.insert(offset, 0, identity(offset as u64)), "{offset}");
        }
        assert_eq!(window.ring.len(), 5000);
        assert!(window.insert(20_000, 0, identity(15_000)));
        assert!(!window.insert(20_001, 0, identity(10_000)));
    }
}
