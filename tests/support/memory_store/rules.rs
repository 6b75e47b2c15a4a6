//! What the rules do to what is stored, and what they cannot do.

use std::collections::{BTreeMap, BTreeSet};

use streamgauge::model::{Delta, Membership, Presences, Refusal, RefusalReason, Section};

use super::Held;

impl Held {
    /// Why a section cannot be written: a sum would leave 64 bits. Looked at before anything is written, as a store must.
    pub(super) fn refusal(&self, section: &Section) -> Option<Refusal> {
        // Only members move counters beside those that sections name, each once.
        let moved =
            section.deltas.iter().any(|(_, delta)| matches!(delta, Delta::Member { .. } | Delta::MemberByTime(_)));
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        let mut fits = |(counter, amount)| {
            let stored = || self.counters.get(counter).copied().unwrap_or(0);
            let before = if moved { *sums.entry(counter).or_insert_with(stored) } else { stored() };
            let after = before.checked_add(amount);
            if let (Some(after), true) = (after, moved) {
                sums.insert(counter, after);
            }
            after.is_some()
        };
        let (key, _) = section.deltas.iter().find(|(key, delta)| match delta {
            Delta::Count(amount) | Delta::CountUntil { sum: amount, .. } => !fits((&*key.name, *amount)),
            Delta::Member { elements } => elements.iter().any(|(element, membership)| {
                let was_in = self.sets.get(&*key.name).is_some_and(|set| set.contains(&**element));
                !moves(membership, was_in).all(&mut fits)
            }),
            Delta::MemberByTime(presences) => presences.elements.iter().any(|(element, presence)| {
                let before = self.presences.get(&*key.name).and_then(|kept| kept.get(&**element));
                let was_in = self.sets.get(&*key.name).is_some_and(|set| set.contains(&**element));
                let is_later = before.is_none_or(|before| presence.is_after(before));
                is_later && !presence.moves(before, was_in).all(&mut fits)
            }),
            _ => false,
        })?;
        Some(Refusal { key: key.name.to_string(), reason: RefusalReason::Overflow })
    }

    fn add(&mut self, counter: &str, amount: i64) -> Option<()> {
        let sum = self.counters.entry(counter.to_owned()).or_insert(0);
        *sum = sum.checked_add(amount)?;
        Some(())
    }

    /// `None` where a sum leaves 64 bits.
    pub(super) fn change(&mut self, name: &str, delta: &Delta) -> Option<()> {
        match delta {
            Delta::Count(amount) | Delta::CountUntil { sum: amount, .. } => self.add(name, *amount)?,
            Delta::Max(value) => {
                let highest = self.counters.entry(name.to_owned()).or_insert(*value);
                *highest = (*highest).max(*value);
            }
            Delta::Last { time_ms, origin, value } => {
                if self.last.get(name).is_none_or(|known| *known < (*time_ms, *origin)) {
                    self.last.insert(name.to_owned(), (*time_ms, *origin));
                    self.counters.insert(name.to_owned(), *value);
                }
            }
            Delta::Unique { expire_at_ms, elements } => {
                let (_, stored) = self.uniques.entry(name.to_owned()).or_insert((*expire_at_ms, BTreeSet::new()));
                stored.extend(elements.iter().map(|element| element.to_string()));
            }
            Delta::Recent { cap, entries } => {
                let stored = self.recents.entry(name.to_owned()).or_default();
                while self.recents_are_pushed && stored.len() + entries.len() > *cap && stored.pop_first().is_some() {}
                stored.extend(entries.iter().map(|entry| (entry.time_ms, entry.origin, entry.element.to_string())));
                while stored.len() > *cap {
                    stored.pop_first();
                }
            }
            Delta::Top { expire_at_ms, sums } => {
                let (_, stored) = self.tops.entry(name.to_owned()).or_insert((*expire_at_ms, BTreeMap::new()));
                for (element, amount) in sums {
                    *stored.entry(element.to_string()).or_insert(0) += amount;
                }
            }
            Delta::Member { elements } => {
                for (element, membership) in elements {
                    let set = self.sets.entry(name.to_owned()).or_default();
                    let was_in = set.contains(&**element);
                    if membership.present_after {
                        set.insert(element.to_string())
                    } else {
                        set.remove(&**element)
                    };
                    for (counter, amount) in moves(membership, was_in) {
                        self.add(counter, amount)?;
                    }
                }
            }
            Delta::MemberByTime(presences) => self.change_by_time(name, presences)?,
        }
        Some(())
    }

    /// The same of a set whose latest event decides.
    fn change_by_time(&mut self, name: &str, presences: &Presences) -> Option<()> {
        for (element, presence) in &presences.elements {
            let kept = self.presences.entry(name.to_owned()).or_default();
            let before = kept.get(&**element).cloned();
            if before.as_ref().is_some_and(|before| !presence.is_after(before)) {
                continue;
            }
            kept.insert(element.to_string(), presence.clone());
            let set = self.sets.entry(name.to_owned()).or_default();
            let was_in = if presence.is_in { !set.insert(element.to_string()) } else { set.remove(&**element) };
            for (counter, amount) in presence.moves(before.as_ref(), was_in) {
                self.moved_by_time.insert(counter.to_owned());
                self.add(counter, amount)?;
            }
        }
        Some(())
    }
}

/// What an element's operations add to counters.
fn moves(membership: &Membership, was_in: bool) -> impl Iterator<Item = (&str, i64)> {
    let first = membership.first_move.as_ref().filter(|_| membership.first_is_add != was_in);
    let moves = first.map(|(counter, amount)| (counter, amount)).into_iter().chain(&membership.later_moves);
    moves.map(|(counter, amount)| (&**counter, *amount))
}
