//! What a lane knows of its batches: which are sent, with which sequence numbers, and what an answer means for them.
//!
//! The rules of Kafka's idempotent producer (KIP-98, KIP-360), without waiting and without a clock:
//! - A batch keeps its stamp (producer id, epoch, sequence) for as long as it may have been stored. Sent again it is stored
//!   once, or answered as the duplicate that it is.
//! - After a failure nothing is sent until all that are under way are answered; then they are sent again from the first on,
//!   and the next only when the first is stored. The same holds under a new identity: a broker that knows nothing of a
//!   producer takes any sequence number from it.
//! - While the first is in doubt it is sent alone: what was sent behind it may be stored and answered, and new batches would
//!   push it out of the few that a broker remembers of a producer, so that no answer could settle it.
//! - When a batch leaves that had a stamp and was not stored, those behind it need others: the epoch is raised, and sequence
//!   numbers begin at 0. Old copies still on their way are then refused. A batch in doubt may be stamped anew only if it
//!   stood behind one that surely was not stored: the broker cannot have passed that one. Else its caller hears that the
//!   outcome is unknown.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    batch::{Batch, Refusal, State},
    identity::Identity,
    outcome::Outcome,
};
use crate::log::{LogError, record::Producer};

/// How often a topic that is not known is asked for again: a broker hears of a new topic a moment later than another.
const UNKNOWN_TRIES: u32 = 2;

/// What has to change before anything is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Renewal {
    None,
    /// The next epoch of our producer id.
    Epoch,
    /// Another producer id.
    Id,
    /// No producer id.
    Plain,
}

/// The batches of one partition, in order.
pub(super) struct Queue {
    batches: VecDeque<Batch>,
    pub(super) identity: Option<Identity>,
    window: usize,
    retries: u32,
    flying: usize,
    /// Something was stored under this identity since the last failure.
    is_proven: bool,
    /// Something failed: to be settled when nothing flies.
    is_broken: bool,
    /// A pause is due before the next try.
    is_unwell: bool,
    renewal: Renewal,
    /// Failures in a row.
    failures: u32,
}

impl Queue {
    pub(super) fn new(window: usize, retries: u32) -> Self {
        Self {
            batches: VecDeque::new(),
            identity: None,
            window: window.max(1),
            retries,
            flying: 0,
            is_proven: false,
            is_broken: false,
            is_unwell: false,
            renewal: Renewal::None,
            failures: 0,
        }
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.batches.push_back(batch);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The next moment at which a caller has to be answered.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.batches.iter().filter(|batch| !batch.is_told()).map(|batch| batch.deadline).min()
    }

    /// Whether something is to be sent now, once there is a connection and an identity.
    pub(super) fn wants_to_send(&self) -> bool {
        let is_open = self.batches.front().is_some_and(|first| first.is_in_doubt);
        let limit = if self.is_proven && !is_open && self.identity != Some(Identity::Plain) { self.window } else { 1 };
        !self.is_broken
            && self.flying < limit
            && self.batches.get(self.flying).is_some_and(|batch| batch.state == State::Waiting && !batch.is_told())
    }

    /// The next batch to send, stamped. It counts as sent.
    pub(super) fn send(&mut self) -> Option<&mut Batch> {
        if !self.wants_to_send() {
            return None;
        }
        let batch = self.batches.get_mut(self.flying)?;
        match &mut self.identity {
            None => return None,
            Some(Identity::Plain) => {}
            Some(Identity::Known(next)) if batch.stamp.is_none() => {
                batch.stamp(*next);
                *next = next.after(i32::try_from(batch.len()).unwrap_or(i32::MAX));
            }
            Some(Identity::Known(_)) => {}
        }
        batch.state = State::Flying;
        self.flying += 1;
        Some(batch)
    }

    /// The batch that was sent last did not leave.
    pub(super) fn not_sent(&mut self, error: &LogError) {
        let last = self.flying.checked_sub(1).and_then(|last| self.batches.get_mut(last));
        let Some(batch) = last else { return };
        batch.state = State::Waiting;
        self.flying -= 1;
        self.unreachable(error);
    }

    /// Nothing can be sent now.
    pub(super) fn unreachable(&mut self, error: &LogError) {
        for batch in self.batches.iter_mut().filter(|batch| batch.state == State::Waiting) {
            batch.failures += 1;
            batch.last_error = Some(error.clone());
        }
        self.is_broken = true;
        self.is_unwell = true;
    }

    /// Takes in the answer to the oldest batch under way.
    pub(super) fn answered(&mut self, outcome: Outcome, now: Instant) {
        let Some(at) = self.batches.iter().position(|batch| batch.state == State::Flying) else { return };
        self.flying -= 1;
        if let Outcome::Stored { base_offset } = outcome {
            if let Some(mut batch) = self.batches.remove(at) {
                batch.tell_stored(base_offset);
            }
            self.failures = 0;
            self.is_proven |= !self.is_broken;
            return;
        }
        self.is_broken = true;
        let batch = &mut self.batches[at];
        batch.state = State::Waiting;
        match outcome {
            Outcome::Again { error, is_in_doubt } => {
                batch.is_in_doubt |= is_in_doubt;
                self.failed(at, error);
            }
            // Behind one that is not stored yet: sent again after it.
            Outcome::OutOfOrder(_) | Outcome::Forgotten(_) | Outcome::NotIdempotent(_) if at > 0 => {}
            Outcome::OutOfOrder(error) => self.lost_track(at, error, Renewal::Epoch, now),
            Outcome::Forgotten(error) => self.lost_track(at, error, Renewal::Id, now),
            Outcome::NotIdempotent(error) if batch.stamp.is_some() => self.lost_track(at, error, Renewal::Plain, now),
            Outcome::NotIdempotent(error) | Outcome::Refused(error) => self.refused(at, Refusal::Whole(error), now),
            Outcome::TooLarge => self.refused(at, Refusal::TooLarge, now),
            Outcome::Invalid { reason, records } => self.refused(at, Refusal::Invalid { reason, records }, now),
            Outcome::Stored { .. } => {}
        }
    }

