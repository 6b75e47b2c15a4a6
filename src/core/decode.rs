//! The first half of counting: a block's records read, identified and evaluated, each by itself.
//!
//! Nothing here depends on what came before, so that blocks of one partition are decoded on several cores at once. The second
//! half ([`super::worker`]) goes through the results in order.

use std::sync::Arc;

use super::{
    batch::{Outgoing, Purpose},
    dedupe::{Identity, IdentitySecret},
    event::{Event, Layout, Scratch, decode},
    forward,
    reason::Reason,
    rules::Effects,
};
use crate::{
    catalog::plan::{Action, IdentityPart, Priority, Topic},
    log::{Block, LogError, OutRecord, RecordRef},
};

/// Reads the records of one topic.
pub struct Decoder {
    topic: Arc<Topic>,
    layout: Layout,
    secret: Arc<IdentitySecret>,
    /// For each event type the first one with its name: what stands for the name in identities.
    type_numbers: Vec<u32>,
}

/// What a record is, as far as it can be told by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) time_ms: i64,
    /// Where it has one: else it is never taken for a duplicate.
    pub(super) identity: Identity,
    pub(super) has_identity: bool,
    pub(super) what: What,
    /// Its changes end here among those of the block, and begin where the entry's before it end.
    pub(super) changes_end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It has no value.
    Tombstone,
    /// An event that counts.
    Event { is_critical: bool },
    /// It cannot be counted; what it sends says so.
    DeadLetter,
    /// It lies before where counting begins, and only fills the duplicate window.
    Remembered,
}

/// A block's records, decoded. Used again from block to block: its memory is what costs.
#[derive(Default)]
pub struct Decoded {
    pub(super) entries: Vec<Entry>,
    pub(super) effects: Effects,
    /// What entries send, each with its entry's offset.
    pub(super) outgoing: Vec<Outgoing>,
    /// Time of the youngest record, milliseconds since 1970.
    pub(super) newest_ms: i64,
    scratch: Scratch,
    identity_parts: Vec<u8>,
}

/// Most bytes that a [`Decoded`] keeps for the next block.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

impl Decoded {
    /// Forgets the records. Memory that one unusual block needed is given back.
    pub fn clear(&mut self) {
        let kept = self.entries.capacity() * size_of::<Entry>() + self.effects.kept_bytes();
        if kept > MAX_KEPT_BYTES {
            *self = Self::default();
            return;
        }
        self.entries.clear();
        self.effects.clear();
        self.outgoing.clear();
        self.newest_ms = 0;
    }

    /// Forgets the records from an offset on: what lies behind it is not counted from this block.
    pub fn cut(&mut self, up_to: i64) {
        self.entries.truncate(self.entries.partition_point(|entry| entry.offset < up_to));
    }

