//! What a member says of itself to the others, as a document of its own version: which partitions it may count, and what
//! people want to know of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::assignment::Eligible;
use crate::model::{Fingerprint, MemberId, Roster, TopicPartition};

/// Version of the document. A member whose document has another version is shown, and given nothing to count.
pub const VERSION: u32 = 1;
/// Digits of a topic's fingerprint on the card: enough to tell rules apart, and every member reads every card.
pub const DIGEST_CHARS: usize = 12;
/// Most partitions of a topic that are believed: a document comes from outside.
const MAX_PARTITIONS: i32 = 100_000;

/// A member's card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Version of this document ([`VERSION`]).
    pub version: u32,
    /// Name of the machine.
    pub host: String,
    /// Version of the program.
    pub program: String,
    /// The topics that it counts, as far as the log has them.
    pub topics: BTreeMap<String, TopicCard>,
}

/// What a member says of a topic that it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCard {
    /// How many partitions the log had when it looked last. All take the highest number that any of them saw, so that they
    /// compute alike while a topic grows.
    pub partitions: i32,
    /// The first [`DIGEST_CHARS`] digits of its rules' fingerprint.
    pub rules: String,
    /// The only partitions that it counts (`PARTITIONS`), as first and last of each run; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<(i32, i32)>>,
}

impl TopicCard {
    /// What a member says of a topic with so many partitions and these rules, of which it counts `only` these, ascending.
    pub fn new(partitions: i32, rules: Fingerprint, only: Option<&[i32]>) -> Self {
        let rules = rules.to_string().chars().take(DIGEST_CHARS).collect();
        Self { partitions, rules, only: only.map(runs) }
    }
}

/// Runs of numbers, as first and last.
fn runs(ascending: &[i32]) -> Vec<(i32, i32)> {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for number in ascending {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

impl Card {
    /// The document.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain values under text keys: writing them cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a member's document. `None` where it is of another version, or none at all.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|card| card.version == VERSION)
    }

    /// What the member may count of these partitions.
    pub fn eligible(&self, partitions: &[TopicPartition]) -> Eligible {
        // PARTITIONS names the partitions of every topic that is counted, or of none.
        if self.topics.values().any(|topic| topic.only.is_some()) {
            Eligible::Partitions(partitions.iter().filter(|partition| self.counts(partition)).cloned().collect())
        } else {
            Eligible::Topics(self.topics.keys().cloned().collect())
        }
    }

    /// Whether the member may count a partition.
    pub fn counts(&self, partition: &TopicPartition) -> bool {
        let topic = self.topics.get(&*partition.topic);
        let is_in = |(first, last): &(i32, i32)| (*first..=*last).contains(&partition.partition);
        topic.is_some_and(|topic| topic.only.as_ref().is_none_or(|only| only.iter().any(is_in)))
    }
}

/// The cards of a roster's members that can be read, by member.
pub fn cards(roster: &Roster) -> BTreeMap<MemberId, Card> {
    let read = |(id, about): (&MemberId, &Vec<u8>)| Some((MemberId::clone(id), Card::read(about)?));
    roster.members.iter().filter_map(read).collect()
}

/// Topics that members stand by for, and whose rules are in force there. Takes these topics off their cards.
///
/// Members of one topic count by one set of rules at a time (EXACTLY_ONCE, "Catalogue"): those of whoever holds its lowest leased
/// partition, or, where nobody holds one, of the first by name. So a new version of a catalogue stands by until the last
/// member of the old one has gone, and the rules do not go to and fro while both run.
pub fn stand_by(cards: &mut BTreeMap<MemberId, Card>, roster: &Roster) -> Vec<StandBy> {
    let mut in_force: BTreeMap<String, (MemberId, String)> = BTreeMap::new();
    let holders = roster.leases.iter().map(|(partition, lease)| (&*partition.topic, &lease.holder));
    let counters = cards.iter().flat_map(|(member, card)| card.topics.keys().map(move |topic| (&**topic, member)));
    for (topic, member) in holders.chain(counters) {
        if !in_force.contains_key(topic)
            && let Some(card) = cards.get(member).and_then(|card| card.topics.get(topic))
        {
            in_force.insert(topic.to_owned(), (MemberId::clone(member), card.rules.clone()));
        }
    }
    let mut standing = Vec::new();
    for (member, card) in cards {
        card.topics.retain(|topic, own| {
            let Some((counts, rules)) = in_force.get(topic).filter(|(_, rules)| *rules != own.rules) else {
                return true;
            };
            let (topic, rules) = (topic.clone(), rules.clone());
            standing.push(StandBy { member: MemberId::clone(member), topic, counts: MemberId::clone(counts), rules });
            false
        });
    }
    standing
}

/// A member that does not count a topic, because others count it by other rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandBy {
    /// Who stands by.
    pub member: MemberId,
    /// For which topic.
    pub topic: String,
    /// A member whose rules are in force.
    pub counts: MemberId,
    /// The first digits of their fingerprint.
    pub rules: String,
}

/// The partitions that somebody may count, in order.
pub fn partitions(cards: &BTreeMap<MemberId, Card>) -> Vec<TopicPartition> {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    for (name, topic) in cards.values().flat_map(|card| &card.topics) {
        let known = counts.entry(name).or_default();
        *known = (*known).max(topic.partitions.min(MAX_PARTITIONS));
    }
    let all = counts.into_iter().flat_map(|(name, count)| {
        let name: std::sync::Arc<str> = name.into();
        (0..count).map(move |partition| TopicPartition::new(std::sync::Arc::clone(&name), partition))
    });
    all.filter(|partition| cards.values().any(|card| card.counts(partition))).collect()
}

#[cfg(test)]
mod tests {
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
}
