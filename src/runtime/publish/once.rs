//! Publishing under an id: one record, however often and by however many members it is asked for.
//!
//! Before a record is sent its [`Mark`] is set in flight by compare-and-set, so one attempt of all sends it; afterwards the
//! mark says what became of it. A load needs two exchanges with the store, whatever its number of events.
//!
//! What goes on in here does not end with the request that began it: a caller that loses patience and asks again must find
//! out what its first request came to.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{NotStored, PublishError, Receipt, Sender, batch::Load};
use crate::{
    core::{
        backoff::Backoff,
        mark::{Content, Mark, State, Verdict},
    },
    model::{Swap, SwapOutcome},
    store::{Store, StoreError},
};

/// How long an event that was published under an id is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Bytes of records that are published under ids at a time; what goes beyond it is refused.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// How often the store is asked, or told, before that is given up.
const MAX_TRIES: usize = 3;
/// How often marks that change while they are looked at are looked at again.
const MAX_LOOKS: usize = 4;

type Results = Vec<Option<Result<Receipt, NotStored>>>;

/// An event of a load that is published under an id.
pub(super) struct Marked {
    /// Place in the load.
    pub(super) place: usize,
    /// Name of its mark.
    pub(super) name: String,
    /// What is published.
    pub(super) content: Content,
    pub(super) event_id: String,
    pub(super) topic: Arc<str>,
}

/// Publishes loads with marks.
pub(super) struct Once {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    /// A permit is a byte.
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

struct Shared {
    store: Arc<dyn Store>,
    sender: Arc<dyn Sender>,
    /// How long a mark is in flight, if nobody says what became of it.
    flight: Duration,
}

impl Once {
    /// `flight` must be longer than it can take until an event's outcome is known.
    pub(super) fn new(store: Arc<dyn Store>, sender: Arc<dyn Sender>, flight: Duration) -> Self {
        let room = Arc::new(Semaphore::new(MAX_BYTES));
        let shared = Arc::new(Shared { store, sender, flight });
        Self { shared, tasks: TaskTracker::new(), room, stop: CancellationToken::new() }
    }

