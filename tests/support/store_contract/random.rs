//! Random sections in random batches, with repeats and late ones, against a naive fold of what was applied.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use streamgauge::model::{RecentItem, TopItem};

const PARTITIONS: i64 = 3;
const BATCHES: usize = 150;
const CAP: usize = 4;
const TOMBSTONES_MS: i64 = 86_400_000;

/// The tests' random source, with numbers that a store may stumble over.
struct Random(crate::support::events::Random);

impl Random {
    fn next(&mut self) -> u64 {
        self.0.next()
    }

    fn below(&mut self, limit: i64) -> i64 {
        (self.next() % limit as u64) as i64
    }

    /// Small, large, or near the edge of 64 bits.
    fn amount(&mut self) -> i64 {
        match self.below(12) {
            0 => i64::MAX - self.below(3),
            1 => i64::MIN + self.below(3),
            2 | 3 => (1 << 53) + self.below(1_000) - 500,
            4 | 5 => -(1 << 53) + self.below(1_000) - 500,
            6 => self.next() as i64,
            _ => self.below(21) - 10,
        }
    }
}

/// One effect of an event, in the order of the log.
#[derive(Clone, Debug)]
enum Effect {
    Count(String, i64),
    Max(String, i64),
    Last(String, i64, Origin, i64),
    Unique(String, String),
    Recent(String, i64, Origin, String),
    Top(String, String, i64),
    Member(String, String, bool, String),
    ByTime(String, String, i64, Origin, bool, String),
}

fn effect(random: &mut Random, number: i64, offset: i64) -> Effect {
    let name = |kind: &str, random: &mut Random| format!("{kind}{}", random.below(3));
    let element = |random: &mut Random| format!("e{}", random.below(5));
    let at = origin(number as i32, offset);
    match random.below(12) {
        0 | 1 => Effect::Count(name("c", random), random.amount()),
        2 => Effect::Max(name("x", random), random.amount()),
        3 => Effect::Last(name("l", random), random.below(5), at, random.amount()),
        4 => Effect::Unique(name("u", random), element(random)),
        5 => Effect::Recent(name("r", random), random.below(6), at, element(random)),
        6 => Effect::Top(name("t", random), element(random), random.below(9) - 4),
        // Of any partition, often at one time.
        7..=9 => {
            let (set, counter) = (name("b", random), format!("n{}", 2 + random.below(2)));
            Effect::ByTime(set, element(random), random.below(4), at, random.below(2) == 0, counter)
        }
        // Sets belong to one partition, as the lint demands; counters are shared.
        _ => {
            let set = format!("s{number}-{}", random.below(2));
            Effect::Member(set, element(random), random.below(2) == 0, format!("n{}", random.below(2)))
        }
    }
}

fn delta(effect: &Effect) -> (Key, Delta) {
    match effect {
        Effect::Count(name, amount) => count(name, *amount),
        Effect::Max(name, value) => max(name, *value),
        Effect::Last(name, time_ms, origin, value) => last(name, *time_ms, *origin, *value),
        Effect::Unique(name, element) => unique(name, None, [element.clone()]),
        Effect::Recent(name, time_ms, origin, element) => recent(name, CAP, &[(*time_ms, *origin, element)]),
        Effect::Top(name, element, amount) => top(name, None, &[(element, *amount)]),
        Effect::Member(name, element, is_add, counter) => member(name, counter, &[(element, *is_add)]),
        Effect::ByTime(name, element, time_ms, origin, is_in, counter) => {
            by_time(name, TOMBSTONES_MS, &[(element, *time_ms, *origin, *is_in, counter)])
        }
    }
}

/// Merges effects to one delta per key; `None` where a sum leaves 64 bits within the section.
fn merged(effects: &[Effect]) -> Option<Vec<(Key, Delta)>> {
    let mut deltas: Vec<(Key, Delta)> = Vec::new();
    for effect in effects {
        let (key, delta) = delta(effect);
        match deltas.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => known.merge(delta).ok()?,
            None => deltas.push((key, delta)),
        }
    }
    Some(deltas)
}