    fn failed(&mut self, at: usize, error: LogError) {
        let batch = &mut self.batches[at];
        batch.failures += 1;
        batch.last_error = Some(error);
        self.is_unwell = true;
    }

    /// The broker does not know us as we know ourselves, and the first batch is refused for it.
    fn lost_track(&mut self, at: usize, error: LogError, renewal: Renewal, now: Instant) {
        self.renewal = self.renewal.max(renewal);
        self.failed(at, error);
        let batch = &mut self.batches[at];
        if batch.is_in_doubt {
            batch.tell_doubt(now);
        }
    }

    fn refused(&mut self, at: usize, refusal: Refusal, now: Instant) {
        let batch = &mut self.batches[at];
        if batch.is_in_doubt {
            // Refused now, but it may have been stored before.
            batch.tell_doubt(now);
        } else {
            batch.state = State::Refused(refusal);
        }
    }

    /// Answers the callers whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut is_broken = false;
        for batch in self.batches.iter_mut().filter(|batch| !batch.is_told() && batch.deadline <= now) {
            match &batch.last_error {
                Some(error) if !batch.is_in_doubt && batch.state != State::Flying => batch.tell(&error.clone()),
                _ => batch.tell_doubt(now),
            }
            is_broken |= batch.state != State::Flying && batch.stamp.is_some();
        }
        self.is_broken |= is_broken;
        self.batches.retain(|batch| !(batch.is_told() && batch.state == State::Waiting && batch.stamp.is_none()));
    }

    /// Whether [`Queue::settle`] is due.
    pub(super) fn is_unsettled(&self) -> bool {
        let is_stopped = |batch: &Batch| batch.is_told() || matches!(batch.state, State::Refused(_));
        self.flying == 0 && (self.is_broken || self.batches.front().is_some_and(is_stopped))
    }

    /// After a failure, when nothing is under way any more: drops what is answered, takes refused batches apart, gives up
    /// what was tried often enough, and stamps anew where that is due. Returns the failures in a row, if a pause is due.
    pub(super) fn settle(&mut self, now: Instant) -> Option<u32> {
        // A batch that left unstored holds back those behind it under this identity.
        let mut has_gap = self.renewal != Renewal::None;
        let mut is_poisoned = false;
        let mut kept = VecDeque::with_capacity(self.batches.len());
        let mut rest = std::mem::take(&mut self.batches).into_iter();
        for mut batch in rest.by_ref() {
            let is_stamped = batch.stamp.is_some();
            if is_poisoned && batch.is_in_doubt {
                batch.tell_doubt(now);
            }
            self.give_up(&mut batch, now);
            if batch.is_told() {
                has_gap |= is_stamped;
                is_poisoned |= is_stamped && batch.is_in_doubt;
            } else if let State::Refused(refusal) = &batch.state {
                has_gap |= is_stamped;
                let refusal = refusal.clone();
                kept.extend(batch.without(&refusal));
            } else {
                let is_open = is_stamped && batch.is_in_doubt && !has_gap;
                kept.push_back(batch);
                if is_open {
                    // Has to be settled under its stamp first: whatever happened behind it waits.
                    break;
                }
            }
        }
        for mut batch in rest {
            self.give_up(&mut batch, now);
            if !batch.is_told() || batch.stamp.is_some() {
                kept.push_back(batch);
            }
        }
        self.batches = kept;
        if has_gap {
            self.renewal = self.renewal.max(Renewal::Epoch);
        }
        self.renew();
        self.is_broken = false;
        self.is_proven = false;
        if !std::mem::take(&mut self.is_unwell) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        Some(self.failures)
    }

    /// Answers a batch whose retries are used up. What may have been stored is tried until its deadline, as only another
    /// try can tell; but without an identity another try may store it twice.
    fn give_up(&self, batch: &mut Batch, now: Instant) {
        let retries = match &batch.last_error {
            Some(LogError::Unavailable { .. } | LogError::TimedOut { .. }) => self.retries,
            Some(LogError::Unknown { .. }) => self.retries.min(UNKNOWN_TRIES),
            Some(_) => 0,
            None => return,
        };
        if batch.failures <= retries || matches!(batch.state, State::Refused(_)) {
            return;
        }
        if !batch.is_in_doubt {
            if let Some(error) = batch.last_error.clone() {
                batch.tell(&error);
            }
        } else if batch.stamp.is_none() {
            batch.tell_doubt(now);
        }
    }

    fn renew(&mut self) {
        let renewal = std::mem::replace(&mut self.renewal, Renewal::None);
        self.identity = match (self.identity, renewal) {
            (_, Renewal::None) | (Some(Identity::Plain), _) => return,
            (_, Renewal::Plain) => Some(Identity::Plain),
            // Kafka's own producer raises the epoch by itself, too (KIP-360).
            (Some(Identity::Known(producer)), Renewal::Epoch) if producer.epoch < i16::MAX => {
                Some(Identity::Known(Producer { epoch: producer.epoch + 1, base_sequence: 0, ..producer }))
            }
            _ => None,
        };
        self.batches.iter_mut().filter(|batch| batch.stamp.is_some()).for_each(Batch::unstamp);
    }
}
