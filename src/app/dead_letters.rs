//! Dead letters, by the log, the store and the settings of this process.

use std::sync::Arc;

use async_trait::async_trait;

use super::Parts;
use crate::{
    catalog::plan::Catalog,
    config::Config,
    log::{LogError, kafka::Admin},
    model::TopicPartition,
    runtime::dead_letters::{DeadLetterParts, DeadLetters, Trimming},
};

/// Deletes records by the broker's own call.
struct Broker(Admin);

#[async_trait]
impl Trimming for Broker {
    async fn delete_before(&self, partition: &TopicPartition, offset: i64) -> Result<i64, LogError> {
        self.0.delete_records(partition, offset).await
    }
}

/// The dead letters of a process.
pub(super) fn of(config: &Config, catalog: &Arc<Catalog>, parts: &Parts) -> Arc<DeadLetters> {
    Arc::new(DeadLetters::new(DeadLetterParts {
        log: Arc::clone(&parts.log),
        store: Arc::clone(&parts.store),
        trimming: Arc::new(Broker(parts.admin.clone())),
        catalog: Arc::clone(catalog),
        max_replays: config.counting.max_replays,
        request_timeout: config.kafka.request_timeout,
    }))
}
