//! The events of one partition that a group has read and not finished: which is sent next, and what becomes of it.
//!
//! Of a key only the first event is ever on its way or waiting for its next attempt; the others stand behind it. Events
//! without a key stand behind nobody. So the first deliveries of a key are in the log's order, whatever fails, and other keys
//! go on meanwhile.
//!
//! Among those that may go, urgent ones go first, by shares ([`SHARES`]) and not absolutely, so that a flood of critical events
//! leaves room for the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::{
    answer::Outcome,
    position::{Position, Tried},
    retry::Retry,
};
use crate::catalog::plan::Priority;

/// How many events of each priority go before it is the next one's turn: critical, high, normal, low.
pub const SHARES: [u32; 4] = [64, 16, 4, 1];

/// The place of a priority in [`SHARES`].
fn class(priority: Priority) -> usize {
    match priority {
        Priority::Critical => 0,
        Priority::High => 1,
        Priority::Normal => 2,
        Priority::Low => 3,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Another event of its key comes first.
    Behind,
    /// It may go.
    Ready,
    /// Its next attempt is due then, ms since 1970.
    Waiting(i64),
    /// It is on its way.
    Sent,
    /// Its dead letter is on its way.
    Dying,
}

struct Entry<T> {
    payload: T,
    key: Option<Arc<[u8]>>,
    class: usize,
    tried: Tried,
    state: State,
}

/// An attempt to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The event's offset.
    pub offset: i64,
    /// The attempt's number, from 1.
    pub number: u32,
}

/// What an outcome makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is finished.
    Finished,
    /// It is tried again then, ms since 1970.
    Again(i64),
    /// It has no attempts left, or was refused: it becomes a dead letter, and is finished when [`Queue::buried`] says that the log has that. A
    /// restart before that tries it once more.
    Dead(Tried),
}

/// What is unfinished of a partition. `T` is what is sent.
pub struct Queue<T> {
    retry: Retry,
    /// Makes the waits of two queues different.
    seed: u64,
    unfinished: BTreeMap<i64, Entry<T>>,
    /// The unfinished events of each key, in order.
    keys: HashMap<Arc<[u8]>, VecDeque<i64>>,
    ready: [VecDeque<i64>; SHARES.len()],
    shares: [u32; SHARES.len()],
    due: BTreeSet<(i64, i64)>,
    /// Below it everything was taken in.
    taken_to: i64,
    /// From it on no event was begun, nor finished otherwise than by not being wanted.
    touched_to: i64,
    /// What the position that this began from lists, and was not taken in again yet.
    restored: BTreeMap<i64, Tried>,
    /// The end of that position.
    restored_to: i64,
}

impl<T> Queue<T> {
    /// Goes on from a position.
    pub fn new(position: &Position, retry: Retry, seed: u64) -> Self {
        Self {
            retry,
            seed,
            unfinished: BTreeMap::new(),
            keys: HashMap::new(),
            ready: Default::default(),
            shares: SHARES,
            due: BTreeSet::new(),
            taken_to: position.from(),
            touched_to: position.to,
            restored: position.unfinished.iter().copied().collect(),
            restored_to: position.to,
        }
    }

    /// The offset to read on from.
    pub fn taken_to(&self) -> i64 {
        self.taken_to
    }

    /// Events that are not finished.
    pub fn len(&self) -> usize {
        self.unfinished.len()
    }

    /// Whether every event that was taken in is finished.
    pub fn is_empty(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Whether the event at this offset is still to be delivered, as far as the position says that this began from.
    pub fn wants(&self, offset: i64) -> bool {
        offset >= self.taken_to && (offset >= self.restored_to || self.restored.contains_key(&offset))
    }

    /// Takes in the next event in the log's order. One that [`Queue::wants`] does not is left out.
    pub fn take(&mut self, offset: i64, key: Option<&[u8]>, priority: Priority, payload: T) {
        if !self.wants(offset) {
            return self.read_to(offset + 1);
        }
        let tried = self.restored.remove(&offset).unwrap_or_default();
        let key = key.map(|key| match self.keys.get_key_value(key) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(key),
        });
        let is_first = key.as_ref().is_none_or(|key| {
            let of_key = self.keys.entry(Arc::clone(key)).or_default();
            of_key.push_back(offset);
            of_key.len() == 1
        });
        let entry = Entry { payload, key, class: class(priority), tried, state: State::Behind };
        self.unfinished.insert(offset, entry);
        if is_first {
            self.advance(offset);
        }
        self.read_to(offset + 1);
    }

    /// Everything below `offset` was taken in, or is not there or not wanted.
    pub fn read_to(&mut self, offset: i64) {
        self.taken_to = self.taken_to.max(offset);
        // What the log no longer has is finished, or it would stand in the position for ever.
        if self.restored.first_key_value().is_some_and(|(first, _)| *first < self.taken_to) {
            self.restored = self.restored.split_off(&self.taken_to);
        }
    }

