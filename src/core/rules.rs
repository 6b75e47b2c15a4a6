//! Rules: from an event to its effects.
//!
//! An event's rules are evaluated whole before anything is kept: either all effects of an event happen, or it is a dead
//! letter and none does. Effects live in one reused arena, so that nothing is allocated for a key that a batch knows already.

use std::ops::Range;

use super::{decimal, event::Event, reason::Reason, render::render, time};
use crate::{
    catalog::plan::{Action, Amount, Decimal, Rule, Template, Topic},
    model::{Delta, Kind, Membership, Origin, RecentEntry},
};

/// A piece of the arena.
type Text = Range<usize>;

/// An effect of an event on a key, or a forward.
#[derive(Debug)]
pub struct Effect {
    /// Number of the effect within the event type.
    pub number: u16,
    /// What it does.
    pub action: EffectAction,
}

/// What an effect does; texts lie in the arena.
#[derive(Debug)]
pub enum EffectAction {
    /// A change of a key.
    Change {
        /// The key's kind.
        kind: Kind,
        /// The key's name.
        name: Text,
        /// The change.
        change: Change,
    },
    /// Publish the record to another topic.
    Forward {
        /// Index of the rule within the event type.
        rule: usize,
        /// The record's key there; `None` keeps its own.
        key: Option<Text>,
    },
}

/// A change of a key by one event.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds.
    Count(i64),
    /// Raises to.
    Max(i64),
    /// Sets, if the event is the latest.
    Last(i64),
    /// Notes an element.
    Unique {
        /// When the key expires, milliseconds since 1970.
        expire_at_ms: Option<i64>,
        /// The element.
        element: Text,
    },
    /// Notes an element with its time.
    Recent {
        /// How many the key keeps.
        cap: usize,
        /// The element.
        element: Text,
    },
    /// Adds to an element.
    Top {
        /// When the window expires, milliseconds since 1970.
        expire_at_ms: Option<i64>,
        /// The element.
        element: Text,
        /// How much.
        amount: i64,
    },
    /// Puts in or takes out.
    Member {
        /// The element.
        element: Text,
        /// In, or out.
        is_add: bool,
        /// The counter that moves where the presence changes.
        moves: Option<Text>,
    },
}

/// The effects of one event. Reused from event to event.
#[derive(Default)]
pub struct Effects {
    arena: String,
    /// The effects, in the order of the rules.
    pub effects: Vec<Effect>,
}

impl Effects {
    /// The text of a piece of the arena.
    pub fn text(&self, piece: &Text) -> &str {
        &self.arena[piece.clone()]
    }

    /// Evaluates all rules of an event.
    ///
    /// # Errors
    /// The event is a dead letter. What was evaluated until then must not be used.
    pub fn evaluate(&mut self, topic: &Topic, event: &Event<'_>) -> Result<(), Reason> {
        self.arena.clear();
        self.effects.clear();
        let event_type = &topic.events[event.event_type];
        for slot in &event_type.required {
            if event.field(*slot) == super::scalar::Scalar::Missing {
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
                let Some(name) = self.render(key, topic, event)? else { return Ok(()) };
                let amount = amount(by, topic, event)?;
                self.change(rule, Kind::Count, name, Change::Count(amount));
            }
            Action::Max { key, of } => {
                let Some(name) = self.render(key, topic, event)? else { return Ok(()) };
                let value = decimal_field(of, topic, event)?;
                self.change(rule, Kind::Max, name, Change::Max(value));
            }
            Action::Last { key, of } => {
                let Some(name) = self.render(key, topic, event)? else { return Ok(()) };
                let value = decimal_field(of, topic, event)?;
                self.change(rule, Kind::Last, name, Change::Last(value));
            }
            Action::Unique { key, of, per_day, retention_ms } => {
                let Some(mut name) = self.render(key, topic, event)? else { return Ok(()) };
                let mut expire_at_ms = None;
                if *per_day {
                    self.arena.push(':');
                    time::push_day(&mut self.arena, event.time_ms);
                    name.end = self.arena.len();
                    let day_end = time::window_start(event.time_ms, time::DAY_MS) + time::DAY_MS;
                    expire_at_ms = retention_ms.map(|retention| day_end + retention);
                }
                let Some(element) = self.render(of, topic, event)? else { return Ok(()) };
                self.change(rule, Kind::Unique, name, Change::Unique { expire_at_ms, element });
            }
            Action::Recent { key, of, cap } => {
                let Some(name) = self.render(key, topic, event)? else { return Ok(()) };
                let Some(element) = self.render(of, topic, event)? else { return Ok(()) };
                self.change(rule, Kind::Recent, name, Change::Recent { cap: *cap, element });
            }
            Action::Top { .. } => self.top(rule, topic, event)?,
            Action::Member { key, of, is_add, moves } => {
                let Some(name) = self.render(key, topic, event)? else { return Ok(()) };
                let Some(element) = self.render(of, topic, event)? else { return Ok(()) };
                let moves = match moves {
                    Some(moves) => self.render(moves, topic, event)?,
                    None => None,
                };
                self.change(rule, Kind::Member, name, Change::Member { element, is_add: *is_add, moves });
            }
            Action::Forward { key, .. } => {
                let key = match key {
                    Some(key) => match self.render(key, topic, event)? {
                        Some(key) => Some(key),
                        None => return Ok(()),
                    },
                    None => None,
                };
                self.effects.push(Effect { number: rule.effect, action: EffectAction::Forward { rule: index, key } });
            }
        }
        Ok(())
    }

