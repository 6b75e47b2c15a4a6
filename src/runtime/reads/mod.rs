//! Reading results: what the store has, plus what this process has counted and not yet flushed.

mod names;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    catalog::plan::Catalog,
    core::time,
    model::{Answer, Query, RecentItem, TopItem},
    store::{Store, StoreError},
};

/// How often a counter is read again because a flush began meanwhile. A read takes about a millisecond and a flush begins
/// every FLUSH_INTERVAL_MS at most, so a second try is rare and this many in a row mean that something is wrong.
pub const MAX_READ_TRIES: usize = 16;

/// What this process holds unflushed of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingValue {
    /// To be added to what is stored.
    Sum(i64),
    /// The highest value seen since the last flush.
    Highest(i64),
}

/// What this process holds unflushed, and which flush it stands at.
///
/// The flush number moves when a flush begins, before anything of it is sent. So two equal numbers around a read, the first
/// from [`PendingCounters::settled`], mean that no flush was being applied in between (EXACTLY_ONCE, "Sections").
#[async_trait]
pub trait PendingCounters: Send + Sync + 'static {
    /// Waits until no flush is being applied, and returns the flush number.
    async fn settled(&self) -> u64;

    /// The flush number now.
    fn flush_number(&self) -> u64;

    /// What is held of a counter, summed over the living tenures; `None` where nothing is. A counter that members move and
    /// one that keeps the last value have no pending part.
    fn pending(&self, name: &str) -> Option<PendingValue>;
}

/// Why results could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Flushes kept beginning while the counter was read.
    #[error("the counters were flushed {MAX_READ_TRIES} times while they were read; try again")]
    Unsettled,
    /// The question makes no sense for this key; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// No rule makes such a ranking.
    #[error("no rule of the catalogue makes the ranking {key:?}{}", nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    UnknownRanking {
        /// The key asked for.
        key: String,
        /// The ranking's template most like it.
        nearest: Option<String>,
    },
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterValue {
    /// Its name.
    pub key: String,
    /// Stored and pending together.
    pub value: i64,
    /// What the store has; 0 where it has nothing.
    pub stored: i64,
    /// What this process holds unflushed; 0 where it holds nothing.
    pub pending: i64,
    /// Whether it was ever counted.
    pub exists: bool,
}

/// A unique's estimate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueValue {
    /// The estimate; `None` where nothing was ever seen.
    pub value: Option<u64>,
    /// The day, where the key is counted by day.
    pub day: Option<String>,
}

/// A ranking's window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranking {
    /// The window's label: `1h`.
    pub window: String,
    /// When it begins, milliseconds since 1970.
    pub start_ms: i64,
    /// Greatest first.
    pub items: Vec<TopItem>,
}

/// A page of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersPage {
    /// Elements.
    pub members: Vec<String>,
    /// Where the next page begins; `None` at the end.
    pub cursor: Option<String>,
}

/// Reads results.
pub struct Reads {
    catalog: Arc<Catalog>,
    store: Arc<dyn Store>,
    pending: Arc<dyn PendingCounters>,
}

impl Reads {
    /// Reads from `store`, adding what `pending` holds.
    pub fn new(catalog: Arc<Catalog>, store: Arc<dyn Store>, pending: Arc<dyn PendingCounters>) -> Self {
        Self { catalog, store, pending }
    }

    /// Counters by name, all as of one moment between two flushes, so that nothing is seen twice or not at all: where a
    /// flush began meanwhile they are read again. One value per key, in order.
    ///
    /// # Errors
    /// [`ReadError::Store`], [`ReadError::Unsettled`].
    pub async fn counters(&self, keys: Vec<String>) -> Result<Vec<CounterValue>, ReadError> {
        let queries: Vec<Query> = keys.iter().cloned().map(Query::Counter).collect();
        for _ in 0..MAX_READ_TRIES {
            let number = self.pending.settled().await;
            let pending: Vec<_> = keys.iter().map(|key| self.pending.pending(key)).collect();
            let answers = self.store.read(&queries).await?;
            if self.pending.flush_number() != number {
                continue;
            }
            let values = keys.into_iter().zip(answers).zip(pending).map(|((key, answer), pending)| match answer {
                Answer::Counter(stored) => Ok(add(key, stored, pending)),
                _ => Err(mismatch(&key)),
            });
            return values.collect();
        }
        Err(ReadError::Unsettled)
    }

    /// A page of the stored counters whose names begin with `prefix`: about `limit` names are looked at. A counter appears
    /// here with its first flush.
    ///
    /// # Errors
    /// [`ReadError::Store`], [`ReadError::Unsettled`].
    pub async fn counters_by_prefix(
        &self,
        prefix: &str,
        cursor: &str,
        limit: usize,
    ) -> Result<(Vec<CounterValue>, Option<String>), ReadError> {
        for _ in 0..MAX_READ_TRIES {
            let number = self.pending.settled().await;
            let page = self.store.scan(prefix, cursor, limit).await?;
            let pending: Vec<_> = page.counters.iter().map(|(key, _)| self.pending.pending(key)).collect();
            if self.pending.flush_number() == number {
                let counters = page.counters.into_iter().zip(pending);
                let counters = counters.map(|((key, stored), pending)| add(key, Some(stored), pending));
                return Ok((counters.collect(), page.cursor));
            }
        }
        Err(ReadError::Unsettled)
    }

