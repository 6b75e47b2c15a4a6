//! Which server is connected to: the one that is named, whichever the sentinels name, or the nodes of a cluster.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, ClusterInterface},
    types::{
        ConnectHandle,
        config::{ClusterDiscoveryPolicy, Config, ConnectionConfig, Server, ServerConfig},
    },
};

use super::{RedisOptions, failure::server_code, options::Password, tls};
use crate::{model::RedisServers, tls::ClientTls};

/// Longest wait for a connection, sign-in included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// Where several sentinels or nodes are named, no other one is asked after so long.
const CONNECT_ALL_DEADLINE: Duration = Duration::from_secs(4);
/// How often a command follows a slot of a cluster that has moved.
const MAX_REDIRECTIONS: u32 = 5;
/// Most nodes of a cluster that are remembered to begin with.
const MAX_NODES: usize = 256;

/// A server that holds keys.
pub(super) struct Node {
    /// A slot that it has; `None` where there is one server only.
    pub(super) slot: Option<u16>,
    /// Tells it from whoever has the slot later.
    pub(super) mark: u32,
}

/// Where to connect, and how to sign in.
pub(super) struct Hosts {
    pub(super) servers: RedisServers,
    config: Config,
    tls: Option<Arc<ClientTls>>,
    connection: ConnectionConfig,
    /// Whom to ask: the server, sentinels, or nodes of a cluster, also those that it had when it was reached last.
    hosts: Mutex<Vec<Server>>,
    /// Where in `hosts` to begin: with the last one that answered.
    first: AtomicUsize,
}

impl Hosts {
    pub(super) fn new(options: &RedisOptions) -> Self {
        let config = Config {
            username: options.username.clone(),
            password: options.password.as_ref().map(|password| Password::expose(password).to_owned()),
            database: (!options.servers.is_cluster()).then_some(options.db),
            fail_fast: true,
            ..Config::default()
        };
        let mut connection = ConnectionConfig {
            connection_timeout: CONNECT_DEADLINE,
            internal_command_timeout: CONNECT_DEADLINE,
            // A command that follows a moved slot is sent again. What a lost connection leaves open is not: there is no policy
            // to reconnect.
            max_command_attempts: if options.servers.is_cluster() { 1 + MAX_REDIRECTIONS } else { 1 },
            max_redirections: MAX_REDIRECTIONS,
            ..ConnectionConfig::default()
        };
        connection.tcp.nodelay = Some(true);
        let hosts = match &options.servers {
            RedisServers::One(server) => std::slice::from_ref(server),
            RedisServers::Sentinel { sentinels: hosts, .. } | RedisServers::Cluster { nodes: hosts } => hosts,
        };
        let hosts = hosts.iter().map(|at| Server::new(at.host.as_str(), at.port)).collect();
        Self {
            servers: options.servers.clone(),
            config,
            tls: options.tls.clone(),
            connection,
            hosts: Mutex::new(hosts),
            first: AtomicUsize::new(0),
        }
    }

    /// Asks one host after the other, since some of several may be down, beginning with the one that answered last.
    pub(super) async fn connect(&self) -> Result<(Client, ConnectHandle), Error> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (begun, first) = (Instant::now(), self.first.load(Ordering::Relaxed));
        let mut failure = Error::new(ErrorKind::Config, "no host is named");
        for at in (first..first + hosts.len()).map(|n| n % hosts.len()) {
            // Renewed certificates are used from the next connection on.
            let tls = self.tls.as_deref().map(tls::config).transpose()?;
            let config = Config { server: self.server_config(&hosts[at]), tls, ..self.config.clone() };
            let client = Client::new(config, None, Some(self.connection.clone()), None);
            match tokio::time::timeout(CONNECT_DEADLINE, client.init()).await {
                Ok(Ok(task)) => {
                    self.first.store(at, Ordering::Relaxed);
                    self.remember(&client);
                    return Ok((client, task));
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = Error::new(ErrorKind::Timeout, "no connection in time"),
            }
            if let (Some(tls), None) = (&self.tls, server_code(&failure))
                && let Some(why) = tls::why(tls, &hosts[at]).await
            {
                failure = why;
            }
            if begun.elapsed() >= CONNECT_ALL_DEADLINE {
                // The next try goes on behind it.
                self.first.store((at + 1) % hosts.len(), Ordering::Relaxed);
                break;
            }
        }
        Err(failure)
    }

    fn server_config(&self, host: &Server) -> ServerConfig {
        match &self.servers {
            RedisServers::One(_) => ServerConfig::Centralized { server: host.clone() },
            RedisServers::Sentinel { service, username, password, .. } => ServerConfig::Sentinel {
                hosts: vec![host.clone()],
                service_name: service.clone(),
                username: username.clone(),
                password: password.as_ref().map(|password| password.reveal().to_owned()),
            },
            RedisServers::Cluster { .. } => {
                ServerConfig::Clustered { hosts: vec![host.clone()], policy: ClusterDiscoveryPolicy::UseCache }
            }
        }
    }

    /// Remembers the nodes of a cluster: those that are named may be gone one day.
    fn remember(&self, client: &Client) {
        let Some(state) = self.servers.is_cluster().then(|| client.cached_cluster_state()).flatten() else { return };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        for node in state.unique_primary_nodes() {
            if hosts.len() < MAX_NODES && !hosts.contains(&node) {
                hosts.push(node);
            }
        }
    }
}

/// The servers of a cluster that hold keys, in the order of their slots.
pub(super) fn nodes(client: &Client) -> Vec<Node> {
    let mut first_slots: BTreeMap<Server, u16> = BTreeMap::new();
    for range in client.cached_cluster_state().iter().flat_map(|state| state.slots()) {
        let first = first_slots.entry(range.primary.clone()).or_insert(range.start);
        *first = range.start.min(*first);
    }
    let mark = |server: &Server| xxhash_rust::xxh3::xxh3_64(server.to_string().as_bytes()) as u32;
    let node = |(server, slot): (&Server, &u16)| Node { slot: Some(*slot), mark: mark(server) };
    let mut nodes: Vec<Node> = first_slots.iter().map(node).collect();
    nodes.sort_by_key(|node| node.slot);
    nodes
}
