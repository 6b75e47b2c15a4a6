//! Settings of a producer.

use std::time::Duration;

use crate::log::OutRecord;

/// Settings of a [`super::Producer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// How long a lane waits for more records before it sends less than a full batch (`KAFKA_LINGER_MS`, default 0).
    pub linger: Duration,
    /// Most bytes of a batch before compression; a larger record goes alone (`KAFKA_BATCH_BYTES`, default 1 MiB less what
    /// Kafka's batch header takes, since topics take 1 MiB by default).
    pub batch_bytes: usize,
    /// Most bytes that wait for the broker, all partitions together. Default 32 MiB, as Kafka's Java client.
    pub buffer_bytes: usize,
    /// How often a batch is sent again after an error that may pass (`KAFKA_RETRIES`, default 8).
    pub retries: u32,
    /// Pause before the first retry; doubles up to 1 s (`KAFKA_RETRY_BACKOFF_MS`, default 100 ms).
    pub retry_backoff: Duration,
    /// Longest time from taking a record to its answer, retries included. Default 30 s. A request in flight is waited for
    /// (the log has a deadline of its own), but not tried again.
    pub delivery_timeout: Duration,
}

/// Longest pause between two tries.
const MAX_BACKOFF: Duration = Duration::from_secs(1);

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            linger: Duration::ZERO,
            batch_bytes: 1024 * 1024 - 4096,
            buffer_bytes: 32 * 1024 * 1024,
            retries: 8,
            retry_backoff: Duration::from_millis(100),
            delivery_timeout: Duration::from_secs(30),
        }
    }
}

impl ProducerOptions {
    pub(super) fn buffer_permits(&self) -> usize {
        self.buffer_bytes.clamp(1, u32::MAX as usize)
    }

    /// A record larger than the whole buffer takes all of it.
    pub(super) fn permits_for(&self, record: &OutRecord) -> u32 {
        u32::try_from(record.size_bytes().min(self.buffer_permits())).unwrap_or(u32::MAX)
    }

    /// The pause before a retry, counted from 1.
    pub(super) fn pause_before(&self, retry: u32) -> Duration {
        self.retry_backoff.saturating_mul(1 << retry.saturating_sub(1).min(16)).min(MAX_BACKOFF)
    }
}
