//! Where the connections are kept: one per broker and lane, opened when it is needed and again when it broke.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Connection;
use crate::log::{LogError, kafka::KafkaOptions};

/// A part of the deadline for one broker among several: one that does not answer at all must not use it up.
pub(super) const TRIES_PER_DEADLINE: u32 = 3;

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::log::kafka) enum Lane {
    /// Long polls.
    Fetch,
    /// Records.
    Produce,
    /// Everything else.
    Calls,
}

type BySlot = HashMap<(Arc<str>, Lane), Arc<Slot>>;

/// The connections, by the broker's address.
#[derive(Default)]
pub(super) struct Slots(Mutex<BySlot>);

/// The place of one connection; held while it is opened, so that many callers open one.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Attempt>);

#[derive(Default)]
struct Attempt {
    open: Option<Arc<Connection>>,
    failures: u32,
    not_before: Option<Instant>,
    /// When the last try began, and why it failed.
    failed: Option<(Instant, LogError)>,
}

impl Slots {
    /// The connection to a broker, opened where it is not.
    ///
    /// # Errors
    /// It cannot be opened before the deadline, or the broker refuses us.
    pub(super) async fn connect(
        &self,
        options: &KafkaOptions,
        address: &str,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Arc<Connection>, LogError> {
        let slot = Arc::clone(self.by_slot().entry((address.into(), lane)).or_default());
        let late = |what: &str| LogError::TimedOut {
            what: format!("{what} {address}"),
            after_ms: u64::try_from(options.request_timeout.as_millis()).unwrap_or(u64::MAX),
        };
        let wanted_at = Instant::now();
        let Ok(mut attempt) = timeout_at(deadline, slot.0.lock()).await else { return Err(late("connecting to")) };
        if let Some(open) = attempt.open.as_ref().filter(|open| open.is_open()) {
            return Ok(Arc::clone(open));
        }
        if let Some(error) = failed_since(attempt.failed.as_ref(), wanted_at) {
            return Err(error);
        }
        attempt.open = None;
        if let Some(not_before) = attempt.not_before {
            if not_before >= deadline {
                return Err(late("waiting to connect again to"));
            }
            sleep_until(not_before).await;
        }
        let limit = options.request_timeout / TRIES_PER_DEADLINE;
        let began_at = Instant::now();
        let opened = match timeout(limit, Connection::open(address, options)).await {
            Ok(opened) => opened,
            Err(_) => Err(late("connecting to")),
        };
        match opened {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *attempt = Attempt { open: Some(Arc::clone(&connection)), ..Attempt::default() };
                Ok(connection)
            }
            Err(error) => {
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.not_before = Some(Instant::now() + options.pause_after(attempt.failures));
                attempt.failed = Some((began_at, error.clone()));
                Err(error)
            }
        }
    }

    /// Whether there is a connection that takes requests; not while one is being opened.
    pub(super) fn is_open(&self, address: &str, lane: Lane) -> bool {
        self.by_slot().get(&(Arc::from(address), lane)).is_some_and(|slot| slot.is_open() == Some(true))
    }

    /// Forgets each connection that is not open any more, to a broker that is not among these.
    pub(super) fn forget_closed(&self, known: &BTreeSet<String>) {
        self.by_slot().retain(|(address, _), slot| known.contains(&**address) || slot.is_open() != Some(false));
    }

    fn by_slot(&self) -> MutexGuard<'_, BySlot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// `None` while someone opens it.
    fn is_open(&self) -> Option<bool> {
        let attempt = self.0.try_lock().ok()?;
        Some(attempt.open.as_ref().is_some_and(|open| open.is_open()))
    }
}

/// The failure of a try that began after this moment: whoever waited for its end meanwhile need not try again, else a crowd
/// that waits for a broker which is away would try one after the other, each with a pause.
pub(super) fn failed_since(failed: Option<&(Instant, LogError)>, wanted_at: Instant) -> Option<LogError> {
    failed.filter(|(began_at, _)| *began_at > wanted_at).map(|(_, error)| error.clone())
}
