//! Where the latest record of each identity lies.

use super::Identity;

/// Places of a bucket.
const SLOTS: usize = 15;
/// Identities for each bucket that the index makes room for: a tenth of the buckets then pass some on to the next one.
const FILL: usize = 10;
/// How much the index grows at a time: moving what is there costs more than room that soon fills.
const GROWTH: usize = 8;
/// Insertions for each bucket that is swept: all are swept before as many records have come as the ring holds.
const INSERTIONS_PER_SWEEP: u32 = 8;
/// Low bits of a sequence number beside those that count the ring's places: a place that was not swept yet is surely told from
/// a later one.
const SPARE_BITS: u32 = 2;

/// A cache line: places, and behind them the latest record for which a later bucket was taken since this one was full. A place
/// holds a tag, a part of the identity's hash, above the low bits of a sequence number; 0 is free, since no tag is 0.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket([u32; SLOTS + 1]);

impl Bucket {
    /// The places that this is true of, as bits. The whole line is looked at, so that the compiler can do it several at a time.
    #[inline]
    fn slots_where(&self, is_wanted: impl Fn(u32) -> bool) -> u32 {
        let bit = |bits, (slot, place): (usize, &u32)| bits | u32::from(is_wanted(*place)) << slot;
        self.0.iter().enumerate().fold(0, bit) & ((1 << SLOTS) - 1)
    }

    fn slots(self) -> impl Iterator<Item = u32> {
        self.0.into_iter().take(SLOTS)
    }

    fn passed_on(&self) -> u32 {
        self.0[SLOTS]
    }
}

/// The latest record of each identity. An identity has one bucket, nearly always, and so one wait for memory; what is older
/// than the window is no more there, and is freed by and by.
pub(super) struct Index {
    buckets: Vec<Bucket>,
    /// The low bits of a place: its sequence number's.
    sequence_bits: u32,
    /// Records further back than this are none.
    reach: u32,
    /// The next bucket to sweep.
    swept: usize,
}

/// A record that was found.
#[derive(Clone, Copy)]
pub(super) struct Found {
    bucket: usize,
    slot: usize,
    /// Its sequence number.
    pub(super) sequence: u32,
}

impl Index {
    /// For records that lie at most `reach` back.
    pub(super) const fn new(reach: u32) -> Self {
        let sequence_bits = reach.next_power_of_two().trailing_zeros() + SPARE_BITS;
        Self { buckets: Vec::new(), sequence_bits, reach, swept: 0 }
    }

    /// Most bytes for windows of so many records.
    pub(super) const fn bytes(records: usize) -> usize {
        (records / FILL + 1) * size_of::<Bucket>()
    }

    fn tag(&self, identity: Identity) -> u32 {
        (identity.0[0] as u32 >> self.sequence_bits).max(1)
    }

    /// The bucket of an identity.
    fn home(&self, identity: Identity) -> usize {
        ((identity.0[0] >> 32).wrapping_mul(self.buckets.len() as u64) >> 32) as usize
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// How far a place's record lies behind the one that comes `now`.
    fn age(&self, place: u32, now: u32) -> u32 {
        now.wrapping_sub(place) & ((1 << self.sequence_bits) - 1)
    }

    fn is_live(&self, place: u32, now: u32) -> bool {
        place != 0 && self.age(place, now) <= self.reach
    }

    fn place(&self, tag: u32, sequence: u32) -> u32 {
        tag << self.sequence_bits | sequence & ((1 << self.sequence_bits) - 1)
    }

    /// Brings an identity's bucket into the processor's cache.
    pub(super) fn peek(&self, identity: Identity) -> u32 {
        self.buckets.get(self.home(identity)).map_or(0, |bucket| bucket.passed_on())
    }

    /// The latest record of an identity before the one that comes `now`; `is_same` tells by sequence number.
    #[inline]
    pub(super) fn find(&self, identity: Identity, now: u32, is_same: impl Fn(u32) -> bool) -> Option<Found> {
        let tag = self.tag(identity);
        let home = self.home(identity);
        let mut at = home;
        loop {
            let bucket = self.buckets.get(at)?;
            let mut alike = bucket.slots_where(|place| place >> self.sequence_bits == tag);
            while alike != 0 {
                let slot = alike.trailing_zeros() as usize;
                alike &= alike - 1;
                let age = self.age(bucket.0[slot], now);
                let sequence = now.wrapping_sub(age);
                // None of now: one that is as old as numbers go round looks like it.
                if (1..=self.reach).contains(&age) && is_same(sequence) {
                    return Some(Found { bucket: at, slot, sequence });
                }
            }
            if !self.is_live(bucket.passed_on(), now) {
                return None;
            }
            at = self.after(at);
            if at == home {
                return None;
            }
        }
    }

    /// Notes a later record of the identity that was found.
    pub(super) fn set(&mut self, found: Found, identity: Identity, now: u32) {
        let place = self.place(self.tag(identity), now);
        self.buckets[found.bucket].0[found.slot] = place;
        let mut passed = self.home(identity);
        while passed != found.bucket {
            self.buckets[passed].0[SLOTS] = place;
            passed = self.after(passed);
        }
    }

    /// Notes the first record of an identity.
    pub(super) fn insert(&mut self, identity: Identity, now: u32) {
        self.put(identity, now, now);
        if now.is_multiple_of(INSERTIONS_PER_SWEEP) {
            self.sweep(now);
        }
    }

    fn put(&mut self, identity: Identity, sequence: u32, now: u32) {
        let place = self.place(self.tag(identity), sequence);
        let mut at = self.home(identity);
        loop {
            let bucket = &self.buckets[at];
            // Nearly always some are free: only else is it asked for those that are too old.
            let free = match bucket.slots_where(|slot| slot == 0) {
                0 => bucket.slots_where(|slot| self.age(slot, now) > self.reach),
                free => free,
            };
            if free != 0 {
                self.buckets[at].0[free.trailing_zeros() as usize] = place;
                return;
            }
            // The later of the two: all that was passed on is found for as long as it counts.
            let passed_on = bucket.passed_on();
            if !self.is_live(passed_on, now) || self.age(place, now) < self.age(passed_on, now) {
                self.buckets[at].0[SLOTS] = place;
            }
            at = self.after(at);
        }
    }

    /// Frees what is too old in one bucket, long before its sequence numbers could be taken for later ones.
    fn sweep(&mut self, now: u32) {
        let mut bucket = self.buckets[self.swept];
        for place in &mut bucket.0 {
            if !self.is_live(*place, now) {
                *place = 0;
            }
        }
        self.buckets[self.swept] = bucket;
        self.swept = self.after(self.swept);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buckets.fill(Bucket::default());
    }

    /// Makes room for as many identities, of `most` that there can ever be. `identity_of` tells them by sequence number.
    pub(super) fn make_room_for(
        &mut self,
        identities: usize,
        most: usize,
        now: u32,
        identity_of: impl Fn(u32) -> Identity,
    ) {
        let needed = |identities: usize| identities / FILL + 1;
        if self.buckets.len() >= needed(identities.min(most)) {
            return;
        }
        let grown = (self.buckets.len() * GROWTH).clamp(needed(identities.min(most)), needed(most));
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); grown]);
        self.swept = 0;
        for place in old.into_iter().flat_map(Bucket::slots) {
            if self.is_live(place, now) {
                let sequence = now.wrapping_sub(self.age(place, now));
                self.put(identity_of(sequence), sequence, now);
            }
        }
    }
}
