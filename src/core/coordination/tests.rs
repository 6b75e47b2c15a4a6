//! What is done in every case.

use super::*;
use crate::{
    core::card::{Card, TopicCard},
    model::Fingerprint,
};

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// `free`, `me`, `me>x` (held by this member, x waits), `x`, `x>me`, …
fn roster(lease: &str) -> Roster {
    let mut roster = Roster { version: 1, ..Roster::default() };
    if lease != "free" {
        let (holder, next) = lease.split_once('>').map_or((lease, None), |(holder, next)| (holder, Some(next)));
        let lease = Lease { holder: holder.into(), next: next.map(Into::into) };
        roster.leases.insert(partition(), lease);
    }
    roster
}

fn told(orders: &Orders) -> String {
    let mut words: Vec<String> = orders.steps.iter().map(|(_, step)| format!("{step:?}").to_lowercase()).collect();
    for (name, list) in [("warm", &orders.warm), ("count", &orders.count), ("stop", &orders.stop)] {
        words.extend(list.iter().map(|_| format!("({name})")));
    }
    if orders.is_moving {
        words.push("...".to_owned());
    }
    words.join(" ")
}

#[test]
fn every_case_of_target_lease_and_phase() {
    use Phase::{Counting, Stopping, Warm, Warming};
    let cases: &[(&str, &str, Option<Phase>, &str)] = &[
        // It is to be counted here.
        ("me", "free", None, "claim ..."),
        ("me", "free", Some(Warming), "claim ..."),
        ("me", "free", Some(Warm), "claim ..."),
        ("me", "free", Some(Counting), "claim ..."),
        ("me", "free", Some(Stopping), "..."),
        ("me", "me", None, "(count)"),
        ("me", "me", Some(Warming), "(count)"),
        ("me", "me", Some(Warm), "(count)"),
        ("me", "me", Some(Counting), ""),
        ("me", "me", Some(Stopping), "..."),
        // Somebody waits for what is not given away: he withdraws.
        ("me", "me>x", Some(Counting), ""),
        ("me", "x", None, "(warm) ..."),
        ("me", "x", Some(Warming), "..."),
        ("me", "x", Some(Warm), "wait ..."),
        ("me", "x>me", Some(Warm), "..."),
        ("me", "x>y", Some(Warm), "..."),
        ("me", "x", Some(Counting), "(stop) ..."),
        ("me", "x", Some(Stopping), "..."),
        // It is to be counted by another one.
        ("x", "free", None, ""),
        ("x", "free", Some(Counting), "(stop)"),
        ("x", "free", Some(Warm), "(stop)"),
        ("x", "free", Some(Stopping), "..."),
        ("x", "me", None, "release ..."),
        ("x", "me", Some(Counting), "..."),
        ("x", "me>y", Some(Counting), "..."),
        ("x", "me>x", Some(Counting), "(stop) ..."),
        ("x", "me>x", Some(Stopping), "..."),
        ("x", "me>x", None, "release ..."),
        ("x", "x", None, ""),
        ("x", "x", Some(Counting), "(stop)"),
        ("x", "x", Some(Warming), "(stop)"),
        ("x", "y>me", Some(Warm), "withdraw (stop)"),
        ("x", "y>me", None, "withdraw"),
        // Nobody may count it any more.
        ("", "me", Some(Counting), "(stop) ..."),
        ("", "me", None, "release ..."),
        ("", "x>me", Some(Warm), "withdraw (stop)"),
    ];
    for (target, lease, phase, expected) in cases {
        let mut targets = Targets::new();
        if !target.is_empty() {
            targets.insert(partition(), MemberId::from(*target));
        }
        let doing = phase.iter().map(|phase| (partition(), *phase)).collect();
        let orders = orders(&"me".into(), &targets, &roster(lease), &doing);
        assert_eq!(told(&orders), *expected, "target {target:?}, lease {lease:?}, {phase:?}");
    }
}

#[test]
fn what_a_member_waits_for_does_not_go_back_when_another_one_comes() {
    const COUNT: i32 = 6;
    let topics = BTreeMap::from([("t".to_owned(), TopicCard::new(COUNT, Fingerprint(1), None))]);
    let about = Card { version: card::VERSION, topics, ..Card::default() }.to_bytes();
    let lease = |number: i32| {
        let lease = Lease { holder: "a".into(), next: (number < COUNT / 2).then(|| "b".into()) };
        (TopicPartition::new("t", number), lease)
    };
    let roster = Roster {
        version: 1,
        members: ["a", "b", "c"].map(|name| (name.into(), about.clone())).into(),
        leases: (0..COUNT).map(lease).collect(),
    };
    let (targets, _) = targets(&roster);
    let of = |name: &str| -> Vec<i32> {
        let own = targets.iter().filter(|(_, member)| &***member == name);
        own.map(|(partition, _)| partition.partition).collect()
    };
    assert_eq!((of("a"), of("b"), of("c")), (vec![3, 4], vec![0, 1], vec![2, 5]));
}
