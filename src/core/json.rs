//! Walking over JSON text without building values.
//!
//! The grammar is checked to the last byte, as `serde_json` does it: what lies in members that nobody asked for is looked at
//! like the rest. What is not looked at: whether a number fits any type, whether `\u` escapes pair up, and how deep arrays and
//! objects nest (nothing here recurses). Strings are scanned eight bytes at a time with ordinary integers, which is as fast in
//! a portable build as in one for a certain CPU.

use smallvec::SmallVec;

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

    /// The byte that comes next.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next byte, without taking it.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes white space.
    pub fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes this byte, if it is next.
    pub fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes this byte.
    ///
    /// # Errors
    /// Something else is next.
    pub fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes(byte) { Ok(()) } else { Err(self.malformed()) }
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

    /// Takes a string with its quotes; whether it has escapes.
    ///
    /// # Errors
    /// It is none.
    pub fn string(&mut self) -> Result<bool, Malformed> {
        self.expect(b'"')?;
        let mut has_escapes = false;
        loop {
            self.at = plain_until(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(has_escapes);
                }
                Some(b'\\') => {
                    has_escapes = true;
                    self.escape()?;
                }
                // A control character, or the end.
                _ => return Err(self.malformed()),
            }
        }
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

    /// Takes any value; whether it is a string with escapes.
    ///
    /// # Errors
    /// The text is malformed.
    pub fn value(&mut self) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b'{' | b'[') => self.container().map(|()| false),
            _ => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Result<bool, Malformed> {
        let is_taken = match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => return self.number().map(|()| false),
            Some(b't') => self.takes_all(b"true"),
            Some(b'f') => self.takes_all(b"false"),
            Some(b'n') => self.takes_all(b"null"),
            _ => false,
        };
        if is_taken { Ok(false) } else { Err(self.malformed()) }
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.takes(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.malformed()),
        }
        if self.takes(b'.') {
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Result<(), Malformed> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.malformed());
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(word) = word_at(self.bytes, self.at) {
            // Digits are 0x30 to 0x39: the high half is 3, and stays 3 when 6 is added.
            let highs = 0xF0F0_F0F0_F0F0_F0F0;
            let threes = 0x3030_3030_3030_3030;
            if word & highs != threes || (word + 0x0606_0606_0606_0606) & highs != threes {
                break;
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

fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}

/// The first byte from `at` on that is a quote, a backslash or a control character; the end where there is none.
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    // Zero bytes of a word: the lowest marked byte is surely one, which is all that is asked.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(word) = word_at(bytes, at) {
        let quotes = zeros(word ^ (ONES * b'"' as u64));
        let backslashes = zeros(word ^ (ONES * b'\\' as u64));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = quotes | backslashes | controls;
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
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.space();
        scanner.value().is_ok() && scanner.end().is_ok()
    }

    fn serde_accepts(text: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    #[test]
    fn accepts_what_serde_json_accepts() {
        let deep = "[".repeat(500) + &"]".repeat(500);
        let texts = [
            "",
            " ",
            "{}",
            "[]",
            " { } ",
            "[ ]",
            "{\"a\":1}",
            "{\"a\" : [ 1 , {} , [] , \"x\" ] , \"b\":null}",
            "{\"a\":1,}",
            "[1,]",
            "{,}",
            "[,]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "[1 2]",
            "{]",
            "[}",
            "{\"a\":[}",
            "nul",
            "null",
            "nullx",
            "true",
            "truth",
            "false",
            "-",
            "-0",
            "-01",
            "01",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e+",
            "1E-5",
            "1e400",
            "12345678",
            "123456789012345678901234567890",
            "1234567x",
            "\"\"",
            "\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
            "\"a\u{1}b\"",
            "\"12345678\u{1f}\"",
            "\"12345678\u{7f}é€😀\"",
            "1 1",
            "{}{}",
            "\u{feff}1",
            "\u{a0}1",
            "[\"12345678\\n12345678\",1]",
            &deep,
            &deep[1..],
        ];
        for text in texts {
            assert_eq!(accepts(text), serde_accepts(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_anything(pieces in proptest::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"a\""), Just("\""), Just("\\"), Just("\\u00e9"),
            Just("0"), Just("1"), Just("-"), Just("."), Just("e"), Just("12345678"), Just("null"), Just("true"), Just(" "), Just("é"),
            Just("\u{1f}"), Just("abcdefgh"),
        ], 0..24)) {
            let text: String = pieces.concat();
            prop_assert_eq!(accepts(&text), serde_accepts(&text), "{:?}", text);
        }

        #[test]
        fn agrees_with_serde_json_on_spoilt_json(keys in proptest::collection::vec(".{0,12}", 1..5), at in any::<prop::sample::Index>(), with in any::<char>()) {
            let object: serde_json::Map<String, serde_json::Value> =
                keys.iter().enumerate().map(|(i, key)| (key.clone(), serde_json::json!([key, i, {"n": i as f64 / 3.0}]))).collect();
            let text = serde_json::Value::Object(object).to_string();
            prop_assert!(accepts(&text));
            let mut spoilt: Vec<char> = text.chars().collect();
            let at = at.index(spoilt.len());
            spoilt[at] = with;
            let spoilt: String = spoilt.into_iter().collect();
            prop_assert_eq!(accepts(&spoilt), serde_accepts(&spoilt), "{:?}", spoilt);
        }
    }
}
