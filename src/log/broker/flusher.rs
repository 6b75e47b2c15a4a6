//! The thread that syncs: one fdatasync covers all that was appended to a partition before it.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use super::{BrokerError, partition::Partition};

/// A running flusher. It syncs what is queued and ends when this is dropped or [`Flusher::finish`]ed.
#[derive(Debug)]
pub struct Flusher {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    ended: oneshot::Receiver<()>,
}

/// The partitions that wait for a sync.
#[derive(Debug, Default)]
pub struct Queue {
    /// Each partition at most once (it marks itself), so the number of partitions is the cap.
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    partitions: Vec<Arc<Partition>>,
    is_ending: bool,
}

impl Queue {
    /// Asks for a sync of what was appended to the partition.
    pub fn push(&self, partition: &Arc<Partition>) {
        if partition.queue_sync() {
            self.waiting().partitions.push(partition.clone());
            self.wake.notify_one();
        }
    }

    fn end(&self) {
        self.waiting().is_ending = true;
        self.wake.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work; `None` when there is none left and the broker ends.
    fn take(&self) -> Option<Vec<Arc<Partition>>> {
        let mut waiting = self.waiting();
        loop {
            if !waiting.partitions.is_empty() {
                return Some(std::mem::take(&mut waiting.partitions));
            }
            if waiting.is_ending {
                return None;
            }
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Flusher {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let (end, ended) = oneshot::channel();
        let taken_from = queue.clone();
        let thread = thread::Builder::new().name("broker-flusher".into()).spawn(move || {
            while let Some(partitions) = taken_from.take() {
                partitions.iter().for_each(sync);
            }
            // No receiver means that nobody waits.
            let _ = end.send(());
        })?;
        Ok(Self { queue, thread: Some(thread), ended })
    }

    /// Where to ask for syncs.
    pub fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    /// Syncs what is queued and ends the thread.
    pub async fn finish(mut self) -> Result<(), BrokerError> {
        self.queue.end();
        // Closed without a message if the thread panicked; joining tells.
        let _ = (&mut self.ended).await;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(BrokerError::Thread { thread: "flusher", reason: "panicked".into() }),
            _ => Ok(()),
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue.end();
    }
}

fn sync(partition: &Arc<Partition>) {
    if let Err(error) = partition.sync() {
        tracing::error!(partition = %partition, %error, "the log could not be synced: the partition takes no records until the process is restarted");
    }
}
