//! An event's data as a validator looks at it: all of its values in one piece of memory that serves event after event.
//!
//! The library asks any representation of JSON (`jsonschema::json`). Its own, `serde_json::Value`, is an allocation for nearly
//! every name and value, which cost more than all that a schema says of them.

mod amount;
mod node;
mod read;

use jsonschema::json::Json;

/// Most values that are kept room for from event to event.
const MAX_KEPT_VALUES: usize = 64 * 1024;
/// Most bytes of names and strings with escapes that are kept room for.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Memory for the data of one event after the other.
#[derive(Debug, Default)]
pub struct Instance {
    parts: Vec<Part>,
    unescaped: String,
}

/// A value or the name of a member. Behind a container comes what lies in it: elements, or names each with its value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    /// Bytes of the event.
    Text {
        start: u32,
        length: u32,
    },
    /// Bytes of what was unescaped.
    Unescaped {
        start: u32,
        length: u32,
    },
    /// Its elements end before the part `end`.
    Array {
        length: u32,
        end: u32,
    },
    /// Its members end before the part `end`.
    Object {
        length: u32,
        end: u32,
    },
    /// The name of a member that comes again: the last one counts, as everywhere.
    Overruled,
}

impl Instance {
    /// Reads a text, and gives its value to `look`.
    ///
    /// # Errors
    /// It is no JSON, or nests deeper or has numbers greater than `serde_json` takes.
    pub(super) fn with<T>(&mut self, text: &str, look: impl FnOnce(At<'_>) -> T) -> Result<T, serde_json::Error> {
        self.parts.clear();
        self.unescaped.clear();
        let looked = read::read(text, &mut self.parts, &mut self.unescaped).map(|()| {
            let view = View { parts: &self.parts, text, unescaped: &self.unescaped };
            look(At { view: &view, at: 0 })
        });
        self.parts.shrink_to(MAX_KEPT_VALUES);
        self.unescaped.shrink_to(MAX_KEPT_BYTES);
        looked
    }
}

/// What parts stand for.
#[derive(Debug)]
pub(super) struct View<'a> {
    parts: &'a [Part],
    text: &'a str,
    unescaped: &'a str,
}

impl<'a> View<'a> {
    fn part(&self, at: u32) -> Part {
        self.parts.get(at as usize).copied().unwrap_or(Part::Null)
    }

    /// The part behind a value.
    fn behind(&self, at: u32) -> u32 {
        match self.part(at) {
            Part::Array { end, .. } | Part::Object { end, .. } => end,
            _ => at + 1,
        }
    }

    fn str(&self, at: u32) -> Option<&'a str> {
        let (text, start, length) = match self.part(at) {
            Part::Text { start, length } => (self.text, start, length),
            Part::Unescaped { start, length } => (self.unescaped, start, length),
            _ => return None,
        };
        text.get(start as usize..start as usize + length as usize)
    }
}

/// A value of an [`Instance`].
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    view: &'a View<'a>,
    at: u32,
}

/// The parts of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Within<'a> {
    view: &'a View<'a>,
    length: u32,
    next: u32,
    end: u32,
}

impl<'a> At<'a> {
    fn part(&self) -> Part {
        self.view.part(self.at)
    }

    fn within(&self, length: u32, end: u32) -> Within<'a> {
        Within { view: self.view, length, next: self.at + 1, end }
    }
}

impl<'a> Within<'a> {
    fn next(&mut self) -> Option<At<'a>> {
        let at = At { view: self.view, at: self.next };
        (self.next < self.end).then(|| {
            self.next = self.view.behind(self.next);
            at
        })
    }
}

/// The representation.
#[derive(Debug)]
pub(super) struct InPlace;

/// The name of a member, as a value of its own.
#[derive(Default)]
pub(super) struct NameBuffer(String);

impl Json for InPlace {
    type Node<'a> = At<'a>;
    type PreparedKey = String;
    type StringBuffer = NameBuffer;

    /// A member is found by going through all of them.
    const KEYS_PER_LOOKUP: usize = 4;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut NameBuffer, string: &str, f: impl FnOnce(At<'_>) -> T) -> T {
        buffer.0.clear();
        buffer.0.push_str(string);
        let parts = [Part::Text { start: 0, length: u32::try_from(string.len()).unwrap_or(u32::MAX) }];
        f(At { view: &View { parts: &parts, text: &buffer.0, unescaped: "" }, at: 0 })
    }
}

#[cfg(test)]
mod tests;
