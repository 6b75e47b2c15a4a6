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
    /// The key's own, so that it need not be looked at.
    name: Text,
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

    /// A hash of the values; `None` where one of them is not there as it lies.
    #[inline]
    fn hash(&self) -> Option<u64> {
        let mut hash = self.seed();
        self.each(|piece, is_value| {
            if is_value {
                hash = xxhash_rust::xxh3::xxh3_64_with_seed(piece, hash);
            }
            true
        })
        .then_some(hash)
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
            is_alike && pieces.make(self.text.as_bytes().get(found.name.range()).unwrap_or_default())
        };
        self.by_values.find(hash, is_same).map(|found| found.key)
    }

    /// Notes that a key's name is made of these pieces, if it is of these and nothing else: a value that is written otherwise
    /// in a name than it lies in the record (`render::push_encoded`) is not noted. So what is found by its values is what would
    /// be rendered: an equal name has as many characters that are written otherwise, all of them between the values.
    pub fn note(&mut self, key: KeyIndex, hash: u64, pieces: &impl Pieces) {
        if pieces.make(self.name(key).as_bytes()) {
            let Known { name, kind, .. } = self.known[key as usize];
            let noted = ByValues { hash, seed: pieces.seed(), name, kind, key };
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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::render::push_encoded;

    #[test]
    fn a_key_is_kept_once_and_kinds_are_told_apart() {
        let mut keys = Keys::default();
        let numbers = [("a", Kind::Count), ("b", Kind::Count), ("a", Kind::Count), ("a", Kind::Max), ("", Kind::Count)]
            .map(|(name, kind)| keys.intern(kind, name));
        assert_eq!(numbers, [0, 1, 0, 2, 3]);
        assert_eq!(keys.text, "aba");
        assert_eq!(keys.key(2), Key::new(Kind::Max, "a"));
    }

    /// `x:{}y{}` or `{}:{}`, filled in.
    struct Filled<'a> {
        is_first: bool,
        values: &'a [String; 2],
    }

    impl Filled<'_> {
        fn rendered(&self) -> String {
            let mut name = String::new();
            self.each(|piece, is_value| {
                let piece = std::str::from_utf8(piece).unwrap();
                if is_value {
                    push_encoded(&mut name, piece)
                } else {
                    name.push_str(piece)
                }
                true
            });
            name
        }
    }

    impl Pieces for Filled<'_> {
        fn seed(&self) -> u64 {
            u64::from(self.is_first)
        }

        fn each(&self, mut piece: impl FnMut(&[u8], bool) -> bool) -> bool {
            let (before, between) = if self.is_first { ("x:", "y") } else { ("", ":") };
            let [one, other] = self.values;
            [(before, false), (one, true), (between, false), (other, true)]
                .into_iter()
                .all(|(text, is_value)| piece(text.as_bytes(), is_value))
        }
    }

    /// Values of which some are what others are rendered as.
    fn value() -> impl Strategy<Value = String> {
        let pieces = ["a", "b", "x", "y", ":", "%3A", "%", "%25", " ", "%20", "\u{2003}", "%E2%80%83"];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 1..3).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn a_value_that_ends_in_the_text_between_makes_no_other_name() {
        let [one, other] = [["b", "ax"], ["b:", "x"]].map(|values| values.map(str::to_owned));
        let [one, other] = [&one, &other].map(|values| Filled { is_first: false, values });
        let mut keys = Keys::default();
        let key = keys.intern(Kind::Count, &one.rendered());
        keys.note(key, 0, &one);
        assert_eq!(keys.find(Kind::Count, 0, &one), Some(key));
        assert_eq!(keys.find(Kind::Count, 0, &other), None, "with the hash of the first");
    }

    proptest! {
        /// As it would be, were all hashes equal: nothing but the comparison tells names apart then.
        #[test]
        fn what_is_found_by_its_values_is_what_is_rendered(
            names in proptest::collection::vec((any::<bool>(), [value(), value()]), 1..60),
        ) {
            let mut keys = Keys::default();
            for (is_first, values) in &names {
                let pieces = Filled { is_first: *is_first, values };
                let rendered = pieces.rendered();
                match keys.find(Kind::Count, 0, &pieces) {
                    Some(key) => prop_assert_eq!(keys.name(key), rendered),
                    None => {
                        let key = keys.intern(Kind::Count, &rendered);
                        keys.note(key, 0, &pieces);
                        let is_plain = !values.concat().contains([':', '%', ' ', '\u{2003}']);
                        prop_assert_eq!(keys.find(Kind::Count, 0, &pieces), is_plain.then_some(key));
                    }
                }
                prop_assert_eq!(keys.find(Kind::Max, 0, &pieces), None);
            }
        }
    }
}
