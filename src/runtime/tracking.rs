//! What became of an event, by its id: the statuses that its groups wrote, and before that the mark that it was published under.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::publish::mark_name;
use crate::{
    catalog::plan::Catalog,
    core::{
        backoff::Backoff,
        mark::{Mark, State},
    },
    model::{Answer, GroupStatus, Progress, Query, Status},
    store::{Store, StoreError},
};

/// Most that wait at a time; further ones are refused.
pub const MAX_WAITING: usize = 1_024;
/// Pause between two looks of one that waits, at first; it doubles.
const LOOK_FIRST: Duration = Duration::from_millis(20);
/// Longest such pause.
const LOOK_LAST: Duration = Duration::from_millis(250);

/// What is known of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// The least finished of its groups, of all that have events of its topic; `None` where nothing is known.
    pub progress: Option<Progress>,
    /// By group, also of those that have not begun.
    pub groups: Vec<(Arc<str>, Option<Status>)>,
    /// Its topic.
    pub topic: Option<Arc<str>>,
    /// Its partition and offset, once the broker has it.
    pub place: Option<(i32, i64)>,
    /// When the newest of this came to be, milliseconds since 1970.
    pub updated_at_ms: Option<i64>,
}

/// Why it is not said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackingError {
    /// Too many wait already.
    #[error("{MAX_WAITING} requests wait for events already; try again later")]
    Full,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tells what became of events.
pub struct Tracking {
    catalog: Arc<Catalog>,
    store: Arc<dyn Store>,
    /// Counting's group, which every tracked topic has.
    group: Arc<str>,
    /// Further groups, by the topics that they are delivered.
    delivered: HashMap<Arc<str>, Vec<Arc<str>>>,
    places: Semaphore,
}

impl Tracking {
    /// Of the events in this store, which `group` counts.
    pub fn new(catalog: Arc<Catalog>, store: Arc<dyn Store>, group: &str) -> Self {
        let (group, delivered) = (group.into(), HashMap::new());
        Self { catalog, store, group, delivered, places: Semaphore::new(MAX_WAITING) }
    }

    /// A further group that events of a topic are delivered to: they are finished when they are finished there too. What it passes
    /// over it says itself.
    pub fn deliver(&mut self, group: &str, topic: &Arc<str>) {
        self.delivered.entry(Arc::clone(topic)).or_default().push(group.into());
    }

    /// The groups that have events of a tracked topic.
    fn groups_of(&self, topic: &str) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.group).chain(self.delivered.get(topic).into_iter().flatten())
    }

    /// What became of an event, in one group where that is named: one exchange with the store.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn look(&self, event_id: &str, group: Option<&str>) -> Result<Tracked, StoreError> {
        let query = Query::Status { event_id: event_id.to_owned(), mark: mark_name(event_id) };
        match self.store.read(&[query]).await?.pop() {
            Some(Answer::Status { groups, mark }) => {
                Ok(self.tell(groups, mark.as_deref().and_then(Mark::parse), group))
            }
            _ => Ok(Tracked::default()),
        }
    }

    /// The same, once nothing more will happen by itself or the time is over.
    ///
    /// # Errors
    /// See [`TrackingError`].
    pub async fn wait(&self, event_id: &str, group: Option<&str>, at_most: Duration) -> Result<Tracked, TrackingError> {
        let _waiting = self.places.try_acquire().map_err(|_| TrackingError::Full)?;
        let until = Instant::now() + at_most;
        let mut pauses = Backoff::new(LOOK_FIRST, LOOK_LAST);
        loop {
            let tracked = self.look(event_id, group).await?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || tracked.progress.is_some_and(Progress::is_final) {
                return Ok(tracked);
            }
            sleep(pauses.next().min(left)).await;
        }
    }

    fn tell(&self, found: Vec<GroupStatus>, mark: Option<Mark>, wanted: Option<&str>) -> Tracked {
        let marked = mark.as_ref().and_then(|mark| match mark.state {
            State::Stored { partition, offset } => Some((partition, offset)),
            State::InFlight { .. } | State::Open => None,
        });
        // An id that was published again, long after, is another event.
        let is_of_before = |status: &Status| {
            let place = Some((status.partition, status.offset));
            mark.as_ref().is_some_and(|mark| mark.at_ms > status.at_ms && marked != place)
        };
        let mut groups: Vec<(Arc<str>, Option<Status>)> = found
            .into_iter()
            .map(|found| (found.group, Some(found.status).filter(|status| !is_of_before(status))))
            .collect();
        let newest = groups.iter().filter_map(|(_, status)| status.as_ref()).max_by_key(|status| status.at_ms).cloned();
        let topic = newest.as_ref().map(|status| Arc::clone(&status.topic));
        let topic = topic.or_else(|| Some(mark.as_ref()?.topic.as_str().into()));
        let tracked = topic.as_deref().and_then(|topic| self.catalog.topic(topic)).filter(|topic| topic.track);
        let is_tracked = tracked.is_some();
        for group in tracked.into_iter().flat_map(|topic| self.groups_of(&topic.name)) {
            if !groups.iter().any(|(known, _)| known == group) {
                groups.push((Arc::clone(group), None));
            }
        }
        groups.retain(|(group, status)| {
            wanted.is_none_or(|wanted| **group == *wanted) && (is_tracked || status.is_some())
        });
        let progress = |(_, status): &(_, Option<Status>)| status.as_ref().map_or(Progress::Pending, |it| it.progress);
        Tracked {
            progress: groups.iter().map(progress).min(),
            groups,
            place: newest.as_ref().map(|status| (status.partition, status.offset)).or(marked),
            updated_at_ms: newest.map(|status| status.at_ms).or(mark.map(|mark| mark.at_ms)),
            topic,
        }
    }
}
