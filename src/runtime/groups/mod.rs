//! The groups that read the log here: counting's, and those that events are delivered to. Who holds what, and how far each is
//! behind.
//!
//! All of it is read when it is asked for, from the store and the log, so that it is told alike by every member, also by one that
//! takes no part.

mod lag;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::try_join_all;
use tokio::sync::Mutex;

pub use self::lag::{Lag, Standing};
use super::delivery;
use crate::{
    catalog::nearest,
    log::{Log, LogError},
    model::Roster,
    store::{Store, StoreError},
};

/// How long one look at the log may take.
pub const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What a group reads the log for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It counts.
    Counting,
    /// Events are delivered to its service.
    Delivery,
}

impl Kind {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Delivery => "delivery",
        }
    }
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What for.
    pub kind: Kind,
    /// Its topics.
    pub topics: Vec<Arc<str>>,
    /// The only partitions that are its own, of topics that are named here (`PARTITIONS`).
    pub only: BTreeMap<String, Vec<i32>>,
}

impl Group {
    /// The name of its roster in the store.
    fn roster(&self) -> String {
        match self.kind {
            Kind::Counting => self.name.clone(),
            Kind::Delivery => delivery::roster_name(&self.name),
        }
    }
}

/// Why it is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// No such group is configured.
    #[error("no group {group:?} is configured here{}", .nearest.as_ref().map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        group: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log takes too long.
    #[error("the log did not say within {} s where partitions end", LOOK_WITHIN.as_secs())]
    Slow,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A position is of another version, or not ours.
    #[error(
        "the store's document {0} is no position of a delivery: it was written by something else, or by a later version"
    )]
    Corrupt(String),
}

/// Tells of groups.
pub struct Groups {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    groups: Vec<Group>,
    /// Held by the one that looks at the log, which is asked for one offset of a partition at a time.
    turn: Mutex<()>,
}

impl Groups {
    /// These groups. The log is read at places of its own, so it must be a client that nobody else reads through.
    pub fn new(log: Arc<dyn Log>, store: Arc<dyn Store>, groups: Vec<Group>) -> Self {
        Self { log, store, groups, turn: Mutex::default() }
    }

    /// A group.
    ///
    /// # Errors
    /// There is none of this name: with the nearest.
    pub fn group(&self, name: &str) -> Result<&Group, GroupError> {
        let known = || self.groups.iter().map(|group| &*group.name);
        self.groups.iter().find(|group| group.name == name).ok_or_else(|| GroupError::Unknown {
            group: name.to_owned(),
            nearest: nearest(name, known()).map(str::to_owned),
        })
    }

    /// All groups, with who is in them and who holds what: one look at the store for each.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn members(&self) -> Result<Vec<(&Group, Roster)>, GroupError> {
        let look = |group| async move { Ok((group, self.roster(group).await?)) };
        try_join_all(self.groups.iter().map(look)).await
    }

    async fn roster(&self, group: &Group) -> Result<Roster, StoreError> {
        self.store.roster(&group.roster()).await
    }
}
