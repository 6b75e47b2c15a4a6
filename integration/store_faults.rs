//! A Redis of the test's own that is down, away, locked, or may evict.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeSet,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use streamgauge::{
    model::{Outcome, RedisServers},
    store::{
        Store, StoreError,
        redis::{Password, RedisOptions, RedisStore},
    },
};

use crate::{
    redis_servers::{cli, wait},
    support::store_contract::{checkpoint, count, partition, section},
};

/// A redis-server that ends with the test.
pub struct Server(Child);

impl Server {
    pub fn start(port: u16, folder: &std::path::Path, settings: &[&str]) -> Self {
        let port = port.to_string();
        let fixed = ["--port", &port, "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""];
        let mut command = Command::new("redis-server");
        command.args(fixed).args(settings).arg("--dir").arg(folder).stdout(Stdio::null());
        Self(command.spawn().expect("redis-server is installed"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn store(port: u16, password: Option<&str>) -> RedisStore {
    let password = password.map(Password::new);
    let servers = RedisServers::one("127.0.0.1", port);
    RedisStore::connect(&RedisOptions { servers, password, ..RedisOptions::default() })
}

/// Calls until the answer is no longer "unavailable", as every caller of a store does.
async fn eventually<T>(call: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match call().await {
            Err(error) if error.is_retriable() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return result,
        }
    }
}

async fn settled(store: &RedisStore) -> Result<(), StoreError> {
    eventually(async || store.open("group", &["topic".to_owned()]).await).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_down_and_comes_and_goes() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let store = store(port, None);
    let begun = Instant::now();
    let error = store.positions(&[partition(0)]).await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains(&port.to_string()), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    let mut server = Server::start(port, folder.path(), &[]);
    settled(&store).await.unwrap();
    for offset in 0..3 {
        let one = section(0, offset - 1, offset, vec![count("c", 1)]);
        let one = std::slice::from_ref(&one);
        let outcomes = eventually(async || store.apply(0, one).await).await.unwrap();
        assert_eq!(outcomes, [Outcome::Applied]);
        drop(server);
        assert!(store.apply(0, one).await.unwrap_err().is_retriable());
        server = Server::start(port, folder.path(), &[]);
        settled(&store).await.unwrap();
        let positions = eventually(async || store.positions(&[partition(0)]).await).await.unwrap();
        assert_eq!(positions[0][0].checkpoint, Some(checkpoint(offset)));
        let outcomes = eventually(async || store.apply(0, one).await).await.unwrap();
        assert_eq!(outcomes, [Outcome::AlreadyApplied]);
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_and_eviction_are_told() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let settings = ["--requirepass", "right", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let _server = Server::start(port, folder.path(), &settings);
    for password in [None, Some("wrong-one")] {
        let error = settled(&store(port, password)).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("REDIS_PASSWORD") && !error.to_string().contains("wrong-one"), "{error}");
    }
    let error = settled(&store(port, Some("right"))).await.unwrap_err();
    assert_eq!(error, StoreError::MayEvict { policy: "allkeys-lru".into() });
    let password = Some(Password::new("right"));
    let servers = RedisServers::one("127.0.0.1", port);
    let options = RedisOptions { servers, password, allow_eviction: true, ..RedisOptions::default() };
    settled(&RedisStore::connect(&options)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_made_a_replica_is_looked_for_anew_by_every_connection() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, folder.path(), &[]);
    let store = store(port, None);
    settled(&store).await.unwrap();
    let one = [section(0, -1, 1, vec![count("c", 1)])];
    // Each purpose has two connections, which take turns.
    let use_all = async || {
        for _ in 0..4 {
            eventually(async || store.apply(0, &one).await).await.unwrap();
        }
        for _ in 0..4 {
            eventually(async || store.positions(&[partition(0)]).await).await.unwrap();
        }
    };
    let connected = || -> BTreeSet<String> {
        let list = cli(port, "", &["client", "list"]);
        list.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    use_all().await;
    let before = connected();
    assert!(before.len() > 4, "{before:?}");
    // The sentinels and the cluster end the connections of a server that they demote; an operator does not.
    cli(port, "", &["replicaof", "127.0.0.1", "1"]);
    let error = store.apply(0, &[section(1, -1, 1, vec![])]).await.unwrap_err();
    assert!(error.is_retriable() && error.to_string().contains("replica"), "{error}");
    cli(port, "", &["replicaof", "no", "one"]);
    use_all().await;
    wait("no connection of before is left", || connected().is_disjoint(&before));
    let positions = store.positions(&[partition(0), partition(1)]).await.unwrap();
    assert_eq!((positions[0][0].checkpoint, positions[1][0].checkpoint), (Some(checkpoint(1)), None));
}
