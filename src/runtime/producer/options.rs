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
    /// Batches that one partition has under way, in order (`KAFKA_MAX_IN_FLIGHT`, default 5).
    pub max_in_flight: usize,
    /// Longest time that a record waits behind others before it is sent. Default 30 s. From then on the log has a deadline of
    /// its own.
    pub delivery_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            linger: Duration::ZERO,
            batch_bytes: 1024 * 1024 - 4096,
            buffer_bytes: 32 * 1024 * 1024,
            max_in_flight: 5,
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
}
