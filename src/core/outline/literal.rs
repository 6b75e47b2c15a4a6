//! Text that is the same in record after record.

use crate::core::short;

/// Bytes that are compared at once.
const CHUNK: usize = 16;

/// Bytes to be looked for again and again: short ones are compared as numbers.
#[derive(Debug, Default)]
pub(super) struct Literal {
    bytes: Box<[u8]>,
    /// The first bytes, of a shorter one with zeros behind, and which bits of them are its own.
    first: u128,
    mask: u128,
    /// The last bytes of one that is longer than the first.
    last: u128,
}

impl Literal {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let begin = &bytes[..bytes.len().min(CHUNK)];
        let number = |bytes: &[u8]| {
            let mut chunk = [0; CHUNK];
            for (to, byte) in chunk.iter_mut().zip(bytes) {
                *to = *byte;
            }
            u128::from_le_bytes(chunk)
        };
        let last = bytes.last_chunk::<CHUNK>().map_or(0, |last| u128::from_le_bytes(*last));
        Self { first: number(begin), mask: number(&vec![u8::MAX; begin.len()]), last, bytes: bytes.into() }
    }

    /// Where it ends in `text`, if it stands there at `at`.
    #[inline]
    pub(super) fn behind(&self, text: &[u8], at: usize) -> Option<usize> {
        let length = self.bytes.len();
        let rest = text.get(at..)?;
        let is_there = match rest.first_chunk::<CHUNK>() {
            Some(chunk) if length <= CHUNK => u128::from_le_bytes(*chunk) & self.mask == self.first,
            Some(chunk) if length <= 2 * CHUNK => {
                u128::from_le_bytes(*chunk) == self.first
                    && rest
                        .get(length - CHUNK..)?
                        .first_chunk()
                        .is_some_and(|last| u128::from_le_bytes(*last) == self.last)
            }
            _ => rest.starts_with(&self.bytes),
        };
        is_there.then_some(at + length)
    }

    /// Whether it is all that `text` has from `at` on.
    #[inline]
    pub(super) fn ends(&self, text: &[u8], at: usize) -> bool {
        text.get(at..).is_some_and(|rest| short::are_equal(rest, &self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn stands_where_the_text_has_it(text in "[ab]{0,60}", bytes in "[ab]{0,40}", at in 0_usize..70) {
            let literal = Literal::new(bytes.as_bytes());
            let stands = text.get(at..).is_some_and(|rest| rest.starts_with(&bytes));
            proptest::prop_assert_eq!(literal.behind(text.as_bytes(), at), stands.then_some(at + bytes.len()));
            proptest::prop_assert_eq!(literal.ends(text.as_bytes(), at), text.get(at..) == Some(bytes.as_str()));
        }

        #[test]
        fn stands_in_what_has_it(before in "[ab]{0,20}", bytes in "[ab]{0,40}", after in "[ab]{0,20}") {
            let text = format!("{before}{bytes}{after}");
            let literal = Literal::new(bytes.as_bytes());
            proptest::prop_assert_eq!(literal.behind(text.as_bytes(), before.len()), Some(before.len() + bytes.len()));
            proptest::prop_assert_eq!(literal.ends(text.as_bytes(), before.len()), after.is_empty());
        }
    }
}
