//! A Redis Cluster: the contract of `Store` on it, and counting while a master is killed and its replica takes over.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::OnceLock;

use fred::{
    clients::Client,
    interfaces::{ClientLike, ClusterInterface},
    types::{ClusterHash, CustomCommand, Value, config::Config},
};
use serde_json::json;
use streamgauge::store::redis::{RedisOptions, RedisStore};

use crate::{
    place::{Place, counted, ready, redis_options},
    redis_servers::{Cluster, wait},
    support::{
        events::{events_of_these_days, fresh_seed},
        results,
        store_contract::{Fixture, Raw},
    },
    verify::verify,
};

/// The cluster of the contract. Its servers end with this process.
fn shared() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// Sends a command to the node that has its key, or to every one where it is about nodes.
async fn send(client: &Client, words: Vec<String>) -> Vec<String> {
    let (name, args) = words.split_first().unwrap();
    let slots: Vec<u16> = client.cached_cluster_state().unwrap().slots().iter().map(|range| range.start).collect();
    let hashes = match name.as_str() {
        "KEYS" | "SCRIPT" => slots.into_iter().map(ClusterHash::Custom).collect(),
        _ => vec![ClusterHash::FirstKey],
    };
    let mut all = Vec::new();
    for hash in hashes {
        let value: Value = client.custom(CustomCommand::new(name.as_str(), hash, false), args.to_vec()).await.unwrap();
        let values = value.flatten_array_values(9).into_array();
        all.extend(values.iter().map(|part| part.as_string().unwrap_or_default()));
    }
    all
}

async fn fixture(shards: u16) -> Fixture {
    let url = shared().url();
    let common = format!("test-{}:", uuid::Uuid::new_v4());
    let options = RedisOptions { key_prefix: common.clone(), shards, ..redis_options(&url) };
    let client = Client::new(Config::from_url(&shared().url_of_all()).unwrap(), None, None, None);
    client.init().await.unwrap();
    // A contract of one shard names keys without a tag.
    let prefix = if shards == 1 { format!("{common}{{0}}:") } else { common.clone() };
    let ours = format!("{prefix}sg:");
    let raw: Raw = Box::new(move |words| {
        let plain = |word: String| match word.strip_prefix(&ours) {
            // What stands beside a set lies where the set does.
            Some(rest) if !["in:", "out:", "gone:", "status:"].iter().any(|beside| rest.starts_with(beside)) => {
                format!("{common}sg:{rest}")
            }
            _ if word.ends_with(":*") => format!("{common}*"),
            _ => word,
        };
        let (client, words) = (client.clone(), words.into_iter().map(plain).collect());
        Box::pin(async move { send(&client, words).await })
    });
    Fixture { store: Box::new(RedisStore::connect(&options)), raw: Some(raw), prefix, keep: Box::new(()) }
}

mod one_shard {
    async fn one() -> super::Fixture {
        super::fixture(1).await
    }

    crate::store_contract_tests!(one);
}

mod three_shards {
    async fn three() -> super::Fixture {
        super::fixture(3).await
    }

    crate::store_contract_tests!(three, sharded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_is_killed_amid_counting_and_every_key_equals_the_fold() {
    const PART: usize = 4_000;
    let mut cluster = Cluster::start();
    let mut place = Place { redis_url: cluster.url(), store_shards: 4, ..Place::own_topics() };
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let events = events_of_these_days(fresh_seed(), 4 * PART, 100);
    let mut parts = events.chunks(PART);
    let mut publish = async || results::publish(&log, &place.topic_prefix, parts.next().unwrap()).await;
    publish().await;
    let mut process = place.start(&[("FLUSH_INTERVAL_MS", "5"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096")]);
    ready(&mut process).await;
    place.caught_up(&mut process).await;
    // The first one is named in the URL, and beside it one other only.
    for (round, killed) in [(1, 0), (2, 1)] {
        publish().await;
        counted(&mut process, round * PART + PART / 4).await;
        let before = cluster.masters();
        assert!(before.contains(&killed), "{before:?}");
        cluster.nodes[killed].take().unwrap().kill();
        wait("a replica has taken over", || cluster.masters().len() == 3);
        place.caught_up(&mut process).await;
        place.redis_nodes = cluster.masters().into_iter().map(|number| cluster.url_of(number)).collect();
        place.assert_complete().await;
    }
    // They come back as replicas with what they had.
    for number in [0, 1] {
        cluster.nodes[number] = Some(cluster.node(number));
    }
    publish().await;
    cluster.settled();
    place.caught_up(&mut process).await;
    assert_eq!(place.assert_complete().await, 4 * PART);
    let (code, found, said) = verify(&place).await;
    assert_eq!((code, &found["differences"], &found["uncompared"]), (0, &json!([]), &json!([])), "{said}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_of_the_wrong_kind_is_told() {
    use streamgauge::store::Store;
    let node = shared().url_of(0);
    let place = Place::shared_topics();
    for (url, hint) in [
        (node.clone(), "redis-cluster://"),
        (place.redis_url.replace("redis://", "redis-cluster://").trim_end_matches("/0").to_owned(), "redis://host"),
        (format!("{}/main", node.replace("redis://", "redis-sentinel://")), "sentinel"),
    ] {
        let store = RedisStore::connect(&redis_options(&url));
        let error = store.open("g", &["t".to_owned()]).await.unwrap_err().to_string();
        assert!(error.contains(hint), "{url}: {error}");
    }
}
