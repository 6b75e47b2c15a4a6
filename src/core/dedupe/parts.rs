//! The parts of an identity, put together to be hashed.

use crate::core::short;

/// Room from the start, bytes: more than most identities take.
const FIRST_BYTES: usize = 256;
/// Bytes of a part's length.
const LENGTH_BYTES: usize = 4;

/// Parts one after the other, each behind its length, so that no two lists of parts are alike. Used again from event to event.
#[derive(Debug, Default)]
pub struct Parts {
    /// Initialised up to its length; what lies behind `length` is of no use.
    bytes: Vec<u8>,
    length: usize,
}

impl Parts {
    /// Forgets the parts.
    #[inline]
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Adds a part.
    #[inline]
    pub fn push(&mut self, part: &[u8]) {
        let (begin, end) = (self.length, self.length + LENGTH_BYTES + part.len());
        if end > self.bytes.len() {
            self.grow(end);
        }
        if let Some((length, room)) = self.bytes.get_mut(begin..end).and_then(|room| room.split_first_chunk_mut()) {
            *length = (part.len() as u32).to_le_bytes();
            short::copy(room, part);
        }
        self.length = end;
    }

    #[cold]
    fn grow(&mut self, length: usize) {
        self.bytes.resize(length.next_power_of_two().max(FIRST_BYTES), 0);
    }

    /// All of them.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn are_what_was_pushed(lists in proptest::collection::vec(proptest::collection::vec("[a-z]{0,40}", 0..20), 1..4)) {
            let mut parts = Parts::default();
            for list in lists {
                parts.clear();
                let mut expected = Vec::new();
                for part in &list {
                    parts.push(part.as_bytes());
                    expected.extend_from_slice(&(part.len() as u32).to_le_bytes());
                    expected.extend_from_slice(part.as_bytes());
                }
                proptest::prop_assert_eq!(parts.as_bytes(), expected);
            }
        }
    }
}