    /// Makes the first event of its key ready, or lets it wait for its next attempt.
    fn advance(&mut self, offset: i64) {
        let Some(entry) = self.unfinished.get_mut(&offset) else { return };
        if entry.tried.attempts == 0 {
            entry.state = State::Ready;
            self.ready[entry.class].push_back(offset);
            return;
        }
        let dice = dice(self.seed, offset, entry.tried.attempts);
        let wait = i64::try_from(self.retry.delay_ms(entry.tried.attempts, dice)).unwrap_or(i64::MAX);
        let due = entry.tried.last_ms.saturating_add(wait);
        entry.state = State::Waiting(due);
        self.due.insert((due, offset));
    }

    /// When the next event that waits for an attempt is due, ms since 1970.
    pub fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Whether an event may go now.
    pub fn has_ready(&mut self, now_ms: i64) -> bool {
        while let Some((_, offset)) = self.due.first().copied().filter(|(due, _)| *due <= now_ms) {
            self.due.pop_first();
            if let Some(entry) = self.unfinished.get_mut(&offset) {
                entry.state = State::Ready;
                self.ready[entry.class].push_back(offset);
            }
        }
        self.ready.iter().any(|class| !class.is_empty())
    }

    /// The next event to send, and its attempt's number; it is on its way from now on.
    pub fn next(&mut self, now_ms: i64) -> Option<Attempt> {
        if !self.has_ready(now_ms) {
            return None;
        }
        let has_share = |queue: &Self, class: &usize| !queue.ready[*class].is_empty() && queue.shares[*class] > 0;
        let class = (0..SHARES.len()).find(|class| has_share(self, class)).or_else(|| {
            self.shares = SHARES;
            (0..SHARES.len()).find(|class| has_share(self, class))
        })?;
        self.shares[class] -= 1;
        let offset = self.ready[class].pop_front()?;
        self.touched_to = self.touched_to.max(offset + 1);
        let entry = self.unfinished.get_mut(&offset)?;
        entry.state = State::Sent;
        Some(Attempt { offset, number: entry.tried.attempts.saturating_add(1) })
    }

    /// What is sent of an event.
    pub fn payload(&self, offset: i64) -> Option<&T> {
        self.unfinished.get(&offset).map(|entry| &entry.payload)
    }

    /// What came of an attempt that began at `began_ms`. `None` where no such event is on its way.
    pub fn outcome(&mut self, offset: i64, outcome: Outcome, began_ms: i64, now_ms: i64) -> Option<Verdict> {
        let entry = self.unfinished.get_mut(&offset).filter(|entry| entry.state == State::Sent)?;
        let not_before_ms = match outcome {
            Outcome::Processed | Outcome::Dropped => {
                self.finish(offset);
                return Some(Verdict::Finished);
            }
            Outcome::Failed { not_before_ms } => not_before_ms.unwrap_or(0),
            Outcome::Refused => 0,
        };
        let first_ms = if entry.tried.attempts == 0 { began_ms } else { entry.tried.first_ms };
        let attempts = entry.tried.attempts.saturating_add(1);
        entry.tried = Tried { attempts, first_ms, last_ms: began_ms };
        if attempts > self.retry.max || outcome == Outcome::Refused {
            entry.state = State::Dying;
            return Some(Verdict::Dead(entry.tried));
        }
        let longest = i64::try_from(self.retry.max_delay_ms).unwrap_or(i64::MAX);
        let wait = i64::try_from(self.retry.delay_ms(attempts, dice(self.seed, offset, attempts))).unwrap_or(i64::MAX);
        // A target may ask for more time, but not for more than the longest wait: the events of the key stand behind it.
        let due = now_ms.saturating_add(wait).max(not_before_ms.min(now_ms.saturating_add(longest)));
        entry.state = State::Waiting(due);
        self.due.insert((due, offset));
        Some(Verdict::Again(due))
    }

    /// The log has the dead letter of this event.
    pub fn buried(&mut self, offset: i64) {
        if self.unfinished.get(&offset).is_some_and(|entry| entry.state == State::Dying) {
            self.finish(offset);
        }
    }

    fn finish(&mut self, offset: i64) {
        let Some(entry) = self.unfinished.remove(&offset) else { return };
        self.touched_to = self.touched_to.max(offset + 1);
        let Some(key) = entry.key else { return };
        let Some(of_key) = self.keys.get_mut(&key) else { return };
        of_key.pop_front();
        match of_key.front().copied() {
            Some(next) => self.advance(next),
            None => drop(self.keys.remove(&key)),
        }
    }

    /// What a restart would go on from: `to`, and what is unfinished below it. Events at the end that were never begun are left
    /// out, since they are read again anyway.
    pub fn position(&self) -> (i64, Vec<(i64, Tried)>) {
        let to = match self.taken_to < self.restored_to {
            true => self.restored_to,
            false => self.unfinished.range(self.touched_to..).next().map_or(self.taken_to, |(offset, _)| *offset),
        };
        let taken = self.unfinished.range(..to).map(|(offset, entry)| (*offset, entry.tried));
        let restored = self.restored.iter().map(|(offset, tried)| (*offset, *tried));
        (to, taken.chain(restored).collect())
    }
}

/// A number for an attempt's jitter: the same whoever asks, another one for each attempt.
fn dice(seed: u64, offset: i64, attempts: u32) -> u64 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&offset.to_le_bytes());
    bytes[8..].copy_from_slice(&attempts.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, seed)
}

#[cfg(test)]
mod tests;
