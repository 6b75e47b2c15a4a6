//! The parts of an identity, put together to be hashed.

/// Room from the start, bytes: more than most identities take.
const FIRST_BYTES: usize = 256;

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
        self.put(&(part.len() as u32).to_le_bytes());
        self.put(part);
    }

    /// All of them.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (begin, end) = (self.length, self.length + bytes.len());
        if end > self.bytes.len() {
            self.bytes.resize(end.next_power_of_two().max(FIRST_BYTES), 0);
        }
        if let Some(room) = self.bytes.get_mut(begin..end) {
            copy(room, bytes);
        }
        self.length = end;
    }
}

/// Copies between slices of one length. Short ones are two numbers that overlap: a call for each would cost more than they do.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    fn halves<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
        if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>())
            && from.len() <= 2 * N
        {
            if let Some(to) = to.first_chunk_mut::<N>() {
                *to = *first;
            }
            if let Some(to) = to.last_chunk_mut::<N>() {
                *to = *last;
            }
            return true;
        }
        false
    }
    if !halves::<8>(to, from) && !halves::<4>(to, from) {
        to.copy_from_slice(from);
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
