//! What passes between the coordinator and a partition's task.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What passes between the coordinator and a partition's task.
pub(super) struct Handover {
    /// Ends the task: what it has counted is flushed first.
    pub stop: CancellationToken,
    /// Since when this member holds the lease.
    granted: watch::Sender<Option<Instant>>,
    /// How far the partition is counted, as the last heartbeat read it.
    counted_to: watch::Sender<i64>,
    is_warm: AtomicBool,
    /// The coordinator has something to look at.
    changed: Arc<Notify>,
}

impl Handover {
    /// A handover whose task ends with `halt` at the latest.
    pub fn new(halt: &CancellationToken, changed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            stop: halt.child_token(),
            granted: watch::Sender::new(None),
            counted_to: watch::Sender::new(0),
            is_warm: AtomicBool::new(false),
            changed,
        })
    }

    /// Says that this member holds the lease: the task counts.
    pub fn grant(&self) {
        self.granted.send_replace(Some(Instant::now()));
    }

    /// Since when this member holds the lease; `None` while another one does.
    pub fn granted_at(&self) -> Option<Instant> {
        *self.granted.borrow()
    }

    /// Says how far the partition is counted.
    pub fn note_counted(&self, to: i64) {
        self.counted_to.send_if_modified(|known| std::mem::replace(known, to) != to);
    }

    /// How far the partition is counted, as the last heartbeat read it; 0 before the first.
    pub fn counted_to(&self) -> i64 {
        *self.counted_to.borrow()
    }

    /// Says that the duplicate window is read.
    pub fn is_warm_now(&self) {
        if !self.is_warm.swap(true, Ordering::AcqRel) {
            self.changed.notify_one();
        }
    }

    /// Whether the duplicate window is read.
    pub fn is_warm(&self) -> bool {
        self.is_warm.load(Ordering::Acquire)
    }

    /// Waits until the lease is granted (`None`), or the partition is counted beyond an offset (how far).
    pub async fn granted_or_counted_beyond(&self, offset: i64) -> Option<i64> {
        let (mut granted, mut counted_to) = (self.granted.subscribe(), self.counted_to.subscribe());
        // The senders live as long as this does.
        tokio::select! {
            biased;
            _ = granted.wait_for(Option::is_some) => None,
            counted = counted_to.wait_for(|to| *to > offset) => counted.ok().map(|to| *to),
        }
    }
}
