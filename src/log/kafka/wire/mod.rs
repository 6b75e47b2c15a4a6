//! Our own connections to the brokers, for the calls that rskafka does not do well (DESIGN, "Kafka").
//!
//! One connection per broker and [`Lane`]: a broker answers a connection's requests in order, so that a long poll would hold
//! up what comes behind it. Connections open when they are first needed, and again after a pause that grows when they break.

mod connection;
mod frames;
mod greeting;
mod message;
mod metadata;
mod sasl;
mod slots;
mod stream;
#[cfg(test)]
mod tests;
mod versions;

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kafka_protocol::{messages::MetadataRequest, protocol::Request};
use tokio::time::{Instant, sleep, sleep_until};

pub(super) use self::{
    connection::Connection,
    metadata::{Leader, NodeId, address as broker_address},
    slots::Lane,
};
use self::{
    greeting::Greeting,
    metadata::Cluster,
    slots::{Slots, TRIES_PER_DEADLINE, failed_since},
};
use super::{KafkaOptions, access::AccessError, security::Security};
use crate::{log::LogError, model::TopicPartition};

/// Most topics whose leaders are kept.
const MAX_TOPICS: usize = 10_000;
/// Topic ids came with version 10 (KIP-516), leader epochs with 7 (KIP-320); older brokers still answer.
const METADATA: RangeInclusive<i16> = 1..=12;

/// Tries to get in at a broker, to learn why another client did not: it says what went wrong in one word, or hides it.
///
/// # Errors
/// Why we are not let in.
pub(super) async fn probe(address: &str, security: &Security, client_id: &str) -> Result<(), AccessError> {
    let mut stream = stream::open(address, security).await?;
    let mut greeting = Greeting::new(&mut stream, address, client_id, security);
    greeting.authenticate().await?;
    greeting.ask_versions().await.map(drop)
}

/// The brokers.
pub(super) struct Wire {
    pub(super) options: KafkaOptions,
    slots: Slots,
    state: Mutex<State>,
    /// Held while asking for metadata, so that many callers ask once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    cluster: Cluster,
    /// Topics that were asked for.
    topics: BTreeSet<String>,
    /// What was learnt before this is not to be trusted.
    distrusted_at: Option<Instant>,
    asked_at: Option<Instant>,
    /// The last try to ask that failed: when it began, and why.
    ask_failed: Option<(Instant, LogError)>,
    /// Which bootstrap broker is tried next.
    turn: usize,
}

