//! A Redis that sentinels watch: its master is killed while it is written to, another server follows, and every key equals
//! the fold.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use crate::{
    place::{Place, counted, ready},
    redis_servers::{PASSWORD, SENTINEL_PASSWORD, SERVICE, Service, cli, wait},
    support::{
        events::{events_of_these_days, fresh_seed},
        results,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_killed_is_followed_and_what_its_replica_lacked_is_counted_again() {
    const PART: usize = 4_000;
    let (service, [master, replica]) = Service::start();
    let mut place = Place { redis_url: service.url(), ..Place::own_topics() };
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let events = events_of_these_days(fresh_seed(), 4 * PART, 100);
    let mut parts = events.chunks(PART);
    let mut publish = async || results::publish(&log, &place.topic_prefix, parts.next().unwrap()).await;
    publish().await;
    // Small bites, so that there is something to lose at any time.
    let mut process = place.start(&[("FLUSH_INTERVAL_MS", "5"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096")]);
    ready(&mut process).await;
    counted(&mut process, PART / 4).await;
    place.caught_up(&mut process).await;

    // The replica loses its link and does not get it back: what is written now, only the master has.
    cli(replica.port, PASSWORD, &["config", "set", "masterauth", "wrong"]);
    cli(master.port, PASSWORD, &["client", "kill", "type", "replica"]);
    publish().await;
    counted(&mut process, PART + PART / 4).await;
    master.kill();
    wait("the replica has taken over", || service.master() == Some(1));
    cli(replica.port, PASSWORD, &["config", "set", "masterauth", PASSWORD]);
    place.caught_up(&mut process).await;
    assert!(process.has_said("the store has"), "nothing was lost: {}", process.said());
    place.redis_nodes = vec![service.url_of(1)];
    place.assert_complete().await;

    // The old master comes back with what it had, and is made a replica; nothing that it had counts.
    let master = service.server(0, &[]);
    publish().await;
    wait("the old master is a replica", || {
        let found = cli(master.port, PASSWORD, &["info", "replication"]);
        found.contains("role:slave") && found.contains("master_link_status:up")
    });
    place.caught_up(&mut process).await;
    place.assert_complete().await;

    // And takes over in its turn, amid counting; a sentinel is away meanwhile.
    service.settled();
    let (mut service, begun) = (service, std::time::Instant::now());
    drop(service.sentinels.remove(0));
    publish().await;
    replica.kill();
    wait("the old master has taken over", || service.master() == Some(0));
    place.caught_up(&mut process).await;
    eprintln!("counted to the end {:?} after the second master was killed", begun.elapsed());
    place.redis_nodes = vec![service.url_of(0)];
    assert_eq!(place.assert_complete().await, 4 * PART);
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_is_asked_for_amid_counting_is_a_pause_only() {
    const EVENTS: usize = 12_000;
    let (service, _servers) = Service::start();
    let mut place = Place { redis_url: service.url(), store_shards: 2, ..Place::own_topics() };
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let events = events_of_these_days(fresh_seed(), EVENTS, 100);
    results::publish(&log, &place.topic_prefix, &events).await;
    let bites = [("FLUSH_INTERVAL_MS", "2"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096"), ("BATCH_SIZE", "20")];
    let (mut first, mut second) = (place.start(&bites), place.start(&bites));
    ready(&mut first).await;
    ready(&mut second).await;
    counted(&mut first, EVENTS / 10).await;
    let answer = cli(service.sentinels[0].port, SENTINEL_PASSWORD, &["sentinel", "failover", SERVICE]);
    assert!(answer.starts_with("OK"), "{answer}");
    wait("the replica has taken over", || is_master(&service, 1) && !is_master(&service, 0));
    place.caught_up(&mut first).await;
    place.redis_nodes = vec![service.url_of(1)];
    assert_eq!(place.assert_complete().await, EVENTS);
    for process in [&mut first, &mut second] {
        assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    }
}

fn is_master(service: &Service, number: usize) -> bool {
    cli(service.ports[number], PASSWORD, &["role"]).starts_with("master")
}
