//! Leave to make a request: within the subscription's `concurrency` and what its target takes, and while its breaker is closed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::now_ms;
use crate::core::delivery::{
    answer::Manner,
    breaker::{Admission, Breaker, Shown},
    throttle::Throttle,
};

/// A target (scheme, host and port), shared by the subscriptions that go there.
pub(super) struct Target {
    pub name: String,
    throttle: Mutex<Throttle>,
    changed: Notify,
}

impl Target {
    /// A target that gets at most so many requests at once.
    pub fn new(name: String, most: u32) -> Arc<Self> {
        Arc::new(Self { name, throttle: Mutex::new(Throttle::new(most)), changed: Notify::new() })
    }

    /// How many requests it may get at once now.
    pub fn limit(&self) -> u32 {
        self.throttle().limit()
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the requests of one subscription pass through.
pub(super) struct Gate {
    group: String,
    concurrency: usize,
    permits: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    changed: Notify,
    pub target: Arc<Target>,
}

impl Gate {
    pub fn new(group: &str, concurrency: usize, target: Arc<Target>) -> Arc<Self> {
        Arc::new(Self {
            group: group.to_owned(),
            concurrency,
            permits: Arc::new(Semaphore::new(concurrency)),
            breaker: Mutex::default(),
            changed: Notify::new(),
            target,
        })
    }

    /// How the breaker is.
    pub fn shown(&self) -> Shown {
        self.breaker().shown()
    }

    /// Requests that are under way, or wait for their target with the subscription's leave.
    pub fn in_flight(&self) -> usize {
        self.concurrency.saturating_sub(self.permits.available_permits())
    }

    /// Waits for leave.
    pub async fn enter(self: Arc<Self>) -> Pass {
        // Never closed.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            // Enrolled before looking, so that what changes in between wakes us.
            let (own, its) = (self.changed.notified(), self.target.changed.notified());
            tokio::pin!(own, its);
            own.as_mut().enable();
            its.as_mut().enable();
            let until_ms = match self.admit(now_ms()) {
                Ok(()) => return Pass { gate: Arc::clone(&self), _permit: permit, is_told: false },
                Err(until_ms) => until_ms,
            };
            let wait = until_ms.map(|until| Duration::from_millis(u64::try_from(until - now_ms()).unwrap_or(0)));
            tokio::select! {
                () = own => {}
                () = its => {}
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
    }

    /// Leave at once, where there is any.
    pub fn try_enter(self: &Arc<Self>) -> Option<Pass> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        self.admit(now_ms()).ok()?;
        Some(Pass { gate: Arc::clone(self), _permit: Some(permit), is_told: false })
    }

    /// The target first, so that a breaker's probe is not given to a request that cannot go.
    fn admit(&self, now_ms: i64) -> Result<(), Option<i64>> {
        self.target.throttle().enter(now_ms)?;
        let not_before = match self.breaker().admit(now_ms) {
            Admission::Go => return Ok(()),
            Admission::NotBefore(until_ms) => Some(until_ms),
            Admission::AfterProbe => None,
        };
        self.target.throttle().leave();
        Err(not_before)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to make one request. Dropping it makes room for another one.
pub(super) struct Pass {
    gate: Arc<Gate>,
    _permit: Option<OwnedSemaphorePermit>,
    is_told: bool,
}

impl Pass {
    /// Tells how the target behaved.
    pub fn tell(mut self, manner: Manner, began_ms: i64, now_ms: i64) {
        self.is_told = true;
        {
            let mut throttle = self.gate.target.throttle();
            match manner.is_slow {
                true => throttle.slows(began_ms, manner.not_before_ms, now_ms),
                false if !manner.is_failure => throttle.keeps_up(),
                false => {}
            }
        }
        let (group, target) = (&self.gate.group, &self.gate.target.name);
        let mut breaker = self.gate.breaker();
        if manner.is_failure {
            if breaker.failed(now_ms) {
                tracing::warn!(
                    group,
                    target,
                    "the target has failed many times in a row: it is left alone, and then tried \
                    with one event at a time until it answers"
                );
            }
        } else {
            if breaker.shown() != Shown::Closed {
                tracing::info!(group, target, "the target answers again");
            }
            breaker.answered();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.target.throttle().leave();
        if !self.is_told {
            self.gate.breaker().withdrawn(now_ms());
        }
        self.gate.target.changed.notify_waiters();
        self.gate.changed.notify_waiters();
    }
}
