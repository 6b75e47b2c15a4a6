//! What lint says: a place in a file, what is wrong there, and what would be right.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something that is wrong in a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl Finding {
    /// A finding at a place.
    pub(super) fn at(place: &Place, message: impl Into<String>, help: impl Into<String>) -> Self {
        let Place { file, line, column } = place.clone();
        Self { file, line, column, message: message.into(), help: help.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}\n  help: {}", self.file, self.line, self.column, self.message, self.help)
    }
}

/// Turns byte offsets of a text into places.
pub(super) struct Lines<'a> {
    file: Arc<str>,
    text: &'a str,
    /// Byte offset at which each line begins.
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(file: &str, text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), text, starts }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// The place of a byte offset; one past the end is the end.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset.min(self.text.len())).unwrap_or_default();
        // Continuation bytes of UTF-8 are no characters of their own.
        let characters = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Place { file: Arc::clone(&self.file), line, column: characters + 1 }
    }
}

/// The known name that is most like `word`, where one is like enough to be meant.
pub fn nearest<'n>(word: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const LIKE_ENOUGH: f64 = 0.72;
    const ONE_SLIP: f64 = 0.95;
    let folded = word.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        // Jaro-Winkler sees nothing in a short word with two letters swapped.
        let slip = name.len() > 2 && strsim::osa_distance(&folded, &name) == 1;
        strsim::jaro_winkler(&folded, &name).max(if slip { ONE_SLIP } else { 0.0 })
    };
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= LIKE_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// Says what would be right instead of an unknown word: the nearest known one, and all of them.
pub(super) fn instead(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? Known are: {}", known.join(", ")),
        None => format!("known are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let lines = Lines::new("f", "ab\nçd\n\nx");
        for (offset, line, column) in [(0, 1, 1), (2, 1, 3), (3, 2, 1), (5, 2, 2), (7, 3, 1), (8, 4, 1), (99, 4, 2)] {
            let place = lines.place(offset);
            assert_eq!((place.line, place.column), (line, column), "offset {offset}");
        }
    }

    #[test]
    fn nearest_names_only_what_is_alike() {
        assert_eq!(nearest("partition", ["partitions", "key"]), Some("partitions"));
        assert_eq!(nearest("Vdieo", ["video", "social"]), Some("video"));
        assert_eq!(nearest("zzz", ["video", "social"]), None);
    }
}
