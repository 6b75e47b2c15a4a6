//! Where the latest record of each identity lies.

use super::Identity;

/// Identities that the index is first made for.
const FIRST_INDEX: usize = 1024;
/// How much it grows at a time: moving what is there costs more than room that soon fills.
const GROWTH: usize = 8;

/// The latest record of each identity: open addressing with linear probing. A slot holds a part of the identity's hash beside
/// the sequence number, so that neither a search nor a removal touches the ring before it has found its place; nothing is
/// marked as removed, what lies behind moves up.
#[derive(Default)]
pub(super) struct Index {
    /// The tag in the upper half, the sequence number in the lower one; 0 is free, since no tag is 0.
    pub(super) slots: Vec<u64>,
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

    pub(super) fn peek(&self, identity: Identity) -> u64 {
        self.slots.get(self.home(Self::tag(identity))).copied().unwrap_or_default()
    }

    /// The slot of an identity, which `is_same` tells by sequence number.
    pub(super) fn find(&self, identity: Identity, is_same: impl Fn(u32) -> bool) -> Option<usize> {
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
    pub(super) fn set(&mut self, slot: usize, sequence: u32) -> u32 {
        let before = self.slots[slot];
        self.slots[slot] = before >> 32 << 32 | u64::from(sequence);
        before as u32
    }

    pub(super) fn insert(&mut self, identity: Identity, sequence: u32) {
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
    pub(super) fn remove(&mut self, identity: Identity, sequence: u32) {
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

    pub(super) fn clear(&mut self) {
        self.slots.fill(0);
    }

    /// Makes room for as many identities, of `most` that there can ever be; a third of the slots stays free.
    pub(super) fn make_room_for(&mut self, identities: usize, most: usize) {
        if identities + identities / 2 <= self.slots.len() {
            return;
        }
        let grown = (self.slots.len() * GROWTH).max(FIRST_INDEX + FIRST_INDEX / 2);
        // No larger than the window can ever need, but never so small that no slot stays free: a search ends at a free one.
        let room = grown.min(most + most / 2).max(FIRST_INDEX + FIRST_INDEX / 2).max(identities + identities / 2);
        let old = std::mem::replace(&mut self.slots, vec![0; room]);
        old.into_iter().filter(|entry| *entry != 0).for_each(|entry| self.put(entry));
    }
}