    /// The estimate of a unique. Whether the key is one by day or for ever says the rule whose template it fits; a key that
    /// no rule makes is taken by day where a `day` is given. `today` is the day of a key by day where none is given.
    ///
    /// # Errors
    /// [`ReadError::Store`]; [`ReadError::Invalid`] where a day is asked of a key that has none.
    pub async fn unique(&self, key: &str, day: Option<String>, today: &str) -> Result<UniqueValue, ReadError> {
        let day = match (names::unique_per_day(&self.catalog, key), day) {
            (Some(true), day) => Some(day.unwrap_or_else(|| today.to_owned())),
            (Some(false), Some(_)) => {
                return Err(ReadError::Invalid(format!("{key:?} is counted for ever, not by day: leave day out")));
            }
            (Some(false), None) => None,
            (None, day) => day,
        };
        let name = day.as_ref().map_or_else(|| key.to_owned(), |day| format!("{key}:{day}"));
        match self.ask(Query::Unique(name)).await? {
            Answer::Unique(value) => Ok(UniqueValue { value, day }),
            _ => Err(mismatch(key)),
        }
    }

    /// The newest elements of a history, newest first.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub async fn history(&self, key: &str, limit: usize) -> Result<Vec<RecentItem>, ReadError> {
        match self.ask(Query::Recent { key: key.to_owned(), limit }).await? {
            Answer::Recent(items) => Ok(items),
            _ => Err(mismatch(key)),
        }
    }

    /// Whether a set exists, and whether an element is in it.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub async fn is_member(&self, key: &str, element: &str) -> Result<(bool, bool), ReadError> {
        match self.ask(Query::IsMember { key: key.to_owned(), element: element.to_owned() }).await? {
            Answer::IsMember { exists, member } => Ok((exists, member)),
            _ => Err(mismatch(key)),
        }
    }

    /// A page of a set's elements.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub async fn members(&self, key: &str, cursor: &str, limit: usize) -> Result<MembersPage, ReadError> {
        match self.ask(Query::Members { key: key.to_owned(), cursor: cursor.to_owned(), limit }).await? {
            Answer::Members { elements, cursor } => Ok(MembersPage { members: elements, cursor }),
            _ => Err(mismatch(key)),
        }
    }

    /// The greatest sums of the window that `at_ms` falls into; the ranking's first window where none is named.
    ///
    /// # Errors
    /// [`ReadError::Store`]; [`ReadError::UnknownRanking`]; [`ReadError::Invalid`] where the ranking has no such window.
    pub async fn ranking(
        &self,
        key: &str,
        window: Option<&str>,
        at_ms: i64,
        limit: usize,
    ) -> Result<Ranking, ReadError> {
        let windows = names::windows(&self.catalog, key).ok_or_else(|| ReadError::UnknownRanking {
            key: key.to_owned(),
            nearest: names::nearest_ranking(&self.catalog, key),
        })?;
        let found = match window {
            Some(label) => windows.iter().find(|one| &*one.label == label),
            None => windows.first(),
        };
        let Some(found) = found else {
            let labels: Vec<&str> = windows.iter().map(|one| &*one.label).collect();
            let asked = window.unwrap_or_default();
            return Err(ReadError::Invalid(format!("{key:?} has no window {asked:?}; it has {}", labels.join(", "))));
        };
        let start_ms = time::window_start(at_ms, found.length_ms);
        let mut name = key.to_owned();
        time::push_window(&mut name, &found.label, found.length_ms, start_ms);
        match self.ask(Query::Top { key: name, limit }).await? {
            Answer::Top(items) => Ok(Ranking { window: found.label.to_string(), start_ms, items }),
            _ => Err(mismatch(key)),
        }
    }

    async fn ask(&self, query: Query) -> Result<Answer, ReadError> {
        match self.store.read(std::slice::from_ref(&query)).await {
            Ok(mut answers) => answers.pop().ok_or_else(|| mismatch("the key")),
            // Whoever counts says so loudly; who reads asks for something that is not there.
            Err(StoreError::OtherKind { doing, reason }) => {
                tracing::debug!("{doing}: {reason}");
                Ok(nothing(&query))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The answer where nothing is stored.
fn nothing(query: &Query) -> Answer {
    match query {
        Query::Counter(_) => Answer::Counter(None),
        Query::Unique(_) => Answer::Unique(None),
        Query::Recent { .. } => Answer::Recent(Vec::new()),
        Query::Top { .. } => Answer::Top(Vec::new()),
        Query::IsMember { .. } => Answer::IsMember { exists: false, member: false },
        Query::Status { .. } => Answer::Status { groups: Vec::new(), mark: None },
        Query::Members { .. } => Answer::Members { elements: Vec::new(), cursor: None },
    }
}

fn add(key: String, stored: Option<i64>, pending: Option<PendingValue>) -> CounterValue {
    let (value, held) = match (stored, pending) {
        (stored, None) => (stored.unwrap_or(0), 0),
        (stored, Some(PendingValue::Sum(sum))) => (stored.unwrap_or(0).saturating_add(sum), sum),
        (stored, Some(PendingValue::Highest(highest))) => (stored.map_or(highest, |s| s.max(highest)), highest),
    };
    let exists = stored.is_some() || pending.is_some();
    CounterValue { key, value, stored: stored.unwrap_or(0), pending: held, exists }
}

/// A store that answers another question than it was asked.
fn mismatch(key: &str) -> ReadError {
    let doing = format!("reading {key}");
    ReadError::Store(StoreError::Corrupt { doing, reason: "the store answered with another kind of value".to_owned() })
}
