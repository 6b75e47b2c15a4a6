//! The first half of counting: a block's records read, identified and evaluated, each by itself.
//!
//! Nothing here depends on what came before, so that blocks of one partition are decoded on several cores at once. The second
//! half ([`super::worker`]) goes through the results in order.
//!
//! Longer than most files, since what a record comes to is decided in one place: event, replay, dead letter, and what is told of it.

mod identity;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::{
    batch::{Outgoing, Purpose},
    dedupe::{Identity, IdentitySecret, Parts},
    event::{Event, Layout, Scratch, decode_and},
    forward,
    reason::Reason,
    replay::Replay,
    rules::Effects,
    schema,
    shape::attribute,
    tracked::{Tracked, track},
    translate::Translating,
};
use crate::{
    catalog::{
        plan::{Action, Priority, Shape, Topic},
        schema::Instance,
    },
    log::{Block, LogError, OutRecord, RecordRef},
};

/// Reads the records of one topic.
pub struct Decoder {
    topic: Arc<Topic>,
    layout: Layout,
    /// The group that counts: replays for others are left out.
    group: Arc<str>,
    secret: Arc<IdentitySecret>,
    /// Where these rules begin to count the partition.
    rules_from: AtomicI64,
    /// For each event type the first one with its name: what stands for the name in identities.
    type_numbers: Vec<u32>,
    is_tracked: bool,
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
    Event { is_critical: bool, shape: Shape },
    /// It cannot be counted; what it sends says so.
    DeadLetter,
    /// It was sent again for another group.
    OthersReplay,
    /// It was sent again after its original, which these rules count.
    CountedBefore,
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
    /// What becomes of events that are tracked, but for duplicates.
    pub(super) tracked: Vec<Tracked>,
    /// Time of the youngest record, milliseconds since 1970.
    pub(super) newest_ms: i64,
    /// Schemas that values name and that must be asked for: the block is to be decoded again then.
    pub(super) unknown: Vec<u32>,
    /// A value as JSON that lies otherwise in its record.
    json: Vec<u8>,
    /// Data that is held against a schema.
    instance: Instance,
    scratch: Scratch,
    parts: Parts,
}

/// Most bytes that a [`Decoded`] keeps for the next block.
const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;

impl Decoded {
    /// Forgets the records. Memory that one unusual block needed is given back.
    pub fn clear(&mut self) {
        let kept = self.entries.capacity() * size_of::<Entry>() + self.effects.kept_bytes() + self.json.capacity();
        if kept > MAX_KEPT_BYTES {
            *self = Self::default();
            return;
        }
        self.entries.clear();
        self.effects.clear();
        self.outgoing.clear();
        self.tracked.clear();
        self.unknown.clear();
        self.newest_ms = 0;
    }

