//! Publishing through the producer: the [`Sender`] of the process.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    producer::{ProduceError, Producer},
    publish::{SendError, Sender},
    routing::{Routing, RoutingError},
};
use crate::log::{LogError, OutRecord};

/// Sends through the producer to the partition that the key chooses.
pub struct LogSender {
    /// Sends.
    pub producer: Arc<Producer>,
    /// Chooses partitions.
    pub routing: Arc<Routing>,
}

impl LogSender {
    fn sent(&self, error: ProduceError) -> SendError {
        match error {
            ProduceError::Full { .. } => SendError::Full,
            ProduceError::Log(LogError::TooLarge { .. }) => SendError::TooLarge,
            ProduceError::Log(LogError::Unknown { .. }) => {
                self.routing.forget();
                SendError::UnknownTopic
            }
            ProduceError::Log(error @ (LogError::Invalid { .. } | LogError::Unsupported { .. })) => {
                SendError::Invalid(error.to_string())
            }
            // A producer that was closed may have sent it before.
            error @ (ProduceError::Log(LogError::TimedOut { .. }) | ProduceError::Closed) => {
                SendError::Unconfirmed(error.to_string())
            }
            // `Refused` too: whoever publishes cannot mend our credentials or rights.
            error => SendError::Unavailable(error.to_string()),
        }
    }
}

fn not_routed(error: RoutingError) -> SendError {
    match error {
        RoutingError::UnknownTopic { .. } => SendError::UnknownTopic,
        error @ RoutingError::Unavailable { .. } => SendError::Unavailable(error.to_string()),
    }
}

#[async_trait]
impl Sender for LogSender {
    async fn send(&self, topic: &str, record: OutRecord) -> Result<(i32, i64), SendError> {
        let partition = self.routing.partition_for(topic, record.key.as_deref()).await.map_err(not_routed)?;
        let number = partition.partition;
        let offset = self.producer.send(partition, record).await.map_err(|error| self.sent(error))?;
        Ok((number, offset))
    }

    async fn send_all(&self, topic: &str, records: Vec<OutRecord>) -> Vec<Result<(i32, i64), SendError>> {
        let keys = records.iter().map(|record| record.key.as_deref());
        let partitions = match self.routing.partitions_for(topic, keys).await {
            Ok(partitions) => partitions,
            Err(error) => return vec![Err(not_routed(error)); records.len()],
        };
        let numbers: Vec<i32> = partitions.iter().map(|partition| partition.partition).collect();
        let sent = self.producer.send_all(partitions.into_iter().zip(records).collect()).await;
        let placed = numbers.into_iter().zip(sent);
        placed.map(|(number, sent)| Ok((number, sent.map_err(|error| self.sent(error))?))).collect()
    }
}
