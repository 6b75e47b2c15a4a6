//! The register: what is noted of a group outside of its store, so that a store that falls back as a whole, or is emptied, is
//! counted on as it was (EXACTLY_ONCE, "Catalogue").
//!
//! It is read out of an append-only log of notes that all groups share, in which the first note of a thing decides: the rules
//! that count a partition from an offset on, those that are announced, the first offset that the group counts, and the rules'
//! texts. Whoever adds a note reads on to see whether it decided. Notes of other results are passed over.

mod note;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::note::{About, Said};
use uuid::Uuid;

pub use self::note::{Entry, Note, Scope};
use super::switches::UNKNOWN;
use crate::model::{Fingerprint, MAX_SWITCHES, ShardId, Switch, Switches, TopicPartition};

/// Most partitions of a group that are remembered: the notes come from outside.
pub const MAX_PARTITIONS: usize = 100_000;
/// Bytes of rules' texts that are remembered; one of a topic has a few thousand. Beyond it the store's copy must do.
pub const MAX_TEXT_BYTES: usize = 16 * 1024 * 1024;

/// Why a record of the log of notes says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNoted {
    /// It is no note, or one of a later version.
    #[error("it is none that this version can read")]
    Unreadable,
    /// At a cap.
    #[error("there are more than {MAX_PARTITIONS} partitions or {MAX_TEXT_BYTES} bytes of texts of this group")]
    Full,
}

/// What is noted of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The first offset that the group counts.
    pub origin: Option<i64>,
    /// A shard that begins anew is counted by the rules of this entry or a later one: everything was counted anew by them.
    pub recounted: usize,
    table: Switches,
    announced: Option<Fingerprint>,
    topic_id: Option<Uuid>,
}

impl Noted {
    /// All switches; what is announced stands last, with [`UNKNOWN`] for its offset.
    pub fn switches(&self) -> Switches {
        let announced = self.announced.map(|fingerprint| Switch { fingerprint, from: UNKNOWN });
        Switches(self.table.0.iter().copied().chain(announced).collect())
    }

    /// Whether the group has begun to count it.
    pub fn has_begun(&self) -> bool {
        !self.table.0.is_empty()
    }

    /// What has to be noted for this table to stand here. Nothing where another one does.
    pub fn missing(&self, partition: &TopicPartition, wanted: &Switches) -> Vec<Note> {
        let mut table = self.table.clone();
        let mut notes = Vec::new();
        if !wanted.0.starts_with(&table.0) {
            return notes;
        }
        for (number, switch) in wanted.0.iter().enumerate().skip(table.0.len()) {
            let entry = Entry { number, after: hash(&table) };
            notes.push(match switch.from {
                UNKNOWN => Note::Announced(partition.clone(), entry, switch.fingerprint),
                _ => Note::Switch(partition.clone(), entry, *switch),
            });
            table.0.push(*switch);
        }
        notes
    }

    /// Whether it is noted of another topic than the one with this id, which had the same name.
    fn is_of_another(&self, topic_id: Option<Uuid>) -> bool {
        self.topic_id.zip(topic_id).is_some_and(|(noted, now)| noted != now)
    }

    fn take_in(&mut self, said: &Said<'_>, shards: ShardId) -> Result<(), NotNoted> {
        match said {
            Said::Origin { offset } => {
                self.origin.get_or_insert(*offset);
            }
            Said::Switch { shards: noted, entry, rules, from, after } if *noted == shards => {
                let switch = Switch { fingerprint: read_rules(rules)?, from: *from };
                let is_behind = self.table.last().is_none_or(|last| last.from <= *from) && (0..UNKNOWN).contains(from);
                if is_behind && self.is_next(*entry, after)? {
                    self.table.0.push(switch);
                    self.announced = None;
                }
            }
            Said::Announced { shards: noted, entry, rules, after } if *noted == shards => {
                let fingerprint = read_rules(rules)?;
                if self.is_next(*entry, after)? {
                    self.announced.get_or_insert(fingerprint);
                }
            }
            Said::Recounted { shards: noted, entry } if *noted == shards && *entry < self.table.0.len() => {
                self.recounted = self.recounted.max(*entry);
            }
            Said::Switch { .. } | Said::Announced { .. } | Said::Recounted { .. } => {}
        }
        Ok(())
    }