    /// Records in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Decoder {
    /// A decoder for the records of a topic.
    pub fn new(topic: Arc<Topic>, secret: Arc<IdentitySecret>) -> Self {
        let first = |name: &str| topic.events.iter().position(|event| &*event.name == name).unwrap_or_default();
        let type_numbers = topic.events.iter().map(|event| first(&event.name) as u32).collect();
        Self { layout: Layout::new(&topic), topic, secret, type_numbers }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Decodes a block into `out`.
    ///
    /// # Errors
    /// The block cannot be read to its end. What `out` holds then must not be used.
    pub fn block(&self, block: &Block, count_from: i64, out: &mut Decoded) -> Result<(), LogError> {
        out.clear();
        // It may have served another topic.
        out.scratch.forget();
        block.records.visit(&mut |record| self.record(&record, count_from, out))
    }

    /// Decodes one record, behind those that `out` holds. Records below `count_from` are counted already: they are only
    /// identified.
    fn record(&self, record: &RecordRef<'_>, count_from: i64, out: &mut Decoded) {
        let Decoded { entries, effects, outgoing, newest_ms, scratch, identity_parts } = out;
        let is_counted = record.offset >= count_from;
        let mut entry = Entry {
            offset: record.offset,
            time_ms: record.timestamp_ms,
            identity: Identity::default(),
            has_identity: false,
            what: if is_counted { What::Tombstone } else { What::Remembered },
            changes_end: 0,
        };
        if is_counted {
            *newest_ms = (*newest_ms).max(record.timestamp_ms);
        }
        if let Some(value) = record.value {
            match decode(&self.topic, &self.layout, scratch, value, record) {
                Ok(event) => {
                    entry.time_ms = event.time_ms;
                    if let Some(identity) = self.identity(&event, identity_parts) {
                        (entry.identity, entry.has_identity) = (identity, true);
                    }
                    if is_counted {
                        entry.what = self.evaluate(record, &event, effects, outgoing);
                    }
                }
                Err(reason) if is_counted => {
                    entry.what = What::DeadLetter;
                    outgoing.push(dead_letter(record, reason));
                }
                Err(_) => {}
            }
        }
        entry.changes_end = effects.changes.len() as u32;
        entries.push(entry);
    }

    fn evaluate(
        &self,
        record: &RecordRef<'_>,
        event: &Event<'_>,
        effects: &mut Effects,
        outgoing: &mut Vec<Outgoing>,
    ) -> What {
        let changes = effects.changes.len();
        if let Err(reason) = effects.evaluate(&self.topic, event) {
            outgoing.push(dead_letter(record, reason));
            return What::DeadLetter;
        }
        if !effects.forwards.is_empty() {
            let hops = forward::hops(record);
            if hops >= forward::MAX_HOPS {
                effects.truncate(changes);
                outgoing.push(dead_letter(record, Reason::HopLimit { hops }));
                return What::DeadLetter;
            }
            self.forward(record, event, effects, outgoing);
        }
        What::Event { is_critical: event.priority == Priority::Critical }
    }

    fn forward(&self, record: &RecordRef<'_>, event: &Event<'_>, effects: &Effects, outgoing: &mut Vec<Outgoing>) {
        let source = Arc::new(owned(record));
        for forwarded in &effects.forwards {
            let rule = &self.topic.events[event.event_type].rules[forwarded.rule];
            let Action::Forward { topic, .. } = &rule.action else { continue };
            let key = forwarded.key.map(|key| effects.keys.str(key).as_bytes().to_vec());
            let purpose = Purpose::Forward { topic: topic.clone(), key };
            outgoing.push(Outgoing { offset: record.offset, source: Arc::clone(&source), purpose });
        }
    }

    /// What makes the event the same as another; `None` where it lacks a part: it is never taken for a duplicate then.
    fn identity(&self, event: &Event<'_>, parts: &mut Vec<u8>) -> Option<Identity> {
        if self.topic.identity.is_empty() {
            return None;
        }
        parts.clear();
        let mut push = |part: &[u8]| {
            parts.extend_from_slice(&(part.len() as u32).to_le_bytes());
            parts.extend_from_slice(part);
        };
        for part in &self.topic.identity {
            match part {
                IdentityPart::Id => push(event.id.name()?.as_bytes()),
                IdentityPart::Type => push(&self.type_numbers[event.event_type].to_le_bytes()),
                IdentityPart::Timestamp => push(&event.own_time_ms?.to_le_bytes()),
                IdentityPart::Field(slot) => match event.plain_name(*slot) {
                    Some(name) => push(name.as_bytes()),
                    None => push(event.field(*slot).name()?.as_bytes()),
                },
            }
        }
        Some(self.secret.identify(parts))
    }
}

fn dead_letter(record: &RecordRef<'_>, reason: Reason) -> Outgoing {
    Outgoing { offset: record.offset, source: Arc::new(owned(record)), purpose: Purpose::DeadLetter(reason) }
}

/// A copy of a record that outlives its block. Header names that are no text are kept as far as they are.
fn owned(record: &RecordRef<'_>) -> OutRecord {
    OutRecord {
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.unwrap_or_default().to_vec()))
            .collect(),
        timestamp_ms: Some(record.timestamp_ms),
    }
}
