//! Outlines: what the records of one event type have in common to the letter, and the values between.
//!
//! A producer writes the events of a type alike: the same names in the same order with the same spaces. So a record is first
//! held against the outlines of records before it. Where one fits, all that is looked at are the values; the text between them
//! was checked when the outline was learnt. Where none fits, the record is read name by name ([`super::members`]), which alone
//! decides what a record is.

mod learn;
mod literal;

use self::literal::Literal;
use super::{
    json::{Holds, Scanner},
    members::{Envelope, Layout},
    places::{Place, Places},
    shape::Recognised,
};

/// Outlines that are remembered: as many as a topic has event types, mostly.
const MAX_OUTLINES: usize = 8;
/// What learning an outline costs of the credit that each record which fits one adds to.
const LEARNING_COST: u32 = 8;
/// The most credit, and what there is at first.
const MAX_CREDIT: u32 = 64;

/// One of the objects whose members are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Object {
    /// The record.
    Top,
    /// Its member `metadata`.
    Metadata,
    /// Its member `data`.
    Data,
}

/// A member that rules or the envelope ask for.
#[derive(Clone, Copy, Debug)]
struct Target {
    object: Object,
    /// Index in the layout.
    index: usize,
}

/// How the end of a value is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A string without escapes that is not empty; its quotes belong to the text around it.
    Text,
    /// Digits that do not begin with 0.
    Digits,
    /// Anything else.
    Other,
}

/// What lies in the text before a value, by its place there.
#[derive(Clone, Copy, Debug)]
enum Fixed {
    /// A value that is the same in all records of the outline, such as the type.
    Value { target: Target, start: usize, length: usize, holds: Holds },
    /// The opening brace of `data`, where the topic has a schema that asks for all of it.
    DataBegins(usize),
    /// What comes behind `data`.
    DataEnds(usize),
}

/// Text that is the same in all records of the outline, and the value behind it.
#[derive(Debug)]
struct Step {
    literal: Literal,
    fixed: Vec<Fixed>,
    kind: Kind,
    target: Option<Target>,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Outline {
    steps: Vec<Step>,
    /// The text behind the last value.
    end: Literal,
    fixed_at_end: Vec<Fixed>,
    /// What records of this outline are.
    pub(super) recognised: Recognised,
    /// Of the last record that had it: the record's members, and those of `metadata` and `data`. Each record of an outline has
    /// the same members.
    pub(super) objects: [Places; 3],
}

/// The outlines of a topic's records.
#[derive(Debug)]
pub(super) struct Outlines {
    known: Vec<Outline>,
    /// The one that fitted last.
    current: usize,
    credit: u32,
    /// The next one to be forgotten for another.
    oldest: usize,
}

impl Default for Outlines {
    fn default() -> Self {
        Self { known: Vec::new(), current: 0, credit: MAX_CREDIT, oldest: 0 }
    }
}

impl Outlines {
    /// Whether a record has an outline that is known: [`Outlines::current`] then.
    #[inline]
    pub(super) fn has(&mut self, text: &str) -> bool {
        let text = text.as_bytes();
        if !self.known.get_mut(self.current).is_some_and(|outline| outline.fits(text)) {
            let Some(fitting) = self.known.iter_mut().position(|outline| outline.fits(text)) else { return false };
            self.current = fitting;
        }
        self.credit = (self.credit + 1).min(MAX_CREDIT);
        true
    }

    /// The outline that fitted last, with the places of that record's members.
    #[inline]
    pub(super) fn current(&self) -> Option<&Outline> {
        self.known.get(self.current)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Learns the outline of a record that none fitted, if there is credit left: where each record is different, learning
    /// would be waste.
    #[cold]
    pub(super) fn learn(&mut self, layout: &Layout, text: &str, recognised: Recognised) {
        if self.credit < LEARNING_COST {
            self.credit += 1;
            return;
        }
        self.credit -= LEARNING_COST;
        let Some(outline) = learn::outline(layout, text, recognised) else { return };
        if self.known.len() < MAX_OUTLINES {
            self.known.push(outline);
        } else {
            self.known[self.oldest] = outline;
            self.oldest = (self.oldest + 1) % MAX_OUTLINES;
        }
    }
}

impl Outline {
    /// Whether the record has this outline. Its places are filled then.
    #[inline]
    fn fits(&mut self, text: &[u8]) -> bool {
        let Self { steps, end, fixed_at_end, objects, .. } = self;
        let mut at = 0;
        for step in steps {
            let Some(start) = step.literal.behind(text, at) else { return false };
            if !step.fixed.is_empty() {
                put_fixed(text, &step.fixed, at, objects);
            }
            let Some((place, behind)) = step.kind.take(text, start) else { return false };
            if let Some(Target { object, index }) = step.target {
                objects[object as usize].put(index, place);
            }
            at = behind;
        }
        if !fixed_at_end.is_empty() {
            put_fixed(text, fixed_at_end, at, objects);
        }
        end.ends(text, at)
    }
}

fn put_fixed(text: &[u8], fixed: &[Fixed], begin: usize, objects: &mut [Places; 3]) {
    for fixed in fixed {
        match *fixed {
            Fixed::Value { target, start, length, holds } => {
                let start = begin + start;
                objects[target.object as usize].put(target.index, Place::new(text, start, start + length, holds));
            }
            Fixed::DataBegins(start) => objects[Object::Top as usize].open(Envelope::Data as usize, begin + start),
            Fixed::DataEnds(end) => objects[Object::Top as usize].close(Envelope::Data as usize, begin + end),
        }
    }
}

impl Kind {
    /// The value's place and where the text behind it goes on; `None` where it is of another kind.
    #[inline]
    fn take(self, text: &[u8], start: usize) -> Option<(Place, usize)> {
        let mut scanner = Scanner::at_byte(text, start);
        match self {
            Self::Text => {
                scanner.plain();
                // An empty one is no name.
                (scanner.at() > start).then(|| (Place::of_text(start, scanner.at()), scanner.at()))
            }
            Self::Digits => {
                if !matches!(scanner.peek(), Some(b'1'..=b'9')) {
                    return None;
                }
                scanner.digits();
                Some((Place::of_digits(start, scanner.at()), scanner.at()))
            }
            Self::Other => {
                let holds = scanner.value().ok()?;
                Some((Place::new(text, start, scanner.at(), holds), scanner.at()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
