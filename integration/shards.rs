//! The whole program over a Redis in three shards.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use streamgauge::core::shards::shard_of;

use crate::{
    place::{Place, counted, ready},
    support::{
        events::{Random, events_of_these_days, fresh_seed},
        oracle::fold,
        results,
    },
    verify::{command, verify},
};

const SHARDS: u16 = 3;
/// In one step: what lies under the first prefix is copied to under the second.
pub const COPY: &str = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do \
                    redis.call('COPY', key, ARGV[2] .. string.sub(key, #ARGV[1] + 1)) end";
/// In one step: what lies under the first prefix gives way to what lies under the second.
pub const PUT_BACK: &str = "for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do redis.call('DEL', key) end \
                        for _, key in ipairs(redis.call('KEYS', ARGV[2] .. '*')) do \
                        redis.call('COPY', key, ARGV[1] .. string.sub(key, #ARGV[2] + 1)) end";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_equals_the_fold_in_three_shards_of_which_one_falls_back_and_one_is_emptied() {
    const EVENTS: usize = 9_000;
    let seed = fresh_seed();
    let place = Place { store_shards: SHARDS, ..Place::own_topics() };
    let (log, catalog) = (place.log(), place.catalog());
    let mut random = Random::new(seed);
    let events = events_of_these_days(seed, EVENTS, 100);
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let (first, rest) = events.split_at(EVENTS / 3);
    let (second, third) = rest.split_at(EVENTS / 3);
    results::publish(&log, &place.topic_prefix, first).await;
    // Small bites, so that a shard falls back amid counting.
    let bites = [("FLUSH_INTERVAL_MS", "2"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096"), ("BATCH_SIZE", "20")];
    let mut process = place.start(&bites);
    ready(&mut process).await;
    counted(&mut process, random.below(EVENTS / 6) + 100).await;
    let copy = format!("copy-{}", uuid::Uuid::new_v4());
    place.redis_cli(&["eval", COPY, "0", "@{1}:", &copy]);
    results::publish(&log, &place.topic_prefix, second).await;
    counted(&mut process, EVENTS / 3 + random.below(EVENTS / 6)).await;
    place.redis_cli(&["eval", PUT_BACK, "0", "@{1}:", &copy]);
    place.caught_up(&mut process).await;
    assert!(process.has_said("shard 1 of the store has"), "{}", process.said());
    process.kill();
    place.assert_complete().await;

    // Nothing lies under it: the shard is empty.
    place.redis_cli(&["eval", PUT_BACK, "0", "@{0}:", "nothing-"]);
    results::publish(&log, &place.topic_prefix, third).await;
    let mut process = place.start(&bites);
    let all = place.caught_up(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    assert_eq!(place.assert_complete().await, EVENTS);

    // Plain names and numbers, each where it belongs; of a counter that members move, a piece wherever a set lies.
    let expected = fold(&catalog, &all).counters;
    let mut shown: BTreeMap<String, i64> = BTreeMap::new();
    for shard in 0..SHARDS {
        let lines = place.redis_cli(&["hgetall", &format!("@{{{shard}}}:counters:aggregated")]);
        assert!(!lines.is_empty(), "nothing lies in shard {shard}");
        for pair in lines.chunks(2) {
            let is_piece = pair[0].ends_with(":subscribers");
            assert!(is_piece || shard_of(&pair[0], SHARDS) == shard, "{} lies in shard {shard}", pair[0]);
            *shown.entry(pair[0].clone()).or_insert(0) += pair[1].parse::<i64>().unwrap();
        }
    }
    results::assert_same("fields", &shown, &expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_shards_ends_the_start_with_the_ways_out() {
    let place = Place { store_shards: SHARDS, ..Place::own_topics() };
    let mut process = place.start(&[]);
    ready(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let mut process = place.start(&[("STORE_SHARDS", "2")]);
    assert_ne!(process.ended().await.code(), Some(0));
    for part in ["lie in 3 shards", "STORE_SHARDS=3", "REDIS_KEY_PREFIX"] {
        assert!(process.has_said(part), "{part}: {}", process.said());
    }
}

/// Runs a command to its end: what it wrote.
fn told(place: &Place, args: &[&str]) -> String {
    let output = command(place, args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_go_in_and_out_and_all_is_verified_over_three_shards() {
    const EVENTS: usize = 4_000;
    let place = Place { store_shards: SHARDS, ..Place::own_topics() };
    let (log, catalog) = (place.log(), place.catalog());
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let events = events_of_these_days(fresh_seed(), 2 * EVENTS, 50);
    results::publish(&log, &place.topic_prefix, &events[..EVENTS]).await;
    let mut process = place.start(&[]);
    ready(&mut process).await;
    place.caught_up(&mut process).await;

    // Totals from elsewhere, each to the shard that its counter lies in.
    let names: Vec<String> = (0..200).map(|n| format!("video:old{n}:views")).collect();
    assert!((0..SHARDS).all(|shard| names.iter().any(|name| shard_of(name, SHARDS) == shard)));
    let lines: Vec<String> = names.iter().map(|name| json!({ "name": name, "value": 7 }).to_string()).collect();
    let file = place.folder.path().join("totals.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    for added in [json!(1), json!(0)] {
        let import = told(&place, &["counters", "import", file.to_str().unwrap(), "--execute"]);
        assert_eq!(serde_json::from_str::<Value>(&import).unwrap()["addedNow"], added);
    }
    let export = told(&place, &["counters", "export"]);
    let mut exported: BTreeMap<String, i64> = BTreeMap::new();
    for line in export.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        exported.insert(line["name"].as_str().unwrap().to_owned(), line["value"].as_i64().unwrap());
    }
    let header: Value = serde_json::from_str(export.lines().next().unwrap()).unwrap();
    assert_eq!(header["consistent"], true, "{header}");
    let mut expected = fold(&catalog, &results::read_events(&log, &catalog).await).counters;
    expected.extend(names.iter().map(|name| (name.clone(), 7)));
    results::assert_same("exported", &exported, &expected);
    let (code, found, said) = verify(&place).await;
    assert_eq!((code, &found["differences"], &found["uncompared"]), (0, &json!([]), &json!([])), "{said}");

    // A shard that has fallen back is not judged until it is counted on; what somebody changed in one is found.
    let copy = format!("copy-{}", uuid::Uuid::new_v4());
    place.redis_cli(&["eval", COPY, "0", "@{1}:", &copy]);
    results::publish(&log, &place.topic_prefix, &events[EVENTS..]).await;
    place.caught_up(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    place.redis_cli(&["eval", PUT_BACK, "0", "@{1}:", &copy]);
    let (code, _, said) = verify(&place).await;
    assert!(code == 2 && said.contains("stand apart"), "{code}: {said}");
    let mut process = place.start(&[]);
    ready(&mut process).await;
    let (code, found, said) = verify(&place).await;
    assert_eq!((code, &found["differences"], &found["uncompared"]), (0, &json!([]), &json!([])), "{said}");
    place.redis_cli(&["hincrby", "@{2}:counters:aggregated", "video:nobody:views", "5"]);
    let (code, found, said) = verify(&place).await;
    let difference = json!([{ "key": "video:nobody:views", "kind": "count", "stored": 5, "recounted": null }]);
    assert_eq!((code, &found["differences"]), (1, &difference), "{said}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
