//! The persistent tier, in Redis and in a real PostgreSQL, and stores that are emptied.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use fred::{clients::Client, interfaces::ClientLike, types::config::Config};
use streamgauge::{
    model::SecretSource,
    store::{
        Tier,
        postgres::{PostgresOptions, PostgresTier},
        redis::{RedisOptions, RedisStore},
    },
};

use crate::{
    place::{Place, ready, redis_options, redis_url},
    postgres::{PASSWORD, Server},
    support::{
        events::{events_of_these_days, fresh_seed},
        process::Process,
        results,
        tier_contract::Tiered,
    },
};

/// Removes what lies under a prefix, but for what lies under another one.
const EMPTY: &str = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do \
                     if ARGV[2] == '' or not string.find(key, ARGV[2], 1, true) then redis.call('DEL', key) end end \
                     return 'emptied'";
/// What Redis keeps of its own tier.
const OWN_TIER: &str = "counters:persistent";

/// A store of its own, and the tier in the same Redis, which is not emptied with it.
async fn in_redis() -> Tiered {
    of_redis(1).await
}

async fn of_redis(shards: u16) -> Tiered {
    let options = own_options(shards);
    let store = Arc::new(RedisStore::connect(&options));
    let tier = Arc::clone(&store) as Arc<dyn Tier>;
    Tiered { store, tier, empty: emptying(options.key_prefix, OWN_TIER).await, keep: Box::new(()) }
}

async fn in_postgres() -> Tiered {
    of_postgres(1).await
}

async fn of_postgres(shards: u16) -> Tiered {
    let server = Server::start().await;
    let options = own_options(shards);
    let store = Arc::new(RedisStore::connect(&options));
    let url = PostgresOptions { url: SecretSource::fixed(server.url()) };
    let tier = Arc::new(PostgresTier::new(Arc::clone(&store) as _, &options.key_prefix, url).unwrap());
    Tiered { store, tier, empty: emptying(options.key_prefix, "").await, keep: Box::new(server) }
}

fn own_options(shards: u16) -> RedisOptions {
    RedisOptions { key_prefix: format!("tier-{}:", uuid::Uuid::new_v4()), shards, ..redis_options(&redis_url()) }
}

type Empty = Box<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

async fn emptying(prefix: String, but: &'static str) -> Empty {
    let client = Client::new(Config::from_url(&redis_url()).unwrap(), None, None, None);
    client.init().await.unwrap();
    Box::new(move || {
        let (client, prefix) = (client.clone(), prefix.clone());
        Box::pin(async move {
            let command = fred::types::CustomCommand::new("EVAL", fred::types::ClusterHash::FirstKey, false);
            let _: fred::types::Value =
                client.custom(command, vec![EMPTY.to_owned(), "0".to_owned(), prefix, but.to_owned()]).await.unwrap();
        })
    })
}

mod redis {
    use super::*;
    crate::tier_contract_tests!(in_redis);
    crate::tier_contract_tests! { in_redis; counters_of_a_day_expire_in_the_copy_too }
}

mod redis_in_shards {
    use super::*;
    async fn three() -> Tiered {
        of_redis(3).await
    }
    crate::tier_contract_tests!(three);
    crate::tier_contract_tests! { three; counters_of_a_day_expire_in_the_copy_too }
}

mod postgres {
    use super::*;
    crate::tier_contract_tests!(in_postgres);
    crate::tier_contract_tests! { in_postgres; counters_of_a_day_expire_in_the_copy_too }
}

mod postgres_in_shards {
    use super::*;
    async fn three() -> Tiered {
        of_postgres(3).await
    }
    crate::tier_contract_tests!(three);
    crate::tier_contract_tests! { three; counters_of_a_day_expire_in_the_copy_too }
}

/// Waits until everything that is counted by now has been copied.
async fn copied(process: &mut Process) {
    const COPIED: &str = "streamgauge_persistent_copied_timestamp_seconds";
    let now = chrono::Utc::now().timestamp_millis() as f64 / 1000.0;
    process.until("a copy", async |process| (process.metric(COPIED, "").await > now + 1.0).then_some(())).await;
}