    fn is_next(&self, entry: usize, after: &str) -> Result<bool, NotNoted> {
        let after = u64::from_str_radix(after, 16).map_err(|_| NotNoted::Unreadable)?;
        Ok(entry == self.table.0.len() && entry < MAX_SWITCHES && after == hash(&self.table))
    }
}

fn hash(table: &Switches) -> u64 {
    table.mark(0).table
}

fn read_rules(text: &str) -> Result<Fingerprint, NotNoted> {
    u128::from_str_radix(text, 16).map(Fingerprint).map_err(|_| NotNoted::Unreadable)
}

/// What is noted of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    partitions: BTreeMap<TopicPartition, Noted>,
    texts: BTreeMap<Fingerprint, Arc<str>>,
}

impl Register {
    /// What is noted of a partition whose topic has this id now: nothing, where that was made again.
    pub fn noted(&self, partition: &TopicPartition, topic_id: Option<Uuid>) -> Noted {
        let noted = self.partitions.get(partition).filter(|noted| !noted.is_of_another(topic_id));
        noted.cloned().unwrap_or_default()
    }

    /// The partitions that the group has begun to count.
    pub fn begun(&self) -> impl Iterator<Item = &TopicPartition> {
        self.partitions.iter().filter(|(_, noted)| noted.has_begun()).map(|(partition, _)| partition)
    }

    /// What rules say.
    pub fn text(&self, fingerprint: Fingerprint) -> Option<&Arc<str>> {
        self.texts.get(&fingerprint)
    }

    /// The rules that are named and have no text here.
    pub fn without_text(&self, notes: &[Note]) -> BTreeSet<Fingerprint> {
        let named = notes.iter().filter_map(|note| match note {
            Note::Switch(_, _, Switch { fingerprint, .. }) | Note::Announced(_, _, fingerprint) => Some(*fingerprint),
            Note::Origin(..) | Note::Recounted(..) | Note::Text(..) => None,
        });
        named.filter(|fingerprint| !self.texts.contains_key(fingerprint)).collect()
    }

    /// Takes in the next record of the log of notes.
    ///
    /// # Errors
    /// It says nothing; what stands here stays.
    pub fn take_in(&mut self, scope: &Scope, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), NotNoted> {
        let (Some(key), Some(value)) = (key, value) else { return Err(NotNoted::Unreadable) };
        let about: About<'_> = serde_json::from_slice(key).map_err(|_| NotNoted::Unreadable)?;
        if about.prefix != scope.prefix || about.group != scope.group {
            return Ok(());
        }
        match about {
            About { rules: Some(rules), .. } => self.take_in_text(read_rules(&rules)?, value),
            About { topic: Some(topic), partition: Some(partition), topic_id: about_id, .. } => {
                let about_id = about_id.map(|id| id.parse()).transpose().map_err(|_| NotNoted::Unreadable)?;
                let said: Said<'_> = serde_json::from_slice(value).map_err(|_| NotNoted::Unreadable)?;
                let partition = TopicPartition::new(&*topic, partition);
                if self.partitions.len() >= MAX_PARTITIONS && !self.partitions.contains_key(&partition) {
                    return Err(NotNoted::Full);
                }
                let noted = self.partitions.entry(partition).or_default();
                if noted.is_of_another(about_id) {
                    *noted = Noted::default();
                }
                noted.topic_id = noted.topic_id.or(about_id);
                noted.take_in(&said, scope.shards)
            }
            _ => Err(NotNoted::Unreadable),
        }
    }

    fn take_in_text(&mut self, fingerprint: Fingerprint, text: &[u8]) -> Result<(), NotNoted> {
        let text = std::str::from_utf8(text).map_err(|_| NotNoted::Unreadable)?;
        let held: usize = self.texts.values().map(|text| text.len()).sum();
        if held + text.len() > MAX_TEXT_BYTES {
            return Err(NotNoted::Full);
        }
        self.texts.entry(fingerprint).or_insert_with(|| text.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