#[derive(Clone, Default)]
struct Naive {
    numbers: BTreeMap<String, i128>,
    last: BTreeMap<String, (i64, Origin)>,
    uniques: BTreeMap<String, BTreeSet<String>>,
    recents: BTreeMap<String, BTreeSet<(i64, Origin, String)>>,
    tops: BTreeMap<String, BTreeMap<String, i64>>,
    sets: BTreeMap<String, BTreeSet<String>>,
    /// The latest event of an element, by set.
    latest: BTreeMap<(String, String), (i64, Origin, bool, String)>,
}

impl Naive {
    fn fold(&mut self, effect: &Effect) {
        match effect.clone() {
            Effect::Count(name, amount) => *self.numbers.entry(name).or_default() += i128::from(amount),
            Effect::Max(name, value) => {
                let number = self.numbers.entry(name).or_insert(i128::from(value));
                *number = (*number).max(i128::from(value));
            }
            Effect::Last(name, time_ms, origin, value) => {
                if self.last.get(&name).is_none_or(|stored| (time_ms, origin) > *stored) {
                    self.last.insert(name.clone(), (time_ms, origin));
                    self.numbers.insert(name, i128::from(value));
                }
            }
            Effect::Unique(name, element) => {
                self.uniques.entry(name).or_default().insert(element);
            }
            Effect::Recent(name, time_ms, origin, element) => {
                let entries = self.recents.entry(name).or_default();
                entries.insert((time_ms, origin, element));
                if entries.len() > CAP {
                    entries.pop_first();
                }
            }
            Effect::Top(name, element, amount) => {
                *self.tops.entry(name).or_default().entry(element).or_default() += amount;
            }
            Effect::Member(name, element, is_add, counter) => {
                let set = self.sets.entry(name).or_default();
                let changed = if is_add { set.insert(element) } else { set.remove(&element) };
                if changed {
                    *self.numbers.entry(counter).or_default() += if is_add { 1 } else { -1 };
                }
            }
            Effect::ByTime(name, element, time_ms, origin, is_in, counter) => {
                let event = (time_ms, origin, is_in, counter);
                let latest = self.latest.entry((name, element)).or_insert(event.clone());
                *latest = event.max(latest.clone());
            }
        }
    }

    fn fits(&self) -> bool {
        self.numbers.values().all(|number| i64::try_from(*number).is_ok())
    }

    async fn compare(&self, f: &Fixture, seed: u64) {
        self.compare_by_time(f, seed).await;
        for kind in ["c", "x", "l", "n"] {
            for i in 0..3 {
                let name = format!("{kind}{i}");
                if name == "n2" {
                    continue;
                }
                let expected = self.numbers.get(&name).map(|number| i64::try_from(*number).unwrap());
                assert_eq!(f.counter(&name).await, expected, "{name}, seed {seed}");
            }
        }
        for i in 0..3 {
            let name = format!("u{i}");
            let expected = self.uniques.get(&name).map(|elements| elements.len() as u64);
            assert_eq!(f.ask(Query::Unique(name)).await, Answer::Unique(expected), "u{i}, seed {seed}");
            let entries = self.recents.get(&format!("r{i}")).into_iter().flatten().rev();
            let items = entries.map(|(time_ms, _, e)| RecentItem { element: e.clone(), time_ms: *time_ms }).collect();
            let asked = f.ask(Query::Recent { key: format!("r{i}"), limit: 99 }).await;
            assert_eq!(asked, Answer::Recent(items), "r{i}, seed {seed}");
            let sums = self.tops.get(&format!("t{i}")).into_iter().flatten();
            let mut items: Vec<_> = sums.map(|(e, sum)| TopItem { element: e.clone(), sum: *sum }).collect();
            items.sort_by(|a, b| (b.sum, &b.element).cmp(&(a.sum, &a.element)));
            let asked = f.ask(Query::Top { key: format!("t{i}"), limit: 99 }).await;
            assert_eq!(asked, Answer::Top(items), "t{i}, seed {seed}");
        }
        for name in (0..PARTITIONS).flat_map(|p| [format!("s{p}-0"), format!("s{p}-1")]) {
            let asked = f.ask(Query::Members { key: name.clone(), cursor: String::new(), limit: 99 }).await;
            let Answer::Members { mut elements, cursor: None } = asked else { panic!("{asked:?}") };
            elements.sort();
            let expected: Vec<String> = self.sets.get(&name).into_iter().flatten().cloned().collect();
            assert_eq!(elements, expected, "{name}, seed {seed}");
        }
    }
}

