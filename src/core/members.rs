//! The members of an object that matter, as places in the record's text.
//!
//! Producers write the members of an event type in one order, so the place where a name stood last time is tried first: one
//! comparison instead of finding the name's end and looking it up.

use super::{
    json::{Holds, Malformed, Pattern, Scanner},
    scalar::Scalar,
};
use crate::catalog::plan::{Slot, Topic};

/// Names outside the data that mean something (SPEC 2). The number is the index of the name in every [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Envelope {
    Type,
    EventType,
    EventId,
    Id,
    Timestamp,
    Version,
    Priority,
    Metadata,
    Data,
    Pattern,
}

const ENVELOPE: [&str; 10] =
    ["type", "eventType", "eventId", "id", "timestamp", "version", "priority", "metadata", "data", "pattern"];

/// Names whose order in an object is remembered.
const MAX_REMEMBERED: usize = 64;
/// Longest name that is remembered, bytes.
const MAX_REMEMBERED_BYTES: usize = 64;

/// The names that a topic's events are read for: the envelope's, then the fields of the rules.
#[derive(Debug)]
pub struct Layout {
    names: Vec<Box<str>>,
    /// The name's index by slot.
    slots: Vec<usize>,
}

impl Layout {
    /// The layout of a topic's events.
    pub fn new(topic: &Topic) -> Self {
        let mut names: Vec<Box<str>> = ENVELOPE.iter().map(|name| Box::from(*name)).collect();
        let mut slots = Vec::with_capacity(topic.fields.len());
        for field in &topic.fields {
            let known = names.iter().position(|name| name == field);
            slots.push(known.unwrap_or_else(|| {
                names.push(field.clone());
                names.len() - 1
            }));
        }
        Self { names, slots }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| **known == *name)
    }
}

/// A value's place in the text.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    start: u32,
    end: u32,
    holds: Holds,
}

/// The places of an object's members by the layout's index. Used again from record to record.
#[derive(Debug, Default)]
pub(super) struct Members {
    places: Vec<Place>,
    /// How many members the object has.
    pub(super) count: usize,
    order: Order,
}

/// The names of the last object with their colons, in their order, each with its index in the layout.
#[derive(Debug, Default)]
struct Order(Vec<(Pattern, Option<usize>)>);

/// What decoding a record needs in memory: used again from record to record, of one topic.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) top: Members,
    pub(super) metadata: Members,
    pub(super) data: Members,
}

impl Scratch {
    /// Forgets what it knows of a topic's events.
    pub fn forget(&mut self) {
        for members in [&mut self.top, &mut self.metadata, &mut self.data] {
            members.order.0.clear();
        }
    }

    /// Reads the record's object, and those of `metadata` and `data` in it, where they are objects. `false` where the text
    /// holds something else.
    ///
    /// # Errors
    /// The text is not JSON.
    pub(super) fn read(&mut self, layout: &Layout, text: &str) -> Result<bool, Malformed> {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.space();
        if scanner.peek() != Some(b'{') {
            scanner.value()?;
            scanner.end()?;
            return Ok(false);
        }
        let Self { top, metadata, data } = self;
        top.read(layout, text, &mut scanner, |index, scanner| {
            let inner = match index {
                Some(index) if index == Envelope::Metadata as usize => &mut *metadata,
                Some(index) if index == Envelope::Data as usize => &mut *data,
                _ => return scanner.value(),
            };
            if scanner.peek() != Some(b'{') {
                return scanner.value();
            }
            inner.read(layout, text, scanner, |_, scanner| scanner.value())?;
            Ok(Holds::Plain)
        })?;
        scanner.end()?;
        Ok(true)
    }
}

impl Members {
    fn clear(&mut self, layout: &Layout) {
        self.places.resize(layout.names.len(), Place::default());
        self.places.fill(Place::default());
        self.count = 0;
    }

