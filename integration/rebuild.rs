//! `counters rebuild` on a real Kafka and Redis, while processes count live traffic.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use streamgauge::{
    app::{Parts, Shadow},
    config::load,
};

use crate::{
    place::{Place, ready},
    support::{
        breaking::{Breaking, Fated},
        events::{events_of_these_days, fresh_seed},
        results,
    },
};

/// How long a rebuild here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(3);

fn settings(place: &Place) -> Vec<(String, String)> {
    let catalog = place.catalog_path.as_ref().unwrap().to_str().unwrap();
    let shards = place.store_shards.to_string();
    [
        ("KAFKA_BROKERS", place.brokers.as_str()),
        ("REDIS_URL", &place.redis_url),
        ("REDIS_KEY_PREFIX", &place.key_prefix),
        ("CATALOG_PATH", catalog),
        ("STORE_SHARDS", &shards),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Runs `counters …`, and lets the test go on meanwhile.
async fn counters(place: &Place, args: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.env_clear().envs(settings(place)).arg("counters").args(args);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "{args:?} was not done within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    (status.code().unwrap(), serde_json::from_slice(&stdout).unwrap_or(Value::Null), said)
}

/// Changes, makes and removes results behind everybody's back.
fn tamper(place: &Place) {
    let tag = |shard: u16| if place.store_shards > 1 { format!("{{{shard}}}:") } else { String::new() };
    for shard in 0..place.store_shards {
        let aggregated = format!("@{}counters:aggregated", tag(shard));
        let names = place.redis_cli(&["hkeys", &aggregated]);
        place.redis_cli(&["hdel", &aggregated, &names[0], &names[1]]);
        place.redis_cli(&["hincrby", &aggregated, &names[2], "7"]);
        place.redis_cli(&["hset", &aggregated, &format!("video:nobody{shard}:views"), "5"]);
        let of = |name: &str| format!("@{}{name}", tag(shard));
        place.redis_cli(&["sadd", &of("user:nobody:subscriptions"), "x"]);
        place.redis_cli(&["pfadd", &of("video:nobody:viewers:2026-11-21"), "x"]);
        let histories =
            place.redis_cli(&["--scan", "--pattern", &format!("{}{}user:*:history", place.key_prefix, tag(shard))]);
        place.redis_cli(&["del", &histories[0]]);
    }
}

/// Breaks a rebuild amid the exchange, as a kill does.
async fn break_off(place: &Place, writes: usize) {
    let config = load(&settings(place).into_iter().collect(), None).unwrap().config;
    let catalog = Arc::new(place.catalog().for_shards(place.store_shards).unwrap());
    let parts = Parts::open(&config, &catalog).await.unwrap();
    let shadow = Shadow::for_rebuild(&config, &parts).await.unwrap();
    let mut recount = shadow.recount(&config, &parts, catalog.topics.clone(), false);
    {
        let breaking = Fated { inner: shadow.exchange(), fate: Breaking::new(writes, writes.is_multiple_of(2)) };
        tokio::select! {
            biased;
            () = breaking.fate.broken.notified() => {}
            done = recount.rebuild(&breaking, shadow.id(), None) => panic!("it has {writes} writes at most: {done:?}"),
        }
    }
    drop(recount);
    // What a kill leaves is taken for at work for a minute; the test has not that long.
    shadow.leave().await.unwrap();
    parts.close().await.unwrap();
}

async fn rebuilt_amid_traffic(shards: u16) {
    const FIRST: usize = 8_000;
    const PIECE: usize = 50;
    let place = Place { store_shards: shards, ..Place::own_topics() };
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let events = events_of_these_days(fresh_seed(), 200_000, 500);
    results::publish(&log, &place.topic_prefix, &events[..FIRST]).await;
    let (mut first, mut second) = (place.start(&[]), place.start(&[]));
    ready(&mut first).await;
    ready(&mut second).await;
    place.caught_up(&mut first).await;
    tamper(&place);

    let mut published = FIRST;
    let traffic = async {
        for piece in events[FIRST..].chunks(PIECE) {
            results::publish(&log, &place.topic_prefix, piece).await;
            published += piece.len();
        }
    };
    let rebuilt = tokio::select! {
        rebuilt = async {
            let rebuilt = counters(&place, &["rebuild", "--yes"]).await;
            tamper(&place);
            // Amid beginning, removing and taking; the next one ends it.
            for writes in [usize::from(shards), usize::from(shards) + 1, usize::from(shards) + 9] {
                break_off(&place, writes).await;
                let (code, _, said) = counters(&place, &["verify"]).await;
                assert!(code == 2 && said.contains("broken off"), "{said}");
                let (code, told, said) = counters(&place, &["rebuild", "--yes"]).await;
                assert_eq!((code, &told["shardsEnded"]), (0, &shards.into()), "{said} {told}");
            }
            rebuilt
        } => rebuilt,
        () = traffic => panic!("the events are used up before it is rebuilt"),
    };
    let (code, told, said) = rebuilt;
    eprintln!("{told}; published {published}");
    assert_eq!(code, 0, "{said}");
    assert!(told["recounted"].as_u64().unwrap() > FIRST as u64, "nothing was counted meanwhile: {told}");
    place.caught_up(&mut first).await;
    for process in [&mut first, &mut second] {
        assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    }
    place.assert_complete().await;
    let (code, _, said) = counters(&place, &["verify"]).await;
    assert_eq!(code, 0, "{said}");
    let left = place.redis_cli(&["--scan", "--pattern", &format!("{}*sg:verify:*", place.key_prefix)]);
    assert_eq!(left, [""; 0], "the shadows are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilt_while_two_processes_count_live_traffic() {
    rebuilt_amid_traffic(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilt_in_three_shards() {
    rebuilt_amid_traffic(3).await;
}
