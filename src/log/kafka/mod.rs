//! `Log` on Kafka's protocol.
//!
//! [`KafkaLog`] needs no broker to begin with: it connects when it is first asked, connects again when a connection breaks
//! or a partition's leader changes, and every call ends within its deadline. Reading (`fetch`, `offsets`), appending
//! (`produce`) and what administrators do (`admin`, `identity`) go over our own connections (`wire`); the list of topics comes
//! through rskafka (`cluster`, and `rebuild` where its certificates or password have changed). TLS and SASL (`security`,
//! `oauth`) are the same for both, and so is what it means when a broker does not let us in (`access`).

mod access;
mod admin;
mod cluster;
mod error;
mod fetch;
mod identity;
mod oauth;
mod offsets;
mod options;
mod produce;
mod rebuild;
mod security;
mod wire;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{sleep, timeout};

pub use access::AccessError;
pub use admin::{
    Admin, BrokerDisk, CommittedOffset, ConfigChange, ConfigEntry, ConfigSource, GroupState, LogDir,
    PartitionDescription, Resource, TopicDescription,
};
pub use oauth::{TokenEndpoint, TokenOptions};
pub use options::KafkaOptions;
pub use security::{Bearer, Login, Renewable, Sasl, Security, Token};

use self::{cluster::Cluster, fetch::Fetcher, produce::Producing, wire::Wire};
use super::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec};
use crate::model::{LogIdentity, TopicPartition};

/// When a topic that was just made is known to all brokers.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// A log behind the Kafka protocol.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    /// Our own connections, for what rskafka cannot do.
    wire: Arc<Wire>,
    fetcher: Fetcher,
    producing: Producing,
}

impl KafkaLog {
    /// Makes the log ready to connect; the broker may be down.
    pub fn connect(options: KafkaOptions) -> Self {
        let wire = Arc::new(Wire::new(options.clone()));
        let cluster = Arc::new(Cluster::new(options));
        Self { fetcher: Fetcher::new(Arc::clone(&wire)), cluster, producing: Producing::new(Arc::clone(&wire)), wire }
    }

    /// Waits until the broker lists a topic. The caller sets the deadline.
    async fn wait_until_listed(&self, topic: &str) -> Result<(), LogError> {
        let mut tries = 1;
        loop {
            if self.cluster.list().await?.contains_key(topic) {
                return Ok(());
            }
            sleep(self.cluster.options.pause_after(tries)).await;
            tries += 1;
        }
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        let limit = self.cluster.options.request_timeout;
        Cluster::within(limit, "listing topics", async {
            let topics = self.cluster.list().await?;
            let listed = topics.into_iter().map(|(name, partitions)| TopicInfo {
                name,
                partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
            });
            Ok(listed.collect())
        })
        .await
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        let what = format!("creating topic {}", topic.name);
        Cluster::within(self.cluster.options.request_timeout, &what, async {
            let created = self.admin().create_topic(topic, false).await?;
            match timeout(KNOWN_WITHIN, self.wait_until_listed(&topic.name)).await {
                Ok(listed) => listed.map(|()| created),
                Err(_) => {
                    let reason = format!("it exists, and the broker does not list it to this user; {}", error::GRANT);
                    Err(LogError::Refused { what: what.clone(), reason })
                }
            }
        })
        .await
    }

    async fn offset_at(&self, partition: &TopicPartition, at: At) -> Result<i64, LogError> {
        self.listed_offset(partition, at).await
    }

    async fn identity(&self, partition: &TopicPartition) -> Result<LogIdentity, LogError> {
        let what = format!("asking which log {partition} is");
        Cluster::within(self.cluster.options.request_timeout, &what, self.identity_now(partition)).await
    }

    async fn fetch(
        &self,
        positions: &[FetchPosition],
        limits: FetchLimits,
    ) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        self.fetcher.fetch(positions, limits).await
    }

    async fn produce(&self, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        self.producing.append(partition, records).await
    }
}
