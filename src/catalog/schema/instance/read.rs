//! JSON text into parts, by `serde_json`, so that what it takes and refuses is the same as for its own values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use smallvec::SmallVec;

use super::{Part, View};

/// Members of an object that need no memory of their own.
const FEW_MEMBERS: usize = 16;

pub(super) fn read(text: &str, parts: &mut Vec<Part>, unescaped: &mut String) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    Reading { text, parts, unescaped }.deserialize(&mut json)?;
    json.end()
}

struct Reading<'r, 't> {
    text: &'t str,
    parts: &'r mut Vec<Part>,
    unescaped: &'r mut String,
}

impl<'t> Reading<'_, 't> {
    fn again(&mut self) -> Reading<'_, 't> {
        Reading { text: self.text, parts: self.parts, unescaped: self.unescaped }
    }

    fn place<E: Error>(&self) -> Result<u32, E> {
        number(self.parts.len())
    }

    fn close(&mut self, at: u32, container: Part) {
        if let Some(part) = self.parts.get_mut(at as usize) {
            *part = container;
        }
    }

    /// Marks the names that come again behind, and says how many members are left.
    fn overrule(&mut self, at: u32) -> usize {
        let view = View { parts: self.parts, text: self.text, unescaped: self.unescaped };
        let mut names: SmallVec<[(&str, u32); FEW_MEMBERS]> = SmallVec::new();
        // A bit for each name: as long as none comes twice, no name does.
        let (mut bits, mut may_repeat) = (0_u64, false);
        let mut next = at + 1;
        while (next as usize) < view.parts.len() {
            let name = view.str(next).unwrap_or_default();
            let bit = 1 << (sum(name) % 64);
            may_repeat |= bits & bit != 0;
            bits |= bit;
            names.push((name, next));
            next = view.behind(next + 1);
        }
        if !may_repeat {
            return names.len();
        }
        names.sort_unstable();
        let twice = names.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        let overruled: SmallVec<[u32; FEW_MEMBERS]> = twice.map(|pair| pair[0].1).collect();
        let left = names.len() - overruled.len();
        drop(names);
        for at in overruled {
            self.close(at, Part::Overruled);
        }
        left
    }
}

/// Another number for most names.
fn sum(name: &str) -> usize {
    let bytes = name.as_bytes();
    let at = |index: usize| bytes.get(index).map_or(0, |byte| usize::from(*byte));
    name.len() + 7 * at(0) + 31 * at(bytes.len() / 2) + 13 * at(bytes.len().wrapping_sub(1))
}

fn number<E: Error>(size: usize) -> Result<u32, E> {
    u32::try_from(size).map_err(|_| E::custom("the data is larger than 4 GiB"))
}

impl<'t> DeserializeSeed<'t> for Reading<'_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Reading<'_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.parts.push(Part::Null);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.parts.push(Part::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.parts.push(Part::Signed(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.parts.push(Part::Unsigned(number));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.parts.push(Part::Float(number));
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'t str) -> Result<(), E> {
        // A piece of the event itself, so that its place says it all.
        let start = text.as_ptr().addr() - self.text.as_ptr().addr();
        self.parts.push(Part::Text { start: number(start)?, length: number(text.len())? });
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let start = self.unescaped.len();
        self.unescaped.push_str(text);
        self.parts.push(Part::Unescaped { start: number(start)?, length: number(text.len())? });
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(mut self, mut elements: A) -> Result<(), A::Error> {
        let at = self.place()?;
        self.parts.push(Part::Array { length: 0, end: 0 });
        let mut length = 0;
        while elements.next_element_seed(self.again())?.is_some() {
            length += 1;
        }
        let end = self.place()?;
        self.close(at, Part::Array { length, end });
        Ok(())
    }

    fn visit_map<A: MapAccess<'t>>(mut self, mut members: A) -> Result<(), A::Error> {
        let at = self.place()?;
        self.parts.push(Part::Object { length: 0, end: 0 });
        while members.next_key_seed(self.again())?.is_some() {
            members.next_value_seed(self.again())?;
        }
        let (length, end) = (number(self.overrule(at))?, self.place()?);
        self.close(at, Part::Object { length, end });
        Ok(())
    }
}
