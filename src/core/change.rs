//! Changes: what one event does to keys, as values that borrow from their block.

use super::keys::{KeyIndex, Keys, Text};
use crate::model::{Delta, Membership, Origin, Presence, Presences, RecentEntry};

/// A change of a key by one event.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Adds.
    Count(i64),
    /// Adds to a key that is removed at its time.
    CountUntil {
        /// When the key expires, milliseconds since 1970.
        expire_at_ms: i64,
        /// How much.
        amount: i64,
    },
    /// Raises to.
    Max(i64),
    /// Sets, if the event is the latest.
    Last(i64),
    /// Notes an element.
    Unique {
        /// When the key expires, milliseconds since 1970.
        expire_at_ms: Option<i64>,
        /// The element.
        element: Text,
    },
    /// Notes an element with its time.
    Recent {
        /// How many the key keeps.
        cap: usize,
        /// The element.
        element: Text,
    },
    /// Adds to an element.
    Top {
        /// When the window expires, milliseconds since 1970.
        expire_at_ms: Option<i64>,
        /// The element.
        element: Text,
        /// How much.
        amount: i64,
    },
    /// Puts in or takes out.
    Member {
        /// The element.
        element: Text,
        /// In, or out.
        is_add: bool,
        /// The counter that moves where the presence changes.
        moves: Option<Text>,
    },
    /// Says in or out as of the event's time.
    MemberByTime {
        /// How long a store remembers what was taken out, milliseconds.
        tombstones_ms: i64,
        /// The element.
        element: Text,
        /// In, or out.
        is_in: bool,
        /// The counter that has one more while the element is in.
        counter: Option<Text>,
    },
}

/// A key that changes. There is one for each effect of each event, and they are written by one core and read by another: so
/// what most of them do, adding one, takes no more than this.
#[derive(Clone, Copy, Debug)]
pub struct KeyChange {
    /// The key.
    pub key: KeyIndex,
    /// Where its change lies, or [`ADDS_ONE`].
    pub(super) detail: u32,
    /// Number of the effect within the event type.
    pub effect: u16,
}

/// In place of a change that lies elsewhere.
pub(super) const ADDS_ONE: u32 = u32::MAX;

impl Change {
    /// The change as a delta of its own: the first of its key.
    pub fn delta(&self, keys: &Keys, time_ms: i64, origin: Origin) -> Delta {
        let element = |piece: &Text| keys.str(*piece).into();
        match self {
            Self::Count(amount) => Delta::Count(*amount),
            Self::CountUntil { expire_at_ms, amount } => {
                Delta::CountUntil { expire_at_ms: *expire_at_ms, sum: *amount }
            }
            Self::Max(value) => Delta::Max(*value),
            Self::Last(value) => Delta::Last { time_ms, origin, value: *value },
            Self::Unique { expire_at_ms, element: piece } => {
                Delta::Unique { expire_at_ms: *expire_at_ms, elements: [element(piece)].into() }
            }
            Self::Recent { cap, element: piece } => {
                Delta::Recent { cap: *cap, entries: [RecentEntry { time_ms, origin, element: element(piece) }].into() }
            }
            Self::Top { expire_at_ms, element: piece, amount } => {
                Delta::Top { expire_at_ms: *expire_at_ms, sums: [(element(piece), *amount)].into() }
            }
            Self::Member { element: piece, is_add, moves } => {
                let moves = moves.as_ref().map(|counter| (element(counter), if *is_add { 1 } else { -1 }));
                Delta::Member { elements: [(element(piece), Membership::new(*is_add, moves))].into() }
            }
            Self::MemberByTime { tombstones_ms, element: piece, is_in, counter } => {
                let counter = counter.as_ref().map(element);
                let presence = Presence { time_ms, origin, is_in: *is_in, counter };
                Delta::MemberByTime(Box::new(Presences::of(*tombstones_ms, element(piece), presence)))
            }
        }
    }
}
