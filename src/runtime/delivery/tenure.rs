//! A member's time with a partition of a group, and its position.
//!
//! A lease fences nothing. What does is the position: a document that is compared and set as a whole, with a number of the
//! tenure's own in it. Whoever begins puts that number there first, so a tenure of before meets another document than it
//! left, at its next exchange, and ends.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    core::delivery::{Parcel, Position, Queue},
    model::{Swap, SwapOutcome, TopicPartition},
    runtime::measure as counted,
};

/// Kafka's own word for an epoch that is not known (KIP-320).
const NO_EPOCH: i32 = -1;

/// A member's time with a partition.
pub(super) struct Tenure {
    pub partition: TopicPartition,
    pub group: Arc<str>,
    document: String,
    id: u64,
    topic_id: Option<Uuid>,
    /// [`Self::newest_epoch`]; [`NO_EPOCH`] where none is known.
    epoch: AtomicI32,
    queue: Mutex<Queue<Arc<Parcel>>>,
    /// What the store has, as far as it is known.
    known: Mutex<Option<Vec<u8>>>,
    /// An exchange that was not answered: it is sent again as it is, so that its answer says what became of it.
    unanswered: Mutex<Option<(u64, Swap)>>,
    /// Goes up with each change.
    pub version: AtomicU64,
    kept: watch::Sender<u64>,
    /// Set when another document was found.
    pub ended: CancellationToken,
    /// End of the readable log, as it was last seen.
    pub high_watermark: AtomicI64,
    /// It takes no more, since too much is unfinished.
    pub is_waiting: AtomicBool,
}

impl Tenure {
    /// A tenure that has put `stored` into the store.
    pub fn new(
        (group, partition, document): (Arc<str>, TopicPartition, String),
        position: &Position,
        queue: Queue<Arc<Parcel>>,
        stored: Vec<u8>,
        log_end: i64,
    ) -> Arc<Self> {
        Arc::new(Self {
            partition,
            group,
            document,
            id: position.tenure,
            topic_id: position.topic_id,
            epoch: AtomicI32::new(position.epoch.unwrap_or(NO_EPOCH)),
            queue: Mutex::new(queue),
            known: Mutex::new(Some(stored)),
            unanswered: Mutex::default(),
            version: AtomicU64::new(0),
            kept: watch::Sender::new(0),
            ended: CancellationToken::new(),
            high_watermark: AtomicI64::new(log_end),
            is_waiting: AtomicBool::new(false),
        })
    }

    /// What is unfinished.
    pub fn queue(&self) -> MutexGuard<'_, Queue<Arc<Parcel>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self) -> Vec<u8> {
        let (to, unfinished) = self.queue().position();
        // Behind the queue: it may be newer than what `to` covers, which is true of it too, and never older.
        Position { tenure: self.id, topic_id: self.topic_id, epoch: self.newest_epoch(), to, unfinished }.to_bytes()
    }

    /// The newest epoch that is known of the log that is read: that it had when this began, or that was read since.
    pub fn newest_epoch(&self) -> Option<i32> {
        Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch != NO_EPOCH)
    }

    /// Something was read under this epoch; before it is taken in.
    pub fn read_under(&self, epoch: i32) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Waits until the position of now is kept, or another document was found.
    pub async fn settled(&self) {
        let version = self.version.load(Ordering::Acquire);
        let mut kept = self.kept.subscribe();
        tokio::select! {
            biased;
            () = self.ended.cancelled() => {}
            // The sender lives as long as this does.
            _ = kept.wait_for(|kept| *kept >= version) => {}
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Self::change`].
    pub fn unanswered(&self) -> MutexGuard<'_, Option<(u64, Swap)>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be exchanged, if anything has changed. Whoever takes it puts it into [`Self::unanswered`] where it is not answered.
    pub fn change(&self) -> Option<(u64, Swap)> {
        let version = self.version.load(Ordering::Acquire);
        if version == *self.kept.borrow() || self.ended.is_cancelled() {
            return None;
        }
        if let Some(again) = self.unanswered().take() {
            return Some(again);
        }
        let next = self.position();
        let expect = self.known().clone();
        if expect.as_ref() == Some(&next) {
            self.kept.send_replace(version);
            return None;
        }
        Some((version, Swap { name: self.document.clone(), expect, next: Some(next), ttl_ms: None }))
    }

    /// What came of an exchange.
    pub fn take_in(&self, version: u64, swap: Swap, outcome: SwapOutcome) {
        let (topic, partition, group) = (&self.partition.topic, self.partition.partition, &self.group);
        match outcome {
            SwapOutcome::Swapped => self.keeps(version, swap),
            // It was applied before, and the answer was lost.
            SwapOutcome::Differs(found) if found == swap.next => self.keeps(version, swap),
            SwapOutcome::Differs(None) => {
                tracing::warn!(%topic, partition, %group, "the store has lost the position of this group: it is put back");
                *self.known() = None;
            }
            SwapOutcome::Differs(Some(_)) => {
                counted::conflict(topic);
                tracing::warn!(%topic, partition, %group, "another member has this partition, or the store fell back: what is \
                    unfinished here is left to whoever goes on from what is stored");
                self.ended.cancel();
            }
        }
    }

    fn keeps(&self, version: u64, swap: Swap) {
        *self.known() = swap.next;
        self.kept.send_replace(version);
    }
}
