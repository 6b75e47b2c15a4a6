//! The thread that deletes what the topics no longer keep.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{calls::Serving, now_ms};

/// How often topics are looked through, as Kafka's `log.retention.check.interval.ms`; the first time at the start.
pub const RETENTION_CHECK_INTERVAL: Duration = Duration::from_secs(300);

/// A running thread. It ends when this is dropped or [`Retention::finish`]ed; a round that has begun is done first.
#[derive(Debug)]
pub struct Retention {
    end: mpsc::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Retention {
    /// Starts the thread.
    pub fn start(serving: Arc<Serving>) -> io::Result<Self> {
        let (end, asked_to_end) = mpsc::channel();
        let (done, ended) = oneshot::channel();
        thread::Builder::new().name("broker-retention".into()).spawn(move || {
            loop {
                serving.topics.retain(now_ms());
                if asked_to_end.recv_timeout(RETENTION_CHECK_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
            }
            drop(serving);
            // No receiver means that nobody waits.
            let _ = done.send(());
        })?;
        Ok(Self { end, ended })
    }

    /// Waits until the thread has ended.
    pub async fn finish(self) {
        drop(self.end);
        // Closed without a message if the thread panicked: then it has ended too.
        let _ = self.ended.await;
    }
}
