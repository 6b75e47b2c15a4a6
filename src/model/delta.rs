//! Deltas: what rules add to keys, and how two deltas of one key become one.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use super::{Origin, Presences};

/// An element of a set, ranking or history.
pub type Element = Box<str>;

/// A sum that does not fit 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sum does not fit 64 bits")]
pub struct Overflow;

/// An entry of a `recent` key; ordered by time, then origin, then element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecentEntry {
    /// Time of the event, milliseconds since 1970.
    pub time_ms: i64,
    /// Where it comes from.
    pub origin: Origin,
    /// The element.
    pub element: Element,
}

/// What a section does to one element of a set, when the presence before the section is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The first operation puts the element in (`true`) or takes it out.
    pub first_is_add: bool,
    /// What the first operation adds to a counter where it changes the presence.
    pub first_move: Option<(Element, i64)>,
    /// The element is in after the last operation.
    pub present_after: bool,
    /// Moves of the later operations that surely changed the presence, per counter.
    pub later_moves: BTreeMap<Element, i64>,
}

impl Membership {
    /// One operation: in or out, and the counter it moves when it changes the presence.
    pub fn new(is_add: bool, moves: Option<(Element, i64)>) -> Self {
        Self { first_is_add: is_add, first_move: moves, present_after: is_add, later_moves: BTreeMap::new() }
    }

    /// Appends operations that come later in the same partition.
    ///
    /// # Errors
    /// A sum of moves does not fit 64 bits; `self` is unchanged then.
    pub fn merge(&mut self, later: Self) -> Result<(), Overflow> {
        let mut moves = self.later_moves.clone();
        let changes = (later.first_is_add != self.present_after).then_some(later.first_move).flatten();
        for (counter, amount) in changes.into_iter().chain(later.later_moves) {
            let sum = moves.entry(counter).or_insert(0);
            *sum = sum.checked_add(amount).ok_or(Overflow)?;
        }
        self.later_moves = moves;
        self.present_after = later.present_after;
        Ok(())
    }
}

/// What a rule adds to a key; see EXACTLY_ONCE, "Rules", for why each has this form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// Sum.
    Count(i64),
    /// Sum of a key that is removed at its time: one that names a day.
    CountUntil {
        /// When the key expires, milliseconds since 1970: computed from the event's day, never from the clock.
        expire_at_ms: i64,
        /// The sum.
        sum: i64,
    },
    /// Highest value.
    Max(i64),
    /// The value that belongs to the greatest (event time, origin).
    Last {
        /// Time of the event, milliseconds since 1970.
        time_ms: i64,
        /// Where it comes from.
        origin: Origin,
        /// The value.
        value: i64,
    },
    /// Distinct elements.
    Unique {
        /// When the key expires, milliseconds since 1970: computed from the event's day, never from the clock.
        expire_at_ms: Option<i64>,
        /// The elements.
        elements: HashSet<Element>,
    },
    /// The newest entries.
    Recent {
        /// Most entries that the key keeps.
        cap: usize,
        /// At most `cap` entries.
        entries: BTreeSet<RecentEntry>,
    },
    /// Sums per element of one window; exact, never trimmed.
    Top {
        /// When the window expires, milliseconds since 1970.
        expire_at_ms: Option<i64>,
        /// Sum per element.
        sums: HashMap<Element, i64>,
    },
    /// Elements that were put in or taken out.
    Member {
        /// What happened to each.
        elements: HashMap<Element, Membership>,
    },
    /// Elements whose latest event decides whether they are in. Boxed, so that the other deltas stay small.
    MemberByTime(Box<Presences>),
}

