//! The fetcher: one loop that keeps blocks ready for every partition that has room.
//!
//! Fetching runs ahead of counting by a few blocks a partition, and never holds more than a set number of bytes, so memory
//! stays flat however far behind the group is (invariant 5).

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    LOG_PART,
    health::{Health, Level},
    measure,
};
use crate::{
    core::backoff::Backoff,
    log::{Block, FetchLimits, FetchPosition, Log, LogError},
    model::TopicPartition,
};

/// Blocks that wait for a partition's task, beside those it works on.
const READY_BLOCKS: usize = 4;
/// How long a fetch waits for data while some partition has no room: that one's next fetch must not stand behind it for long.
const SHORT_WAIT: Duration = Duration::from_millis(10);
/// How long after a partition was subscribed fetches stay short: others that are being taken over come within moments, and
/// must not stand behind a long one either.
const SETTLING: Duration = Duration::from_secs(1);
/// The fetcher is taken for stalled when it has been silent for longer.
const MAX_SILENCE: Duration = Duration::from_secs(120);
/// How long the loop sleeps at most where every partition waits after an error.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// Fetches for all subscribed partitions.
pub struct Fetcher {
    log: Arc<dyn Log>,
    limits: FetchLimits,
    max_bytes: usize,
    held_bytes: Arc<AtomicUsize>,
    subscribers: Mutex<BTreeMap<TopicPartition, Subscriber>>,
    changed: Arc<Notify>,
    health: Arc<Health>,
    next_id: AtomicU64,
    subscribed_at: Mutex<Option<Instant>>,
}

struct Subscriber {
    id: u64,
    offset: i64,
    sender: mpsc::Sender<Fetched>,
    not_before: Instant,
    backoff: Backoff,
    /// An error was handed over that fetching again cannot mend.
    is_done: bool,
}

/// What a subscription receives.
pub type Fetched = Result<Held, LogError>;

/// A block, counted against the fetcher's bytes until it is dropped.
pub struct Held {
    /// The block.
    pub block: Block,
    size_bytes: usize,
    held_bytes: Arc<AtomicUsize>,
    changed: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.size_bytes, Ordering::AcqRel);
        self.changed.notify_one();
    }
}

/// Blocks of one partition, in order. Dropping it ends the fetching.
pub struct Subscription {
    id: u64,
    partition: TopicPartition,
    receiver: mpsc::Receiver<Fetched>,
    peeked: Option<Fetched>,
    fetcher: Arc<Fetcher>,
}

impl Subscription {
    /// The next block, or an error that fetching again cannot mend. `None` when the fetcher has ended.
    pub async fn next(&mut self) -> Option<Fetched> {
        if let Some(peeked) = self.peeked.take() {
            return Some(peeked);
        }
        let fetched = self.receiver.recv().await;
        self.fetcher.changed.notify_one();
        fetched
    }
}

impl Subscription {
    /// Waits until the next block is there and has at least so many bytes; for ever where something else comes next. Dropping
    /// the call loses nothing.
    pub async fn arrived(&mut self, min_bytes: usize) {
        if self.peeked.is_none() {
            let Some(fetched) = self.receiver.recv().await else { return std::future::pending().await };
            self.peeked = Some(fetched);
            self.fetcher.changed.notify_one();
        }
        // A small block or an error waits for its turn.
        if !self.peeked.as_ref().is_some_and(|next| is_large(next, min_bytes)) {
            std::future::pending().await
        }
    }

    /// The next block where it has [arrived](Self::arrived).
    pub fn ready(&mut self, min_bytes: usize) -> Option<Held> {
        self.peeked.take_if(|next| is_large(next, min_bytes))?.ok()
    }
}

fn is_large(fetched: &Fetched, min_bytes: usize) -> bool {
    fetched.as_ref().is_ok_and(|held| held.block.size_bytes >= min_bytes)
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut subscribers = self.fetcher.subscribers();
        if subscribers.get(&self.partition).is_some_and(|subscriber| subscriber.id == self.id) {
            subscribers.remove(&self.partition);
        }
    }
}

impl Fetcher {
    /// A fetcher that holds at most about `max_bytes` (`KAFKA_FETCH_MAX_BYTES`).
    pub fn new(log: Arc<dyn Log>, limits: FetchLimits, max_bytes: usize, health: Arc<Health>) -> Arc<Self> {
        Arc::new(Self {
            log,
            limits,
            max_bytes,
            held_bytes: Arc::default(),
            subscribers: Mutex::default(),
            changed: Arc::default(),
            health,
            next_id: AtomicU64::new(0),
            subscribed_at: Mutex::default(),
        })
    }

