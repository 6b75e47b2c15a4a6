//! Who counts what: complete, balanced, and with as few moves as can be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use streamgauge::{
    core::assignment::{Eligible, assign},
    model::{MemberId, TopicPartition},
};

use crate::{seeds, support::events::Random};

type Held = BTreeMap<TopicPartition, MemberId>;
type Members = BTreeMap<MemberId, Eligible>;

fn all(names: impl IntoIterator<Item = usize>) -> Members {
    names.into_iter().map(|name| (format!("m{name}").into(), Eligible::All)).collect()
}

fn topics(counts: &[usize]) -> Vec<TopicPartition> {
    let topic = |(topic, count): (usize, &usize)| {
        (0..*count as i32).map(move |number| TopicPartition::new(format!("t{topic:03}"), number)).collect::<Vec<_>>()
    };
    counts.iter().enumerate().flat_map(topic).collect()
}

fn load(held: &Held, member: &MemberId) -> usize {
    held.values().filter(|holder| *holder == member).count()
}

fn moves(held: &Held, assigned: &Held) -> usize {
    assigned.iter().filter(|(partition, member)| held.get(*partition) != Some(*member)).count()
}

/// The fewest moves to balance: what is nobody's, and what members have beyond their quota; the larger quotas go to those
/// that have the most.
fn fewest_moves(members: &Members, partitions: &[TopicPartition], held: &Held) -> usize {
    let of_the_living: Held = held.iter().filter(|(_, member)| members.contains_key(*member)).map(clone).collect();
    let mut loads: Vec<usize> = members.keys().map(|member| load(&of_the_living, member)).collect();
    loads.sort_unstable_by(|a, b| b.cmp(a));
    let (quota, larger) = (partitions.len() / loads.len(), partitions.len() % loads.len());
    let beyond = |(rank, load): (usize, &usize)| load.saturating_sub(quota + usize::from(rank < larger));
    partitions.len() - of_the_living.len() + loads.iter().enumerate().map(beyond).sum::<usize>()
}

fn clone((partition, member): (&TopicPartition, &MemberId)) -> (TopicPartition, MemberId) {
    (partition.clone(), member.clone())
}

/// The largest difference of loads, and within a topic.
fn unevenness(members: &Members, assigned: &Held) -> (usize, usize) {
    let spread = |counts: Vec<usize>| counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0);
    let mut by_topic: BTreeMap<&str, BTreeMap<&MemberId, usize>> = BTreeMap::new();
    for (partition, member) in assigned {
        *by_topic.entry(&partition.topic).or_default().entry(member).or_default() += 1;
    }
    let of_topic = |counts: &BTreeMap<&MemberId, usize>| {
        spread(members.keys().map(|member| counts.get(member).copied().unwrap_or(0)).collect())
    };
    let loads = members.keys().map(|member| load(assigned, member)).collect();
    (spread(loads), by_topic.values().map(of_topic).max().unwrap_or(0))
}

/// Random holders, some of them dead, some with much more than others.
fn held_at_random(random: &mut Random, partitions: &[TopicPartition], names: usize) -> Held {
    let (kept, few) = (random.below(101), 1 + random.below(names + 2));
    let mut held = Held::new();
    for partition in partitions {
        if random.below(100) < kept {
            let bound = 1 + random.below(few);
            held.insert(partition.clone(), format!("m{}", random.below(bound)).into());
        }
    }
    held
}

#[test]
fn members_alike_share_evenly_with_the_fewest_moves() {
    for seed in seeds() {
        let mut random = Random::new(seed);
        for round in 0..60 {
            let context = format!("CORE_SEED={seed}, round {round}");
            let counts: Vec<usize> = (0..random.below(6)).map(|_| random.below(20)).collect();
            let partitions = topics(&counts);
            let (first, count) = (random.below(3), 1 + random.below(9));
            let members = all(first..first + count);
            let fresh = assign(&members, &partitions, &Held::new());
            let (of_loads, of_topics) = unevenness(&members, &fresh);
            assert!(of_loads <= 1 && of_topics <= 1, "{context}: {fresh:?}");
            let held = held_at_random(&mut random, &partitions, count);
            let assigned = assign(&members, &partitions, &held);
            assert_eq!(assigned.keys().collect::<Vec<_>>(), partitions.iter().collect::<Vec<_>>(), "{context}");
            assert!(unevenness(&members, &assigned).0 <= 1, "{context}: {assigned:?}");
            let fewest = fewest_moves(&members, &partitions, &held);
            assert_eq!(moves(&held, &assigned), fewest, "{context}");
            assert_eq!(assign(&members, &partitions, &assigned), assigned, "{context}");
            // Some of the moves are done: the others are as many as were left.
            let mut half = held.clone();
            for (partition, member) in &assigned {
                if random.below(2) == 0 {
                    half.insert(partition.clone(), member.clone());
                }
            }
            let rest = moves(&half, &assign(&members, &partitions, &half));
            assert_eq!(rest, moves(&half, &assigned), "{context}");
        }
    }
}

/// What `Eligible` says, told again from its words.
fn may(members: &Members, member: &MemberId, partition: &TopicPartition) -> bool {
    let lists = |eligible: &Eligible| matches!(eligible, Eligible::Partitions(own) if own.contains(partition));
    match &members[member] {
        Eligible::Partitions(own) => own.contains(partition),
        _ if members.values().any(lists) => false,
        Eligible::Topics(topics) => topics.contains(&*partition.topic),
        Eligible::All => true,
    }
}

