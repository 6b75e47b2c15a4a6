//! The way to the brokers: one client, what is known of the topics, and calls to partition leaders.
//!
//! rskafka retries without end, has no timeout, keeps a connection that hangs, and after a leader change can ask the old
//! leader until someone lists the topics. So its own retries are off, every wait here has a deadline, a connection that
//! failed is closed, and topics are listed again before the next one is opened.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use rskafka::client::{
    Client,
    error::Error,
    partition::{PartitionClient, UnknownTopicHandling},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    KafkaOptions,
    error::{access, explain},
    rebuild::{self, Stamp},
    wire,
};
use crate::{log::LogError, model::TopicPartition};

/// How often a request is tried within its deadline. The second try finds a new connection or a new leader; a topic that
/// was just made is known to all brokers by the third.
const ATTEMPTS: u32 = 3;
/// Most connections kept; rskafka opens one per partition.
const MAX_KEPT_CONNECTIONS: usize = 4096;

/// What the broker said of its topics.
pub(super) struct Topics {
    read_at: Instant,
    /// Partition numbers by topic.
    pub(super) partitions: HashMap<String, BTreeSet<i32>>,
}

/// A client, what it was built with, and what it has read.
#[derive(Clone)]
struct Known {
    client: Arc<Client>,
    stamp: Stamp,
    topics: Arc<Topics>,
}

/// The client and its deadlines.
pub(super) struct Cluster {
    pub(super) options: KafkaOptions,
    /// Held while connecting, so that many callers make one connection.
    known: tokio::sync::Mutex<Option<Known>>,
    /// What was read before this is not to be trusted: something failed since.
    distrusted_at: Mutex<Instant>,
}