    /// What is under way.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Publishes a load, to the end also where nobody waits for it any more.
    pub(super) async fn publish(&self, load: Load) -> Results {
        // More than the whole room takes all of it.
        let permits = u32::try_from(load.size_bytes().clamp(1, MAX_BYTES)).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(permits) else {
            return refuse(&load, |_| PublishError::Full);
        };
        let failed = refuse(&load, |_| PublishError::Unavailable("publishing was broken off".to_owned()));
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        let task = self.tasks.spawn(async move {
            let _room = room;
            stop.run_until_cancelled(shared.publish(load)).await
        });
        task.await.ok().flatten().unwrap_or(failed)
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The same error for each event of a load.
fn refuse(load: &Load, error: impl Fn(&Arc<str>) -> PublishError) -> Results {
    load.topics().into_iter().map(|topic| Some(Err(NotStored { error: error(&topic), topic }))).collect()
}

/// What becomes of a marked event.
enum Fate {
    /// It is sent, under this mark.
    Send(Vec<u8>),
    /// It is as another one of the load, at this place among the marked.
    Twin(usize),
    /// It is answered without being sent.
    Told(Result<Receipt, NotStored>),
}

impl Shared {
    async fn publish(&self, mut load: Load) -> Results {
        let (began, marked) = (Instant::now(), std::mem::take(&mut load.marked));
        let mut fates = self.claim(&marked).await;
        // A process that slept in between must not send under a mark that is another one's by now.
        if began.elapsed() > self.flight / 2 {
            let late = || PublishError::Store("the store took too long; nothing was sent".to_owned());
            for (fate, Marked { topic, .. }) in fates.iter_mut().zip(&marked) {
                *fate = Fate::Told(Err(NotStored { topic: topic.clone(), error: late() }));
            }
        }
        let by_place: HashMap<usize, usize> = marked.iter().map(|marked| marked.place).zip(0..).collect();
        load.retain(|place| by_place.get(&place).is_none_or(|at| matches!(fates[*at], Fate::Send(_))));
        let mut results = load.send(&*self.sender).await;
        self.settle(&marked, &fates, &results).await;
        for (at, fate) in fates.into_iter().enumerate() {
            if let Fate::Told(told) = fate {
                results[marked[at].place] = Some(told);
            } else if let Fate::Twin(first) = fate {
                let told = results[marked[first].place].clone();
                let again = |receipt| Receipt { is_duplicate: true, ..receipt };
                results[marked[at].place] = told.map(|told| told.map(again));
            }
        }
        results
    }

    /// Sets the marks in flight, all in one exchange; again those that may be replaced, or have gone meanwhile.
    async fn claim(&self, marked: &[Marked]) -> Vec<Fate> {
        let attempt = uuid::Uuid::new_v4().to_string();
        let at_ms = chrono::Utc::now().timestamp_millis();
        let mut fates: Vec<Option<Fate>> = twins(marked);
        let mut wanted: Vec<(usize, Option<Vec<u8>>)> =
            (0..marked.len()).filter(|at| fates[*at].is_none()).map(|at| (at, None)).collect();
        for _ in 0..MAX_LOOKS {
            if wanted.is_empty() {
                break;
            }
            let flights: Vec<Vec<u8>> = wanted
                .iter()
                .map(|(at, _)| {
                    let Marked { content, event_id, topic, .. } = &marked[*at];
                    let state = State::InFlight { attempt: attempt.clone() };
                    Mark::new(*content, event_id, topic, at_ms, state).to_bytes()
                })
                .collect();
            let swaps = wanted.iter().zip(&flights).map(|((at, expect), flight)| Swap {
                name: marked[*at].name.clone(),
                expect: expect.clone(),
                next: Some(flight.clone()),
                ttl_ms: Some(millis(self.flight)),
            });
            let outcomes = match self.swap(&swaps.collect::<Vec<_>>()).await {
                Ok(outcomes) => outcomes,
                Err(error) => {
                    let told = |topic: &Arc<str>| store_failed(topic, &error.to_string());
                    wanted.drain(..).for_each(|(at, _)| fates[at] = Some(told(&marked[at].topic)));
                    break;
                }
            };
            let mut again = Vec::new();
            for (((at, _), flight), outcome) in wanted.into_iter().zip(flights).zip(outcomes) {
                match look(&marked[at], outcome, &attempt) {
                    Look::Own => fates[at] = Some(Fate::Send(flight)),
                    Look::Again(expect) => again.push((at, expect)),
                    Look::Told(told) => fates[at] = Some(Fate::Told(told)),
                }
            }
            wanted = again;
        }
        let unsettled = |topic| store_failed(topic, "the mark of this id kept changing");
        fates.into_iter().zip(marked).map(|(fate, marked)| fate.unwrap_or_else(|| unsettled(&marked.topic))).collect()
    }

    /// Says in the marks what became of the events. Where the store does not take that, a repetition is told for a while that
    /// the event is in flight, and sends it again then.
    async fn settle(&self, marked: &[Marked], fates: &[Fate], results: &Results) {
        let at_ms = chrono::Utc::now().timestamp_millis();
        let mut swaps = Vec::new();
        for (marked, fate) in marked.iter().zip(fates) {
            let (Fate::Send(flight), Some(result)) = (fate, &results[marked.place]) else { continue };
            let state = match result {
                Ok(Receipt { partition, offset, .. }) => Some(State::Stored { partition: *partition, offset: *offset }),
                Err(NotStored { error: PublishError::Unconfirmed(_), .. }) => Some(State::Open),
                // Nothing was stored, and other content under this id may well be what mends it.
                Err(_) => None,
            };
            let Marked { name, content, event_id, topic, .. } = marked;
            let next = state.map(|state| Mark::new(*content, event_id, topic, at_ms, state).to_bytes());
            let ttl_ms = Some(millis(REMEMBERED));
            swaps.push(Swap { name: name.clone(), expect: Some(flight.clone()), next, ttl_ms });
        }
        if swaps.is_empty() {
            return;
        }
        match self.swap(&swaps).await {
            Ok(outcomes) => {
                // After a lost answer the mark may say so already. A mark that is another one's by now is left to it.
                let is_lost = |(swap, outcome): &(&Swap, SwapOutcome)| match outcome {
                    SwapOutcome::Swapped => false,
                    SwapOutcome::Differs(stored) => *stored != swap.next,
                };
                let lost = swaps.iter().zip(outcomes).filter(is_lost).count();
                if lost > 0 {
                    tracing::warn!(lost, "marks of published events had expired before the broker answered");
                }
            }
            Err(error) => tracing::warn!(%error, events = swaps.len(),
                "what became of published events is not marked: who repeats one is told for a while that it is in flight"),
        }
    }

    /// Asks again where no answer came: what was done by then is known by its content.
    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        let mut backoff = Backoff::store();
        for _ in 1..MAX_TRIES {
            match self.store.swap(swaps).await {
                Err(error) if error.is_retriable() => tokio::time::sleep(backoff.next()).await,
                ended => return ended,
            }
        }
        self.store.swap(swaps).await
    }
}

/// Events of one load under the same id: the first of them is sent.
fn twins(marked: &[Marked]) -> Vec<Option<Fate>> {
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(marked.len());
    let twin = |(at, marked_here): (usize, &'_ Marked), first: usize| match marked[first].content {
        content if content == marked_here.content => Fate::Twin(first),
        _ => Fate::Told(Err(other_content(&marked[at]))),
    };
    let mut fates = Vec::with_capacity(marked.len());
    for (at, here) in marked.iter().enumerate() {
        let known = *first.entry(&here.name).or_insert(at);
        fates.push((known != at).then(|| twin((at, here), known)));
    }
    fates
}

/// What the store's answer means to a marked event.
enum Look {
    Own,
    /// Expect this, and try again.
    Again(Option<Vec<u8>>),
    Told(Result<Receipt, NotStored>),
}

fn look(marked: &Marked, outcome: SwapOutcome, attempt: &str) -> Look {
    let SwapOutcome::Differs(stored) = outcome else { return Look::Own };
    let Some(bytes) = stored else { return Look::Again(None) };
    let topic = marked.topic.clone();
    let Some(mark) = Mark::parse(&bytes) else {
        let error = PublishError::Store(format!("what is stored as {:?} is no mark of an event", marked.name));
        return Look::Told(Err(NotStored { topic, error }));
    };
    match mark.judge(marked.content, attempt) {
        Verdict::Own => Look::Own,
        Verdict::Replace => Look::Again(Some(bytes)),
        Verdict::InFlight => {
            Look::Told(Err(NotStored { topic, error: PublishError::InFlight { event_id: mark.event_id } }))
        }
        Verdict::OtherContent => Look::Told(Err(other_content(marked))),
        Verdict::Stored { partition, offset } => {
            Look::Told(Ok(Receipt { event_id: mark.event_id, topic, partition, offset, is_duplicate: true }))
        }
    }
}

fn other_content(marked: &Marked) -> NotStored {
    let error = PublishError::OtherContent { event_id: marked.event_id.clone() };
    NotStored { topic: marked.topic.clone(), error }
}

fn store_failed(topic: &Arc<str>, reason: &str) -> Fate {
    Fate::Told(Err(NotStored { topic: topic.clone(), error: PublishError::Store(reason.to_owned()) }))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
