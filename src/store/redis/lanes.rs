//! Connections: a few, made when they are needed, dropped at the first doubt.
//!
//! The client's own reconnection is off. fred 10.1 can miss that a connection is dead (its issues 307 and 363), so a call
//! that gets no answer in time ends its connection, and the next call makes a new one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{ClusterHash, ConnectHandle, CustomCommand, Value},
};

use super::{
    RedisOptions,
    failure::{ends_connection, is_of_the_role, server_code, store_error},
    hosts::{self, Hosts, Node},
};
use crate::store::StoreError;

/// After a failed connection, no other is tried for this long, doubled with each failure up to [`RETRY_MAX`].
const RETRY_INITIAL: Duration = Duration::from_millis(50);
/// Longest pause between two tries to connect.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Connections per purpose.
const LANES_PER_PURPOSE: usize = 2;

/// What a connection is used for: a read must not wait behind a long flush on the same connection.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Sections and other writes.
    Write = 0,
    /// Reads, and heartbeats.
    Read = 1,
}

/// A command and its arguments, and what says which node of a cluster gets it.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) args: Vec<Value>,
    pub(super) hash: ClusterHash,
}

impl Call {
    /// A command whose first argument is its key.
    pub(super) fn new(name: &'static str, args: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Self { name, args: args.into_iter().map(Into::into).collect(), hash: ClusterHash::FirstKey }
    }

    /// A script, whose first key stands behind its name and the number of its keys.
    pub(super) fn script(name: &'static str, args: Vec<Value>) -> Self {
        Self { name, args, hash: ClusterHash::Offset(2) }
    }

    /// A command that is about a node and not about a key.
    pub(super) fn at(node: &Node, name: &'static str, args: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Self { hash: node.slot.map_or(ClusterHash::FirstKey, ClusterHash::Custom), ..Self::new(name, args) }
    }
}

struct Connection {
    client: Client,
    task: ConnectHandle,
    /// [`Lanes::epoch`] when it was made.
    epoch: u64,
}

impl Connection {
    /// The client may still call itself connected when the task that drives the connection has ended.
    fn lives(&self, epoch: u64) -> bool {
        self.client.is_connected() && !self.task.is_finished() && self.epoch == epoch
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Gate {
    closed: Option<(Instant, Duration, StoreError)>,
}

type Lane = tokio::sync::Mutex<Option<Arc<Connection>>>;

/// The connections of one store.
pub(super) struct Lanes {
    hosts: Hosts,
    lanes: [Lane; 2 * LANES_PER_PURPOSE],
    turn: AtomicUsize,
    gate: Mutex<Gate>,
    /// Counts how often a server was found in another role than it had: what was connected before looks for its server anew.
    epoch: AtomicU64,
}

impl Lanes {
    pub(super) fn new(options: &RedisOptions) -> Self {
        Self {
            hosts: Hosts::new(options),
            lanes: Default::default(),
            turn: AtomicUsize::new(0),
            gate: Mutex::default(),
            epoch: AtomicU64::new(0),
        }
    }

    /// Whether keys are spread over servers by their slot, so that calls about several keys reach several of them.
    pub(super) fn is_cluster(&self) -> bool {
        self.hosts.servers.is_cluster()
    }

    /// The servers that hold keys, in the order of their slots.
    pub(super) async fn nodes(&self, doing: &str) -> Result<Vec<Node>, StoreError> {
        if !self.is_cluster() {
            return Ok(vec![Node { slot: None, mark: 0 }]);
        }
        let connection = self.connection(&self.lanes[Purpose::Read as usize * LANES_PER_PURPOSE], doing).await?;
        let nodes = hosts::nodes(&connection.client);
        if nodes.is_empty() {
            let reason = "the cluster names no node that has slots".to_owned();
            return Err(self.named(StoreError::Unavailable { doing: doing.to_owned(), reason }));
        }
        Ok(nodes)
    }

    /// Runs commands in order over one connection. A server's error is the answer to its command; anything else ends the
    /// connection and is the error of the whole.
    pub(super) async fn run(
        &self,
        purpose: Purpose,
        doing: &str,
        calls: Vec<Call>,
        deadline: Duration,
    ) -> Result<Vec<Result<Value, Error>>, StoreError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % LANES_PER_PURPOSE;
        let lane = &self.lanes[purpose as usize * LANES_PER_PURPOSE + turn];
        let connection = self.connection(lane, doing).await?;
        let asked = calls.len();
        let answers = match tokio::time::timeout(deadline, send(&connection.client, calls)).await {
            Ok(answers) => answers,
            Err(_) => vec![Err(Error::new(ErrorKind::Timeout, format!("no answer within {} s", deadline.as_secs())))],
        };
        let failure = answers.iter().find_map(|answer| answer.as_ref().err().filter(|error| ends_connection(error)));
        if let Some(error) = failure {
            if is_of_the_role(error) {
                // Only the first of those that find it: what was connected since is not to blame.
                let (now, next) = (connection.epoch, connection.epoch + 1);
                let _ = self.epoch.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
            }
            discard(lane, &connection).await;
            if server_code(error).is_none() {
                return Err(self.named(store_error(doing, error)));
            }
        }
        if answers.len() != asked {
            discard(lane, &connection).await;
            let reason = format!("{} of {asked} answers came", answers.len());
            return Err(self.named(StoreError::Unavailable { doing: doing.to_owned(), reason }));
        }
        Ok(answers)
    }

    async fn connection(&self, lane: &Lane, doing: &str) -> Result<Arc<Connection>, StoreError> {
        let mut slot = lane.lock().await;
        let epoch = self.epoch.load(Ordering::Relaxed);
        if let Some(connection) = slot.as_ref().filter(|connection| connection.lives(epoch)) {
            return Ok(connection.clone());
        }
        *slot = None;
        if let Some((until, _, error)) = &self.gate.lock().unwrap_or_else(PoisonError::into_inner).closed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let made = self.hosts.connect().await;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        match made {
            Ok((client, task)) => {
                gate.closed = None;
                let connection = Arc::new(Connection { client, task, epoch });
                *slot = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let error = self.named(store_error(doing, &error));
                let pause = gate.closed.take().map_or(RETRY_INITIAL, |(_, pause, _)| (pause * 2).min(RETRY_MAX));
                gate.closed = Some((Instant::now() + pause, pause, error.clone()));
                Err(error)
            }
        }
    }

    /// Says which server it was.
    fn named(&self, error: StoreError) -> StoreError {
        let at = |doing: String| format!("{doing} ({})", self.hosts.servers);
        match error {
            StoreError::Unavailable { doing, reason } => StoreError::Unavailable { doing: at(doing), reason },
            StoreError::Refused { doing, reason } => StoreError::Refused { doing: at(doing), reason },
            other => other,
        }
    }
}

async fn discard(lane: &Lane, connection: &Arc<Connection>) {
    let mut slot = lane.lock().await;
    // Another call may have put a new connection there meanwhile.
    if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
        *slot = None;
    }
}

async fn send(client: &Client, calls: Vec<Call>) -> Vec<Result<Value, Error>> {
    let pipeline = client.pipeline();
    for call in calls {
        let command = CustomCommand::new_static(call.name, call.hash, false);
        if let Err(error) = pipeline.custom::<(), Value>(command, call.args).await {
            return vec![Err(error)];
        }
    }
    pipeline.try_all().await
}
