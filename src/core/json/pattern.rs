//! Names that are looked for again and again.

/// Bytes that a pattern compares at once.
pub(super) const PATTERN_BYTES: usize = 16;

/// Bytes to be looked for again and again: short ones are compared as one number.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub(super) bytes: Vec<u8>,
    pub(super) length: usize,
    word: u128,
    mask: u128,
}

impl Pattern {
    /// Whether the next bytes, as a number, begin with it.
    pub(super) fn begins(&self, next: [u8; PATTERN_BYTES]) -> bool {
        u128::from_le_bytes(next) & self.mask == self.word
    }

    /// A pattern of these bytes, which are not empty.
    pub fn set(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.length = bytes.len();
        let mut word = [0; PATTERN_BYTES];
        let mut mask = [0; PATTERN_BYTES];
        for ((to, used), byte) in word.iter_mut().zip(&mut mask).zip(bytes) {
            (*to, *used) = (*byte, u8::MAX);
        }
        (self.word, self.mask) = (u128::from_le_bytes(word), u128::from_le_bytes(mask));
    }
}

impl Default for Pattern {
    /// A pattern that is nowhere.
    fn default() -> Self {
        Self { bytes: vec![0], length: 1, word: 0, mask: u128::from(u8::MAX) }
    }
}
