//! Rules: from an event to its effects.
//!
//! An event's rules are evaluated whole before anything is kept: either all effects of an event happen, or it is a dead
//! letter and none does. A key is hashed and looked up once an event, and kept once a block; elements are written to one text.

use super::{
    change::{ADDS_ONE, Change, KeyChange},
    decimal,
    event::Event,
    keys::{Keys, Text},
    reason::Reason,
    render::render,
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
            Action::Count { key, by } => {
                if self.name(key, topic, event)? {
                    let amount = amount(by, topic, event)?;
                    self.change(rule, Kind::Count, Change::Count(amount));
                }
            }
            Action::Max { key, of } => {
                if self.name(key, topic, event)? {
                    let value = decimal_field(of, topic, event)?;
                    self.change(rule, Kind::Max, Change::Max(value));
                }
            }
            Action::Last { key, of } => {
                if self.name(key, topic, event)? {
                    let value = decimal_field(of, topic, event)?;
                    self.change(rule, Kind::Last, Change::Last(value));
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
                    let day_end = time::window_start(event.time_ms, time::DAY_MS) + time::DAY_MS;
                    expire_at_ms = retention_ms.map(|retention| day_end + retention);
                }
                let Some(element) = self.text(of, topic, event)? else { return Ok(()) };
                self.change(rule, Kind::Unique, Change::Unique { expire_at_ms, element });
            }
            Action::Recent { key, of, cap } => {
                if self.name(key, topic, event)?
                    && let Some(element) = self.text(of, topic, event)?
                {
                    self.change(rule, Kind::Recent, Change::Recent { cap: *cap, element });
                }
            }
            Action::Top { .. } => self.top(rule, topic, event)?,
            Action::Member { key, of, is_add, moves } => {
                if !self.name(key, topic, event)? {
                    return Ok(());
                }
                let Some(element) = self.text(of, topic, event)? else { return Ok(()) };
                let moves = match moves {
                    Some(moves) => self.text(moves, topic, event)?,
                    None => None,
                };
                self.change(rule, Kind::Member, Change::Member { element, is_add: *is_add, moves });
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
        let amount = amount(by, topic, event)?;
        let length = self.name.len();
        for window in windows {
            let start_ms = time::window_start(event.time_ms, window.length_ms);
            self.name.truncate(length);
            time::push_window(&mut self.name, &window.label, window.length_ms, start_ms);
            let expire_at_ms = Some(start_ms + window.length_ms + retention_ms);
            self.change(rule, Kind::Top, Change::Top { expire_at_ms, element, amount });
        }
        Ok(())
    }

    /// Appends a change of the key that has the name at hand.
    fn change(&mut self, rule: &Rule, kind: Kind, change: Change) {
        let key = self.keys.intern(kind, &self.name);
        let detail = if let Change::Count(1) = change {
            ADDS_ONE
        } else {
            self.details.push(change);
            (self.details.len() - 1) as u32
        };
        self.changes.push(KeyChange { key, detail, effect: rule.effect });
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

fn amount(by: &Amount, topic: &Topic, event: &Event<'_>) -> Result<i64, Reason> {
    match by {
        Amount::Constant(amount) => Ok(*amount),
        Amount::Field(field) => decimal_field(field, topic, event),
    }
}

fn decimal_field(decimal: &Decimal, topic: &Topic, event: &Event<'_>) -> Result<i64, Reason> {
    decimal::scaled(&event.field(decimal.slot), decimal.scale).map_err(|error| {
        let field = topic.fields[decimal.slot as usize].to_string();
        match error {
            decimal::DecimalError::Missing => Reason::MissingField { field },
            error => Reason::BadAmount { field, scale: decimal.scale, error },
        }
    })
}
