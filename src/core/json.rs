//! Walking over JSON text without building values.
//!
//! The grammar is checked to the last byte, as `serde_json` does it: what lies in members that nobody asked for is looked at
//! like the rest. What is not looked at: whether a number fits any type, whether `\u` escapes pair up, and how deep arrays and
//! objects nest (nothing here recurses). Strings are scanned eight bytes at a time with ordinary integers, which is as fast in
//! a portable build as in one for a certain CPU.
//!
//! Longer than most files, since the grammar is one piece.

mod pattern;

use smallvec::SmallVec;

use self::pattern::PATTERN_BYTES;
pub use self::pattern::Pattern;

/// The text is not JSON at this byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where.
    pub at: usize,
}

/// A place in JSON text, moving forward. The text is UTF-8, which the caller has checked.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a scalar holds beside plain characters or digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    /// Nothing.
    #[default]
    Plain,
    /// A string: escapes.
    Escapes,
    /// A number: a fraction or an exponent.
    Fraction,
}

/// Levels of nesting that need no allocation.
const INLINE_LEVELS: usize = 32;

/// The low bit of each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
/// The high bit of each byte of a word.
const HIGHS: u64 = 0x8080_8080_8080_8080;

impl<'a> Scanner<'a> {
    /// Begins at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Begins at a byte of `bytes`.
    #[inline]
    pub fn at_byte(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The byte that comes next.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte, without taking it.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes white space.
    #[inline]
    pub fn space(&mut self) {
        // Nearly always there is none, and what comes next is greater than all of it.
        while let Some(byte @ ..=b' ') = self.peek() {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return;
            }
            self.at += 1;
        }
    }

    /// Takes this byte, if it is next.
    #[inline]
    pub fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes this byte.
    ///
    /// # Errors
    /// Something else is next.
    #[inline]
    pub fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes(byte) { Ok(()) } else { Err(self.malformed()) }
    }

    /// Takes this pattern, if it is next.
    #[inline]
    pub fn takes_pattern(&mut self, pattern: &Pattern) -> bool {
        let is_next = match self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<PATTERN_BYTES>()) {
            Some(next) if pattern.length <= PATTERN_BYTES => pattern.begins(*next),
            _ => return self.takes_all(&pattern.bytes),
        };
        if is_next {
            self.at += pattern.length;
        }
        is_next
    }

    /// Takes these bytes, if they are next.
    pub fn takes_all(&mut self, expected: &[u8]) -> bool {
        let is_next = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(expected));
        if is_next {
            self.at += expected.len();
        }
        is_next
    }

    /// Takes white space up to the end of the text.
    ///
    /// # Errors
    /// Something else comes.
    pub fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }

    /// Takes a string with its quotes.
    ///
    /// # Errors
    /// It is none.
    #[inline]
    pub fn string(&mut self) -> Result<Holds, Malformed> {
        self.expect(b'"')?;
        let mut holds = Holds::Plain;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(holds);
                }
                Some(b'\\') => {
                    holds = Holds::Escapes;
                    self.escape()?;
                }
                // A control character, or the end.
                _ => return Err(self.malformed()),
            }
        }
    }

    /// Takes what a string holds up to its end, an escape or what may not be in it.
    #[inline]
    pub fn plain(&mut self) {
        self.at = plain_until(self.bytes, self.at);
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.malformed());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.malformed()),
        }
        Ok(())
    }

    /// Takes any value.
    ///
    /// # Errors
    /// The text is malformed.
    #[inline]
    pub fn value(&mut self) -> Result<Holds, Malformed> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.container().map(|()| Holds::Plain),
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<Holds, Malformed> {
        let is_taken = match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b't') => self.takes_all(b"true"),
            Some(b'f') => self.takes_all(b"false"),
            Some(b'n') => self.takes_all(b"null"),
            _ => false,
        };
        if is_taken { Ok(Holds::Plain) } else { Err(self.malformed()) }
    }

    #[inline]
    fn number(&mut self) -> Result<Holds, Malformed> {
        let mut holds = Holds::Plain;
        self.takes(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.malformed()),
        }
        if self.takes(b'.') {
            holds = Holds::Fraction;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            holds = Holds::Fraction;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(holds)
    }

    fn some_digits(&mut self) -> Result<(), Malformed> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.malformed());
        }
        self.digits();
        Ok(())
    }

    /// Takes digits, as many as there are.
    #[inline]
    pub fn digits(&mut self) {
        while let Some(word) = word_at(self.bytes, self.at) {
            let others = others_than_digits(word);
            if others != 0 {
                self.at += (others.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Takes an array or object, whatever lies in it.
    fn container(&mut self) -> Result<(), Malformed> {
        // The closing byte of each level that is open.
        let mut levels: SmallVec<[u8; INLINE_LEVELS]> = SmallVec::new();
        loop {
            // At a value, or behind the opening byte of an empty container.
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    levels.push(b'}');
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.name()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    levels.push(b']');
                    self.space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // Behind a value, or at the closing byte of an empty container.
            loop {
                self.space();
                let Some(close) = levels.last() else { return Ok(()) };
                if self.takes(*close) {
                    levels.pop();
                    if levels.is_empty() {
                        return Ok(());
                    }
                    continue;
                }
                let is_object = *close == b'}';
                self.expect(b',')?;
                self.space();
                if is_object {
                    self.name()?;
                }
                break;
            }
        }
    }

    /// Takes a member's name, the colon, and the space around it.
    fn name(&mut self) -> Result<(), Malformed> {
        self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(())
    }

    fn malformed(&self) -> Malformed {
        Malformed { at: self.at }
    }
}

#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// The high bit of each byte that is no digit.
#[inline]
fn others_than_digits(word: u64) -> u64 {
    // Digits are 0x30 to 0x39; of what is left of them, 10 and more reach the high bit with what is added.
    let left = word ^ (ONES * 0x30);
    (((left & !HIGHS) + ONES * (0x80 - 10)) | left) & HIGHS
}

/// The first byte from `at` on that is a quote, a backslash or a control character; the end where there is none.
#[inline]
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    // Zero bytes of a word: the lowest marked byte is surely one, which is all that is asked.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(word) = word_at(bytes, at) {
        // With this bit turned, a quote comes right behind the control characters, and none of these leaves them.
        let turned = word ^ (ONES * (b'"' ^ 0x20) as u64);
        let quotes_and_controls = turned.wrapping_sub(ONES * 0x21) & !turned & HIGHS;
        let found = quotes_and_controls | zeros(word ^ (ONES * b'\\' as u64));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
