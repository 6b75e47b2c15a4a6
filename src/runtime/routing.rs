//! Which partition a record goes to.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};

use crate::{
    core::partitioner::partition_for_key,
    log::{Log, LogError},
    model::TopicPartition,
};

/// How long the list of topics is used before it is read again.
pub const TOPICS_REFRESH: Duration = Duration::from_secs(30);
/// How often it is read again at most for topics that it does not have.
const UNKNOWN_REFRESH: Duration = Duration::from_secs(1);
/// How many records without a key go to one partition before the next one's turn: neighbours share a batch.
const STICKY_RECORDS: u32 = 64;

/// Why a record has no partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// The broker has no such topic.
    #[error("topic {topic} does not exist on the broker; create it first")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The topics could not be listed, and nothing is known from before.
    #[error("cannot tell the partitions of {topic}: {source}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// Why.
        source: LogError,
    },
}

/// Chooses partitions: by key as Kafka's clients do, in turn for records without a key.
pub struct Routing {
    log: Arc<dyn Log>,
    table: RwLock<Arc<Table>>,
    /// Held by the one caller that reads the topics.
    reading: Mutex<()>,
}

struct Table {
    /// When the broker last told its topics.
    read_at: Option<Instant>,
    /// When it was last asked.
    asked_at: Option<Instant>,
    topics: HashMap<Arc<str>, Route>,
}

struct Route {
    partitions: i32,
    /// Counts the records without a key.
    turn: AtomicU32,
}

impl Routing {
    /// Routes by the topics of this log. Nothing is read before the first question.
    pub fn new(log: Arc<dyn Log>) -> Self {
        let empty = Table { read_at: None, asked_at: None, topics: HashMap::new() };
        Self { log, table: RwLock::new(Arc::new(empty)), reading: Mutex::new(()) }
    }

    /// The partition for a record with this key.
    ///
    /// # Errors
    /// Where the topic does not exist, or the topics have never been read and the broker cannot be asked.
    pub async fn partition_for(&self, topic: &str, key: Option<&[u8]>) -> Result<TopicPartition, RoutingError> {
        self.table_with(topic).await?.choose(topic, key).ok_or_else(|| unknown(topic))
    }

    /// The partitions for records of one topic with these keys, in order.
    ///
    /// # Errors
    /// As [`Routing::partition_for`].
    pub async fn partitions_for<'k>(
        &self,
        topic: &str,
        keys: impl Iterator<Item = Option<&'k [u8]>>,
    ) -> Result<Vec<TopicPartition>, RoutingError> {
        let table = self.table_with(topic).await?;
        let (name, route) = table.topics.get_key_value(topic).ok_or_else(|| unknown(topic))?;
        Ok(keys.map(|key| TopicPartition::new(Arc::clone(name), route.choose(key))).collect())
    }

    /// The topics, this one among them.
    async fn table_with(&self, topic: &str) -> Result<Arc<Table>, RoutingError> {
        let table = self.table();
        let within = |at: Option<Instant>, age: Duration| at.is_some_and(|at| at.elapsed() < age);
        match table.topics.contains_key(topic) {
            true if within(table.asked_at, TOPICS_REFRESH) => return Ok(table),
            // Old: one caller reads it again while the others go on with what is known.
            true => match self.reading.try_lock() {
                Err(_) => return Ok(table),
                // A broker that is gone now still has the topic; producing will tell.
                Ok(_reading) => drop(self.read().await),
            },
            false if within(table.read_at, UNKNOWN_REFRESH) => return Err(unknown(topic)),
            false => {
                let _reading = self.reading.lock().await;
                if self.table().read_at == table.read_at {
                    let unavailable = |source| RoutingError::Unavailable { topic: topic.to_owned(), source };
                    self.read().await.map_err(unavailable)?;
                }
            }
        }
        Ok(self.table())
    }

    /// The partition `preferred` where the topic has it, else the one for the key.
    ///
    /// # Errors
    /// As [`Routing::partition_for`].
    pub async fn partition_near(
        &self,
        topic: &str,
        preferred: Option<i32>,
        key: Option<&[u8]>,
    ) -> Result<TopicPartition, RoutingError> {
        let chosen = self.partition_for(topic, key).await?;
        let partitions = self.table().topics.get(topic).map_or(0, |route| route.partitions);
        Ok(match preferred {
            Some(partition) if partition < partitions => TopicPartition { partition, ..chosen },
            _ => chosen,
        })
    }

    /// Has the topics read again at the next question: the broker did not know a partition that was chosen here.
    pub fn forget(&self) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let topics = table.topics.iter().map(|(name, route)| (Arc::clone(name), route.again())).collect();
        *table = Arc::new(Table { read_at: None, asked_at: None, topics });
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read(&self) -> Result<(), LogError> {
        let old = self.table();
        let listed = self.log.topics().await;
        let topics = match &listed {
            Ok(listed) => listed
                .iter()
                .map(|info| {
                    let turn = old.topics.get(info.name.as_str()).map_or(0, |route| route.turn.load(Ordering::Relaxed));
                    (Arc::from(info.name.as_str()), Route { partitions: info.partitions, turn: AtomicU32::new(turn) })
                })
                .collect(),
            // What is known is kept, and not asked for again before the next round.
            Err(_) => old.topics.iter().map(|(name, route)| (Arc::clone(name), route.again())).collect(),
        };
        let asked_at = Some(Instant::now());
        let table = Table { read_at: if listed.is_ok() { asked_at } else { old.read_at }, asked_at, topics };
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        listed.map(|_| ())
    }
}

impl Table {
    fn choose(&self, topic: &str, key: Option<&[u8]>) -> Option<TopicPartition> {
        let (name, route) = self.topics.get_key_value(topic)?;
        Some(TopicPartition::new(Arc::clone(name), route.choose(key)))
    }
}

impl Route {
    fn choose(&self, key: Option<&[u8]>) -> i32 {
        match key {
            Some(key) => partition_for_key(key, self.partitions),
            None => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed) / STICKY_RECORDS;
                i32::try_from(turn).unwrap_or(0).checked_rem(self.partitions).unwrap_or(0)
            }
        }
    }

    fn again(&self) -> Self {
        Self { partitions: self.partitions, turn: AtomicU32::new(self.turn.load(Ordering::Relaxed)) }
    }
}

fn unknown(topic: &str) -> RoutingError {
    RoutingError::UnknownTopic { topic: topic.to_owned() }
}
