//! Keys found by their names, and by the values in these.

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

/// `x:{}y{}` or `{}:{}`, filled in, or `x:{}y` or `{}:` where there is one value.
struct Filled<'a> {
    is_first: bool,
    values: &'a [String],
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
        u64::from(self.is_first) + 2 * self.values.len() as u64
    }

    fn only_value(&self) -> Option<&[u8]> {
        if let [value] = self.values { Some(value.as_bytes()) } else { None }
    }

    fn each(&self, mut piece: impl FnMut(&[u8], bool) -> bool) -> bool {
        let (before, between) = if self.is_first { ("x:", "y") } else { ("", ":") };
        [before, between].into_iter().enumerate().all(|(number, text)| {
            piece(text.as_bytes(), false) && self.values.get(number).is_none_or(|value| piece(value.as_bytes(), true))
        })
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
    let [one, other] = [&one[..], &other].map(|values| Filled { is_first: false, values });
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
        names in proptest::collection::vec((any::<bool>(), proptest::collection::vec(value(), 1..=2)), 1..60),
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