    /// Schemas that must be asked for before the block can be decoded, which it is not where there are any.
    pub fn unknown(&self) -> &[u32] {
        &self.unknown
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
    /// A decoder for the records of a topic, as a group counts them (`KAFKA_CONSUMER_GROUP`).
    pub fn new(topic: Arc<Topic>, group: Arc<str>, secret: Arc<IdentitySecret>) -> Self {
        let first = |name: &str| topic.events.iter().position(|event| &*event.name == name).unwrap_or_default();
        let type_numbers = topic.events.iter().map(|event| first(&event.name) as u32).collect();
        let rules_from = AtomicI64::new(i64::MAX);
        Self { layout: Layout::new(&topic), topic, group, secret, type_numbers, rules_from, is_tracked: false }
    }

    /// Tells of each event that has an id what became of it.
    pub(super) fn track(&mut self) {
        self.is_tracked = true;
    }

    /// These rules count from an offset on: a replay that they can count counts nothing where what failed lies behind it, as that
    /// was counted then. Until it is said they are taken to have begun with each record.
    pub fn rules_begin_at(&self, offset: i64) {
        self.rules_from.store(offset, Ordering::Relaxed);
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
        self.translated(block, count_from, None, out)
    }

    /// Decodes a block whose values may name schemas. Where [`Decoded::unknown`] has any afterwards, it must be decoded again.
    ///
    /// # Errors
    /// As for [`Decoder::block`].
    pub fn translated(
        &self,
        block: &Block,
        count_from: i64,
        translating: Option<Translating<'_>>,
        out: &mut Decoded,
    ) -> Result<(), LogError> {
        out.clear();
        // It may have served another topic.
        out.scratch.forget();
        block.records.visit(&mut |record| self.record(&record, count_from, translating, out))
    }

    /// Decodes one record, behind those that `out` holds. Records below `count_from` are counted already: they are only
    /// identified.
    ///
    /// What comes of it is put together at the end: a struct that is filled piece by piece and copied at once makes the
    /// processor wait for the pieces.
    fn record(&self, record: &RecordRef<'_>, count_from: i64, translating: Option<Translating<'_>>, out: &mut Decoded) {
        let is_counted = record.offset >= count_from;
        if is_counted {
            out.newest_ms = out.newest_ms.max(record.timestamp_ms);
        }
        let (mut time_ms, mut identity, mut has_identity) = (record.timestamp_ms, Identity::default(), false);
        let mut what = if is_counted { What::Tombstone } else { What::Remembered };
        let replay = Replay::of(record);
        if replay.as_ref().is_some_and(|replay| replay.is_for_other(&self.group)) {
            if is_counted {
                what = What::OthersReplay;
            }
        } else if let Some(value) = record.value {
            let Decoded { effects, outgoing, tracked, unknown, json, instance, scratch, parts, .. } = out;
            let count = |event: &Event<'_>| {
                time_ms = event.time_ms;
                if let Some(named) = self.identity(event, replay.as_ref(), parts) {
                    (identity, has_identity) = (named, true);
                }
                if !is_counted {
                    return;
                }
                let before = (effects.changes.len(), outgoing.len());
                what = self.evaluate(record, event, instance, effects, outgoing);
                if replay.is_some_and(|replay| self.was_counted(replay, what)) {
                    what = What::CountedBefore;
                    effects.truncate(before.0);
                    outgoing.truncate(before.1);
                }
                if self.is_tracked {
                    let is_dead = what == What::DeadLetter;
                    tracked.extend(track(record.offset, event.id().name(), is_dead, outgoing));
                }
            };
            let decoded = 'decoded: {
                let value = match translating.map(|translating| translating.json(value, json, unknown)) {
                    None | Some(Ok(false)) => value,
                    Some(Ok(true)) => &**json,
                    Some(Err(reason)) => break 'decoded Err(reason),
                };
                decode_and(&self.topic, &self.layout, scratch, value, record, count)
            };
            match decoded {
                Ok(()) => {}
                Err(reason) if is_counted => {
                    what = What::DeadLetter;
                    outgoing.push(dead_letter(record, reason));
                    if self.is_tracked {
                        // Its value tells nothing.
                        tracked.extend(track(record.offset, attribute(record, "event-id").name(), true, outgoing));
                    }
                }
                Err(_) => {}
            }
        }
        let changes_end = out.effects.changes.len() as u32;
        out.entries.push(Entry { offset: record.offset, time_ms, identity, has_identity, what, changes_end });
    }

    /// Whether what failed before this replay was counted all the same: by these rules, which find nothing wrong with it.
    fn was_counted(&self, replay: Replay<'_>, what: What) -> bool {
        matches!(what, What::Event { .. }) && replay.is_judged_from(self.rules_from.load(Ordering::Relaxed))
    }

    fn evaluate(
        &self,
        record: &RecordRef<'_>,
        event: &Event<'_>,
        instance: &mut Instance,
        effects: &mut Effects,
        outgoing: &mut Vec<Outgoing>,
    ) -> What {
        let changes = effects.changes.len();
        let fits = match &self.topic.events[event.event_type].schema {
            Some(schema) => schema::check(schema, event.data_text(), instance),
            None => Ok(()),
        };
        if let Err(reason) = fits.and_then(|()| effects.evaluate(&self.topic, event)) {
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
        What::Event { is_critical: event.priority == Priority::Critical, shape: event.shape }
    }

    fn forward(&self, record: &RecordRef<'_>, event: &Event<'_>, effects: &Effects, outgoing: &mut Vec<Outgoing>) {
        let mut source = owned(record);
        // A CloudEvent may have its trace context in the value, where readers of other shapes do not look.
        let is_new = |name: &str| record.header(name).is_none();
        let trace = event.trace().into_iter().filter(|(name, _)| is_new(name));
        source
            .headers
            .extend(trace.filter_map(|(name, value)| Some((name.to_owned(), value?.into_owned().into_bytes()))));
        let source = Arc::new(source);
        for forwarded in &effects.forwards {
            let rule = &self.topic.events[event.event_type].rules[forwarded.rule];
            let Action::Forward { topic, .. } = &rule.action else { continue };
            let key = forwarded.key.map(|key| effects.keys.str(key).as_bytes().to_vec());
            let purpose = Purpose::Forward { topic: topic.clone(), key };
            outgoing.push(Outgoing { offset: record.offset, source: Arc::clone(&source), purpose });
        }
    }
}

fn dead_letter(record: &RecordRef<'_>, reason: Reason) -> Outgoing {
    Outgoing { offset: record.offset, source: Arc::new(owned(record)), purpose: Purpose::DeadLetter(reason) }
}

/// A copy of a record that outlives its block. Header names that are no text are kept as far as they are.
pub(super) fn owned(record: &RecordRef<'_>) -> OutRecord {
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
