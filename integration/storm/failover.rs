//! The same stream into a Redis that sentinels watch and into a cluster of six nodes, while one master after the other is
//! killed, a replica follows, and the killed one comes back; members are killed and replaced meanwhile.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use super::{Weather, crew::Harm, ledger::Ledger, source, under_load};
use crate::{
    place::Place,
    redis_servers::{Cluster, PASSWORD, RedisServer, Service, cli, wait},
    support::events::{Random, fresh_seed},
};

/// Servers of which one follows where a master is killed.
enum Servers {
    Watched(Service, [Option<RedisServer>; 2]),
    Cluster(Cluster),
}

impl Servers {
    fn url(&self) -> String {
        match self {
            Self::Watched(service, _) => service.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// The masters, by number.
    fn masters(&self) -> Vec<usize> {
        match self {
            Self::Watched(service, _) => service.master().into_iter().collect(),
            Self::Cluster(cluster) => cluster.masters(),
        }
    }

    fn urls_of_masters(&self) -> Vec<String> {
        let url = |number| match self {
            Self::Watched(service, _) => service.url_of(number),
            Self::Cluster(cluster) => cluster.url_of(number),
        };
        self.masters().into_iter().map(url).collect()
    }

    /// Kills a master with -9, waits until another server has taken over, and says which one was killed.
    fn fail_over(&mut self, random: &mut Random) -> usize {
        let masters = self.masters();
        let killed = masters[random.below(masters.len())];
        match self {
            Self::Watched(_, servers) => servers[killed].take().unwrap().kill(),
            Self::Cluster(cluster) => cluster.nodes[killed].take().unwrap().kill(),
        }
        wait("a replica has taken over", || self.masters().len() == masters.len());
        killed
    }

    /// Starts the killed one again, with what it had, and waits until it follows.
    fn bring_back(&mut self, killed: usize) {
        match self {
            Self::Watched(service, servers) => {
                let server = servers[killed].insert(service.server(killed, &[]));
                wait("the old master is a replica", || {
                    let found = cli(server.port, PASSWORD, &["info", "replication"]);
                    found.contains("role:slave") && found.contains("master_link_status:up")
                });
                service.settled();
            }
            Self::Cluster(cluster) => {
                cluster.nodes[killed] = Some(cluster.node(killed));
                cluster.settled();
            }
        }
    }
}

async fn nap(random: &mut Random, at_most_ms: usize) {
    tokio::time::sleep(Duration::from_millis(random.below(at_most_ms) as u64)).await;
}

async fn storm(mut servers: Servers, shards: u16) {
    let (seed, weather) = (fresh_seed(), Weather::forecast());
    let mut random = Random::new(seed);
    let mut place = Place { redis_url: servers.url(), ..source::place(shards) };
    let harm = Harm { kill_every: Duration::from_secs(7), stops: false };
    let troubles = async |random: &mut Random| {
        let (began, mut times) = (Instant::now(), Vec::new());
        while began.elapsed() < weather.lasts || times.is_empty() {
            nap(random, 2_000).await;
            let kill_at = Instant::now();
            let killed = block_in_place(|| servers.fail_over(random));
            times.push(kill_at.elapsed());
            nap(random, 3_000).await;
            block_in_place(|| servers.bring_back(killed));
        }
        times
    };
    let (mut crew, flow, times) = under_load(&place, &mut random, weather, harm, troubles).await;
    eprintln!("{flow}, {shards} shards; {} masters killed, others followed after {times:.1?}", times.len());
    let caught_up = crew.caught_up().await;
    eprintln!("{} members killed and replaced; caught up after {caught_up:.1?}", crew.kills);
    eprintln!("{}", crew.told().await);
    crew.leave().await;
    place.redis_nodes = servers.urls_of_masters();
    let ledger = Ledger::read(&place, flow.events).await;
    ledger.assert_stored(&place).await;
    eprintln!("{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_sentinels_watch_are_killed_and_every_key_equals_the_fold() {
    let (service, servers) = Service::start();
    storm(Servers::Watched(service, servers.map(Some)), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_a_cluster_are_killed_and_every_key_equals_the_fold() {
    storm(Servers::Cluster(Cluster::start()), 4).await;
}
