//! Rules: from an event to its effects.
//!
//! An event's rules are evaluated whole before anything is kept: either all effects of an event happen, or it is a dead
//! letter and none does. A key is hashed and looked up once an event, and kept once a block; elements are written to one text.

use super::{
    change::{ADDS_ONE, Change, KeyChange},
    decimal,
    event::Event,
    keys::{KeyIndex, Keys, Pieces, Text},
    reason::Reason,
    render::{Naming, render},
    time,
};
use crate::{
    catalog::plan::{Action, Amount, Decimal, Rule, Template, Topic},
    model::Kind,
};

/// A forward that an event asks for.
#[derive(Debug)]
pub struct Forwarded {
    /// Index of the rule within the event type.
    pub rule: usize,
    /// The record's key there; `None` keeps its own.
    pub key: Option<Text>,
}

/// The effects of a block's events, one after the other.
#[derive(Default)]
pub struct Effects {
    /// Keys, and the text of all names and elements.
    pub keys: Keys,
    /// The changes, in the order of the events and their rules.
    pub changes: Vec<KeyChange>,
    /// What those of them do that do not just add one.
    details: Vec<Change>,
    /// The forwards of the last event.
    pub forwards: Vec<Forwarded>,
    /// The name at hand.
    name: String,
}

impl Effects {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.changes.clear();
        self.details.clear();
        self.forwards.clear();
    }

    /// What a change does.
    pub fn change_of(&self, change: &KeyChange) -> Change {
        self.details.get(change.detail as usize).copied().unwrap_or(Change::Count(1))
    }

    /// Whether there may be changes of keys that are not counted.
    pub fn has_others(&self) -> bool {
        !self.details.is_empty()
    }

    /// Memory that it keeps, bytes.
    pub fn kept_bytes(&self) -> usize {
        self.changes.capacity() * size_of::<KeyChange>()
            + self.details.capacity() * size_of::<Change>()
            + self.keys.text.capacity()
    }

    /// Takes changes back: those from this one on.
    pub fn truncate(&mut self, changes: usize) {
        let taken = self.changes.drain(changes..).filter(|change| change.detail != ADDS_ONE).count();
        self.details.truncate(self.details.len() - taken);
    }

    /// Evaluates all rules of an event and appends what they do.
    ///
    /// # Errors
    /// The event is a dead letter, and nothing was appended.
    #[inline]
    pub fn evaluate(&mut self, topic: &Topic, event: &Event<'_>) -> Result<(), Reason> {
        self.forwards.clear();
        let changes = self.changes.len();
        let evaluated = self.all_rules(topic, event);
        if evaluated.is_err() {
            self.truncate(changes);
            self.forwards.clear();
        }
        evaluated
    }

    fn all_rules(&mut self, topic: &Topic, event: &Event<'_>) -> Result<(), Reason> {
        let event_type = &topic.events[event.event_type];
        for slot in &event_type.required {
            if event.is_missing(*slot) {
                return Err(Reason::MissingField { field: topic.fields[*slot as usize].to_string() });
            }
        }
        for (index, rule) in event_type.rules.iter().enumerate() {
            self.rule(index, rule, topic, event)?;
        }
        Ok(())
    }

    fn rule(&mut self, index: usize, rule: &Rule, topic: &Topic, event: &Event<'_>) -> Result<(), Reason> {
        match &rule.action {
            Action::Count { key, by, retention_ms } => {
                if let Some(key) = self.key(rule, Kind::Count, key, topic, event)?
                    && let Some(amount) = amount(by, topic, event)?
                {
                    let change = match retention_ms {
                        None => Change::Count(amount),
                        Some(retention) => Change::CountUntil { expire_at_ms: day_end(event) + retention, amount },
                    };
                    self.change(rule, key, change);
                }
            }
            Action::Max { key, of } => {
                if let Some(key) = self.key(rule, Kind::Max, key, topic, event)?
                    && let Some(value) = decimal_field(of, topic, event)?
                {
                    self.change(rule, key, Change::Max(value));
                }
            }
            Action::Last { key, of } => {
                if let Some(key) = self.key(rule, Kind::Last, key, topic, event)?
                    && let Some(value) = decimal_field(of, topic, event)?
                {
                    self.change(rule, key, Change::Last(value));
                }
            }
            Action::Unique { key, of, per_day, retention_ms } => {
                if !self.name(key, topic, event)? {
                    return Ok(());
                }
                let mut expire_at_ms = None;
                if *per_day {
                    self.name.push(':');
                    time::push_day(&mut self.name, event.time_ms);
                    expire_at_ms = retention_ms.map(|retention| day_end(event) + retention);
                }
                let Some(element) = self.text(of, topic, event)? else { return Ok(()) };
                let key = self.keys.intern(Kind::Unique, &self.name);
                self.change(rule, key, Change::Unique { expire_at_ms, element });
            }
            Action::Recent { key, of, cap } => {
                if let Some(key) = self.key(rule, Kind::Recent, key, topic, event)?
                    && let Some(element) = self.text(of, topic, event)?
                {
                    self.change(rule, key, Change::Recent { cap: *cap, element });
                }
            }
            Action::Top { .. } => self.top(rule, topic, event)?,
            Action::Member { key, of, is_add, moves, tombstones_ms } => {
                let Some(key) = self.key(rule, Kind::Member, key, topic, event)? else { return Ok(()) };
                let Some(element) = self.text(of, topic, event)? else { return Ok(()) };
                let moves = match moves {
                    Some(moves) => match self.text(moves, topic, event)? {
                        Some(counter) => Some(counter),
                        None => return Ok(()),
                    },
                    None => None,
                };
                let is_add = *is_add;
                let change = match *tombstones_ms {
                    None => Change::Member { element, is_add, moves },
                    Some(tombstones_ms) => {
                        Change::MemberByTime { tombstones_ms, element, is_in: is_add, counter: moves }
                    }
                };
                self.change(rule, key, change);
            }
            Action::Forward { key, .. } => {
                let key = match key {
                    Some(key) => match self.text(key, topic, event)? {
                        Some(key) => Some(key),
                        None => return Ok(()),
                    },
                    None => None,
                };
                self.forwards.push(Forwarded { rule: index, key });
            }
        }
        Ok(())
    }

    fn top(&mut self, rule: &Rule, topic: &Topic, event: &Event<'_>) -> Result<(), Reason> {
        let Action::Top { key, of, by, windows, retention_ms } = &rule.action else { return Ok(()) };
        if !self.name(key, topic, event)? {
            return Ok(());
        }
        let Some(element) = self.text(of, topic, event)? else { return Ok(()) };
        let Some(amount) = amount(by, topic, event)? else { return Ok(()) };
        let length = self.name.len();
        for window in windows {
            let start_ms = time::window_start(event.time_ms, window.length_ms);
            self.name.truncate(length);
            time::push_window(&mut self.name, &window.label, window.length_ms, start_ms);
            let expire_at_ms = Some(start_ms + window.length_ms + retention_ms);
            let key = self.keys.intern(Kind::Top, &self.name);
            self.change(rule, key, Change::Top { expire_at_ms, element, amount });
        }
        Ok(())
    }

    /// Appends a change of a key.
    fn change(&mut self, rule: &Rule, key: KeyIndex, change: Change) {
        let detail = if let Change::Count(1) = change {
            ADDS_ONE
        } else {
            self.details.push(change);
            (self.details.len() - 1) as u32
        };
        self.changes.push(KeyChange { key, detail, effect: rule.effect });
    }

    /// The key that a template names; `None` where the rule is skipped. Its name is rendered once a block, mostly: then it is
    /// known by the values that it is put together from.
    fn key(
        &mut self,
        rule: &Rule,
        kind: Kind,
        template: &Template,
        topic: &Topic,
        event: &Event<'_>,
    ) -> Result<Option<KeyIndex>, Reason> {
        let naming = Naming::new(rule.effect, template, topic, event);
        let hash = naming.hash();
        if let Some(hash) = hash
            && let Some(key) = self.keys.find(kind, hash, &naming)
        {
            return Ok(Some(key));
        }
        if !self.name(template, topic, event)? {
            return Ok(None);
        }
        let key = self.keys.intern(kind, &self.name);
        if let Some(hash) = hash {
            self.keys.note(key, hash, &naming);
        }
        Ok(Some(key))
    }

    /// Renders the name at hand; `false` where the rule is skipped.
    fn name(&mut self, template: &Template, topic: &Topic, event: &Event<'_>) -> Result<bool, Reason> {
        self.name.clear();
        render(template, topic, event, &mut self.name)
    }

    /// Renders an element at the end of the text; `None` where the rule is skipped.
    fn text(&mut self, template: &Template, topic: &Topic, event: &Event<'_>) -> Result<Option<Text>, Reason> {
        let text = &mut self.keys.text;
        let begin = text.len();
        Ok(render(template, topic, event, text)?.then(|| Text::to_end(begin, text)))
    }
}

