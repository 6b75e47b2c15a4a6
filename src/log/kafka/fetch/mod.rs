//! Reading partitions: one Fetch under way per broker, over all the partitions it leads that someone waits for.
//!
//! [`Fetcher::fetch`] notes the places that its caller wants and waits; one task, [`drive`], asks the brokers and puts what
//! comes to the places. A place keeps its block until it is asked for again, and is not asked of the broker while it does, so
//! that dropping a call loses nothing. Only what a call waits for right now is asked: the fetcher never reads ahead, its
//! callers do, by asking on at once.
//!
//! A broker answers the requests of a connection one after the other, so a long poll holds up what comes behind it. So a
//! request that leaves out a partition that was asked for a moment ago polls for [`places::SHORT_POLL`] only: its caller comes
//! back for it soon.
//!
//! What may pass is not told at once: a leader that moved, a broker that is gone. The leader is looked up anew and asked after
//! a pause; only what lasts longer than the request timeout becomes an error. Memory: one answer per broker
//! (`FetchLimits::max_bytes`, or one larger batch), and the blocks that were not asked for yet, at most one for each place.
//! Blocks are slices of their answer, whose memory is free again when the last of them is dropped.

mod answer;
mod block;
mod broker;
mod places;
mod request;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::task::AbortOnDropHandle;

use self::places::{CallId, Places};
use super::wire::Wire;
use crate::{
    log::{Block, FetchLimits, FetchPosition, LogError},
    model::TopicPartition,
};

/// What a place receives.
type Fetched = Result<Block, LogError>;

/// Reads for all callers of `Log::fetch`.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    /// Begun by the first call, since the log may be made outside a runtime.
    driver: Mutex<Option<AbortOnDropHandle<()>>>,
}

struct Shared {
    wire: Arc<Wire>,
    places: Mutex<Places>,
    /// There are new places or new callers.
    asked: Notify,
    /// A place has received something.
    arrived: Notify,
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetcher {
    pub(super) fn new(wire: Arc<Wire>) -> Self {
        let shared = Shared { wire, places: Mutex::default(), asked: Notify::new(), arrived: Notify::new() };
        Self { shared: Arc::new(shared), driver: Mutex::default() }
    }

    /// See [`crate::log::Log::fetch`].
    pub(super) async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Fetched)> {
        if positions.is_empty() {
            return Vec::new();
        }
        let deadline = Instant::now() + limits.max_wait;
        let call = Call { id: self.shared.places().new_call(), shared: &self.shared, positions };
        loop {
            // Enrolled before looking, so that what arrives in between wakes us.
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let ready = self.shared.places().collect(call.id, positions, limits, Instant::now());
            if !ready.is_empty() {
                return ready;
            }
            self.keep_driving();
            self.shared.asked.notify_one();
            if timeout_at(deadline, arrived).await.is_err() {
                return Vec::new();
            }
        }
    }

    fn keep_driving(&self) {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if driver.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            *driver = Some(AbortOnDropHandle::new(tokio::spawn(drive(Arc::clone(&self.shared)))));
        }
    }
}

/// A call that waits; its places are not waited for any more when it is dropped.
struct Call<'a> {
    id: CallId,
    shared: &'a Shared,
    positions: &'a [FetchPosition],
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.shared.places().end_call(self.id, self.positions);
    }
}

/// What the driver waits for.
enum Done {
    /// A leader was looked for.
    Looked(broker::Looked),
    /// A broker has answered, or not.
    Answered(broker::Answered),
}

/// Asks the brokers for what is wanted, and puts what comes to its places.
async fn drive(shared: Arc<Shared>) {
    /// How long to sleep where there is nothing to do but to forget.
    const IDLE: Duration = places::KEEP_UNASKED;
    let mut under_way: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        let plan = shared.places().plan(now, &shared.wire);
        if plan.is_told {
            shared.arrived.notify_waiters();
        }
        for search in plan.searches {
            let wire = Arc::clone(&shared.wire);
            under_way.push(async move { Done::Looked(broker::look_up(&wire, search).await) }.boxed());
        }
        for round in plan.rounds {
            let wire = Arc::clone(&shared.wire);
            under_way.push(async move { Done::Answered(broker::ask(&wire, round).await) }.boxed());
        }
        let done = tokio::select! {
            Some(done) = under_way.next() => Some(done),
            () = shared.asked.notified() => None,
            () = sleep_until(plan.wake_at.unwrap_or(now + IDLE)) => None,
        };
        let Some(done) = done else { continue };
        let mut is_told = shared.places().take_in(done, Instant::now(), &shared.wire);
        // What is there already is taken in before the next plan, which looks at every place.
        while let Some(Some(done)) = under_way.next().now_or_never() {
            is_told |= shared.places().take_in(done, Instant::now(), &shared.wire);
        }
        if is_told {
            shared.arrived.notify_waiters();
        }
    }
}
