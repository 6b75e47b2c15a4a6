//! Who counts which partition: every member works it out for itself, and all come to the same.
//!
//! In order: a partition goes only to who may count it; members that may count the same have as many partitions as each
//! other, give or take one; as few partitions as that allows change hands; and of those that do, and those that nobody has,
//! each topic's are spread, so that a hot topic lies on many members. What takes no part in a move stays, even where a topic would
//! lie more evenly otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{MemberId, TopicPartition};

/// What a member may count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eligible {
    /// Every topic.
    All,
    /// These topics only (`TOPICS`).
    Topics(BTreeSet<String>),
    /// Exactly these, given by hand (`PARTITIONS`). While such a member lives, nobody without them in its own list counts them.
    Partitions(BTreeSet<TopicPartition>),
}

/// Assigns `partitions` (ascending, each once) to members. A partition that nobody may count is left out.
///
/// `held` says who has what now: it stays there if it can. Where a member waits for a partition already, name that member and
/// not the one that still counts it: then a move that has begun is no longer in question. The outcome depends on the arguments' content only, so members with
/// the same view agree; and what is assigned stays as it is when it is assigned again.
pub fn assign(
    members: &BTreeMap<MemberId, Eligible>,
    partitions: &[TopicPartition],
    held: &BTreeMap<TopicPartition, MemberId>,
) -> BTreeMap<TopicPartition, MemberId> {
    let lots = Lots::new(members, partitions);
    let mut shares = Shares::new(&lots, members.len());
    let index: BTreeMap<&MemberId, usize> = members.keys().zip(0..).collect();
    let mut free = Vec::new();
    for (number, partition) in partitions.iter().enumerate() {
        let lot = lots.of[number];
        let eligible = lots.eligible(lot);
        let holder = held.get(partition).and_then(|holder| index.get(holder));
        match holder.filter(|holder| eligible.binary_search(holder).is_ok()) {
            Some(holder) => shares.give(*holder, lot, number),
            None if !eligible.is_empty() => free.push((eligible.len(), number)),
            None => {}
        }
    }
    // Those with the fewest to choose from first: the others can still make up for it.
    free.sort_unstable();
    for (_, number) in free {
        shares.give_to_least(lots.of[number], number);
    }
    shares.level();
    let names: Vec<&MemberId> = members.keys().collect();
    let assigned = shares.of.iter().zip(names).flat_map(|(share, name)| {
        share.by_lot.values().flatten().map(move |number| (partitions[*number].clone(), name.clone()))
    });
    assigned.collect()
}

/// Partitions in lots: those of one topic that the same members may count. Lots of whichever topic that the same members may
/// count are a class.
struct Lots {
    /// The lot of each partition, in the order of partitions.
    of: Vec<usize>,
    /// The class of each lot.
    class_of: Vec<usize>,
    /// Members of each class, ascending.
    classes: Vec<Vec<usize>>,
}

impl Lots {
    fn new(members: &BTreeMap<MemberId, Eligible>, partitions: &[TopicPartition]) -> Self {
        let mut by_hand: BTreeMap<&TopicPartition, Vec<usize>> = BTreeMap::new();
        for (member, eligible) in members.values().enumerate() {
            if let Eligible::Partitions(own) = eligible {
                own.iter().for_each(|partition| by_hand.entry(partition).or_default().push(member));
            }
        }
        let by_topic = |topic: &str| -> Vec<usize> {
            let may = |eligible: &Eligible| match eligible {
                Eligible::All => true,
                Eligible::Topics(topics) => topics.contains(topic),
                Eligible::Partitions(_) => false,
            };
            members.values().enumerate().filter(|(_, eligible)| may(eligible)).map(|(member, _)| member).collect()
        };
        let mut numbers: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        let mut topics: BTreeMap<&str, usize> = BTreeMap::new();
        let mut lot_numbers: BTreeMap<(usize, &str), usize> = BTreeMap::new();
        let (mut of, mut class_of_lot) = (Vec::with_capacity(partitions.len()), Vec::new());
        for partition in partitions {
            let mut class_of = |eligible| {
                let next = numbers.len();
                *numbers.entry(eligible).or_insert(next)
            };
            let class = match by_hand.get(partition) {
                Some(own) => class_of(own.clone()),
                None => *topics.entry(&partition.topic).or_insert_with(|| class_of(by_topic(&partition.topic))),
            };
            let lot = *lot_numbers.entry((class, &partition.topic)).or_insert_with(|| {
                class_of_lot.push(class);
                class_of_lot.len() - 1
            });
            of.push(lot);
        }
        let mut classes = vec![Vec::new(); numbers.len()];
        numbers.into_iter().for_each(|(eligible, class)| classes[class] = eligible);
        Self { of, class_of: class_of_lot, classes }
    }

