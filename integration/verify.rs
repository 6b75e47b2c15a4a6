//! `counters verify` on a real Kafka and Redis, while processes count live traffic.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    place::{Place, ready},
    support::{
        events::{events_of_these_days, fresh_seed},
        results,
    },
};

/// How long a verification here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(3);

/// A command on the place's log and store, not yet run.
pub fn command(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.env_clear().args(args).stdin(Stdio::null());
    command.envs([("KAFKA_BROKERS", &place.brokers), ("REDIS_URL", &place.redis_url)]);
    command.env("STORE_SHARDS", place.store_shards.to_string());
    command.env("REDIS_KEY_PREFIX", &place.key_prefix).env("CATALOG_PATH", place.catalog_path.as_ref().unwrap());
    command
}

/// Verifies, and lets the test go on meanwhile.
pub async fn verify(place: &Place) -> (i32, Value, String) {
    let mut child =
        command(place, &["counters", "verify"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "not verified within {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    (status.code().unwrap(), serde_json::from_slice(&stdout).unwrap_or(Value::Null), said)
}

fn shadow_keys(place: &Place) -> Vec<String> {
    place.redis_cli(&["--scan", "--pattern", &format!("{}sg:verify:*", place.key_prefix)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verified_while_two_processes_count_live_traffic() {
    const FIRST: usize = 10_000;
    const PIECE: usize = 50;
    let place = Place::own_topics();
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let events = events_of_these_days(fresh_seed(), 200_000, 500);
    results::publish(&log, &place.topic_prefix, &events[..FIRST]).await;
    let (mut first, mut second) = (place.start(&[]), place.start(&[]));
    ready(&mut first).await;
    ready(&mut second).await;
    place.caught_up(&mut first).await;

    let mut published = FIRST;
    let traffic = async {
        for piece in events[FIRST..].chunks(PIECE) {
            results::publish(&log, &place.topic_prefix, piece).await;
            published += piece.len();
        }
    };
    let found = tokio::select! {
        found = async {
            let quiet = verify(&place).await;
            place.redis_cli(&["hincrby", "@counters:aggregated", "video:nobody:views", "5"]);
            place.redis_cli(&["sadd", "@user:nobody:subscriptions", "x"]);
            (quiet, verify(&place).await)
        } => found,
        () = traffic => panic!("the events are used up before it is verified"),
    };
    let ((code, told, said), (code_changed, changed, said_changed)) = found;
    eprintln!("compared {} keys, recounted {} offsets, published {published}", told["compared"], told["recounted"]);
    assert_eq!((code, &told["differences"], &told["uncompared"]), (0, &json!([]), &json!([])), "{said}");
    assert!(told["recounted"].as_u64().unwrap() > FIRST as u64, "nothing was counted meanwhile");
    assert_eq!(code_changed, 1, "{said_changed}");
    let differences = json!([
        { "key": "user:nobody:subscriptions", "kind": "member", "stored": "x", "recounted": "nothing" },
        { "key": "video:nobody:views", "kind": "count", "stored": 5, "recounted": null },
    ]);
    assert_eq!(changed["differences"], differences);
    assert_eq!(shadow_keys(&place), [""; 0]);
    place.redis_cli(&["hdel", "@counters:aggregated", "video:nobody:views"]);
    place.redis_cli(&["del", "@user:nobody:subscriptions"]);

    // What others took away or put in the way, when all is quiet.
    place.caught_up(&mut first).await;
    for process in [&mut first, &mut second] {
        assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    }
    assert_eq!(verify(&place).await.0, 0);
    place.assert_complete().await;
    let views = place.redis_cli(&["hkeys", "@counters:aggregated"]);
    let gone = views.iter().find(|name| name.ends_with(":views")).unwrap();
    place.redis_cli(&["hdel", "@counters:aggregated", gone]);
    let found = place.redis_cli(&["--scan", "--pattern", &format!("{}user:*:history", place.key_prefix)]);
    let history = found[0].strip_prefix(&place.key_prefix).unwrap();
    place.redis_cli(&["del", &found[0]]);
    place.redis_cli(&["set", &found[0], "something else"]);
    let (code, told, said) = verify(&place).await;
    let keys: Vec<&str> =
        told["differences"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    let mut wanted = vec![history, gone];
    wanted.sort_unstable();
    assert_eq!((code, keys), (1, wanted), "{said}");
    assert!(told["differences"].to_string().contains("of another type"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_verification_leaves_no_shadow_and_says_that_it_is_none() {
    let place = Place::own_topics();
    let log = place.log();
    results::create(&log, &results::topics_of(&place.catalog()), 3).await;
    results::publish(&log, &place.topic_prefix, &events_of_these_days(fresh_seed(), 30_000, 0)).await;
    let mut process = place.start(&[]);
    ready(&mut process).await;
    place.caught_up(&mut process).await;
    let mut child =
        command(&place, &["counters", "verify"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while shadow_keys(&place).is_empty() {
        assert!(began.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "it has no shadow");
        tokio::time::sleep(LOOK).await;
    }
    // One at a time: two would have twice the keys in Redis.
    let (code, _, said) = verify(&place).await;
    assert_eq!(code, 2);
    assert!(said.contains("another verification"), "{said}");
    let pid = child.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap().success());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(2), 0), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(shadow_keys(&place), [""; 0]);
    // And the next one need not wait.
    let (code, told, said) = verify(&place).await;
    assert_eq!((code, &told["differences"]), (0, &json!([])), "{said}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