#[test]
fn members_count_only_what_they_may_and_share_it_evenly() {
    for seed in seeds() {
        let mut random = Random::new(seed);
        for round in 0..60 {
            let context = format!("CORE_SEED={seed}, round {round}");
            let counts: Vec<usize> = (0..1 + random.below(4)).map(|_| random.below(12)).collect();
            let partitions = topics(&counts);
            let mut members = all(0..1 + random.below(8));
            for eligible in members.values_mut() {
                *eligible = match random.below(4) {
                    0 => Eligible::All,
                    1 | 2 => Eligible::Topics((0..3).map(|_| format!("t{:03}", random.below(5))).collect()),
                    _ => {
                        let own = partitions.iter().filter(|_| random.below(4) == 0).cloned();
                        Eligible::Partitions(own.chain([TopicPartition::new("unknown", 0)]).collect())
                    }
                };
            }
            let held = held_at_random(&mut random, &partitions, members.len());
            let assigned = assign(&members, &partitions, &held);
            let loads: BTreeMap<&MemberId, usize> = members.keys().map(|name| (name, load(&assigned, name))).collect();
            for partition in &partitions {
                let eligible: Vec<_> = members.keys().filter(|member| may(&members, member, partition)).collect();
                let Some(holder) = assigned.get(partition) else {
                    assert!(eligible.is_empty(), "{context}: nobody has {partition}");
                    continue;
                };
                assert!(eligible.contains(&holder), "{context}: {holder} has {partition}");
                // Nobody who may count it has two less than its holder; so members alike are within one.
                for other in eligible {
                    assert!(loads[holder] <= loads[other] + 1, "{context}: {partition} of {holder}, not of {other}");
                }
            }
            assert!(assigned.keys().all(|partition| partitions.contains(partition)), "{context}");
            assert_eq!(assign(&members, &partitions, &assigned), assigned, "{context}");
        }
    }
}

#[test]
fn topics_and_partitions_by_hand_as_a_table() {
    let of = |topic: &str, numbers: &[i32]| -> BTreeSet<TopicPartition> {
        numbers.iter().map(|number| TopicPartition::new(topic, *number)).collect()
    };
    let only = |topic: &str| Eligible::Topics(BTreeSet::from([topic.to_owned()]));
    let by_hand = |topic: &str, numbers: &[i32]| Eligible::Partitions(of(topic, numbers));
    let partitions: Vec<TopicPartition> = of("a", &[0, 1, 2, 3]).into_iter().chain(of("b", &[0, 1])).collect();
    type Row<'a> = (&'a [(&'a str, Eligible)], &'a [(&'a str, &'a str)]);
    let table: [Row<'_>; 6] = [
        (&[], &[]),
        (&[("x", Eligible::All)], &[("x", "a:0 a:1 a:2 a:3 b:0 b:1")]),
        (&[("x", only("b")), ("y", Eligible::All)], &[("x", "b:0 b:1"), ("y", "a:0 a:1 a:2 a:3")]),
        (&[("x", only("b")), ("y", only("c"))], &[("x", "b:0 b:1")]),
        // By hand: exactly these, however unequal that is, and nobody else.
        (&[("x", by_hand("a", &[1])), ("y", Eligible::All)], &[("x", "a:1"), ("y", "a:0 a:2 a:3 b:0 b:1")]),
        // Two that list the same share it.
        (&[("x", by_hand("a", &[0, 1, 9])), ("y", by_hand("a", &[0, 1]))], &[("x", "a:0"), ("y", "a:1")]),
    ];
    for (members, expected) in table {
        let members: Members = members.iter().map(|(name, eligible)| ((*name).into(), eligible.clone())).collect();
        let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let assigned = assign(&members, &partitions, &Held::new());
        for (partition, member) in &assigned {
            found.entry(member).or_default().push(partition.to_string());
        }
        let found: Vec<(&str, String)> = found.into_iter().map(|(member, names)| (member, names.join(" "))).collect();
        assert_eq!(found, expected.iter().map(|(member, names)| (*member, (*names).to_owned())).collect::<Vec<_>>());
    }
}

#[test]
fn a_hundred_members_and_5_000_partitions_through_joins_and_leaves() {
    // Two hot topics, and many of common sizes.
    let mut counts = vec![600, 400];
    counts.extend([100; 30]);
    counts.extend([20; 50]);
    let partitions = topics(&counts);
    assert_eq!(partitions.len(), 5_000);
    let mut random = Random::new(7);
    let mut members = all(0..100);
    let mut held = assign(&members, &partitions, &Held::new());
    assert_eq!(unevenness(&members, &held), (0, 1));
    for round in 0..40 {
        let change = match round % 4 {
            0 => {
                members.extend(all([100 + round]));
                "one joins"
            }
            1 | 2 => {
                let gone = members.keys().nth(random.below(members.len())).unwrap().clone();
                members.remove(&gone);
                "one leaves"
            }
            _ => {
                members.extend(all([100 + round, 200 + round]));
                "two join"
            }
        };
        let began = Instant::now();
        let assigned = assign(&members, &partitions, &held);
        let took = began.elapsed();
        let (moved, fewest) = (moves(&held, &assigned), fewest_moves(&members, &partitions, &held));
        let (of_loads, of_topics) = unevenness(&members, &assigned);
        eprintln!(
            "{change}: {} members, {moved} moves, at least {fewest}, topics within {of_topics}, {took:?}",
            members.len()
        );
        assert_eq!((moved, of_loads <= 1), (fewest, true), "round {round}");
        assert!(of_topics <= 2, "round {round}: a topic lies unevenly, by {of_topics}");
        held = assigned;
    }
}
