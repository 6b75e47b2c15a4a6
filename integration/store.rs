//! The contract of `Store` on a real Redis, named by `STREAMGAUGE_TEST_REDIS_URL`.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value, config::Config},
};
use streamgauge::store::redis::{RedisOptions, RedisStore};

use crate::{
    place::redis_options,
    support::store_contract::{Fixture, Raw},
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
    let prefix = format!("test-{}:", uuid::Uuid::new_v4());
    let options = RedisOptions { key_prefix: prefix.clone(), ..redis_options(&url()) };
    let client = Client::new(Config::from_url(&url()).unwrap(), None, None, None);
    client.init().await.unwrap();
    let raw: Raw = Box::new(move |words| {
        let client = client.clone();
        Box::pin(async move { send(&client, words).await })
    });
    Fixture { store: Box::new(RedisStore::connect(&options)), raw: Some(raw), prefix, keep: Box::new(()) }
}

crate::store_contract_tests!(crate::store::redis);