    fn top(&mut self, rule: &Rule, topic: &Topic, event: &Event<'_>) -> Result<(), Reason> {
        let Action::Top { key, of, by, windows, retention_ms } = &rule.action else { return Ok(()) };
        let Some(key) = self.render(key, topic, event)? else { return Ok(()) };
        let Some(element) = self.render(of, topic, event)? else { return Ok(()) };
        let amount = amount(by, topic, event)?;
        for window in windows {
            let start_ms = time::window_start(event.time_ms, window.length_ms);
            let begin = self.arena.len();
            self.arena.extend_from_within(key.clone());
            time::push_window(&mut self.arena, &window.label, window.length_ms, start_ms);
            let name = begin..self.arena.len();
            let expire_at_ms = Some(start_ms + window.length_ms + retention_ms);
            self.change(rule, Kind::Top, name, Change::Top { expire_at_ms, element: element.clone(), amount });
        }
        Ok(())
    }

    fn change(&mut self, rule: &Rule, kind: Kind, name: Text, change: Change) {
        self.effects.push(Effect { number: rule.effect, action: EffectAction::Change { kind, name, change } });
    }

    /// Renders at the end of the arena; `None` where the rule is skipped.
    fn render(&mut self, template: &Template, topic: &Topic, event: &Event<'_>) -> Result<Option<Text>, Reason> {
        let begin = self.arena.len();
        Ok(render(template, topic, event, &mut self.arena)?.then_some(begin..self.arena.len()))
    }

    /// Makes a change a delta of its own: the first of its key.
    pub fn delta(&self, change: &Change, time_ms: i64, origin: Origin) -> Delta {
        let element = |piece: &Text| self.text(piece).into();
        match change {
            Change::Count(amount) => Delta::Count(*amount),
            Change::Max(value) => Delta::Max(*value),
            Change::Last(value) => Delta::Last { time_ms, origin, value: *value },
            Change::Unique { expire_at_ms, element: piece } => {
                Delta::Unique { expire_at_ms: *expire_at_ms, elements: [element(piece)].into() }
            }
            Change::Recent { cap, element: piece } => {
                Delta::Recent { cap: *cap, entries: [RecentEntry { time_ms, origin, element: element(piece) }].into() }
            }
            Change::Top { expire_at_ms, element: piece, amount } => {
                Delta::Top { expire_at_ms: *expire_at_ms, sums: [(element(piece), *amount)].into() }
            }
            Change::Member { element: piece, is_add, moves } => {
                let moves = moves.as_ref().map(|counter| (element(counter), if *is_add { 1 } else { -1 }));
                Delta::Member { elements: [(element(piece), Membership::new(*is_add, moves))].into() }
            }
        }
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
