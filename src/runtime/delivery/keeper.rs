//! The keeping of positions: one exchange for all tenures of a process that have changed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{statuses::Statuses, tenure::Tenure};
use crate::{
    core::backoff::Backoff,
    model::Swap,
    runtime::{
        STORE_PART,
        health::{Health, Level},
        measure as counted,
    },
    store::{Store, StoreError},
};

/// Time between two exchanges: what was delivered meanwhile comes again after a crash.
const KEEP_INTERVAL: Duration = Duration::from_millis(10);
/// Most positions in one exchange.
const MAX_SWAPS: usize = 500;
/// Keeps the positions of all tenures of this process: one exchange for all that have changed.
pub(super) struct Keeper {
    store: Arc<dyn Store>,
    health: Arc<Health>,
    /// What became of events: each is noted before the position that it belongs to is kept.
    pub statuses: Statuses,
    tenures: Mutex<Vec<Arc<Tenure>>>,
    changed: Notify,
    /// How long it may fail before nothing new is sent.
    patience: Duration,
    may_send: watch::Sender<bool>,
}

impl Keeper {
    pub fn new(store: Arc<dyn Store>, health: Arc<Health>, patience: Duration) -> Self {
        let may_send = watch::Sender::new(true);
        let statuses = Statuses::default();
        Self { store, health, statuses, tenures: Mutex::default(), changed: Notify::new(), patience, may_send }
    }

    /// Whether new requests may be sent: not while positions could not be kept for as long as a session lasts. By then another
    /// member may deliver the same.
    pub fn may_send(&self) -> watch::Receiver<bool> {
        self.may_send.subscribe()
    }

    pub fn add(&self, tenure: &Arc<Tenure>) {
        self.lock().push(Arc::clone(tenure));
    }

    pub fn remove(&self, tenure: &Arc<Tenure>) {
        self.lock().retain(|known| !Arc::ptr_eq(known, tenure));
    }

    /// The tenures of a group.
    pub fn tenures_of(&self, group: &str) -> Vec<Arc<Tenure>> {
        self.lock().iter().filter(|tenure| *tenure.group == *group).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Tenure>>> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a tenure's position has changed.
    pub fn touch(&self, tenure: &Tenure) {
        tenure.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Keeps positions until `stop`, and once more then.
    pub async fn run(&self, stop: CancellationToken) {
        let mut backoff = Backoff::store();
        let mut failing_since = None;
        loop {
            let pause = match self.keep().await {
                true => {
                    (failing_since, backoff) = (None, Backoff::store());
                    self.may_send.send_if_modified(|may| !std::mem::replace(may, true));
                    KEEP_INTERVAL
                }
                false => {
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.patience {
                        self.may_send.send_if_modified(|may| std::mem::replace(may, false));
                    }
                    backoff.next()
                }
            };
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => continue,
                () = tokio::time::sleep(pause) => {}
            }
            if failing_since.is_none() {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// One exchange. `false` where the store did not take it.
    async fn keep(&self) -> bool {
        let tenures = self.lock().clone();
        let changes: Vec<_> =
            tenures.iter().filter_map(|tenure| tenure.change().map(|change| (tenure, change))).collect();
        if let Err(error) = self.statuses.note(&*self.store).await {
            // Among these may be one that had no answer, which is to be sent again as it is.
            changes.into_iter().for_each(|(tenure, change)| *tenure.unanswered() = Some(change));
            self.failed(&error, "what became of delivered events is not told yet, and their positions wait for it");
            return false;
        }
        for (number, some) in changes.chunks(MAX_SWAPS).enumerate() {
            let swaps: Vec<Swap> = some.iter().map(|(_, (_, swap))| swap.clone()).collect();
            match self.store.swap(&swaps).await {
                Ok(outcomes) => {
                    self.health.set(STORE_PART, Level::Ok, "", std::time::Instant::now());
                    for (((tenure, (version, _)), swap), outcome) in some.iter().zip(swaps).zip(outcomes) {
                        tenure.take_in(*version, swap, outcome);
                    }
                }
                Err(error) => {
                    self.failed(&error, "positions of deliveries are not kept yet");
                    // Among those behind it may be one that had no answer before.
                    let left = changes.into_iter().skip(number * MAX_SWAPS);
                    left.for_each(|(tenure, change)| *tenure.unanswered() = Some(change));
                    return false;
                }
            }
        }
        true
    }

    fn failed(&self, error: &StoreError, what: &str) {
        counted::store_failed();
        tracing::warn!(%error, "{what}");
        self.health.set(STORE_PART, Level::Down, error.to_string(), std::time::Instant::now());
    }
}
