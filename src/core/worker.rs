//! One partition tenure's way from records to batches: decode, identity, dedupe, rules, gather.

use std::sync::Arc;

use super::{
    batch::{Batch, Outgoing, Purpose},
    dedupe::{Identity, IdentitySecret, Window},
    event::{Event, Layout, decode},
    forward,
    reason::Reason,
    rules::{EffectAction, Effects},
};
use crate::{
    catalog::plan::{Action, IdentityPart, Priority, Topic},
    log::{Block, LogError, OutRecord, RecordRef},
    model::{Origin, TopicPartition},
};

/// A state machine of values: records in, batches out.
pub struct Worker {
    topic: Arc<Topic>,
    partition: TopicPartition,
    layout: Layout,
    secret: Arc<IdentitySecret>,
    window: Window,
    /// Records below this offset only fill the window: they are counted already.
    count_from: i64,
    batch_events: usize,
    effects: Effects,
    identity_parts: Vec<u8>,
}

impl Worker {
    /// A worker that counts from `count_from` on and cuts batches after `batch_events` events (`BATCH_SIZE`).
    pub fn new(
        topic: Arc<Topic>,
        partition: TopicPartition,
        secret: Arc<IdentitySecret>,
        count_from: i64,
        batch_events: usize,
    ) -> Self {
        Self {
            layout: Layout::new(&topic),
            window: Window::new(topic.dedupe),
            topic,
            partition,
            secret,
            count_from,
            batch_events,
            effects: Effects::default(),
            identity_parts: Vec::new(),
        }
    }

    /// Works through a block. Batches come in order; the last one ends where the block ends, also if it holds nothing.
    ///
    /// # Errors
    /// The block is damaged; nothing of it may count, and the worker is not to be used any more.
    pub fn step(&mut self, block: &Block) -> Result<Vec<Batch>, LogError> {
        let mut batches = Vec::new();
        let mut batch = Batch::default();
        block.records.visit(&mut |record| {
            if record.offset < self.count_from {
                self.remember(&record);
                return;
            }
            self.count(&record, &mut batch);
            batch.next_offset = record.offset + 1;
            if batch.tally.events >= self.batch_events as u64 || batch.overflow.is_some() {
                batches.push(std::mem::take(&mut batch));
            }
        })?;
        if block.next_offset > self.count_from {
            batch.next_offset = block.next_offset;
            batches.push(batch);
        }
        Ok(batches)
    }

    /// Fills the duplicate window with a record that is counted already.
    fn remember(&mut self, record: &RecordRef<'_>) {
        let topic = Arc::clone(&self.topic);
        let Some(value) = record.value else { return };
        if let Ok(event) = decode(&topic, &self.layout, value, record)
            && let Some(identity) = self.identity(&topic, &event)
        {
            self.window.insert(record.offset, event.time_ms, identity);
        }
    }

    fn count(&mut self, record: &RecordRef<'_>, batch: &mut Batch) {
        batch.tally.records += 1;
        batch.tally.newest_ms = batch.tally.newest_ms.max(record.timestamp_ms);
        let Some(value) = record.value else {
            batch.tally.tombstones += 1;
            return;
        };
        let topic = Arc::clone(&self.topic);
        let event = match decode(&topic, &self.layout, value, record) {
            Ok(event) => event,
            Err(reason) => return dead_letter(record, reason, batch),
        };
        if let Some(identity) = self.identity(&topic, &event)
            && self.window.insert(record.offset, event.time_ms, identity)
        {
            batch.tally.duplicates += 1;
            return;
        }
        if let Err(reason) = self.effects.evaluate(&topic, &event).and_then(|()| self.check_hops(record)) {
            return dead_letter(record, reason, batch);
        }
        batch.tally.events += 1;
        batch.is_critical |= event.priority == Priority::Critical;
        self.keep(record, &topic, &event, batch);
    }

    /// What makes the event the same as another; `None` where it lacks a part: it is never taken for a duplicate then.
    fn identity(&mut self, topic: &Topic, event: &Event<'_>) -> Option<Identity> {
        if topic.identity.is_empty() {
            return None;
        }
        let parts = &mut self.identity_parts;
        parts.clear();
        let mut push = |part: &[u8]| {
            parts.extend_from_slice(&(part.len() as u32).to_le_bytes());
            parts.extend_from_slice(part);
        };
        for part in &topic.identity {
            match part {
                IdentityPart::Id => push(event.id.name()?.as_bytes()),
                IdentityPart::Type => push(topic.events[event.event_type].name.as_bytes()),
                IdentityPart::Timestamp => push(&event.own_time_ms?.to_le_bytes()),
                IdentityPart::Field(slot) => push(event.field(*slot).name()?.as_bytes()),
            }
        }
        Some(self.secret.identify(parts))
    }

    fn check_hops(&self, record: &RecordRef<'_>) -> Result<(), Reason> {
        let forwards = |action: &EffectAction| matches!(action, EffectAction::Forward { .. });
        let hops = forward::hops(record);
        if hops >= forward::MAX_HOPS && self.effects.effects.iter().any(|effect| forwards(&effect.action)) {
            return Err(Reason::HopLimit { hops });
        }
        Ok(())
    }

    /// Keeps the evaluated effects of an event.
    fn keep(&self, record: &RecordRef<'_>, topic: &Topic, event: &Event<'_>, batch: &mut Batch) {
        let mut source: Option<Arc<OutRecord>> = None;
        for effect in &self.effects.effects {
            let origin = Origin {
                topic: topic.hash,
                partition: self.partition.partition,
                offset: record.offset,
                effect: effect.number,
            };
            match &effect.action {
                EffectAction::Change { kind, name, change } => {
                    batch.add(&self.effects, *kind, self.effects.text(name), change, event.time_ms, origin);
                }
                EffectAction::Forward { rule, key } => {
                    let Action::Forward { topic: target, .. } = &topic.events[event.event_type].rules[*rule].action
                    else {
                        continue;
                    };
                    let source = source.get_or_insert_with(|| Arc::new(owned(record)));
                    let key = key.as_ref().map(|key| self.effects.text(key).as_bytes().to_vec());
                    let purpose = Purpose::Forward { topic: target.clone(), key };
                    batch.tally.forwards += 1;
                    batch.outgoing.push(Outgoing { offset: record.offset, source: Arc::clone(source), purpose });
                }
            }
        }
    }
}

fn dead_letter(record: &RecordRef<'_>, reason: Reason, batch: &mut Batch) {
    batch.tally.dead_letters += 1;
    batch.outgoing.push(Outgoing {
        offset: record.offset,
        source: Arc::new(owned(record)),
        purpose: Purpose::DeadLetter(reason),
    });
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
