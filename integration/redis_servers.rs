//! Redis servers that end with whoever started them, however that ends; a service under sentinels; a cluster.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long servers may take to find each other.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// The shell tells the server's pid, and ends it when the pipe from the test closes.
const GUARD: &str = "\"$@\" >log 2>&1 & echo $!; cat >/dev/null; kill -9 $!";
/// Of the servers, and of the sentinels.
pub const PASSWORD: &str = "servers";
pub const SENTINEL_PASSWORD: &str = "sentinels";
/// What the sentinels watch.
pub const SERVICE: &str = "main";

/// A server in a folder of its own.
pub struct RedisServer {
    guard: Child,
    pid: String,
    pub port: u16,
}

impl RedisServer {
    /// Starts `redis-server` with these arguments.
    pub fn start(port: u16, folder: &Path, args: &[&str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh", "redis-server"]).args(args).current_dir(folder);
        let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        Self { guard, pid: pid.trim().to_owned(), port }
    }

    /// kill -9.
    pub fn kill(self) {
        assert!(Command::new("sh").args(["-c", &format!("kill -9 {}", self.pid)]).status().unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A free port whose neighbour 10,000 above, where nodes of a cluster talk, is free too.
pub fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let begin = 15_000 + (std::process::id() % 10_000) as u16;
    loop {
        let port = begin + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// What redis-cli prints; empty where nobody answers.
pub fn cli(port: u16, password: &str, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--no-auth-warning"]).args(words);
    if !password.is_empty() {
        command.env("REDISCLI_AUTH", password);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Looks until something holds.
#[expect(
    clippy::disallowed_methods,
    reason = "what is waited for lies in other processes, and nothing else runs in this one"
)]
pub fn wait(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

/// A master with a replica, and three sentinels.
pub struct Service {
    pub folder: tempfile::TempDir,
    pub ports: [u16; 2],
    pub sentinels: Vec<RedisServer>,
}

impl Service {
    /// Starts the servers; the first is the master.
    pub fn start() -> (Self, [RedisServer; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let mut service = Self { folder, ports: [free_port(), free_port()], sentinels: Vec::new() };
        let servers =
            [service.server(0, &[]), service.server(1, &["--replicaof", "127.0.0.1", &service.ports[0].to_string()])];
        let is_linked = || cli(service.ports[1], PASSWORD, &["info", "replication"]).contains("master_link_status:up");
        wait("the replica is linked", is_linked);
        let sentinels = (0..3).map(|number| {
            let (port, folder) = (free_port(), service.folder.path().join(format!("sentinel{number}")));
            std::fs::create_dir_all(&folder).unwrap();
            let settings = format!(
                "port {port}\nbind 127.0.0.1\nrequirepass {SENTINEL_PASSWORD}\nsentinel sentinel-pass {SENTINEL_PASSWORD}\n\
                 sentinel monitor {SERVICE} 127.0.0.1 {} 2\nsentinel auth-pass {SERVICE} {PASSWORD}\n\
                 sentinel down-after-milliseconds {SERVICE} 600\nsentinel failover-timeout {SERVICE} 2000\n",
                service.ports[0]
            );
            std::fs::write(folder.join("sentinel.conf"), settings).unwrap();
            RedisServer::start(port, &folder, &["sentinel.conf", "--sentinel"])
        });
        service.sentinels = sentinels.collect();
        service.settled();
        (service, servers)
    }

    /// A server that begins as a master, unless the arguments say otherwise.
    pub fn server(&self, number: usize, args: &[&str]) -> RedisServer {
        let port = self.ports[number].to_string();
        let fixed = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"];
        let passwords = ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0"];
        let folder = self.folder.path().join(format!("server{number}"));
        RedisServer::start(self.ports[number], &folder, &[&fixed[..], &passwords, args].concat())
    }

    /// Waits until all sentinels know each other and a replica that could follow.
    pub fn settled(&self) {
        for sentinel in &self.sentinels {
            wait("the sentinels are settled", || {
                let known = cli(sentinel.port, SENTINEL_PASSWORD, &["sentinel", "master", SERVICE]);
                let lines: Vec<&str> = known.lines().collect();
                let value = |name: &str| lines.iter().position(|line| *line == name).map(|at| lines[at + 1]);
                value("num-other-sentinels") == Some("2")
                    && value("num-slaves") == Some("1")
                    && value("flags") == Some("master")
            });
        }
    }

    /// The number of the server that takes writes, by its own word.
    pub fn master(&self) -> Option<usize> {
        (0..2).find(|number| cli(self.ports[*number], PASSWORD, &["role"]).starts_with("master"))
    }

    /// The URL by which the program finds it.
    pub fn url(&self) -> String {
        let sentinels: Vec<String> = self.sentinels.iter().map(|at| format!("127.0.0.1:{}", at.port)).collect();
        format!("redis-sentinel://:{PASSWORD}@{}/{SERVICE}?sentinelPassword={SENTINEL_PASSWORD}", sentinels.join(","))
    }

    /// The URL of one server.
    pub fn url_of(&self, number: usize) -> String {
        format!("redis://default:{PASSWORD}@127.0.0.1:{}", self.ports[number])
    }
}

/// Six nodes: three masters with a replica each.
pub struct Cluster {
    pub nodes: Vec<Option<RedisServer>>,
    pub ports: Vec<u16>,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts it.
    pub fn start() -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            ports: (0..6).map(|_| free_port()).collect(),
            folder: tempfile::tempdir().unwrap(),
        };
        cluster.nodes = (0..6).map(|number| Some(cluster.node(number))).collect();
        for port in &cluster.ports {
            wait("the node answers", || cli(*port, "", &["ping"]).starts_with("PONG"));
        }
        let addresses: Vec<String> = cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = Command::new("redis-cli").args(&create).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        cluster.settled();
        cluster
    }

    /// Starts a node, with what it had before.
    pub fn node(&self, number: usize) -> RedisServer {
        let port = self.ports[number].to_string();
        let fixed = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"];
        let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"];
        let folder = self.folder.path().join(format!("node{number}"));
        RedisServer::start(self.ports[number], &folder, &[&fixed[..], &cluster].concat())
    }

    /// Waits until all nodes that live say that the cluster is whole and replicas are linked.
    pub fn settled(&self) {
        for port in (0..6).filter(|number| self.nodes[*number].is_some()).map(|number| self.ports[number]) {
            wait("the cluster is whole", || {
                let is_linked = cli(port, "", &["info", "replication"]).contains("role:master")
                    || cli(port, "", &["info", "replication"]).contains("master_link_status:up");
                is_linked && cli(port, "", &["cluster", "info"]).contains("cluster_state:ok")
            });
        }
    }

    /// The numbers of the nodes that have slots now.
    pub fn masters(&self) -> Vec<usize> {
        let is_master = |number: &usize| cli(self.ports[*number], "", &["role"]).starts_with("master");
        (0..6).filter(|number| self.nodes[*number].is_some()).filter(is_master).collect()
    }

    /// The URL by which the program finds it: two nodes of six.
    pub fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", self.ports[0], self.ports[4])
    }

    /// The URL as the client fred has it.
    pub fn url_of_all(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}?node=127.0.0.1:{}", self.ports[0], self.ports[1])
    }

    /// The URL of one node.
    pub fn url_of(&self, number: usize) -> String {
        format!("redis://127.0.0.1:{}", self.ports[number])
    }
}