/// Counts, copies, loses the store, and counts on: every key is what the fold says, while it runs and after a restart.
async fn emptied(settings: &[(&str, &str)], spared: &str, says: &str) {
    const EVENTS: usize = 6_000;
    let place = Place::own_topics();
    let (log, catalog) = (place.log(), place.catalog());
    let events = events_of_these_days(fresh_seed(), EVENTS, 100);
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let mut settings = settings.to_vec();
    settings.push(("COUNTER_FLUSH_INTERVAL", "1000"));
    let mut process = place.start(&settings);
    ready(&mut process).await;
    // A group that begins at latest counts what comes after that.
    let partitions = (3 * results::topics_of(&catalog).len()).to_string();
    let begun = async |_: &Process| (place.redis_cli(&["hlen", "@counters:origins"])[0] == partitions).then_some(());
    process.until("every partition's first offset", begun).await;
    for (step, part) in events.chunks(EVENTS / 3).enumerate() {
        results::publish(&log, &place.topic_prefix, part).await;
        if step == 2 {
            // It is not there when the store is lost.
            process.kill();
        } else {
            place.caught_up(&mut process).await;
            copied(&mut process).await;
        }
        place.redis_cli(&["eval", EMPTY, "0", "@", spared]);
        if step == 2 {
            process = place.start(&settings);
        }
        process.says(says).await;
        place.caught_up(&mut process).await;
        place.assert_complete().await;
        let (_, health) = process.get("/api/health").await;
        assert!(health.to_string().contains("the store was emptied"), "{health}");
        assert!(process.metric("streamgauge_store_restores_total", "").await > 0.0);
    }
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    assert!(!process.said().contains(PASSWORD), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gets_its_totals_back_from_counters_persistent() {
    emptied(&[], OWN_TIER, "were restored from counters:persistent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gets_its_totals_back_from_postgresql() {
    let server = Server::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", server.url())).unwrap();
    let file = file.path().to_str().unwrap();
    emptied(&[("DATABASE_URL_FILE", file)], "", "were restored from PostgreSQL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_without_a_copy_is_counted_again_also_by_a_group_that_begins_at_latest() {
    emptied(&[("KAFKA_AUTO_OFFSET_RESET", "latest")], "", "It is counted again from offset").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_stops_no_counting_and_gets_what_it_missed() {
    const EVENTS: usize = 2_000;
    let mut server = Server::start().await;
    let place = Place::own_topics();
    let (log, catalog) = (place.log(), place.catalog());
    let events = events_of_these_days(fresh_seed(), EVENTS, 50);
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let url = server.url();
    let mut process = place.start(&[("DATABASE_URL", &url), ("COUNTER_FLUSH_INTERVAL", "1000")]);
    ready(&mut process).await;
    results::publish(&log, &place.topic_prefix, &events[..EVENTS / 2]).await;
    place.caught_up(&mut process).await;
    copied(&mut process).await;
    server.stop();
    results::publish(&log, &place.topic_prefix, &events[EVENTS / 2..]).await;
    place.caught_up(&mut process).await;
    let degraded = async |process: &Process| {
        let (status, health) = process.get("/api/health").await;
        let is_told = health.to_string().contains("totals are not copied to PostgreSQL");
        assert_eq!(status, 200, "{health}");
        (is_told && process.metric("streamgauge_persistent_failures_total", "").await > 0.0).then_some(())
    };
    process.until("health tells it", degraded).await;
    server.restart().await;
    copied(&mut process).await;
    let rows = server.query("SELECT name || ' ' || value FROM streamgauge_counters ORDER BY name COLLATE \"C\"");
    let mut lines = place.redis_cli(&["hgetall", "@counters:aggregated"]);
    let mut shown: Vec<String> = lines.chunks_mut(2).map(|pair| pair.join(" ")).collect();
    shown.sort();
    let mut rows_sorted = rows.clone();
    rows_sorted.sort();
    assert_eq!(rows_sorted, shown);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    assert!(!process.said().contains(PASSWORD), "{}", process.said());
}
