//! Reads of results.

use super::GroupStatus;

/// One question to a store. Names are full names without prefix, windows and days included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// A field of `counters:aggregated` (count, max, last, counters that members move).
    Counter(String),
    /// The estimate of a unique.
    Unique(String),
    /// The newest elements, at most `limit`.
    Recent {
        /// Key.
        key: String,
        /// Most items to return.
        limit: usize,
    },
    /// The highest sums of a window, at most `limit`, greatest first, ties by element.
    Top {
        /// Key of the window.
        key: String,
        /// Most items to return.
        limit: usize,
    },
    /// Whether an element is in a set.
    IsMember {
        /// Key.
        key: String,
        /// Element.
        element: String,
    },
    /// What became of an event: its statuses by group, and the mark that it was published under.
    Status {
        /// The event's id.
        event_id: String,
        /// Name of the document of its mark.
        mark: String,
    },
    /// A page of a set's elements.
    Members {
        /// Key.
        key: String,
        /// Where the former page ended; empty at first. Opaque to the caller.
        cursor: String,
        /// Most items to aim for; a page may hold a few more or fewer.
        limit: usize,
    },
}

/// The answer to a [`Query`], of the same kind. `None` and empty mean that the key does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The stored number.
    Counter(Option<i64>),
    /// The estimate.
    Unique(Option<u64>),
    /// Newest first.
    Recent(Vec<RecentItem>),
    /// Greatest first.
    Top(Vec<TopItem>),
    /// Whether the set exists, and whether the element is in it.
    IsMember {
        /// The set has elements.
        exists: bool,
        /// The element is one of them.
        member: bool,
    },
    /// Statuses, and the document of the mark.
    Status {
        /// By group.
        groups: Vec<GroupStatus>,
        /// The document.
        mark: Option<Vec<u8>>,
    },
    /// Elements, and the cursor of the next page; `None` at the end.
    Members {
        /// Elements of this page.
        elements: Vec<String>,
        /// Cursor of the next page.
        cursor: Option<String>,
    },
}

/// An element of a `recent` key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentItem {
    /// The element.
    pub element: String,
    /// Time of the event, milliseconds since 1970.
    pub time_ms: i64,
}

/// An element of a `top` window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopItem {
    /// The element.
    pub element: String,
    /// Its sum.
    pub sum: i64,
}

/// A page of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Names and values.
    pub counters: Vec<(String, i64)>,
    /// Cursor of the next page; `None` at the end.
    pub cursor: Option<String>,
}