impl Cluster {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Self { options, known: tokio::sync::Mutex::new(None), distrusted_at: Mutex::new(Instant::now()) }
    }

    /// Runs `call` for at most `limit`.
    pub(super) async fn within<T>(
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, LogError>>,
    ) -> Result<T, LogError> {
        timeout(limit, call).await.unwrap_or_else(|_| Err(timed_out(what, limit)))
    }

    /// Has the topics listed anew before the next connection is made.
    pub(super) fn distrust(&self) {
        *self.distrusted_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// The topics as they are now.
    pub(super) async fn list(&self) -> Result<Arc<Topics>, LogError> {
        self.again(|| {
            self.distrust();
            Box::pin(async { Ok(self.topics().await?.1) })
        })
        .await
    }

    /// The client and the topics, as of after the last failure.
    pub(super) async fn topics(&self) -> Result<(Arc<Client>, Arc<Topics>), LogError> {
        let what = "listing topics";
        let (stamp, secured) = rebuild::settings(&self.options.security).await.map_err(|e| e.into_log_error(what))?;
        let mut known = self.known.lock().await;
        let distrusted_at = *self.distrusted_at.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out while it is used: a call that hangs or is dropped leaves no client behind, and the next one begins
        // from the bootstrap brokers again.
        let client = match known.take() {
            Some(before) if before.stamp == stamp && before.topics.read_at > distrusted_at => {
                *known = Some(before.clone());
                return Ok((before.client, before.topics));
            }
            // Built with other certificates or another password it would open its next connection with these.
            Some(before) => (before.stamp == stamp).then_some(before.client),
            None => None,
        };
        let read_at = Instant::now();
        let read = async {
            let client = match client {
                Some(client) => client,
                None => Arc::new(rebuild::client(&self.options, secured).await?),
            };
            let topics = client.list_topics().await?;
            Ok((client, topics))
        };
        // A part of the deadline only: among several brokers one may not answer at all, and the next try picks another.
        let limit = self.options.request_timeout / ATTEMPTS;
        let (client, listed) = Self::within(limit, what, async {
            match read.await {
                Ok(read) => Ok(read),
                Err(error) => Err(self.why(error, what).await),
            }
        })
        .await?;
        let partitions = listed.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        let topics = Arc::new(Topics { read_at, partitions });
        *known = Some(Known { client: Arc::clone(&client), stamp, topics: Arc::clone(&topics) });
        Ok((client, topics))
    }

    /// Why no broker lets us in. rskafka joins the reasons of all brokers into one text without their kinds, so that a
    /// refusal looks like a failure that passes: a connection of our own tells them apart.
    async fn why(&self, error: Error, what: &str) -> LogError {
        let mut why = None;
        if matches!(error, Error::Connection(_) | Error::RetryFailed(_)) {
            for broker in &self.options.brokers {
                match wire::probe(broker, &self.options.security, &self.options.client_id).await {
                    Ok(()) => why = None,
                    Err(refused) if !refused.is_retriable() => return refused.into_log_error(what),
                    Err(passing) => why = Some(passing),
                }
            }
        }
        why.map_or_else(|| self.explain(error, what, "the cluster"), |why| why.into_log_error(what))
    }

    /// Says what an error means. `what` names the call, `target` the topic or partition alone.
    pub(super) fn explain(&self, error: Error, what: &str, target: &str) -> LogError {
        match access(&error, &self.options.security) {
            Some(error) => error.into_log_error(what),
            None => explain(error, what, target),
        }
    }

    /// Connects to the leader of a partition.
    async fn open(&self, partition: &TopicPartition) -> Result<PartitionClient, LogError> {
        let (client, topics) = self.topics().await?;
        // Asked of the list first: rskafka's look-up of one topic creates it where the broker allows that.
        let exists = topics.partitions.get(&*partition.topic).is_some_and(|all| all.contains(&partition.partition));
        if !exists {
            return Err(LogError::Unknown { what: partition.to_string() });
        }
        client.partition_client(&*partition.topic, partition.partition, UnknownTopicHandling::Error).await.map_err(
            |error| self.explain(error, &format!("connecting to the leader of {partition}"), &partition.to_string()),
        )
    }

    /// Asks the leader of a partition, again after a failure that may pass. The caller sets the deadline.
    pub(super) async fn ask<T, F>(
        &self,
        connections: &Connections,
        partition: &TopicPartition,
        what: &str,
        call: F,
    ) -> Result<T, LogError>
    where
        F: for<'a> Fn(&'a PartitionClient) -> BoxFuture<'a, Result<T, Error>> + Send + Sync,
        T: Send,
    {
        self.again(|| Box::pin(self.ask_once(connections, partition, what, &call))).await
    }

    /// Calls again after a failure that may pass. The caller sets the deadline.
    pub(super) async fn again<'a, T>(
        &self,
        call: impl Fn() -> BoxFuture<'a, Result<T, LogError>> + Send + Sync,
    ) -> Result<T, LogError> {
        let mut attempt = 1;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !may_pass(&error) || attempt == ATTEMPTS {
                return Err(error);
            }
            sleep(self.options.pause_after(attempt)).await;
            attempt += 1;
        }
    }

    async fn ask_once<T, F>(
        &self,
        connections: &Connections,
        partition: &TopicPartition,
        what: &str,
        call: &F,
    ) -> Result<T, LogError>
    where
        F: for<'a> Fn(&'a PartitionClient) -> BoxFuture<'a, Result<T, Error>> + Send + Sync,
    {
        // Distrusted until it has answered, also where the deadline drops this future: a hanging connection is not kept.
        let mut doubt = Doubt { cluster: self, connections, partition, settled: false };
        let client = match connections.get(partition) {
            Some(client) => client,
            None => {
                let client = Arc::new(self.open(partition).await?);
                connections.keep(partition, &client);
                client
            }
        };
        let answer = call(&client).await.map_err(|error| self.explain(error, what, &partition.to_string()));
        doubt.settled = !answer.as_ref().is_err_and(may_pass);
        answer
    }
}

/// Whether another try can help. A broker does not know a topic at once that another one has just made.
fn may_pass(error: &LogError) -> bool {
    error.is_retriable() || matches!(error, LogError::Unknown { .. })
}

/// The error of a call that took longer than `limit`.
pub(super) fn timed_out(what: &str, limit: Duration) -> LogError {
    LogError::TimedOut { what: what.to_owned(), after_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}

/// Closes the connection of a call that did not end well.
struct Doubt<'a> {
    cluster: &'a Cluster,
    connections: &'a Connections,
    partition: &'a TopicPartition,
    settled: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.connections.close(self.partition);
            self.cluster.distrust();
        }
    }
}

/// Connections to partition leaders, on which first and last offsets are asked for: one per partition, since that is how
/// rskafka opens them, kept for the next time it is asked about, up to [`MAX_KEPT_CONNECTIONS`].
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<HashMap<TopicPartition, Arc<PartitionClient>>>,
}

impl Connections {
    fn get(&self, partition: &TopicPartition) -> Option<Arc<PartitionClient>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(partition).cloned()
    }

    fn keep(&self, partition: &TopicPartition, client: &Arc<PartitionClient>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MAX_KEPT_CONNECTIONS {
            // Any will do: it is opened again when it is needed.
            let any = open.keys().next().cloned();
            any.and_then(|any| open.remove(&any));
        }
        open.insert(partition.clone(), Arc::clone(client));
    }

    /// Forgets the connection to a partition's leader.
    pub(super) fn close(&self, partition: &TopicPartition) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(partition);
    }
}