impl Naive {
    /// An element is what its latest event says, and counts once where that says so.
    async fn compare_by_time(&self, f: &Fixture, seed: u64) {
        let present = self.latest.iter().filter(|(_, (_, _, is_in, _))| *is_in);
        for counter in ["n2", "n3"] {
            let expected = present.clone().filter(|(_, latest)| latest.3 == counter).count() as i64;
            assert_eq!(f.counter(counter).await.unwrap_or(0), expected, "{counter}, seed {seed}");
        }
        for name in ["b0", "b1", "b2"] {
            let asked = f.ask(Query::Members { key: name.to_owned(), cursor: String::new(), limit: 99 }).await;
            let Answer::Members { mut elements, cursor: None } = asked else { panic!("{asked:?}") };
            elements.sort();
            let of_set = present.clone().filter(|((set, _), _)| set == name);
            let expected: Vec<&String> = of_set.map(|((_, element), _)| element).collect();
            assert_eq!(elements.iter().collect::<Vec<_>>(), expected, "{name}, seed {seed}");
        }
    }
}

pub async fn any_history_equals_the_naive_fold(f: &Fixture) {
    let seed = seed();
    let mut random = Random(crate::support::events::Random::new(seed));
    let mut naive = Naive::default();
    let mut stored = [-1_i64; PARTITIONS as usize];
    let mut sent: Vec<Section> = Vec::new();
    let mut tally = BTreeMap::<&str, usize>::new();
    for _ in 0..BATCHES {
        let (mut batch, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(4) {
            let number = random.below(PARTITIONS);
            let at = stored[number as usize];
            if random.below(4) == 0 && !sent.is_empty() {
                let old = sent[random.below(sent.len() as i64) as usize].clone();
                let at = stored[old.partition.partition as usize];
                let done = old.next.offset == at;
                // A section that was refused may fit by now: sent again, it is not what this repeats.
                if !done && old.expect == (at >= 0).then(|| checkpoint(at)) {
                    continue;
                }
                let conflict = Outcome::Conflict { stored: (at >= 0).then(|| checkpoint(at)) };
                expected.push(if done { Outcome::AlreadyApplied } else { conflict });
                batch.push(old);
                continue;
            }
            let next = at + 1 + random.below(9);
            // An origin belongs to one record, so no two applied sections may share one.
            let offset = (at + 1) * 100;
            let effects: Vec<Effect> = (0..random.below(12)).map(|i| effect(&mut random, number, offset + i)).collect();
            let Some(deltas) = merged(&effects) else { continue };
            let section = section(number as i32, at, next, deltas);
            let mut after = naive.clone();
            effects.iter().for_each(|effect| after.fold(effect));
            sent.push(section.clone());
            batch.push(section);
            if after.fits() {
                (naive, stored[number as usize]) = (after, next);
                expected.push(Outcome::Applied);
            } else {
                expected.push(refused("", RefusalReason::Overflow));
            }
        }
        let mut outcomes = f.store.apply(0, &batch).await.unwrap();
        for outcome in &mut outcomes {
            let kind = match outcome {
                Outcome::Applied => "applied",
                Outcome::AlreadyApplied => "again",
                Outcome::Conflict { .. } => "conflict",
                Outcome::Refused(refusal) => {
                    refusal.key.clear();
                    "refused"
                }
            };
            *tally.entry(kind).or_default() += 1;
        }
        assert_eq!(outcomes, expected, "STORE_CONTRACT_SEED={seed}");
    }
    naive.compare(f, seed).await;
    assert_eq!(tally.len(), 4, "STORE_CONTRACT_SEED={seed} met {tally:?} only");
}
