//! Publishing through the producer: the [`Sender`] of the process.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    producer::{ProduceError, Producer},
    publish::{SendError, Sender},
    routing::{Routing, RoutingError},
};
use crate::{
    log::{LogError, OutRecord},
    model::TopicPartition,
};

/// Sends through the producer to the partition that the key chooses.
pub struct LogSender {
    /// Sends.
    pub producer: Arc<Producer>,
    /// Chooses partitions.
    pub routing: Arc<Routing>,
}

impl LogSender {
    async fn partition(&self, topic: &str, record: &OutRecord) -> Result<TopicPartition, SendError> {
        self.routing.partition_for(topic, record.key.as_deref()).await.map_err(|error| match error {
            RoutingError::UnknownTopic { .. } => SendError::UnknownTopic,
            error @ RoutingError::Unavailable { .. } => SendError::Unavailable(error.to_string()),
        })
    }

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
            // `Refused` too: whoever publishes cannot mend our credentials or rights.
            error => SendError::Unavailable(error.to_string()),
        }
    }
}

#[async_trait]
impl Sender for LogSender {
    async fn send(&self, topic: &str, record: OutRecord) -> Result<(i32, i64), SendError> {
        let partition = self.partition(topic, &record).await?;
        let number = partition.partition;
        let offset = self.producer.send(partition, record).await.map_err(|error| self.sent(error))?;
        Ok((number, offset))
    }

    async fn send_all(&self, topic: &str, records: Vec<OutRecord>) -> Vec<Result<(i32, i64), SendError>> {
        let mut results = Vec::with_capacity(records.len());
        let mut addressed = Vec::with_capacity(records.len());
        for record in records {
            match self.partition(topic, &record).await {
                Ok(partition) => {
                    results.push(Ok((partition.partition, 0)));
                    addressed.push((partition, record));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let mut sent = self.producer.send_all(addressed).await.into_iter();
        for result in results.iter_mut() {
            if let Ok((_, offset)) = result {
                match sent.next() {
                    Some(Ok(given)) => *offset = given,
                    Some(Err(error)) => *result = Err(self.sent(error)),
                    None => *result = Err(SendError::Unavailable("no answer for this record".to_owned())),
                }
            }
        }
        results
    }
}
