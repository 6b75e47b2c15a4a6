//! `PARTITIONS=a:0-3,5;b:0`: which partitions are counted here, by hand.

use std::collections::{BTreeMap, BTreeSet};

/// Highest partition number taken; Kafka clusters stay far below.
const MAX_PARTITION: i32 = 99_999;

/// Parses topics and their partitions; each topic's come out ascending and once.
///
/// # Errors
/// Says which part cannot be read and what would be right.
pub fn parse(text: &str) -> Result<BTreeMap<String, Vec<i32>>, String> {
    let mut topics: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (topic, ranges) =
            part.rsplit_once(':').ok_or_else(|| format!("{part:?} has no partitions; {part}:0 would be right"))?;
        if topic.trim().is_empty() {
            return Err(format!("{part:?} names no topic"));
        }
        let numbers = topics.entry(topic.trim().to_owned()).or_default();
        for range in ranges.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{range:?} runs backwards; {last}-{first} would be right"));
            }
            numbers.extend(first..=last);
        }
    }
    Ok(topics.into_iter().map(|(topic, numbers)| (topic, numbers.into_iter().collect())).collect())
}

fn number(text: &str) -> Result<i32, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|number| (0..=MAX_PARTITION).contains(number))
        .ok_or_else(|| format!("{text:?} is no partition; a whole number from 0 to {MAX_PARTITION} would be right"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read() {
        for (text, expected) in [
            ("a:0-3,5;b:0", vec![("a", vec![0, 1, 2, 3, 5]), ("b", vec![0])]),
            ("video.views:7", vec![("video.views", vec![7])]),
            (" a : 2 , 1 ; a:1-2 ;", vec![("a", vec![1, 2])]),
        ] {
            let expected = expected.into_iter().map(|(topic, numbers)| (topic.to_owned(), numbers)).collect();
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_what_would_be_right() {
        for (text, hint) in [
            ("a", "a:0 would be right"),
            ("a:", "no partition"),
            ("a:3-1", "1-3 would be right"),
            ("a:x", "no partition"),
            ("a:-1", "no partition"),
            (":0", "names no topic"),
            ("a:0-99999999", "no partition"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
