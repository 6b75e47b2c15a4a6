//! The contract of `Store` on a real Redis, named by `STREAMGAUGE_TEST_REDIS_URL`.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value, config::Config},
};
use streamgauge::store::redis::{RedisExchange, RedisOptions, RedisStore};

use crate::{
    place::redis_options,
    support::store_contract::{Fixture, Raw, exchange},
};

fn url() -> String {
    std::env::var("STREAMGAUGE_TEST_REDIS_URL").expect("STREAMGAUGE_TEST_REDIS_URL names the Redis to test with")
}

async fn send(client: &Client, words: Vec<String>) -> Vec<String> {
    let (name, args) = words.split_first().unwrap();
    let command = CustomCommand::new(name.as_str(), ClusterHash::FirstKey, false);
    let value: Value = client.custom(command, args.to_vec()).await.unwrap();
    value.flatten_array_values(9).into_array().iter().map(|part| part.as_string().unwrap_or_default()).collect()
}

async fn redis() -> Fixture {
    sharded(1).await
}

async fn sharded(shards: u16) -> Fixture {
    let prefix = format!("test-{}:", uuid::Uuid::new_v4());
    let options = RedisOptions { key_prefix: prefix.clone(), shards, ..redis_options(&url()) };
    let client = Client::new(Config::from_url(&url()).unwrap(), None, None, None);
    client.init().await.unwrap();
    let raw: Raw = Box::new(move |words| {
        let client = client.clone();
        Box::pin(async move { send(&client, words).await })
    });
    Fixture { store: Box::new(RedisStore::connect(&options)), raw: Some(raw), prefix, keep: Box::new(()) }
}

crate::store_contract_tests!(crate::store::redis);

/// A store, its shadow, and the exchange of both; and the exchange with a shadow that is not there.
fn with_shadow(shards: u16, prefix: &str) -> (Arc<RedisStore>, RedisStore, RedisExchange, RedisExchange) {
    let options = |prefix: String| RedisOptions { key_prefix: prefix, shards, ..redis_options(&url()) };
    let live = Arc::new(RedisStore::connect(&options(prefix.to_owned())));
    let shadow = RedisStore::connect(&options(format!("{prefix}sg:verify:x:")));
    let exchange = |name: &str| RedisExchange::new(Arc::clone(&live), &format!("sg:verify:{name}:"));
    let (both, lost) = (exchange("x"), exchange("lost"));
    (live, shadow, both, lost)
}

#[tokio::test]
async fn results_give_way_to_those_of_a_shadow() {
    for shards in [1, 3] {
        let fixture = sharded(shards).await;
        let (live, shadow, both, _) = with_shadow(shards, &fixture.prefix);
        exchange::results_give_way_to_those_of_the_shadow(&*live, &shadow, &both).await;
        fixture.clean().await;
        let fixture = sharded(shards).await;
        let (live, shadow, both, lost) = with_shadow(shards, &fixture.prefix);
        exchange::for_the_lack_of_a_shadow_nothing_is_removed(&*live, &shadow, &both, &lost).await;
        fixture.clean().await;
        let fixture = sharded(shards).await;
        let (live, shadow, both, _) = with_shadow(shards, &fixture.prefix);
        exchange::counters_of_a_day_expire_where_they_went(&*live, &shadow, &both).await;
        fixture.clean().await;
    }
}

/// The same in three shards.
mod in_shards {
    use super::*;
    use streamgauge::store::{Store, StoreError};

    async fn three() -> Fixture {
        sharded(3).await
    }

    crate::store_contract_tests!(three, sharded);

    #[tokio::test]
    async fn another_number_of_shards_is_refused_with_the_ways_out() {
        let topics = ["t".to_owned()];
        for (first, then) in [(3, 2), (3, 4), (3, 1), (1, 3)] {
            let fixture = sharded(first).await;
            let other = RedisOptions { key_prefix: fixture.prefix.clone(), shards: then, ..redis_options(&url()) };
            let other = RedisStore::connect(&other);
            fixture.store.open("g", &topics).await.unwrap();
            fixture.store.open("g", &topics).await.unwrap();
            let refused = async || other.open("g", &topics).await.unwrap_err();
            let expected = StoreError::OtherShards { noted: first.to_string(), asked: then };
            assert_eq!(refused().await, expected, "{first}, then {then}");
            for part in [format!("STORE_SHARDS={first}"), "REDIS_KEY_PREFIX".to_owned()] {
                assert!(expected.to_string().contains(&part), "{expected}");
            }
            // Also where only a shard has outlived it, or what is stored is older than the note.
            match (first, then) {
                (3, 1 | 2 | 4) => _ = fixture.raw("DEL @counters:meta").await,
                _ => _ = fixture.raw("HDEL @counters:meta shards").await,
            }
            assert_eq!(refused().await, expected, "{first}, then {then}");
            fixture.clean().await;
        }
    }
}
