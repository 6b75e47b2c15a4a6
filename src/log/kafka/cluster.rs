//! The list of topics, through one client of rskafka's.
//!
//! rskafka retries without end, has no timeout, and keeps a connection that hangs. So its own retries are off, every wait here
//! has a deadline, and a client whose call did not end well is dropped with its connections.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    time::Duration,
};

use rskafka::client::{Client, error::Error};
use tokio::time::{sleep, timeout};

use super::{
    KafkaOptions,
    error::{access, explain},
    rebuild::{self, Stamp},
    wire,
};
use crate::log::LogError;

/// How often the list is asked for within its deadline: the next try finds a new connection or another broker.
const ATTEMPTS: u32 = 3;

/// Partition numbers by topic.
pub(super) type Topics = HashMap<String, BTreeSet<i32>>;

/// A client, and what it was built with.
struct Known {
    client: Client,
    stamp: Stamp,
}

/// The client and its deadlines.
pub(super) struct Cluster {
    pub(super) options: KafkaOptions,
    /// Held while asking: a client asks one thing at a time.
    known: tokio::sync::Mutex<Option<Known>>,
}

impl Cluster {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Self { options, known: tokio::sync::Mutex::new(None) }
    }

    /// Runs `call` for at most `limit`.
    pub(super) async fn within<T>(
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, LogError>>,
    ) -> Result<T, LogError> {
        timeout(limit, call).await.unwrap_or_else(|_| Err(timed_out(what, limit)))
    }

    /// The topics as they are now, asked again after a failure that may pass. The caller sets the deadline.
    pub(super) async fn list(&self) -> Result<Topics, LogError> {
        let mut attempt = 1;
        loop {
            let error = match Box::pin(self.list_once()).await {
                Ok(topics) => return Ok(topics),
                Err(error) => error,
            };
            if !error.is_retriable() || attempt == ATTEMPTS {
                return Err(error);
            }
            sleep(self.options.pause_after(attempt)).await;
            attempt += 1;
        }
    }

    async fn list_once(&self) -> Result<Topics, LogError> {
        let what = "listing topics";
        let (stamp, secured) = rebuild::settings(&self.options.security).await.map_err(|e| e.into_log_error(what))?;
        let mut known = self.known.lock().await;
        // Taken out while it is used: a call that hangs or is dropped leaves no client behind, and the next one begins
        // from the bootstrap brokers again. Built with other certificates or another password it would open its next
        // connection with these.
        let client = known.take().filter(|before| before.stamp == stamp).map(|before| before.client);
        let read = async {
            let client = match client {
                Some(client) => client,
                None => rebuild::client(&self.options, secured).await?,
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
        *known = Some(Known { client, stamp });
        Ok(listed.into_iter().map(|topic| (topic.name, topic.partitions)).collect())
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
}

/// The error of a call that took longer than `limit`.
pub(super) fn timed_out(what: &str, limit: Duration) -> LogError {
    LogError::TimedOut { what: what.to_owned(), after_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }
}
