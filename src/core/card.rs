//! What a member says of itself to the others, as a document of its own version: which partitions it may count, and what
//! people want to know of it.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Rules that are to come into force, as [`TopicCard::rules`] by topic: who counts by others is asked to let go
    /// (`catalog activate`). It holds while its member lives and somebody has these rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub activate: BTreeMap<String, String>,
}

/// What a member says of a topic that it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicCard {
    /// How many partitions the log had when it looked last. All take the highest number that any of them saw, so that they
    /// compute alike while a topic grows.
    pub partitions: i32,
    /// The first [`DIGEST_CHARS`] digits of its rules' fingerprint.
    pub rules: String,
    /// The first digits of the rules that the store said the topic is counted by, when this member looked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// The only partitions that it counts (`PARTITIONS`), as first and last of each run; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<(i32, i32)>>,
}

impl TopicCard {
    /// What a member says of a topic with so many partitions and these rules, of which it counts `only` these, ascending.
    pub fn new(partitions: i32, rules: Fingerprint, only: Option<&[i32]>) -> Self {
        Self { partitions, rules: digest(rules), last: None, only: only.map(runs) }
    }
}

/// The first [`DIGEST_CHARS`] digits.
pub fn digest(rules: Fingerprint) -> String {
    rules.to_string().chars().take(DIGEST_CHARS).collect()
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

/// The rules that each topic is counted by, and a member that has them.
///
/// Members of one topic count by one set of rules at a time (EXACTLY_ONCE, "Catalogue"): those that somebody asks for, if a member
/// has them; else those of whoever holds its lowest leased partition, or, where nobody holds one, those that the store said it is
/// counted by, or at last those of the first member by name. So a new version of a catalogue stands by until it is asked for or
/// the last member of the old one has gone, and the rules do not go to and fro while both run.
pub fn in_force(cards: &BTreeMap<MemberId, Card>, roster: &Roster) -> BTreeMap<String, (MemberId, String)> {
    let mut in_force: BTreeMap<String, (MemberId, String)> = BTreeMap::new();
    for (topic, rules) in cards.values().flat_map(|card| &card.activate) {
        let has_them = |card: &Card| card.topics.get(topic).is_some_and(|own| own.rules == *rules);
        if let Some((member, _)) = cards.iter().find(|(_, card)| has_them(card)) {
            in_force.entry(topic.clone()).or_insert_with(|| (MemberId::clone(member), rules.clone()));
        }
    }
    let holders = roster.leases.iter().map(|(partition, lease)| (&*partition.topic, &lease.holder));
    let counters = cards.iter().flat_map(|(member, card)| card.topics.keys().map(move |topic| (&**topic, member)));
    let told: BTreeSet<(&str, &str)> = cards
        .values()
        .flat_map(|card| &card.topics)
        .filter_map(|(topic, own)| Some((&**topic, &**own.last.as_ref()?)))
        .collect();
    let counts_on = |(topic, member): &(&str, &MemberId)| {
        let own = cards.get(*member).and_then(|card| card.topics.get(*topic));
        own.is_some_and(|own| told.contains(&(*topic, &*own.rules)))
    };
    let counting_on: Vec<(&str, &MemberId)> = counters.clone().filter(counts_on).collect();
    for (topic, member) in holders.chain(counting_on).chain(counters) {
        if !in_force.contains_key(topic)
            && let Some(card) = cards.get(member).and_then(|card| card.topics.get(topic))
        {
            in_force.insert(topic.to_owned(), (MemberId::clone(member), card.rules.clone()));
        }
    }
    in_force
}

/// Topics that members stand by for, and whose rules are [`in_force`] there. Takes these topics off their cards.
pub fn stand_by(cards: &mut BTreeMap<MemberId, Card>, roster: &Roster) -> Vec<StandBy> {
    let in_force = in_force(cards, roster);
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
mod tests;