    /// Begins to fetch a partition from an offset.
    pub fn subscribe(self: &Arc<Self>, partition: TopicPartition, offset: i64) -> Subscription {
        let (sender, receiver) = mpsc::channel(READY_BLOCKS);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let subscriber =
            Subscriber { id, offset, sender, not_before: Instant::now(), backoff: Backoff::log(), is_done: false };
        self.subscribers().insert(partition.clone(), subscriber);
        *self.subscribed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.changed.notify_one();
        Subscription { id, partition, receiver, peeked: None, fetcher: Arc::clone(self) }
    }

    /// Fetches until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let beat = self.health.watch("fetcher", MAX_SILENCE, std::time::Instant::now());
        while !stop.is_cancelled() {
            beat.beat(std::time::Instant::now());
            let (wanted, limits, wake_at) = self.wanted();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                // Dropping the call loses nothing: the log hands out at the next call what has come meanwhile.
                fetched = self.log.fetch(&wanted, limits), if !wanted.is_empty() => self.hand_out(&wanted, fetched),
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(wake_at) => {}
            }
        }
    }

    /// The partitions with room for a block, how to fetch them, and when to look again although nothing has happened.
    fn wanted(&self) -> (Vec<FetchPosition>, FetchLimits, Instant) {
        let now = Instant::now();
        let mut limits = self.limits;
        let mut wake_at = now + limits.max_wait + MAX_IDLE;
        let subscribed_at = *self.subscribed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if subscribed_at.is_some_and(|at| now < at + SETTLING) {
            limits.max_wait = limits.max_wait.min(SHORT_WAIT);
        }
        let mut wanted = Vec::new();
        if self.held_bytes.load(Ordering::Acquire) >= self.max_bytes {
            return (wanted, limits, wake_at);
        }
        for (partition, subscriber) in self.subscribers().iter() {
            if subscriber.is_done {
                continue;
            }
            if subscriber.sender.capacity() == 0 {
                limits.max_wait = limits.max_wait.min(SHORT_WAIT);
                continue;
            }
            if subscriber.not_before > now {
                wake_at = wake_at.min(subscriber.not_before);
                continue;
            }
            wanted.push(FetchPosition { partition: partition.clone(), offset: subscriber.offset });
        }
        (wanted, limits, wake_at)
    }

    fn hand_out(&self, wanted: &[FetchPosition], fetched: Vec<(TopicPartition, Result<Block, LogError>)>) {
        if fetched.iter().all(|(_, result)| result.is_ok()) {
            self.health.notice(LOG_PART, Level::Ok, "", std::time::Instant::now());
        }
        let mut subscribers = self.subscribers();
        for (partition, result) in fetched {
            let Some(subscriber) = subscribers.get_mut(&partition) else { continue };
            // A partition that was subscribed anew while the call ran wants another place.
            let asked = wanted.iter().find(|position| position.partition == partition).map(|position| position.offset);
            if asked != Some(subscriber.offset) {
                continue;
            }
            match result {
                Ok(block) => {
                    subscriber.backoff = Backoff::log();
                    if block.next_offset == subscriber.offset {
                        continue;
                    }
                    subscriber.offset = block.next_offset;
                    measure::fetched(&partition.topic, block.size_bytes);
                    let _ = subscriber.sender.try_send(Ok(self.hold(block)));
                }
                Err(error) if error.is_retriable() => {
                    measure::log_failed(&error);
                    let delay = subscriber.backoff.next();
                    subscriber.not_before = Instant::now() + delay;
                    self.health.notice(LOG_PART, Level::Degraded, error.to_string(), std::time::Instant::now());
                    tracing::warn!(topic = %partition.topic, partition = partition.partition, %error,
                        retry_in_ms = delay.as_millis() as u64, "fetch failed");
                }
                Err(error) => {
                    measure::log_failed(&error);
                    subscriber.is_done = true;
                    let _ = subscriber.sender.try_send(Err(error));
                }
            }
        }
    }

    fn hold(&self, block: Block) -> Held {
        let size_bytes = block.size_bytes;
        self.held_bytes.fetch_add(size_bytes, Ordering::AcqRel);
        Held { block, size_bytes, held_bytes: Arc::clone(&self.held_bytes), changed: Arc::clone(&self.changed) }
    }

    fn subscribers(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
