//! Members whose latest event decides (`order = "time"`): in a set or out of it, whatever partition says so first.
//!
//! What an element is, and what it adds to a counter, is a function of its winner alone, the event with the greatest (time,
//! origin): one to the counter that the winner names where it puts the element in, nothing where it takes it out. So the
//! order in which events arrive cannot matter, over partitions and topics too. An amount taken from each event as it arrives
//! would depend on that order, also where nothing fails.

use hashbrown::{HashMap, hash_map::Entry};

use super::{Element, Origin};

/// What the latest event says of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Time of the event, milliseconds since 1970.
    pub time_ms: i64,
    /// Where it comes from.
    pub origin: Origin,
    /// In, or out.
    pub is_in: bool,
    /// The counter that has one more while the element is in by this event.
    pub counter: Option<Element>,
}

impl Presence {
    /// Whether this event is the later one.
    pub fn is_after(&self, other: &Self) -> bool {
        (self.time_ms, self.origin) > (other.time_ms, other.origin)
    }

    /// The counter that has one more by this.
    pub fn counted(&self) -> Option<&str> {
        self.counter.as_deref().filter(|_| self.is_in)
    }

    /// What counters are moved by when this takes the place of what was there: in an order that means nothing.
    ///
    /// `was_in` says what the set itself has. An element that is in although no event of it is kept was put there by a rule
    /// ordered by the log, before the catalogue changed: it counts as in by an event before all others, which named the
    /// counter that this one names.
    pub fn moves<'p>(&'p self, before: Option<&'p Self>, was_in: bool) -> impl Iterator<Item = (&'p str, i64)> {
        let old = match before {
            Some(before) => before.counted(),
            None => self.counter.as_deref().filter(|_| was_in),
        };
        let new = self.counted();
        let is_same = old == new;
        let moves = [old.map(|counter| (counter, -1)), new.map(|counter| (counter, 1))];
        moves.into_iter().flatten().filter(move |_| !is_same)
    }
}

/// The latest events of a set's elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presences {
    /// How long a store remembers at least that an element was taken out, milliseconds.
    pub tombstones_ms: i64,
    /// What each element is by its latest event.
    pub elements: HashMap<Element, Presence>,
}

impl Presences {
    /// Of one element.
    pub fn of(tombstones_ms: i64, element: Element, presence: Presence) -> Self {
        Self { tombstones_ms, elements: [(element, presence)].into() }
    }

    /// Takes in what another event says of an element.
    pub fn take(&mut self, element: Element, presence: Presence) {
        match self.elements.entry(element) {
            Entry::Vacant(free) => drop(free.insert(presence)),
            Entry::Occupied(mut known) if presence.is_after(known.get()) => drop(known.insert(presence)),
            Entry::Occupied(_) => {}
        }
    }

    /// Takes in others, of any partition.
    pub fn merge(&mut self, others: Self) {
        others.elements.into_iter().for_each(|(element, presence)| self.take(element, presence));
        self.tombstones_ms = self.tombstones_ms.max(others.tombstones_ms);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn presence((time_ms, offset, is_in, counter): (i64, i64, bool, u8)) -> Presence {
        let origin = Origin { topic: 1, partition: (offset % 3) as i32, offset, effect: 0 };
        let counter = (counter > 0).then(|| format!("c{counter}").into());
        Presence { time_ms, origin, is_in, counter }
    }

    type Event = (u8, Presence);

    /// Events of few elements, times and counters, each with an origin of its own.
    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = (0_u8..3, 0_i64..4, any::<bool>(), 0_u8..3);
        prop::collection::vec(event, 1..14).prop_map(|events| {
            let event = |((element, time, is_in, counter), offset)| (element, presence((time, offset, is_in, counter)));
            events.into_iter().zip(0..).map(event).collect()
        })
    }

    /// Sections applied one after the other, as a store does it: what is in, and the counters that are not 0.
    fn applied(sections: &[Presences]) -> (Vec<String>, BTreeMap<String, i64>) {
        let mut stored: BTreeMap<Element, Presence> = BTreeMap::new();
        let mut counters: BTreeMap<String, i64> = BTreeMap::new();
        for (element, presence) in sections.iter().flat_map(|section| &section.elements) {
            let before = stored.get(element);
            if before.is_some_and(|before| !presence.is_after(before)) {
                continue;
            }
            for (counter, amount) in presence.moves(before, before.is_some_and(|before| before.is_in)) {
                *counters.entry(counter.to_owned()).or_default() += amount;
            }
            stored.insert(element.clone(), presence.clone());
        }
        counters.retain(|_, number| *number != 0);
        let present = stored.iter().filter(|(_, presence)| presence.is_in).map(|(element, _)| element.to_string());
        (present.collect(), counters)
    }

    fn section(events: &[Event]) -> Presences {
        let mut all = Presences::default();
        for (element, presence) in events {
            all.merge(Presences::of(7, format!("e{element}").into(), presence.clone()));
        }
        all
    }

    proptest! {
        /// What the promise says: an element is what its latest event says, and adds one to the counter that this names.
        #[test]
        fn any_order_and_any_cut_gives_what_the_latest_events_say(
            (events, shuffled) in events().prop_flat_map(|events| (Just(events.clone()), Just(events).prop_shuffle())),
            cut in 0_usize..14,
        ) {
            let mut winners: BTreeMap<u8, Presence> = BTreeMap::new();
            let mut sorted = events.clone();
            sorted.sort_by_key(|(_, presence)| (presence.time_ms, presence.origin));
            winners.extend(sorted);
            let mut counters: BTreeMap<String, i64> = BTreeMap::new();
            for winner in winners.values().filter(|winner| winner.is_in) {
                if let Some(counter) = &winner.counter {
                    *counters.entry(counter.to_string()).or_default() += 1;
                }
            }
            let present = winners.iter().filter(|(_, winner)| winner.is_in).map(|(element, _)| format!("e{element}"));
            let expected = (present.collect::<Vec<_>>(), counters);
            for order in [&events, &shuffled] {
                let (first, second) = order.split_at(cut.min(order.len()));
                prop_assert_eq!(&applied(&[section(first), section(second)]), &expected);
                let one_by_one: Vec<Presences> = order.iter().map(|event| section(std::slice::from_ref(event))).collect();
                prop_assert_eq!(&applied(&one_by_one), &expected);
                // Applied again, as after a store that fell back: nothing changes.
                prop_assert_eq!(&applied(&[section(first), section(second), section(first)]), &expected);
            }
        }
    }

    #[test]
    fn an_element_of_a_set_that_the_log_ordered_is_in_already() {
        for (is_in, expected) in [(true, vec![]), (false, vec![("c1", -1)])] {
            let later = presence((5, 1, is_in, 1));
            assert_eq!(later.moves(None, true).collect::<Vec<_>>(), expected);
        }
        let later = presence((5, 1, true, 1));
        assert_eq!(later.moves(None, false).collect::<Vec<_>>(), [("c1", 1)]);
        let elsewhere = presence((6, 1, true, 2));
        assert_eq!(elsewhere.moves(Some(&later), true).collect::<Vec<_>>(), [("c1", -1), ("c2", 1)]);
    }
}
