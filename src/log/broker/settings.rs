//! The settings of a topic that the broker honours, by Kafka's names and with Kafka's meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{batch::MAX_BATCH_BYTES, partition::Retention};
use crate::log::record::Compression;

/// How long records are kept where the topic does not say, as Kafka's `log.retention.ms`.
pub const DEFAULT_RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// Batches are kept as they came.
const AS_PRODUCED: &str = "producer";
/// Smallest `segment.bytes`.
const MIN_SEGMENT_BYTES: i64 = 1_024;

/// A setting that the broker honours.
#[derive(Debug)]
pub struct Known {
    /// Kafka's name of it.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it does, for who asks for the documentation.
    pub about: &'static str,
}

/// What a setting may be.
#[derive(Debug)]
pub enum Kind {
    /// This word and no other.
    Only(&'static str),
    /// One of these words; the first where the topic does not say.
    OneOf(&'static [&'static str]),
    /// A number within bounds.
    Number {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
        /// Where the topic does not say; `None` leaves it to how the broker was started.
        default: Option<i64>,
    },
}

/// All that there are.
pub const KNOWN: [Known; 6] = [
    Known {
        name: "cleanup.policy",
        kind: Kind::Only("delete"),
        about: "Old records are deleted; compaction is not supported.",
    },
    Known {
        name: "compression.type",
        kind: Kind::OneOf(&[AS_PRODUCED, "uncompressed", "gzip", "snappy", "lz4", "zstd"]),
        about: "How batches are kept; producer is as their producer compressed them.",
    },
    Known {
        name: "max.message.bytes",
        kind: Kind::Number { min: 0, max: MAX_BATCH_BYTES as i64, default: Some(MAX_BATCH_BYTES as i64) },
        about: "Largest record batch, compressed, in bytes.",
    },
    Known {
        name: "retention.bytes",
        kind: Kind::Number { min: -1, max: i64::MAX, default: Some(-1) },
        about: "Most bytes of a partition before its oldest segments are deleted; -1 is no limit.",
    },
    Known {
        name: "retention.ms",
        kind: Kind::Number { min: -1, max: i64::MAX, default: Some(DEFAULT_RETENTION_MS) },
        about: "How long a segment is kept after its newest record, milliseconds; -1 is for ever.",
    },
    Known {
        name: "segment.bytes",
        kind: Kind::Number { min: MIN_SEGMENT_BYTES, max: i32::MAX as i64, default: None },
        about: "Size at which a segment is full, bytes.",
    },
];

/// What was set of one topic; the rest is as [`KNOWN`] says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Sets a value, or with `None` takes it back.
    ///
    /// # Errors
    /// Says which settings there are, or what this one may be.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), String> {
        let Some(known) = KNOWN.iter().find(|known| known.name == name) else {
            let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
            return Err(format!(
                "the embedded broker does not know the topic setting {name}; it has {}",
                names.join(", ")
            ));
        };
        let Some(value) = value else {
            self.values.remove(name);
            return Ok(());
        };
        match known.kind {
            Kind::Only(word) if value != word => {
                return Err(format!(
                    "{name} can only be {word} on the embedded broker, not {value:?}: {}",
                    known.about
                ));
            }
            Kind::OneOf(words) if !words.contains(&value) => {
                return Err(format!("{name} is one of {}, not {value:?}", words.join(", ")));
            }
            Kind::Number { min, max, .. } if !value.parse().is_ok_and(|number: i64| (min..=max).contains(&number)) => {
                return Err(format!("{name} is a number from {min} to {max}, not {value:?}"));
            }
            _ => {}
        }
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Whether the topic says it itself.
    pub fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value that holds, as text. `segment_bytes` is the broker's own.
    pub fn effective(&self, known: &Known, segment_bytes: u64) -> String {
        match (self.values.get(known.name), &known.kind) {
            (Some(value), _) => value.clone(),
            (None, Kind::Only(word)) => (*word).to_owned(),
            (None, Kind::OneOf(words)) => words.first().copied().unwrap_or_default().to_owned(),
            (None, Kind::Number { default, .. }) => {
                default.map_or_else(|| segment_bytes.to_string(), |number| number.to_string())
            }
        }
    }

    /// When a segment is full, bytes.
    pub fn segment_bytes(&self, default: u64) -> u64 {
        self.number("segment.bytes").and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(default)
    }

    /// Largest batch, bytes.
    pub fn max_batch_bytes(&self) -> u64 {
        self.number("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(MAX_BATCH_BYTES as u64)
    }

    /// How batches are compressed that are kept; `None` is as they came.
    pub fn compression(&self) -> Option<Compression> {
        match self.values.get("compression.type").map(String::as_str) {
            Some("uncompressed") => Some(Compression::None),
            Some(name) => name.parse().ok(),
            None => None,
        }
    }

    /// What is kept.
    pub fn retention(&self) -> Retention {
        Retention {
            age_ms: self.number("retention.ms").unwrap_or(DEFAULT_RETENTION_MS),
            size_bytes: self.number("retention.bytes").unwrap_or(-1),
        }
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_kept_and_refused() {
        let mut settings = Settings::default();
        assert_eq!(settings.retention(), Retention { age_ms: DEFAULT_RETENTION_MS, size_bytes: -1 });
        let table = [
            ("retention.ms", "1000", true),
            ("retention.ms", "-1", true),
            ("retention.ms", "-2", false),
            ("retention.ms", "soon", false),
            ("retention.bytes", "9223372036854775807", true),
            ("cleanup.policy", "delete", true),
            ("cleanup.policy", "compact", false),
            ("compression.type", "producer", true),
            ("compression.type", "lz4", true),
            ("compression.type", "uncompressed", true),
            ("compression.type", "brotli", false),
            ("max.message.bytes", "1000", true),
            ("max.message.bytes", "99999999999", false),
            ("segment.bytes", "2048", true),
            ("segment.bytes", "7", false),
            ("min.insync.replicas", "1", false),
        ];
        for (name, value, taken) in table {
            assert_eq!(settings.set(name, Some(value)).is_ok(), taken, "{name}={value}");
        }
        assert_eq!((settings.segment_bytes(9), settings.max_batch_bytes()), (2048, 1000));
        for (value, kept) in
            [("uncompressed", Some(Compression::None)), ("zstd", Some(Compression::Zstd)), ("producer", None)]
        {
            settings.set("compression.type", Some(value)).unwrap();
            assert_eq!(settings.compression(), kept, "{value}");
        }
        assert_eq!(settings.retention(), Retention { age_ms: -1, size_bytes: i64::MAX });
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        settings.set("segment.bytes", None).unwrap();
        assert_eq!(settings.segment_bytes(9), 9);
    }
}
