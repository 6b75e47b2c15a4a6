//! Whether an event is counted: so far that every read, by whomever, has it.
//!
//! That is where its offset lies below the checkpoints of all shards. This member's own tenures know theirs; of partitions
//! that others hold the stored ones are looked at, in one exchange for all who wait.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};

use super::{generation::Generations, tenure::Tenures};
use crate::{
    model::{StoredPosition, TopicPartition},
    store::{Store, StoreError},
};

/// Most that wait at a time; further ones are refused.
pub const MAX_WAITING: usize = 1_024;
/// Pause between two looks at the stored checkpoints, for all that wait together.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Longest rest on a partition of this member's own, which wakes at the end of each flush: it may have been handed over.
const OWN_REST: Duration = Duration::from_millis(250);

/// An event's place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Partition.
    pub partition: TopicPartition,
    /// Offset.
    pub offset: i64,
}

/// Why it was not waited for an event to the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// The time is over.
    #[error("{}:{} is not counted yet: its partition is counted {}", place.partition, place.offset, far(counted_to))]
    Late {
        /// The event.
        place: Place,
        /// The first offset that is not counted; `None` where nothing is.
        counted_to: Option<i64>,
    },
    /// Too many wait already.
    #[error("{MAX_WAITING} requests wait for events already; try again later")]
    Full,
    /// The store does not say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn far(counted_to: &Option<i64>) -> String {
    counted_to.map_or_else(|| "from its beginning only".to_owned(), |offset| format!("up to offset {offset}"))
}

/// Knows what is counted.
pub struct Counted {
    tenures: Arc<Tenures>,
    generations: Arc<Generations>,
    store: Arc<dyn Store>,
    places: Semaphore,
    /// How many wait for each partition that others hold.
    wanted: Mutex<BTreeMap<TopicPartition, usize>>,
    /// Held by the one that looks.
    seen: tokio::sync::Mutex<Seen>,
}

/// The last look.
#[derive(Default)]
struct Seen {
    at: Option<Instant>,
    counted_to: HashMap<TopicPartition, Option<i64>>,
}

impl Counted {
    /// What these tenures know, else what this store has.
    pub fn new(tenures: Arc<Tenures>, generations: Arc<Generations>, store: Arc<dyn Store>) -> Self {
        let (wanted, seen) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { tenures, generations, store, places: Semaphore::new(MAX_WAITING), wanted, seen }
    }

    /// Waits until the event is counted, for so long at most. With no time at all it says how things stand.
    ///
    /// # Errors
    /// See [`NotCounted`].
    pub async fn wait(&self, place: &Place, at_most: Duration) -> Result<(), NotCounted> {
        let _waiting = self.places.try_acquire().map_err(|_| NotCounted::Full)?;
        let until = Instant::now() + at_most;
        let mut wanted = None;
        loop {
            // Before the look, so that no flush ends unnoticed behind it.
            let flushed = self.generations.flush_ended();
            let own = self.tenures.alive_of(&place.partition);
            let (counted_to, rest) = match &own {
                Some(tenure) => (tenure.counted_to(), OWN_REST),
                None => {
                    wanted.get_or_insert_with(|| Wanted::new(self, &place.partition));
                    (self.look(&place.partition).await?, LOOK_EVERY)
                }
            };
            if counted_to.is_some_and(|counted_to| counted_to > place.offset) {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = flushed, if own.is_some() => {}
                () = sleep_until(until) => return Err(NotCounted::Late { place: place.clone(), counted_to }),
                () = sleep(rest) => {}
            }
        }
    }

    fn all_wanted(&self) -> Vec<TopicPartition> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// How far the store has counted a partition, as seen [`LOOK_EVERY`] ago at most.
    async fn look(&self, partition: &TopicPartition) -> Result<Option<i64>, StoreError> {
        let mut seen = self.seen.lock().await;
        let is_fresh = seen.at.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        match seen.counted_to.get(partition) {
            Some(counted_to) if is_fresh => Ok(*counted_to),
            _ => {
                let partitions = self.all_wanted();
                let positions = self.store.positions(&partitions).await?;
                let counted_to = positions.iter().map(|shards| counted_to(shards));
                *seen = Seen { at: Some(Instant::now()), counted_to: partitions.into_iter().zip(counted_to).collect() };
                Ok(seen.counted_to.get(partition).copied().flatten())
            }
        }
    }
}

/// The first offset that not all shards have counted.
fn counted_to(shards: &[StoredPosition]) -> Option<i64> {
    shards.iter().map(|shard| shard.checkpoint.map(|checkpoint| checkpoint.offset)).min().flatten()
}

/// A partition is looked at for as long as this lives.
struct Wanted<'c> {
    counted: &'c Counted,
    partition: TopicPartition,
}

impl<'c> Wanted<'c> {
    fn new(counted: &'c Counted, partition: &TopicPartition) -> Self {
        let mut wanted = counted.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *wanted.entry(partition.clone()).or_default() += 1;
        Self { counted, partition: partition.clone() }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        let mut wanted = self.counted.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = wanted.get_mut(&self.partition) {
            *waiting -= 1;
            if *waiting == 0 {
                wanted.remove(&self.partition);
            }
        }
    }
}
