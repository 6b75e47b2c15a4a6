//! How to reach a Kafka, and how long to wait for it.

use std::{collections::HashMap, time::Duration};

use super::security::Security;
use crate::catalog::plan::Compression;

/// Longest pause between two tries, at a broker or of a call.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Settings of a [`super::KafkaLog`].
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Brokers to begin with, `host:port` each (`KAFKA_BROKERS`).
    pub brokers: Vec<String>,
    /// Name told to the broker, seen in its logs and quotas (`KAFKA_CLIENT_ID`).
    pub client_id: String,
    /// Deadline of every call; a fetch has its `max_wait` on top (`KAFKA_REQUEST_TIMEOUT_MS`; default here
    /// 10 s, that of the setting is 30 s).
    pub request_timeout: Duration,
    /// Pause before a failed request is tried again; doubles up to 1 s (`KAFKA_RETRY_BACKOFF_MS`, default 100 ms).
    pub retry_backoff: Duration,
    /// How often a produced batch is tried again after an error that may pass, where it surely was not stored
    /// (`KAFKA_RETRIES`, default 8). A batch that may have been stored is tried until the deadline, under the same sequence
    /// number, since only that tells whether it was.
    pub retries: u32,
    /// Produced batches under way per partition (`KAFKA_MAX_IN_FLIGHT`, 1 to 5, default 5: a broker remembers as many of a
    /// producer, KIP-98).
    pub max_in_flight: usize,
    /// Compression of what is produced (`KAFKA_COMPRESSION`, default gzip).
    pub compression: Compression,
    /// Compression by topic, where it differs from `compression`.
    pub compression_of: HashMap<String, Compression>,
    /// Largest answer read from, and largest record sent to the broker, bytes. Default 100 MiB, as the broker's own
    /// `socket.request.max.bytes`. A batch that is larger cannot be read.
    pub max_message_bytes: usize,
    /// TLS and SASL (`KAFKA_TLS_*`, `KAFKA_SASL_*`). Default neither.
    pub security: Security,
}

impl KafkaOptions {
    /// Default of `client_id`.
    pub const CLIENT_ID: &str = "streamgauge";
    /// Default of `request_timeout`.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
    /// Default of `retry_backoff`.
    pub const RETRY_BACKOFF: Duration = Duration::from_millis(100);
    /// Default of `retries`.
    pub const RETRIES: u32 = 8;
    /// Default of `max_in_flight`, and the most.
    pub const MAX_IN_FLIGHT: usize = 5;
    /// Default of `max_message_bytes`.
    pub const MAX_MESSAGE_BYTES: usize = 100 * 1024 * 1024;

    /// The pause after so many failures in a row: doubles up to a cap, and lies anywhere in its upper half, so that many
    /// clients do not come back at the same moment.
    pub(super) fn pause_after(&self, failures: u32) -> Duration {
        let doubled = 1 << failures.saturating_sub(1).min(16);
        self.retry_backoff.saturating_mul(doubled).min(MAX_BACKOFF).mul_f64(rand::random_range(0.5..=1.0))
    }

    /// The defaults, for these brokers.
    pub fn new(brokers: Vec<String>) -> Self {
        Self {
            brokers,
            client_id: Self::CLIENT_ID.to_owned(),
            request_timeout: Self::REQUEST_TIMEOUT,
            retry_backoff: Self::RETRY_BACKOFF,
            retries: Self::RETRIES,
            max_in_flight: Self::MAX_IN_FLIGHT,
            compression: Compression::Gzip,
            compression_of: HashMap::new(),
            max_message_bytes: Self::MAX_MESSAGE_BYTES,
            security: Security::default(),
        }
    }

    /// The compression of a topic.
    pub(super) fn compression_for(&self, topic: &str) -> Compression {
        self.compression_of.get(topic).copied().unwrap_or(self.compression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_differ() {
        let mut options = KafkaOptions::new(vec!["127.0.0.1:9092".to_owned()]);
        options.compression_of.insert("raw".to_owned(), Compression::None);
        assert_eq!(options.compression_for("raw"), Compression::None);
        assert_eq!(options.compression_for("other"), Compression::Gzip);
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_vary_in_their_upper_half() {
        let mut options = KafkaOptions::new(vec![]);
        options.retry_backoff = Duration::from_millis(100);
        for (failures, longest_ms) in [(0, 100), (1, 100), (2, 200), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            let longest = Duration::from_millis(longest_ms);
            let pauses: Vec<_> = (0..100).map(|_| options.pause_after(failures)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}: {pauses:?}");
        }
    }
}