impl Delta {
    /// Adds what later records of the same partition bring to the same key.
    ///
    /// # Errors
    /// A sum does not fit 64 bits. `self` may then hold a part of `later`: the caller seals before it merges, or gives up
    /// the tenure.
    ///
    /// # Panics
    /// Never on data: the kind of a key fixes the kind of its deltas, and a mismatch is a defect that debug builds stop at.
    pub fn merge(&mut self, later: Self) -> Result<(), Overflow> {
        match (self, later) {
            (Self::Count(sum), Self::Count(more)) => *sum = sum.checked_add(more).ok_or(Overflow)?,
            (Self::CountUntil { expire_at_ms, sum }, Self::CountUntil { expire_at_ms: at, sum: more }) => {
                *sum = sum.checked_add(more).ok_or(Overflow)?;
                *expire_at_ms = (*expire_at_ms).max(at);
            }
            (Self::Max(highest), Self::Max(value)) => *highest = (*highest).max(value),
            (Self::Last { time_ms, origin, value }, Self::Last { time_ms: t, origin: o, value: v }) => {
                if (t, o) > (*time_ms, *origin) {
                    (*time_ms, *origin, *value) = (t, o, v);
                }
            }
            (Self::Unique { elements, .. }, Self::Unique { elements: more, .. }) => elements.extend(more),
            (Self::Recent { cap, entries }, Self::Recent { entries: more, .. }) => {
                entries.extend(more);
                while entries.len() > *cap {
                    entries.pop_first();
                }
            }
            (Self::Top { sums, .. }, Self::Top { sums: more, .. }) => {
                for (element, amount) in more {
                    let sum = sums.entry(element).or_insert(0);
                    *sum = sum.checked_add(amount).ok_or(Overflow)?;
                }
            }
            (Self::Member { elements }, Self::Member { elements: more }) => {
                for (element, later) in more {
                    match elements.entry(element) {
                        hashbrown::hash_map::Entry::Occupied(mut known) => known.get_mut().merge(later)?,
                        hashbrown::hash_map::Entry::Vacant(free) => {
                            free.insert(later);
                        }
                    }
                }
            }
            (Self::MemberByTime(presences), Self::MemberByTime(more)) => presences.merge(*more),
            (_, _) => debug_assert!(false, "deltas of one key have one kind"),
        }
        Ok(())
    }

    /// How many stored values the delta touches: 1, or the number of its elements.
    pub fn weight(&self) -> usize {
        match self {
            Self::Count(_) | Self::CountUntil { .. } | Self::Max(_) | Self::Last { .. } => 1,
            Self::Unique { elements, .. } => elements.len(),
            Self::Recent { entries, .. } => entries.len(),
            Self::Top { sums, .. } => sums.len(),
            Self::Member { elements } => elements.len(),
            Self::MemberByTime(presences) => presences.elements.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folds operations one by one over a known presence: what merged memberships must agree with.
    fn naive(mut present: bool, operations: &[(bool, i64)]) -> (bool, i64) {
        let mut counter = 0;
        for (is_add, amount) in operations {
            if present != *is_add {
                counter += amount;
            }
            present = *is_add;
        }
        (present, counter)
    }

    #[test]
    fn merged_memberships_equal_the_naive_fold_whatever_was_there_before() {
        // Every sequence of up to 6 operations, cut at every place, over both presences.
        for length in 1..=6_u32 {
            for bits in 0..(1_u32 << length) {
                let operations: Vec<(bool, i64)> =
                    (0..length).map(|i| (bits >> i & 1 == 1, if bits >> i & 1 == 1 { 1 } else { -1 })).collect();
                let one = |(is_add, amount): (bool, i64)| Membership::new(is_add, Some(("c".into(), amount)));
                for cut in 1..=operations.len() {
                    let fold = |part: &[(bool, i64)]| {
                        let mut membership = one(part[0]);
                        part[1..].iter().for_each(|op| membership.merge(one(*op)).unwrap());
                        membership
                    };
                    let mut merged = fold(&operations[..cut]);
                    if cut < operations.len() {
                        merged.merge(fold(&operations[cut..])).unwrap();
                    }
                    for present in [false, true] {
                        let first =
                            if present == merged.first_is_add { 0 } else { merged.first_move.as_ref().unwrap().1 };
                        let counter = first + merged.later_moves.values().sum::<i64>();
                        assert_eq!(
                            (merged.present_after, counter),
                            naive(present, &operations),
                            "{operations:?} cut {cut}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn recent_keeps_the_greatest_and_sums_overflow_loudly() {
        let entry = |t: i64| RecentEntry {
            time_ms: t,
            origin: Origin { topic: 1, partition: 0, offset: t, effect: 0 },
            element: "e".into(),
        };
        let mut recent = Delta::Recent { cap: 2, entries: [entry(5), entry(1)].into() };
        recent.merge(Delta::Recent { cap: 2, entries: [entry(3)].into() }).unwrap();
        assert_eq!(recent, Delta::Recent { cap: 2, entries: [entry(3), entry(5)].into() });
        let mut count = Delta::Count(i64::MAX);
        assert_eq!(count.merge(Delta::Count(1)), Err(Overflow));
    }
}
