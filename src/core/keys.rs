//! The keys of one block, each kept once, and the text that names and elements are written to.

use std::ops::Range;

use hashbrown::{HashTable, hash_table::Entry};

use crate::model::{Key, Kind};

/// Number of a key within its block.
pub type KeyIndex = u32;

/// A piece of the text: where it begins, and its length in the low 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(u64);

impl Text {
    /// From `begin` to the end of the text. Names are bounded (`render::MAX_NAME_BYTES`), so their length fits.
    pub fn to_end(begin: usize, text: &str) -> Self {
        let length = text.len().saturating_sub(begin);
        debug_assert!(length <= usize::from(u16::MAX));
        Self((begin as u64) << 16 | length as u64 & 0xFFFF)
    }

    /// Where it begins.
    pub fn start(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Where it lies.
    pub fn range(self) -> Range<usize> {
        self.start()..self.start() + (self.0 & 0xFFFF) as usize
    }
}

/// A key of the block.
#[derive(Clone, Copy, Debug)]
struct Known {
    hash: u64,
    name: Text,
    kind: Kind,
}

/// The keys of a block, found by their hash and compared whole.
#[derive(Default)]
pub struct Keys {
    /// Names and elements.
    pub text: String,
    known: Vec<Known>,
    index: HashTable<KeyIndex>,
}

impl Keys {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.known.clear();
        self.index.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The text of a piece.
    pub fn str(&self, piece: Text) -> &str {
        self.text.get(piece.range()).unwrap_or_default()
    }

    /// The key as one that outlives the block.
    pub fn key(&self, index: KeyIndex) -> Key {
        let Known { hash, name, kind } = self.known[index as usize];
        Key::with_hash(hash, kind, self.str(name))
    }

    /// The number of the key with this name.
    pub fn intern(&mut self, kind: Kind, name: &str) -> KeyIndex {
        let Self { text, known, index } = self;
        let hash = Key::hash_of(kind, name);
        let is_same = |at: &KeyIndex| {
            let key = &known[*at as usize];
            key.hash == hash && key.kind == kind && text[key.name.range()] == *name
        };
        match index.entry(hash, is_same, |at| known[*at as usize].hash) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(free) => {
                let number = known.len() as KeyIndex;
                free.insert(number);
                let begin = text.len();
                text.push_str(name);
                known.push(Known { hash, name: Text::to_end(begin, text), kind });
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_once_and_kinds_are_told_apart() {
        let mut keys = Keys::default();
        let numbers = [("a", Kind::Count), ("b", Kind::Count), ("a", Kind::Count), ("a", Kind::Max), ("", Kind::Count)]
            .map(|(name, kind)| keys.intern(kind, name));
        assert_eq!(numbers, [0, 1, 0, 2, 3]);
        assert_eq!(keys.text, "aba");
        assert_eq!(keys.key(2), Key::new(Kind::Max, "a"));
    }
}