    /// The text of a member of the envelope; empty where it is absent.
    pub(super) fn envelope<'a>(&self, name: Envelope, text: &'a str) -> &'a str {
        self.place(name as usize).map_or("", |place| place.of(text))
    }

    /// The value of a member of the envelope.
    pub(super) fn envelope_value<'a>(&self, name: Envelope, text: &'a str) -> Scalar<'a> {
        self.place(name as usize).map_or(Scalar::Missing, |place| place.value(text))
    }

    /// Whether a field is absent or null.
    pub(super) fn is_missing(&self, layout: &Layout, slot: Slot, text: &str) -> bool {
        let place = layout.slots.get(slot as usize).and_then(|index| self.place(*index)).unwrap_or_default();
        matches!(text.as_bytes().get(place.start as usize..place.end as usize), None | Some([] | [b'n', ..]))
    }

    /// The value of a field.
    pub(super) fn field<'a>(&self, layout: &Layout, slot: Slot, text: &'a str) -> Scalar<'a> {
        let index = layout.slots.get(slot as usize).copied();
        index.and_then(|index| self.place(index)).map_or(Scalar::Missing, |place| place.value(text))
    }

    /// A field's text as it takes part in names ([`Scalar::name`]), where that is there as it lies; `None` where the field's
    /// value must be looked at.
    #[inline]
    pub(super) fn plain_name<'a>(&self, layout: &Layout, slot: Slot, text: &'a str) -> Option<&'a str> {
        let place = self.place(*layout.slots.get(slot as usize)?)?;
        if place.holds != Holds::Plain {
            return None;
        }
        let raw = place.of(text);
        match raw.as_bytes() {
            // More than the quotes.
            [b'"', _, .., b'"'] => raw.get(1..raw.len() - 1),
            [b'1'..=b'9', ..] => Some(raw),
            _ => None,
        }
    }

    #[inline]
    fn place(&self, index: usize) -> Option<Place> {
        self.places.get(index).copied()
    }

    /// Reads an object at its opening brace. `value` takes a member's value, given the index of its name.
    fn read(
        &mut self,
        layout: &Layout,
        text: &str,
        scanner: &mut Scanner<'_>,
        mut value: impl FnMut(Option<usize>, &mut Scanner<'_>) -> Result<Holds, Malformed>,
    ) -> Result<(), Malformed> {
        self.clear(layout);
        scanner.expect(b'{')?;
        scanner.space();
        if scanner.takes(b'}') {
            return Ok(());
        }
        loop {
            let index = self.order.name(self.count, layout, text, scanner)?;
            self.count += 1;
            scanner.space();
            let start = scanner.at() as u32;
            let holds = value(index, scanner)?;
            if let Some(place) = index.and_then(|index| self.places.get_mut(index)) {
                // Of several members with one name the last counts, as in JavaScript.
                *place = Place { start, end: scanner.at() as u32, holds };
            }
            if !scanner.takes(b',') {
                scanner.space();
                if !scanner.takes(b',') {
                    return scanner.expect(b'}');
                }
            }
            scanner.space();
        }
    }
}

impl Order {
    /// Takes the name of the member with this number, and the colon.
    #[inline]
    fn name(
        &mut self,
        number: usize,
        layout: &Layout,
        text: &str,
        scanner: &mut Scanner<'_>,
    ) -> Result<Option<usize>, Malformed> {
        if let Some((name, index)) = self.0.get(number)
            && scanner.takes_pattern(name)
        {
            return Ok(*index);
        }
        self.other_name(number, layout, text, scanner)
    }

    /// Takes a name that is another one than last time, and remembers it.
    #[cold]
    fn other_name(
        &mut self,
        number: usize,
        layout: &Layout,
        text: &str,
        scanner: &mut Scanner<'_>,
    ) -> Result<Option<usize>, Malformed> {
        let start = scanner.at();
        let holds = scanner.string()?;
        let raw = &text[start..scanner.at()];
        scanner.space();
        scanner.expect(b':')?;
        let with_colon = &text[start..scanner.at()];
        let index = if holds == Holds::Escapes {
            serde_json::from_str::<String>(raw).ok().and_then(|name| layout.find(&name))
        } else {
            raw.get(1..raw.len() - 1).and_then(|name| layout.find(name))
        };
        if with_colon.len() <= MAX_REMEMBERED_BYTES && number < MAX_REMEMBERED {
            if number >= self.0.len() {
                self.0.resize_with(number + 1, Default::default);
            }
            let (name, known) = &mut self.0[number];
            name.set(with_colon.as_bytes());
            *known = index;
        }
        Ok(index)
    }
}

impl Place {
    #[inline]
    fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    #[inline]
    fn value(self, text: &str) -> Scalar<'_> {
        Scalar::of(self.of(text), self.holds)
    }
}