    fn eligible(&self, lot: usize) -> &[usize] {
        &self.classes[self.class_of[lot]]
    }
}

/// What a member has.
#[derive(Clone, Default)]
struct Share {
    load: usize,
    /// Partitions by lot, none of them empty.
    by_lot: BTreeMap<usize, Vec<usize>>,
    /// How many there are of each class.
    by_class: Vec<usize>,
}

impl Share {
    fn of(&self, lot: usize) -> usize {
        self.by_lot.get(&lot).map_or(0, Vec::len)
    }
}

struct Shares<'a> {
    lots: &'a Lots,
    of: Vec<Share>,
}

impl<'a> Shares<'a> {
    fn new(lots: &'a Lots, members: usize) -> Self {
        let nothing = Share { by_class: vec![0; lots.classes.len()], ..Share::default() };
        Self { lots, of: vec![nothing; members] }
    }

    fn give(&mut self, member: usize, lot: usize, partition: usize) {
        let share = &mut self.of[member];
        share.load += 1;
        share.by_class[self.lots.class_of[lot]] += 1;
        share.by_lot.entry(lot).or_default().push(partition);
    }

    /// To the member with the least, and among these to one with the least of the topic.
    fn give_to_least(&mut self, lot: usize, partition: usize) {
        let least = |member: &&usize| (self.of[**member].load, self.of[**member].of(lot));
        if let Some(member) = self.lots.eligible(lot).iter().min_by_key(least) {
            self.give(*member, lot, partition);
        }
    }

    /// Moves partitions until no member has two more than another that may count one of them. Each move makes the sum of
    /// the squares of loads smaller, so there is an end.
    fn level(&mut self) {
        let lots = self.lots;
        loop {
            let mut moved = false;
            for (class, eligible) in lots.classes.iter().enumerate() {
                while self.level_once(class, eligible) {
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// One move within a class, from a member with the most to one with the least. Going by loads alone, it takes no more
    /// moves than it must: none goes to a member that gives, none comes from one that has taken.
    fn level_once(&mut self, class: usize, eligible: &[usize]) -> bool {
        let givers = || eligible.iter().copied().filter(|member| self.of[*member].by_class[class] > 0);
        let Some(to) = eligible.iter().copied().min_by_key(|member| self.of[*member].load) else { return false };
        let Some(most) = givers().map(|member| self.of[member].load).max() else { return false };
        if most < self.of[to].load + 2 {
            return false;
        }
        // From whom, and of which topic: where the two differ most.
        let (mut best, mut largest) = (None, i64::MIN);
        for from in givers().filter(|member| self.of[*member].load == most) {
            for (lot, own) in self.of[from].by_lot.iter().filter(|(lot, _)| self.lots.class_of[**lot] == class) {
                let surplus = own.len() as i64 - self.of[to].of(*lot) as i64;
                if surplus > largest {
                    (best, largest) = (Some((from, *lot)), surplus);
                }
            }
        }
        let taken = best.and_then(|(from, lot)| Some((lot, self.take(from, lot)?)));
        taken.is_some_and(|(lot, partition)| {
            self.give(to, lot, partition);
            true
        })
    }

    fn take(&mut self, member: usize, lot: usize) -> Option<usize> {
        let share = &mut self.of[member];
        let partitions = share.by_lot.get_mut(&lot)?;
        let partition = partitions.pop()?;
        if partitions.is_empty() {
            share.by_lot.remove(&lot);
        }
        share.load -= 1;
        share.by_class[self.lots.class_of[lot]] -= 1;
        Some(partition)
    }
}