impl Wire {
    pub(super) fn new(options: KafkaOptions) -> Self {
        Self { options, slots: Slots::default(), state: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// Who leads a partition. Asks the brokers where that is not known.
    ///
    /// # Errors
    /// The partition does not exist, has no leader now, or no broker can be asked.
    pub(super) async fn leader(&self, partition: &TopicPartition) -> Result<Leader, LogError> {
        if let Some(leader) = self.known_leader(partition) {
            return Ok(leader);
        }
        self.ask(Some(&partition.topic), false).await?;
        self.answered_leader(partition)
    }

    /// Who leads a partition, and which topic that is, as the brokers say now.
    ///
    /// # Errors
    /// As [`Wire::leader`].
    pub(super) async fn leader_now(&self, partition: &TopicPartition) -> Result<Leader, LogError> {
        self.ask(Some(&partition.topic), true).await?;
        self.answered_leader(partition)
    }

    fn answered_leader(&self, partition: &TopicPartition) -> Result<Leader, LogError> {
        let state = self.state();
        match state.cluster.leader(partition) {
            Some(leader) => Ok(leader),
            None => Err(state.cluster.why_no_leader(partition)),
        }
    }

    /// Who leads a partition, as far as it is known and trusted.
    pub(super) fn known_leader(&self, partition: &TopicPartition) -> Option<Leader> {
        let state = self.state();
        state.is_trusted().then(|| state.cluster.leader(partition)).flatten()
    }

    /// The broker that does what concerns the whole cluster.
    ///
    /// # Errors
    /// No broker can be asked, or there is no controller now.
    pub(super) async fn controller(&self) -> Result<NodeId, LogError> {
        self.ask(None, false).await?;
        self.state().cluster.controller.ok_or_else(|| LogError::Unavailable {
            what: "the cluster".to_owned(),
            reason: "it has no controller now".to_owned(),
        })
    }

    /// The brokers that are up.
    ///
    /// # Errors
    /// None of them can be asked.
    pub(super) async fn nodes(&self) -> Result<Vec<NodeId>, LogError> {
        self.ask(None, false).await?;
        Ok(self.state().cluster.nodes.keys().copied().collect())
    }

    /// The cluster's id, where it is known.
    pub(super) fn cluster_id(&self) -> Option<String> {
        self.state().cluster.cluster_id.clone()
    }

    /// Has the leaders asked for anew before they are used again.
    pub(super) fn distrust(&self) {
        self.state().distrusted_at = Some(Instant::now());
    }

    /// Takes in a new leader that a broker names when it refuses (KIP-951).
    pub(super) fn learn_leader(&self, partition: &TopicPartition, node: NodeId, epoch: i32, at: Option<String>) {
        self.state().cluster.learn_leader(partition, node, epoch, at);
    }

    /// Keeps the address of a broker that an answer names.
    pub(super) fn learn_node(&self, node: NodeId, address: String) {
        self.state().cluster.nodes.insert(node, address);
    }

    /// The connection to a broker, opened where it is not.
    ///
    /// # Errors
    /// It cannot be opened before the deadline, or the broker refuses us.
    pub(super) async fn connection(
        &self,
        node: NodeId,
        lane: Lane,
        deadline: Instant,
    ) -> Result<Arc<Connection>, LogError> {
        let address = self.state().cluster.nodes.get(&node).cloned();
        let Some(address) = address else {
            self.distrust();
            return Err(LogError::Unavailable {
                what: format!("broker {node}"),
                reason: "the cluster does not list it now".to_owned(),
            });
        };
        let opened = self.slots.connect(&self.options, &address, lane, deadline).await;
        if opened.is_err() {
            // A broker that is gone may lead no longer.
            self.distrust();
        }
        opened
    }

    /// Asks a broker and waits for the answer, on the connection for calls. `wanted` are the versions that the caller knows;
    /// `request` makes the request for the one that is used.
    ///
    /// # Errors
    /// The broker cannot be reached or does not answer before the deadline.
    pub(super) async fn call<R: Request>(
        &self,
        node: NodeId,
        wanted: &RangeInclusive<i16>,
        deadline: Instant,
        request: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, LogError> {
        let connection = self.connection(node, Lane::Calls, deadline).await?;
        let version = connection.version::<R>(wanted)?;
        connection.call(&request(version), version, deadline).await
    }

    /// Asks for metadata, about the topics that were asked for before and this one, unless someone else has since this call
    /// began, or, where it need not be new, just before.
    async fn ask(&self, topic: Option<&str>, must_be_new: bool) -> Result<(), LogError> {
        let wanted_at = Instant::now();
        let _asking = self.asking.lock().await;
        let (topics, addresses, pause) = {
            let mut state = self.state();
            if let Some(error) = failed_since(state.ask_failed.as_ref(), wanted_at) {
                return Err(error);
            }
            let is_new = topic.is_some_and(|topic| !state.topics.contains(topic));
            if let Some(topic) = topic.filter(|_| is_new) {
                if state.topics.len() >= MAX_TOPICS {
                    state.topics.clear();
                }
                state.topics.insert(topic.to_owned());
            }
            let is_trusted = state.is_trusted();
            let is_answered = state.asked_at.is_some_and(|asked_at| {
                asked_at > wanted_at || !must_be_new && is_trusted && wanted_at < asked_at + self.options.retry_backoff
            });
            if !is_new && is_answered {
                return Ok(());
            }
            // After a failure not at once again.
            let again_at = state.asked_at.filter(|_| !is_new && !is_trusted).map(|at| at + self.options.retry_backoff);
            (state.topics.clone(), state.addresses(&self.options.brokers, &self.slots), again_at)
        };
        if let Some(again_at) = pause {
            sleep_until(again_at).await;
        }
        let mut last = LogError::Unavailable {
            what: "asking for metadata".to_owned(),
            reason: "no broker is known; set KAFKA_BROKERS".to_owned(),
        };
        let began_at = Instant::now();
        for address in addresses {
            let limit = self.options.request_timeout / TRIES_PER_DEADLINE;
            let asked_at = Instant::now();
            match self.ask_one(&address, &topics, asked_at + limit).await {
                Ok(()) => {
                    self.state().asked_at = Some(asked_at);
                    return Ok(());
                }
                Err(error) => last = error,
            }
            if matches!(last, LogError::Refused { .. }) {
                break;
            }
            sleep(Duration::ZERO).await;
        }
        self.state().ask_failed = Some((began_at, last.clone()));
        Err(last)
    }

    async fn ask_one(&self, address: &str, topics: &BTreeSet<String>, deadline: Instant) -> Result<(), LogError> {
        let connection = self.slots.connect(&self.options, address, Lane::Calls, deadline).await?;
        let version = connection.version::<MetadataRequest>(&METADATA)?;
        let answer = connection.call(&metadata::request(topics), version, deadline).await?;
        connection.throttle(answer.throttle_time_ms);
        self.state().cluster.learn(answer, topics);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_trusted(&self) -> bool {
        self.asked_at.is_some_and(|asked_at| self.distrusted_at.is_none_or(|distrusted_at| asked_at > distrusted_at))
    }

    /// Whom to ask: brokers that are connected, then the others, then those that the user named; each time another first.
    fn addresses(&mut self, bootstrap: &[String], slots: &Slots) -> Vec<String> {
        let known: BTreeSet<String> = self.cluster.nodes.values().cloned().collect();
        slots.forget_closed(&known);
        let mut addresses: Vec<String> = known.into_iter().collect();
        addresses.extend(bootstrap.iter().cloned());
        let mut seen = BTreeSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        self.turn = self.turn.wrapping_add(1);
        let turn = self.turn % addresses.len().max(1);
        addresses.rotate_left(turn);
        // A broker that is away would take a part of the deadline before the next one is asked.
        addresses.sort_by_cached_key(|address| !slots.is_open(address, Lane::Calls));
        addresses
    }
}
