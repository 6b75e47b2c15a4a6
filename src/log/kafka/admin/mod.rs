//! What is asked of a cluster beside records: topics, their settings, disk use, and the offsets of groups.
//!
//! rskafka has only a part of these calls, and CreateTopics without settings, so all of them go over our own connections.
//! Each call is one file's; each tells errors per item, with the broker's own words.

mod answer;
mod configs;
mod describe;
mod groups;
mod log_dirs;
mod topics;
mod tries;

use std::{ops::RangeInclusive, sync::Arc};

use kafka_protocol::protocol::Request;
use tokio::time::Instant;

pub(super) use self::{answer::explain, tries::Tries};
pub use self::{
    configs::{ConfigChange, ConfigEntry, ConfigSource, Resource},
    describe::{PartitionDescription, TopicDescription},
    groups::{CommittedOffset, GroupState},
    log_dirs::{BrokerDisk, LogDir},
};
use super::{
    KafkaLog,
    wire::{Lane, NodeId, Wire},
};
use crate::log::LogError;

/// Calls to a cluster that are not about records. Cheap to make: it shares the log's connections.
///
/// Every call ends within `KAFKA_REQUEST_TIMEOUT_MS`. Until then it is tried again where another broker has taken over
/// meanwhile or one is not ready, with a pause that grows up to 2 s.
#[derive(Clone)]
pub struct Admin {
    wire: Arc<Wire>,
}

impl KafkaLog {
    /// What is not about records.
    pub fn admin(&self) -> Admin {
        Admin { wire: Arc::clone(&self.wire) }
    }
}

impl Admin {
    fn tries(&self) -> Tries<'_> {
        Tries::begin(&self.wire)
    }

    /// Asks one broker, and waits before the next request as long as it says (KIP-219).
    async fn ask<R: Request>(
        &self,
        node: NodeId,
        versions: &RangeInclusive<i16>,
        deadline: Instant,
        request: impl FnOnce(i16) -> R,
        throttle_ms: impl FnOnce(&R::Response) -> i32,
    ) -> Result<R::Response, LogError> {
        let connection = self.wire.connection(node, Lane::Calls, deadline).await?;
        let version = connection.version::<R>(versions)?;
        let answer = connection.call(&request(version), version, deadline).await?;
        connection.throttle(throttle_ms(&answer));
        Ok(answer)
    }
}

/// How long the broker itself may work on a request: what is left until the deadline.
fn left_ms(deadline: Instant) -> i32 {
    i32::try_from(deadline.saturating_duration_since(Instant::now()).as_millis()).unwrap_or(i32::MAX)
}