/// When the event's day has ended, milliseconds since 1970. A call, since few rules ask for it: else it is worked out for each
/// event, before its rules are looked at.
#[inline(never)]
fn day_end(event: &Event<'_>) -> i64 {
    time::window_start(event.time_ms, time::DAY_MS) + time::DAY_MS
}

/// How much is added; `None` where the rule is skipped.
fn amount(by: &Amount, topic: &Topic, event: &Event<'_>) -> Result<Option<i64>, Reason> {
    match by {
        Amount::Constant(amount) => Ok(Some(*amount)),
        Amount::Field(field) => decimal_field(field, topic, event),
        // Within bounds that are the same on both sides of 0.
        Amount::Negated(field) => Ok(decimal_field(field, topic, event)?.map(|amount| -amount)),
    }
}

/// A decimal field, scaled; `None` where the rule is skipped.
fn decimal_field(decimal: &Decimal, topic: &Topic, event: &Event<'_>) -> Result<Option<i64>, Reason> {
    let error = match decimal::scaled(&event.field(decimal.slot), decimal.scale) {
        Ok(amount) => return Ok(Some(amount)),
        Err(error) => error,
    };
    let field = || topic.fields[decimal.slot as usize].to_string();
    match error {
        decimal::DecimalError::Missing if decimal.optional => Ok(None),
        decimal::DecimalError::Missing => Err(Reason::MissingField { field: field() }),
        error => Err(Reason::BadAmount { field: field(), scale: decimal.scale, error }),
    }
}
