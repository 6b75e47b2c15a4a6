//! Changes of counters, as they are flushed, for whoever follows them.
//!
//! A subscription looks when it is asked for the next change, and knows only what it told last: values are absolute, so whoever
//! takes them slowly gets fewer and newer ones, and nothing queues up. This member's own flushes wake those that follow keys;
//! what other members flush is seen at the next look.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{
    generation::Generations,
    reads::{ReadError, Reads},
};

/// Most subscriptions at a time; further ones are refused.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// Most counters of one subscription.
pub const MAX_COUNTERS: usize = 1_000;
/// Rest between two looks at keys, unless a flush ends before.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Shortest rest, however often flushes end.
const REST: Duration = Duration::from_millis(50);
/// Rest between two looks at a prefix: each of them goes over all counters.
const SCAN_EVERY: Duration = Duration::from_secs(2);
/// Names that a page of such a look goes over.
const PAGE: usize = 1_000;
/// Pages of one look: a store with more names is not followed by prefix.
const MAX_PAGES: usize = 100;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// These counters.
    Keys(Vec<String>),
    /// Those whose names begin so.
    Prefix(String),
}

/// A counter that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub key: String,
    /// What is stored; `None` where it was removed.
    pub value: Option<i64>,
}

/// Why nothing is followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// Too many follow already.
    #[error("{MAX_SUBSCRIPTIONS} streams are open already; try again later")]
    Full,
    /// The prefix stands for too much.
    #[error("{0}; name the counters by key, or give a longer prefix")]
    TooMuch(String),
    /// The counters cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Lets changes be followed.
pub struct Changes {
    reads: Arc<Reads>,
    generations: Arc<Generations>,
    places: Arc<Semaphore>,
}

/// The stored counters by name.
type Values = BTreeMap<String, i64>;

/// Somebody that follows changes.
pub struct Subscription {
    changes: Arc<Changes>,
    subject: Subject,
    /// What was told, or is known to who resumes.
    known: Values,
    /// Read, and not told yet.
    next: Option<Values>,
    _place: OwnedSemaphorePermit,
}

impl Changes {
    /// Of the counters that `reads` has; `generations` tell of this member's flushes.
    pub fn new(reads: Arc<Reads>, generations: Arc<Generations>) -> Arc<Self> {
        Arc::new(Self { reads, generations, places: Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS)) })
    }

    /// Begins with all counters that exist now; with nothing where `seen` names this very state.
    ///
    /// # Errors
    /// See [`ChangesError`].
    pub async fn subscribe(
        self: &Arc<Self>,
        subject: Subject,
        seen: Option<&str>,
    ) -> Result<Subscription, ChangesError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| ChangesError::Full)?;
        let now = self.read(&subject).await?;
        let (known, next) = match seen {
            Some(seen) if seen == digest(&now) => (now, None),
            _ => (Values::new(), Some(now)),
        };
        Ok(Subscription { changes: Arc::clone(self), subject, known, next, _place: place })
    }

    async fn read(&self, subject: &Subject) -> Result<Values, ChangesError> {
        match subject {
            Subject::Keys(keys) => {
                let counters = self.reads.counters(keys.clone()).await?;
                let stored = counters.into_iter().filter(|counter| counter.exists);
                Ok(stored.map(|counter| (counter.key, counter.stored)).collect())
            }
            Subject::Prefix(prefix) => self.scan(prefix).await,
        }
    }

    async fn scan(&self, prefix: &str) -> Result<Values, ChangesError> {
        let (mut values, mut cursor) = (Values::new(), String::new());
        for _ in 0..MAX_PAGES {
            let (counters, next) = self.reads.counters_by_prefix(prefix, &cursor, PAGE).await?;
            values.extend(counters.into_iter().map(|counter| (counter.key, counter.stored)));
            if values.len() > MAX_COUNTERS {
                let what = format!("more than {MAX_COUNTERS} counters begin with {prefix:?}");
                return Err(ChangesError::TooMuch(what));
            }
            match next {
                Some(next) => cursor = next,
                None => return Ok(values),
            }
        }
        Err(ChangesError::TooMuch(format!("the store has more than {} counters", MAX_PAGES * PAGE)))
    }
}

impl Subscription {
    /// Waits for the next changes, and says what names the state after them. A store that does not answer is waited for.
    ///
    /// # Errors
    /// The prefix stands for too much by now.
    pub async fn next(&mut self) -> Result<(String, Vec<Change>), ChangesError> {
        loop {
            let flushed = self.changes.generations.flush_ended();
            let now = match self.next.take() {
                Some(now) => Ok(now),
                None => self.changes.read(&self.subject).await,
            };
            match now {
                Ok(now) => {
                    let changes = changes(&self.known, &now);
                    self.known = now;
                    if !changes.is_empty() {
                        return Ok((digest(&self.known), changes));
                    }
                }
                Err(ChangesError::Read(error)) => tracing::debug!(%error, "changes are looked for again"),
                Err(error) => return Err(error),
            }
            match &self.subject {
                Subject::Prefix(_) => sleep(SCAN_EVERY).await,
                Subject::Keys(_) => {
                    sleep(REST).await;
                    // Not before the rest has passed, and at once where a flush has ended meanwhile.
                    tokio::select! {
                        () = flushed => {}
                        () = sleep(LOOK_EVERY - REST) => {}
                    }
                }
            }
        }
    }
}

fn changes(before: &Values, now: &Values) -> Vec<Change> {
    let gone = before.keys().filter(|key| !now.contains_key(*key)).map(|key| Change { key: key.clone(), value: None });
    let other = now.iter().filter(|(key, value)| before.get(*key) != Some(value));
    other.map(|(key, value)| Change { key: key.clone(), value: Some(*value) }).chain(gone).collect()
}

/// Names a state: the same for the same counters and values, through whatever member.
fn digest(values: &Values) -> String {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for (key, value) in values {
        hash.update(&(key.len() as u64).to_le_bytes());
        hash.update(key.as_bytes());
        hash.update(&value.to_le_bytes());
    }
    format!("{:032x}", hash.digest128())
}
