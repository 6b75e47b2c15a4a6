//! The keys of one block, each kept once, and the text that names and elements are written to.

use std::ops::Range;

use hashbrown::{HashTable, hash_table::Entry};

use super::short;
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

    /// So many bytes of it, behind the first `begin`.
    fn part(self, begin: usize, length: usize) -> Self {
        Self(((self.start() + begin) as u64) << 16 | length as u64 & 0xFFFF)
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
    /// Keys by the values in their names.
    by_values: HashTable<ByValues>,
}

/// A key that is found by the values in its name.
#[derive(Clone, Copy, Debug)]
struct ByValues {
    hash: u64,
    /// The template.
    seed: u64,
    /// Where its name lies, so that the key need not be looked at; where there is only one value, that alone.
    compared: Text,
    kind: Kind,
    key: KeyIndex,
}

/// A name that is put together from pieces: text that is the same in all names of a seed and kind, and values.
pub trait Pieces {
    /// What tells the text between the values.
    fn seed(&self) -> u64;

    /// Calls `piece` for each piece in order, with whether it is a value, as long as that answers `true`. `false` where that
    /// did not, or where a piece is not there as it lies.
    fn each(&self, piece: impl FnMut(&[u8], bool) -> bool) -> bool;

    /// The value, where there is only one and it is there as it lies: names of one seed and kind differ in nothing else then.
    #[inline]
    fn only_value(&self) -> Option<&[u8]> {
        None
    }

    /// A hash of the values; `None` where one of them is not there as it lies.
    #[inline]
    fn hash(&self) -> Option<u64> {
        let mut hash = self.seed();
        if let Some(value) = self.only_value() {
            return Some(xxhash_rust::xxh3::xxh3_64_with_seed(value, hash));
        }
        self.each(|piece, is_value| {
            if is_value {
                hash = xxhash_rust::xxh3::xxh3_64_with_seed(piece, hash);
            }
            true
        })
        .then_some(hash)
    }

    /// Bytes before the first value.
    fn before_value(&self) -> usize {
        let mut before = 0;
        self.each(|piece, is_value| {
            before += if is_value { 0 } else { piece.len() };
            !is_value
        });
        before
    }

    /// Whether they make this name. The text between the values is compared too: a value may end where another one has a
    /// character of that text.
    #[inline]
    fn make(&self, mut name: &[u8]) -> bool {
        let are_there = self.each(|piece, _| match short::behind(name, piece) {
            Some(rest) => {
                name = rest;
                true
            }
            None => false,
        });
        are_there && name.is_empty()
    }
}

impl Keys {
    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.known.clear();
        self.index.clear();
        self.by_values.clear();
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

    /// The key's name.
    pub fn name(&self, index: KeyIndex) -> &str {
        self.str(self.known[index as usize].name)
    }

    /// What the key holds.
    pub fn kind(&self, index: KeyIndex) -> Kind {
        self.known[index as usize].kind
    }

    /// The key as one that outlives the block.
    pub fn key(&self, index: KeyIndex) -> Key {
        let Known { hash, name, kind } = self.known[index as usize];
        Key::with_hash(hash, kind, self.str(name))
    }

    /// The number of a key whose name was noted to be made of these pieces ([`Keys::note`]): it need not be rendered then.
    #[inline]
    pub fn find(&self, kind: Kind, hash: u64, pieces: &impl Pieces) -> Option<KeyIndex> {
        let is_same = |found: &ByValues| {
            let is_alike = found.hash == hash && found.seed == pieces.seed() && found.kind == kind;
            let compared = self.text.as_bytes().get(found.compared.range()).unwrap_or_default();
            is_alike
                && pieces.only_value().map_or_else(|| pieces.make(compared), |only| short::are_equal(compared, only))
        };
        self.by_values.find(hash, is_same).map(|found| found.key)
    }

    /// Notes that a key's name is made of these pieces, if it is of these and nothing else: a value that is written otherwise
    /// in a name than it lies in the record (`render::push_encoded`) is not noted. So what is found by its values is what would
    /// be rendered: an equal name has as many characters that are written otherwise, all of them between the values.
    pub fn note(&mut self, key: KeyIndex, hash: u64, pieces: &impl Pieces) {
        if pieces.make(self.name(key).as_bytes()) {
            let Known { name, kind, .. } = self.known[key as usize];
            let compared = pieces.only_value().map_or(name, |value| name.part(pieces.before_value(), value.len()));
            let noted = ByValues { hash, seed: pieces.seed(), compared, kind, key };
            self.by_values.insert_unique(hash, noted, |noted| noted.hash);
        }
    }

    /// The number of the key with this name.
    pub fn intern(&mut self, kind: Kind, name: &str) -> KeyIndex {
        let Self { text, known, index, .. } = self;
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
mod tests;
