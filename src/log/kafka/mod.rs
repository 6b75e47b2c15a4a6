//! `Log` on Kafka's protocol: reading over our own connections (`wire`), the rest through rskafka.
//!
//! [`KafkaLog`] needs no broker to begin with: it connects when it is first asked, connects again when a connection breaks
//! or a partition's leader changes, and every call ends within its deadline. What rskafka cannot do is said where it
//! matters: `cluster` (connections), `produce` (appending). `fetch` reads; each of its requests asks a broker for all the
//! partitions that are wanted of it.

mod cluster;
mod error;
mod fetch;
mod options;
mod produce;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use rskafka::client::{Client, error::Error as ClientError, error::ProtocolError, partition::OffsetAt};
use tokio::time::sleep;

pub use options::KafkaOptions;

use self::{
    cluster::{Cluster, Connections},
    error::explain,
    fetch::Fetcher,
    wire::Wire,
};
use super::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec};
use crate::model::TopicPartition;

/// The replication factor that leaves the choice to the broker (KIP-464, Kafka 2.4).
const REPLICATION_OF_THE_BROKER: i16 = -1;

/// A log behind the Kafka protocol.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    /// Connections for everything but fetching.
    calls: Connections,
    /// Our own connections.
    wire: Arc<Wire>,
    fetcher: Fetcher,
}

impl KafkaLog {
    /// Makes the log ready to connect; the broker may be down.
    pub fn connect(options: KafkaOptions) -> Self {
        let wire = Arc::new(Wire::new(options.clone()));
        let cluster = Arc::new(Cluster::new(options));
        Self { fetcher: Fetcher::new(Arc::clone(&wire)), calls: Connections::default(), cluster, wire }
    }

    /// Asks the controller to create a topic.
    async fn create(&self, topic: &TopicSpec, what: &str) -> Result<bool, LogError> {
        let (client, _) = self.cluster.topics().await?;
        match create_on(&client, topic, self.cluster.options.request_timeout.as_millis()).await {
            Ok(()) => Ok(true),
            Err(ClientError::ServerError { protocol_error: ProtocolError::TopicAlreadyExists, .. }) => Ok(false),
            Err(error) => {
                // The connection may be the reason: the next try makes a new one.
                self.cluster.distrust();
                Err(explain(error, what, &topic.name))
            }
        }
    }

    /// Waits until the broker lists a topic. The caller sets the deadline.
    async fn wait_until_listed(&self, topic: &str) -> Result<(), LogError> {
        let mut tries = 1;
        loop {
            if self.cluster.list().await?.partitions.contains_key(topic) {
                return Ok(());
            }
            sleep(self.cluster.pause_after(tries)).await;
            tries += 1;
        }
    }
}

async fn create_on(client: &Client, topic: &TopicSpec, timeout_ms: u128) -> Result<(), ClientError> {
    let replication = topic.replication.unwrap_or(REPLICATION_OF_THE_BROKER);
    let timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
    client.controller_client()?.create_topic(topic.name.as_str(), topic.partitions, replication, timeout_ms).await
}

#[async_trait]
impl Log for KafkaLog {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        let limit = self.cluster.options.request_timeout;
        Cluster::within(limit, "listing topics", async {
            let topics = self.cluster.list().await?;
            let listed = topics.partitions.iter().map(|(name, partitions)| TopicInfo {
                name: name.clone(),
                partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
            });
            Ok(listed.collect())
        })
        .await
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        let what = format!("creating topic {}", topic.name);
        Cluster::within(self.cluster.options.request_timeout, &what, async {
            let created = self.cluster.again(|| Box::pin(self.create(topic, &what))).await?;
            self.wait_until_listed(&topic.name).await?;
            Ok(created)
        })
        .await
    }

    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        let what = format!("asking for the offset of {partition}");
        let at = match at {
            At::Start => OffsetAt::Earliest,
            At::End => OffsetAt::Latest,
        };
        let call = self.cluster.ask(&self.calls, partition, &what, |client| Box::pin(client.get_offset(at)));
        Cluster::within(self.cluster.options.request_timeout, &what, call).await
    }

    async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        self.fetcher.fetch(positions, limits).await
    }

    async fn produce(&self, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        self.append(partition, records).await
    }
}
