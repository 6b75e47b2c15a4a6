//! What became of events of tracked topics in the groups that they are delivered to, noted in the store by the events' ids.
//!
//! A status is noted before the position that it belongs to is kept: a process that dies in between delivers again and tells again.
//! The other way round an event could be finished of which that is never told. Of several statuses of one event between two
//! exchanges the last is noted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};

use super::{group::Group, now_ms, tenure::Tenure};
use crate::{
    catalog::plan::dead_letter_topic,
    core::{
        delivery::{Attempt, Parcel, Tried, Trouble, Verdict},
        reason::Reason,
        tracked,
    },
    model::{GroupStatus, Progress, Status, Statuses as Noted},
    runtime::measure as counted,
    store::{Store, StoreError},
};

/// An attempt that lasts so long is told of while it lasts.
const SLOW: Duration = Duration::from_millis(200);
/// Most statuses that wait for the next exchange. More come together only while the store is away, when soon nothing new is sent;
/// what is beyond it is not told.
const MAX_WAITING: usize = 100_000;

/// A status that is to be noted.
struct Waiting {
    tenure: Arc<Tenure>,
    event_id: Box<str>,
    status: Status,
}

/// What became of events, until it is noted.
#[derive(Default)]
pub(super) struct Statuses {
    waiting: Mutex<Vec<Waiting>>,
}

impl Statuses {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an attempt came to. To be said while the queue that decided it is locked, so that no position goes before it.
    pub fn attempted(
        &self,
        tenure: &Arc<Tenure>,
        parcel: &Parcel,
        attempt: Attempt,
        (verdict, trouble): (Verdict, Option<&Trouble>),
    ) {
        match verdict {
            Verdict::Finished => self.tell(tenure, parcel, attempt, (Progress::Processed, None)),
            Verdict::Again(_) => self.tell(tenure, parcel, attempt, (Progress::Retrying, trouble)),
            // It is told when the log has its dead letter.
            Verdict::Dead(_) => {}
        }
    }

    /// The log has an event's dead letter, and the queue does not know it yet.
    pub fn died(&self, tenure: &Arc<Tenure>, parcel: &Parcel, offset: i64, (tried, trouble): (Tried, &Trouble)) {
        let attempt = Attempt { offset, number: tried.attempts };
        self.tell(tenure, parcel, attempt, (Progress::Failed, Some(trouble)));
    }

    /// A group passes over an event: as far as it goes that is done, without an attempt. To be said as [`Statuses::attempted`].
    pub fn passed(&self, tenure: &Arc<Tenure>, offset: i64, event_id: Box<str>) {
        self.add(tenure, event_id, status(tenure, Attempt { offset, number: 0 }, (Progress::Processed, None)));
    }

    fn tell(
        &self,
        tenure: &Arc<Tenure>,
        parcel: &Parcel,
        attempt: Attempt,
        (progress, trouble): (Progress, Option<&Trouble>),
    ) {
        if parcel.is_tracked {
            self.add(tenure, parcel.id.as_str().into(), status(tenure, attempt, (progress, trouble)));
        }
    }

    fn add(&self, tenure: &Arc<Tenure>, event_id: Box<str>, status: Status) {
        let mut waiting = self.waiting();
        if waiting.len() < MAX_WAITING {
            waiting.push(Waiting { tenure: Arc::clone(tenure), event_id, status });
        }
    }

    /// Notes what waits.
    ///
    /// # Errors
    /// The store may take it later: it waits on, before what came since.
    pub async fn note(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut due = std::mem::take(&mut *self.waiting());
        // Another one tells what becomes of these.
        due.retain(|status| !status.tenure.ended.is_cancelled());
        if due.is_empty() {
            return Ok(());
        }
        let Err(error) = store.note(&last_of_each(&due)).await else { return Ok(()) };
        if !error.is_retriable() {
            counted::store_failed();
            tracing::error!(%error, "what became of {} delivered events will not be told", due.len());
            return Ok(());
        }
        let mut waiting = self.waiting();
        due.append(&mut waiting);
        if due.len() > MAX_WAITING {
            tracing::warn!("what became of {} delivered events will not be told", due.len() - MAX_WAITING);
            due.truncate(MAX_WAITING);
        }
        *waiting = due;
        Err(error)
    }
}

/// The last status of each event in each group, as it is noted.
fn last_of_each(statuses: &[Waiting]) -> Noted {
    let mut last: HashMap<(&str, &str), &Waiting> = HashMap::with_capacity(statuses.len());
    for status in statuses {
        last.insert((&status.tenure.group, &status.event_id), status);
    }
    let noted = |one: &Waiting| {
        let group = Arc::clone(&one.tenure.group);
        (one.event_id.clone(), GroupStatus { group, status: one.status.clone() })
    };
    last.into_values().map(noted).collect()
}

fn status(tenure: &Tenure, attempt: Attempt, (progress, trouble): (Progress, Option<&Trouble>)) -> Status {
    let partition = &tenure.partition;
    Status {
        progress,
        attempts: attempt.number,
        topic: Arc::clone(&partition.topic),
        partition: partition.partition,
        offset: attempt.offset,
        at_ms: now_ms(),
        error: trouble.map(|trouble| tracked::told(&Reason::Undelivered(trouble.clone()))),
        dead_letter: (progress == Progress::Failed).then(|| dead_letter_topic(&partition.topic).into()),
    }
}

/// The first attempts of a request that are told of where they last long; further ones are of events that are RETRYING.
pub(super) fn first_of(batch: &[(Attempt, Arc<Parcel>)]) -> Vec<(Attempt, Arc<Parcel>)> {
    let is_told = |(attempt, parcel): &&(Attempt, Arc<Parcel>)| attempt.number == 1 && parcel.is_tracked;
    batch.iter().filter(is_told).cloned().collect()
}

/// The same flight, which tells of these where it lasts long.
pub(super) fn told<T: Send + 'static>(
    group: &Arc<Group>,
    tenure: &Arc<Tenure>,
    first: Vec<(Attempt, Arc<Parcel>)>,
    flight: BoxFuture<'static, T>,
) -> BoxFuture<'static, T> {
    if first.is_empty() {
        return flight;
    }
    let (group, tenure) = (Arc::clone(group), Arc::clone(tenure));
    async move {
        let mut flight = flight;
        tokio::select! {
            biased;
            landed = &mut flight => return landed,
            () = tokio::time::sleep(SLOW) => {}
        }
        let keeper = &group.shared.keeper;
        for (attempt, parcel) in first {
            keeper.statuses.tell(&tenure, &parcel, attempt, (Progress::Processing, None));
        }
        keeper.touch(&tenure);
        flight.await
    }
    .boxed()
}
