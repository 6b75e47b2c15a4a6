//! What members say of themselves, and what others make of it.

use super::*;

fn card(topics: &[(&str, i32, Option<&[i32]>)]) -> Card {
    let topic = |(name, partitions, only): &(&str, i32, Option<&[i32]>)| {
        ((*name).to_owned(), TopicCard::new(*partitions, Fingerprint(7), *only))
    };
    Card { version: VERSION, topics: topics.iter().map(topic).collect(), ..Card::default() }
}

#[test]
fn a_document_is_read_back_and_one_of_another_version_is_not() {
    let card = card(&[("a", 3, Some(&[0, 2])), ("b", 1, None)]);
    assert_eq!(Card::read(&card.to_bytes()), Some(card.clone()));
    assert_eq!(Card::read(&Card { version: VERSION + 1, ..card }.to_bytes()), None);
    assert_eq!((Card::read(b"\xff"), Card::read(b"[]")), (None, None));
}

#[test]
fn runs_are_what_they_say() {
    for (numbers, expected) in [
        (&[][..], &[][..]),
        (&[3], &[(3, 3)]),
        (&[0, 1, 2, 5, 7, 8], &[(0, 2), (5, 5), (7, 8)]),
        (&[i32::MAX - 1, i32::MAX], &[(i32::MAX - 1, i32::MAX)]),
    ] {
        assert_eq!(runs(numbers), expected);
    }
}

#[test]
fn other_rules_stand_by_until_the_last_member_of_those_in_force_has_gone() {
    let with_rules = |rules: u128| {
        let topic = ("a".to_owned(), TopicCard::new(2, Fingerprint(rules << 80), None));
        let same = ("b".to_owned(), TopicCard::new(1, Fingerprint(1 << 80), None));
        Card { version: VERSION, topics: BTreeMap::from([topic, same]), ..Card::default() }
    };
    let lease = |holder: &str| crate::model::Lease { holder: holder.into(), next: None };
    // Members by name and rules of topic a, who holds a:0 and a:1, and who stands by for a.
    type Case<'a> = (&'a [(&'a str, u128)], [&'a str; 2], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[("m", 1), ("n", 1)], ["m", "n"], &[]),
        (&[("m", 1), ("n", 2)], ["n", "n"], &["m"]),
        (&[("m", 1), ("n", 2)], ["m", "n"], &["n"]),
        (&[("m", 2), ("n", 1), ("o", 2)], ["", "n"], &["m", "o"]),
        (&[("m", 2), ("n", 1)], ["", ""], &["n"]),
        // Who is gone decides nothing.
        (&[("m", 2), ("n", 2)], ["gone", ""], &[]),
    ];
    for (members, holders, expected) in cases {
        let mut cards: BTreeMap<MemberId, Card> =
            members.iter().map(|(name, rules)| (MemberId::from(*name), with_rules(*rules))).collect();
        let mut roster = Roster::default();
        for (number, holder) in (0..).zip(holders).filter(|(_, holder)| !holder.is_empty()) {
            roster.leases.insert(TopicPartition::new("a", number), lease(holder));
        }
        let standing = stand_by(&mut cards, &roster);
        let names: Vec<&str> = standing.iter().map(|standing| &*standing.member).collect();
        assert_eq!(names, *expected, "{members:?} {holders:?}");
        assert!(standing.iter().all(|standing| standing.topic == "a"));
        let still = cards.iter().filter(|(_, card)| card.topics.contains_key("a")).count();
        assert_eq!(still, members.len() - expected.len());
    }
}

#[test]
fn rules_that_are_asked_for_come_into_force_where_a_member_has_them() {
    let counting = |rules: u128| {
        let topic = ("a".to_owned(), TopicCard::new(1, Fingerprint(rules << 80), None));
        Card { version: VERSION, topics: BTreeMap::from([topic]), ..Card::default() }
    };
    let asking = |rules: u128| {
        let rules = TopicCard::new(1, Fingerprint(rules << 80), None).rules;
        Card { version: VERSION, activate: BTreeMap::from([("a".to_owned(), rules)]), ..Card::default() }
    };
    let lease = crate::model::Lease { holder: "old".into(), next: None };
    let roster = Roster { leases: BTreeMap::from([(TopicPartition::new("a", 0), lease)]), ..Roster::default() };
    for (asked, expected) in [(None, "old"), (Some(2), "new"), (Some(1), "old"), (Some(3), "old")] {
        let mut cards: BTreeMap<MemberId, Card> =
            [("new", counting(2)), ("old", counting(1))].map(|(name, card)| (name.into(), card)).into();
        cards.extend(asked.map(|asked| ("z".into(), asking(asked))));
        assert_eq!(&*in_force(&cards, &roster)["a"].0, expected, "{asked:?}");
        let standing = stand_by(&mut cards, &roster);
        let names: Vec<&str> = standing.iter().map(|standing| &*standing.counts).collect();
        assert_eq!(names, [expected], "{asked:?}");
    }
}

#[test]
fn where_nobody_holds_anything_the_rules_of_the_store_count_on() {
    let with = |rules: u128, last: Option<u128>| {
        let topic = TopicCard::new(1, Fingerprint(rules << 80), None);
        let topic = TopicCard { last: last.map(|last| digest(Fingerprint(last << 80))), ..topic };
        Card { version: VERSION, topics: BTreeMap::from([("a".to_owned(), topic)]), ..Card::default() }
    };
    for (first, second, expected) in [
        (with(1, None), with(2, None), "m"),
        (with(1, None), with(2, Some(2)), "n"),
        (with(1, Some(2)), with(2, None), "n"),
        (with(1, Some(1)), with(2, Some(2)), "m"),
        (with(1, Some(3)), with(2, Some(3)), "m"),
    ] {
        let cards = BTreeMap::from([("m".into(), first), ("n".into(), second)]);
        assert_eq!(&*in_force(&cards, &Roster::default())["a"].0, expected, "{cards:?}");
    }
}

#[test]
fn partitions_are_those_of_the_widest_view_that_somebody_may_count() {
    let shown = |cards: &[Card]| {
        let cards = cards.iter().enumerate().map(|(id, card)| (MemberId::from(id.to_string()), card.clone()));
        partitions(&cards.collect()).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    for (cards, expected) in [
        (vec![], ""),
        (vec![card(&[("a", 2, None)]), card(&[("a", 3, None)])], "a:0 a:1 a:2"),
        (vec![card(&[("a", 3, Some(&[1, 7]))])], "a:1"),
        (vec![card(&[("a", 3, Some(&[1]))]), card(&[("a", 2, Some(&[0, 2])), ("b", 1, None)])], "a:0 a:1 a:2 b:0"),
        (vec![card(&[("a", -5, None)])], ""),
    ] {
        assert_eq!(shown(&cards), expected, "{cards:?}");
    }
}
