//! Who and where: partitions and the origin of an effect.

use std::{fmt, sync::Arc};

/// A partition of a topic, shown as `topic:partition` (a Kafka topic name cannot hold a colon).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// Reads the form that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, partition) = text.rsplit_once(':')?;
        Some(Self::new(topic, partition.parse().ok()?))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number that stands for a topic's name in an [`Origin`]: the low 32 bits of its XXH3.
///
/// The catalogue's lint refuses two topics whose numbers are equal.
pub fn topic_hash(topic: &str) -> u32 {
    xxhash_rust::xxh3::xxh3_64(topic.as_bytes()) as u32
}

/// Where an effect comes from: a record and the number of the effect in its event type.
///
/// Origins are totally ordered, and their text form has a fixed width and the same order, so that a store can break ties
/// without knowing what they mean (EXACTLY_ONCE, "Rules").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// [`topic_hash`] of the topic.
    pub topic: u32,
    /// Partition number.
    pub partition: i32,
    /// Offset of the record.
    pub offset: i64,
    /// Number of the effect within the event type.
    pub effect: u16,
}

impl Origin {
    /// Characters of the text form: 8 for the topic, 8 for the partition, 16 for the offset, 4 for the effect.
    pub const WIDTH: usize = 36;

    /// The text form: lower-case hexadecimal of fixed width.
    pub fn to_hex(self) -> String {
        format!("{:08x}{:08x}{:016x}{:04x}", self.topic, self.partition, self.offset, self.effect)
    }

    /// Reads the text form; `None` where it is not one.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != Self::WIDTH || !text.is_ascii() {
            return None;
        }
        Some(Self {
            topic: u32::from_str_radix(&text[..8], 16).ok()?,
            partition: u32::from_str_radix(&text[8..16], 16).ok()? as i32,
            offset: u64::from_str_radix(&text[16..32], 16).ok()? as i64,
            effect: u16::from_str_radix(&text[32..], 16).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_text_keeps_the_order_and_reads_back() {
        let mut origins = Vec::new();
        for topic in [0, 7, u32::MAX] {
            for partition in [0, 9, 1000] {
                for offset in [0, 15, 16, 1 << 40, i64::MAX] {
                    for effect in [0, 255, u16::MAX] {
                        origins.push(Origin { topic, partition, offset, effect });
                    }
                }
            }
        }
        origins.sort();
        let texts: Vec<String> = origins.iter().map(|o| o.to_hex()).collect();
        assert!(texts.is_sorted());
        for (origin, text) in origins.iter().zip(&texts) {
            assert_eq!(text.len(), Origin::WIDTH);
            assert_eq!(Origin::from_hex(text), Some(*origin));
        }
        assert_eq!(Origin::from_hex("xyz"), None);
    }

    #[test]
    fn partition_names_read_back() {
        let partition = TopicPartition::new("video.views", 12);
        assert_eq!(partition.to_string(), "video.views:12");
        assert_eq!(TopicPartition::parse("video.views:12"), Some(partition));
        assert_eq!(TopicPartition::parse("video.views"), None);
    }
}
