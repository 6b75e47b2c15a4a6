//! How the broker's topics differ from the catalogue: a function of both, which asks nobody and changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::need::{Need, breaks};
use crate::{
    catalog::plan::{Action, Compression, Topic, dead_letter_topic},
    log::TopicSpec,
};

/// How long a topic keeps its records, milliseconds.
pub(super) const RETENTION: &str = "retention.ms";
/// What becomes of old records.
pub(super) const CLEANUP: &str = "cleanup.policy";
/// How the broker stores batches.
const COMPRESSION: &str = "compression.type";
/// The one cleanup policy that can be counted exactly: from a compacted topic records vanish.
pub(super) const DELETE: &str = "delete";
/// Batches stay as their producer has compressed them: Kafka's default.
const AS_PRODUCED: &str = "producer";

/// What a topic is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its events are counted.
    Events,
    /// It takes dead letters.
    DeadLetters,
    /// Rules forward to it, and no catalogue in force counts it: it belongs to whoever reads it.
    Forwards,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::DeadLetters => "dead letters",
            Self::Forwards => "forwards",
        })
    }
}

/// A setting that a topic should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Kafka's name of it.
    pub name: &'static str,
    /// What should be in force.
    pub value: String,
    /// A new topic is made with it. Else it is left to the broker's default where that comes to the same, since some
    /// brokers refuse to be told.
    pub is_given: bool,
}

/// A topic as the catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is there for.
    pub role: Role,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor; `None` is whatever the broker gives.
    pub replication: Option<i16>,
    /// By name.
    pub settings: Vec<Setting>,
    /// Rules that need the order of the log, in words.
    pub ordered_rules: BTreeSet<String>,
}

/// A topic as the broker has it. What is not known is left out, and not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factors of its partitions: more than one while copies move.
    pub replication: BTreeSet<i16>,
    /// The settings that are in force, wherever they come from.
    pub settings: BTreeMap<String, String>,
}

/// Topics as the broker has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Those that are there.
    pub found: BTreeMap<String, Found>,
    /// Those of which something could not be seen, and why.
    pub unseen: BTreeMap<String, String>,
}

/// What would make a topic as the catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not there.
    Create(TopicSpec),
    /// It has another value.
    Set {
        /// The setting.
        name: &'static str,
        /// What is in force.
        from: String,
        /// What should be.
        to: String,
    },
    /// It has another number of partitions.
    Partitions {
        /// What it has.
        from: i32,
        /// What the catalogue says.
        to: i32,
    },
    /// It has another replication factor.
    Replication {
        /// What its partitions have.
        from: BTreeSet<i16>,
        /// What the catalogue says.
        to: i16,
    },
}

/// A topic, and one thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// What it is there for.
    pub role: Role,
    /// What would mend it.
    pub change: Change,
    /// What that needs beside rights.
    pub need: Need,
}

/// The topics that a catalogue wants, by name: its own, their dead letter topics and the topics that rules forward to. Dead
/// letters lie in as many partitions as their topic has; so do forwards where nothing else says.
pub fn wanted(topics: &[Arc<Topic>]) -> BTreeMap<String, Wanted> {
    let mut wanted: BTreeMap<String, Wanted> =
        topics.iter().map(|topic| (topic.name.to_string(), of_events(topic))).collect();
    for topic in topics {
        let beside = |role| Wanted { role, settings: Vec::new(), ordered_rules: BTreeSet::new(), ..of_events(topic) };
        // The catalogue's retention is of its own records, not of what becomes of them. But a compacted topic would keep the
        // last dead letter of each key only.
        let letters = Wanted { settings: vec![given(CLEANUP, DELETE)], ..beside(Role::DeadLetters) };
        wanted.entry(dead_letter_topic(&topic.name)).or_insert(letters);
        for target in topic.forward_targets() {
            wanted.entry(target.to_owned()).or_insert_with(|| beside(Role::Forwards));
        }
    }
    wanted
}

fn of_events(topic: &Topic) -> Wanted {
    let compression = topic.compression.map(|compression| match compression {
        Compression::None => "uncompressed",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    });
    let compression =
        Setting { is_given: compression.is_some(), ..given(COMPRESSION, compression.unwrap_or(AS_PRODUCED)) };
    let rules = topic.events.iter().flat_map(|event| &event.rules).map(|rule| &rule.action);
    let ordered = rules.filter(|action| matches!(action, Action::Member { tombstones_ms: None, .. }));
    Wanted {
        role: Role::Events,
        partitions: topic.partitions,
        replication: topic.replication,
        settings: vec![given(CLEANUP, DELETE), compression, given(RETENTION, topic.retention_ms)],
        ordered_rules: ordered.map(|action| topic.describe(action)).collect(),
    }
}

fn given(name: &'static str, value: impl ToString) -> Setting {
    Setting { name, value: value.to_string(), is_given: true }
}

impl Wanted {
    /// How it is made.
    pub fn spec(&self, name: &str) -> TopicSpec {
        let given = self.settings.iter().filter(|setting| setting.is_given);
        TopicSpec {
            name: name.to_owned(),
            partitions: self.partitions,
            replication: self.replication,
            configs: given.map(|setting| (setting.name.to_owned(), setting.value.clone())).collect(),
        }
    }

    fn changes(&self, name: &str, found: Option<&Found>) -> Vec<Change> {
        let Some(found) = found else { return vec![Change::Create(self.spec(name))] };
        // Whoever reads what is forwarded may have made the topic, and knows better.
        if self.role == Role::Forwards {
            return Vec::new();
        }
        let mut changes = Vec::new();
        // More places for dead letters than there could be are no matter.
        let differs = if self.role == Role::Events {
            found.partitions != self.partitions
        } else {
            found.partitions < self.partitions
        };
        if differs {
            changes.push(Change::Partitions { from: found.partitions, to: self.partitions });
        }
        if let Some(to) = self.replication
            && found.replication.iter().any(|from| *from != to)
        {
            changes.push(Change::Replication { from: found.replication.clone(), to });
        }
        for Setting { name, value, .. } in &self.settings {
            if let Some(from) = found.settings.get(*name).filter(|from| *from != value) {
                changes.push(Change::Set { name, from: from.clone(), to: value.clone() });
            }
        }
        changes
    }
}

/// All that differs, by topic. A topic that could not be seen is left out: nothing is known of it.
pub fn plan(wanted: &BTreeMap<String, Wanted>, observed: &Observed) -> Vec<Difference> {
    let seen =
        wanted.iter().filter(|(name, _)| observed.found.contains_key(*name) || !observed.unseen.contains_key(*name));
    let differences = seen.flat_map(|(name, wanted)| {
        wanted.changes(name, observed.found.get(name)).into_iter().map(move |change| Difference {
            topic: name.clone(),
            role: wanted.role,
            need: Need::of(&change, || breaks(wanted)),
            change,
        })
    });
    differences.collect()
}
