//! The members of an object that matter, as places in the record's text.
//!
//! Producers write the members of an event type in one order, so the place where a name stood last time is tried first: one
//! comparison instead of finding the name's end and looking it up.

use super::{
    json::{Holds, Malformed, Pattern, Scanner},
    places::{self, Place, Places},
};
use crate::catalog::plan::{Shape, Slot, Topic};

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
    SpecVersion,
    Time,
    TraceParent,
    TraceState,
}

const ENVELOPE: [&str; 14] = [
    "type",
    "eventType",
    "eventId",
    "id",
    "timestamp",
    "version",
    "priority",
    "metadata",
    "data",
    "pattern",
    "specversion",
    "time",
    "traceparent",
    "tracestate",
];

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
    /// By slot, where the topic takes CloudEvents; else empty.
    attributes: Vec<Attribute>,
    /// Whether the topic takes CloudEvents.
    pub(super) takes_cloud_events: bool,
    /// A schema asks for all of an event's data.
    pub(super) asks_for_data: bool,
}

/// The attribute of a CloudEvent that is looked at for a field.
#[derive(Debug)]
pub(super) struct Attribute {
    /// Index of its name in the layout.
    pub(super) index: usize,
    /// The header that has it in binary mode.
    pub(super) header: Box<str>,
}

/// The attribute that has what other envelopes call so. Names of attributes are lower-case.
fn attribute_name(field: &str) -> String {
    match field {
        "eventId" => "id".to_owned(),
        "eventType" => "type".to_owned(),
        "timestamp" => "time".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// The index of a name, given out at its first mention.
fn intern(names: &mut Vec<Box<str>>, name: &str) -> usize {
    names.iter().position(|known| **known == *name).unwrap_or_else(|| {
        names.push(name.into());
        names.len() - 1
    })
}

impl Layout {
    /// The layout of a topic's events.
    pub fn new(topic: &Topic) -> Self {
        let mut names: Vec<Box<str>> = ENVELOPE.iter().map(|name| Box::from(*name)).collect();
        let slots = topic.fields.iter().map(|field| intern(&mut names, field)).collect();
        let mut attribute = |field: &str| {
            let name = attribute_name(field);
            Attribute { index: intern(&mut names, &name), header: format!("ce_{name}").into() }
        };
        let takes_cloud_events = topic.shapes.contains(&Shape::CloudEvents);
        let attributes =
            if takes_cloud_events { topic.fields.iter().map(|field| attribute(field)).collect() } else { Vec::new() };
        let asks_for_data = topic.events.iter().any(|event| event.schema.is_some());
        Self { names, slots, attributes, takes_cloud_events, asks_for_data }
    }

    /// The attribute of a CloudEvent for a field; `None` where the topic takes none.
    pub(super) fn attribute(&self, slot: Slot) -> Option<&Attribute> {
        self.attributes.get(slot as usize)
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The index of a field's name.
    #[inline]
    pub(super) fn index(&self, slot: Slot) -> Option<usize> {
        self.slots.get(slot as usize).copied()
    }

    /// The index of a name as it lies in the text, with its quotes.
    pub(super) fn find(&self, raw: &str, holds: Holds) -> Option<usize> {
        let find = |name: &str| self.names.iter().position(|known| **known == *name);
        if holds == Holds::Escapes {
            return serde_json::from_str::<String>(raw).ok().and_then(|name| find(&name));
        }
        raw.get(1..raw.len() - 1).and_then(find)
    }

    /// Whether a field has the name of an object that is read as one.
    pub(super) fn asks_for_objects(&self) -> bool {
        [Envelope::Metadata, Envelope::Data].into_iter().any(|object| self.is_field(object as usize))
    }

    /// Whether the name with this index is that of a field, or of the attribute of a CloudEvent for one.
    pub(super) fn is_field(&self, index: usize) -> bool {
        self.slots.contains(&index) || self.attributes.iter().any(|attribute| attribute.index == index)
    }
}

/// The members of an object.
#[derive(Debug, Default)]
struct Object {
    places: Places,
    /// How many members the object has.
    count: usize,
    order: Order,
}

/// The names of the last object with their colons, in their order, each with its index in the layout.
#[derive(Debug, Default)]
struct Order(Vec<(Pattern, Option<usize>)>);

/// The members of a record and of the objects `metadata` and `data` in it. Used again from record to record.
#[derive(Debug, Default)]
pub(super) struct Members {
    top: Object,
    metadata: Object,
    data: Object,
    /// Whether the record has `metadata` and `data`, and they are objects.
    has_metadata: bool,
    has_data: bool,
}

impl Members {
    /// The members of the record, of `metadata` and of `data`; of these none where they are no objects.
    pub(super) fn objects(&self) -> [&Places; 3] {
        let inner = |is_there: bool, object| if is_there { object } else { &places::NONE };
        let metadata = inner(self.has_metadata, &self.metadata.places);
        [&self.top.places, metadata, inner(self.has_data, &self.data.places)]
    }

    /// How many members the record has.
    pub(super) fn count(&self) -> usize {
        self.top.count
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
        let Self { top, metadata, data, has_metadata, has_data } = self;
        (*has_metadata, *has_data) = (false, false);
        top.read(layout, text, &mut scanner, |index, scanner| {
            let (inner, is_there) = match index {
                Some(index) if index == Envelope::Metadata as usize => (&mut *metadata, &mut *has_metadata),
                Some(index) if index == Envelope::Data as usize => (&mut *data, &mut *has_data),
                _ => return scanner.value(),
            };
            *is_there = scanner.peek() == Some(b'{');
            if !*is_there {
                return scanner.value();
            }
            inner.read(layout, text, scanner, |_, scanner| scanner.value())?;
            Ok(Holds::Plain)
        })?;
        scanner.end()?;
        Ok(true)
    }
}

impl Object {
    /// Reads an object at its opening brace. `value` takes a member's value, given the index of its name.
    fn read(
        &mut self,
        layout: &Layout,
        text: &str,
        scanner: &mut Scanner<'_>,
        mut value: impl FnMut(Option<usize>, &mut Scanner<'_>) -> Result<Holds, Malformed>,
    ) -> Result<(), Malformed> {
        self.places.clear(layout);
        self.count = 0;
        scanner.expect(b'{')?;
        scanner.space();
        if scanner.takes(b'}') {
            return Ok(());
        }
        loop {
            let index = self.order.name(self.count, layout, text, scanner)?;
            self.count += 1;
            scanner.space();
            let start = scanner.at();
            let holds = value(index, scanner)?;
            if let Some(index) = index {
                self.places.put(index, Place::new(text.as_bytes(), start, scanner.at(), holds));
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
        let index = layout.find(raw, holds);
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
