//! Topics on Kafka: how they are compared and changed, by the calls that there are; and the log alone, for commands that need no
//! store.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    AppError, kafka,
    parts::{LOG_FOLDER, open_log},
};
use crate::{
    catalog::plan::Catalog,
    config::{Config, LogChoice},
    log::{
        Log, LogError,
        broker::{self, Broker, BrokerError, DataDirLock},
        kafka::{Admin, ConfigChange, KafkaLog, Resource, TopicDescription},
    },
    runtime::topics::{Found, Observed, TopicAdmin},
};

/// Topics whose settings are asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// The broker's topics.
pub struct BrokerTopics(pub Admin);

#[async_trait]
impl TopicAdmin for BrokerTopics {
    async fn observe(&self, topics: &[String]) -> Result<Observed, LogError> {
        let mut observed = Observed::default();
        let mut there = Vec::new();
        for (name, told) in self.0.describe_topics(Some(topics)).await? {
            match told {
                Ok(description) => there.push((name, found(&description))),
                Err(LogError::Unknown { .. }) => {}
                Err(error) if error.is_retriable() => return Err(error),
                Err(error) => drop(observed.unseen.insert(name, error.to_string())),
            }
        }
        let settings = |(name, found)| async move {
            match self.0.describe_configs(&Resource::Topic(String::clone(&name))).await {
                Ok(entries) => {
                    let known = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                    Ok((name, Found { settings: known.collect::<BTreeMap<_, _>>(), ..found }, None))
                }
                Err(error) if error.is_retriable() => Err(error),
                Err(error) => Ok((name, found, Some(error.to_string()))),
            }
        };
        let answers: Vec<(String, Found, Option<String>)> =
            stream::iter(there).map(settings).buffered(ASKED_AT_ONCE).try_collect().await?;
        for (name, found, unseen) in answers {
            if let Some(why) = unseen {
                observed.unseen.insert(name.clone(), why);
            }
            observed.found.insert(name, found);
        }
        Ok(observed)
    }

    async fn set(&self, topic: &str, name: &str, value: &str) -> Result<(), LogError> {
        let change = ConfigChange { name: name.to_owned(), value: Some(value.to_owned()) };
        self.0.alter_configs(&Resource::Topic(topic.to_owned()), &[change], false).await
    }

    async fn widen(&self, topic: &str, partitions: i32) -> Result<(), LogError> {
        self.0.create_partitions(topic, partitions, false).await
    }
}

fn found(description: &TopicDescription) -> Found {
    let partitions = &description.partitions;
    let factor = |replicas: usize| i16::try_from(replicas).unwrap_or(i16::MAX);
    Found {
        partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
        replication: partitions.iter().map(|partition| factor(partition.replicas.len())).collect(),
        settings: BTreeMap::new(),
    }
}

/// The log that the configuration names, without a store: Kafka; the broker of the process that runs embedded; or where none
/// runs, the embedded log itself.
pub struct LogAlone {
    /// The log.
    pub log: Arc<dyn Log>,
    /// What is asked of it beside records.
    pub admin: Admin,
    broker: Option<Broker>,
    _lock: Option<DataDirLock>,
}

impl LogAlone {
    /// Opens it. A Kafka need not be up.
    ///
    /// # Errors
    /// Embedded data cannot be opened, or the process that has it does not say where it listens.
    pub async fn open(config: &Config, catalog: &Catalog) -> Result<Self, AppError> {
        let lock = match &config.log {
            LogChoice::Kafka { .. } => None,
            LogChoice::Embedded { .. } => match DataDirLock::acquire(&config.data_dir) {
                Ok(lock) => Some(lock),
                Err(error) => return Self::of_running(config, catalog, error),
            },
        };
        let (reached, broker) = open_log(config, catalog).await?;
        let log = KafkaLog::connect(reached);
        let admin = log.admin();
        Ok(Self { log: Arc::new(log), admin, broker, _lock: lock })
    }

    fn of_running(config: &Config, catalog: &Catalog, error: BrokerError) -> Result<Self, AppError> {
        let BrokerError::Locked { holder, .. } = &error else { return Err(error.into()) };
        let Some(addr) = broker::address_of(&config.data_dir.join(LOG_FOLDER), holder) else {
            return Err(error.into());
        };
        let log = KafkaLog::connect(kafka::kafka_options(config, catalog, vec![addr.to_string()])?);
        let admin = log.admin();
        Ok(Self { log: Arc::new(log), admin, broker: None, _lock: None })
    }

    /// Closes it: what an embedded log holds is synced.
    ///
    /// # Errors
    /// The sync failed.
    pub async fn close(self) -> Result<(), AppError> {
        match self.broker {
            Some(broker) => Ok(broker.shutdown().await?),
            None => Ok(()),
        }
    }
}
