//! What the API answers equals the fold: counters, histories, sets, rankings and uniques, ids of all characters included.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    log::kafka::{KafkaLog, KafkaOptions},
};
use support::{
    events::{events_of_these_days, fresh_seed},
    oracle::{Results, fold},
    process::Process,
    results,
};

/// Keys of each kind that are asked for one by one.
const ASKED: usize = 60;

/// A key as a part of a path (RFC 3986).
fn in_path(key: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    key.bytes().map(|byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

async fn data(process: &Process, path: &str) -> Value {
    let (status, answer) = process.get(path).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{path}: {answer}");
    answer["data"].clone()
}

async fn counters(process: &Process) -> BTreeMap<String, i64> {
    let (mut counters, mut cursor) = (BTreeMap::new(), Value::Null);
    loop {
        let question = json!({ "prefix": "", "limit": 500, "cursor": cursor });
        let (status, answer) = process.post("/api/counters/query", &question).await;
        assert_eq!(status, 200, "{answer}");
        for counter in answer["data"].as_array().unwrap() {
            counters.insert(counter["key"].as_str().unwrap().to_owned(), counter["value"].as_i64().unwrap());
        }
        cursor = answer["cursor"].clone();
        if cursor.is_null() {
            return counters;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_equals_the_fold() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
    let mut process = Process::start(&[("DATA_DIR", folder.path().to_str().unwrap())]);
    process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let log = KafkaLog::connect(KafkaOptions::new(vec![process.broker().await]));
    results::publish(&log, "", &events_of_these_days(fresh_seed(), 3_000, 30)).await;
    let is_done = async |process: &Process| {
        let read = process.metric("streamgauge_records_total", "").await;
        (read >= 3_000.0 && process.metric("streamgauge_pending_keys", "").await == 0.0).then_some(())
    };
    process.until("all counted", is_done).await;
    let expected = fold(&catalog, &results::read_events(&log, &catalog).await);
    results::assert_same("counters", &counters(&process).await, &expected.counters);
    for (key, value) in expected.counters.iter().take(ASKED) {
        let answer = data(&process, &format!("/api/counters/{}", in_path(key))).await;
        assert_eq!(answer, json!({ "key": key, "value": value, "stored": value, "pending": 0, "exists": true }));
    }
    histories_and_sets(&process, &expected).await;
    rankings_and_uniques(&process, &expected).await;
    let none = data(&process, "/api/counters/video:nobody:views").await;
    assert_eq!((&none["value"], &none["exists"]), (&json!(0), &json!(false)));
}

async fn histories_and_sets(process: &Process, expected: &Results) {
    for (key, entries) in expected.recents.iter().take(ASKED) {
        let answer = data(process, &format!("/api/history/{}?limit=100", in_path(key))).await;
        let found: Vec<_> = answer["items"].as_array().unwrap().iter().map(|item| item["element"].clone()).collect();
        let wanted: Vec<_> = entries.iter().rev().map(|(_, _, element)| json!(element)).collect();
        assert_eq!(found, wanted, "{key}");
    }
    for (key, set) in expected.sets.iter().take(ASKED) {
        let answer = data(process, &format!("/api/sets/{}?limit=1000", in_path(key))).await;
        let found: BTreeSet<_> =
            answer["members"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        assert_eq!(found, set.iter().map(String::as_str).collect(), "{key}");
        let element = set.first().unwrap();
        let answer = data(process, &format!("/api/sets/{}?element={}", in_path(key), in_path(element))).await;
        assert_eq!(answer["member"], true, "{key} {element}");
    }
}

async fn rankings_and_uniques(process: &Process, expected: &Results) {
    let now_ms = chrono::Utc::now().timestamp_millis();
    let alive =
        |(_, (expire_at_ms, _)): &(&String, &(Option<i64>, BTreeMap<String, i64>))| expire_at_ms.unwrap() > now_ms;
    for (key, (_, sums)) in expected.tops.iter().filter(alive).take(ASKED) {
        // trending:videos:1h:2026-11-21T10
        let [name, window, start] = key.rsplitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{key}") };
        let (name, start) = (start, name);
        let at = if start.contains('T') { format!("{start}:00:00Z") } else { format!("{start}T00:00:00Z") };
        let path = format!("/api/trending/{}?window={window}&at={}&limit=1000", in_path(name), in_path(&at));
        let answer = data(process, &path).await;
        let item = |item: &Value| (item["element"].as_str().unwrap().to_owned(), item["sum"].as_i64().unwrap());
        let found: Vec<_> = answer["items"].as_array().unwrap().iter().map(item).collect();
        assert!(found.is_sorted_by_key(|(_, sum)| -sum), "{key}: the highest first");
        results::assert_same(key, &found.into_iter().collect(), sums);
    }
    for (key, (expire_at_ms, elements)) in expected.uniques.iter().take(ASKED) {
        let (name, day) = key.rsplit_once(':').unwrap();
        let answer = data(process, &format!("/api/uniques/{}?day={day}", in_path(name))).await;
        let estimate = answer["value"].as_f64().unwrap();
        let wanted = if expire_at_ms.unwrap() > now_ms { elements.len() as f64 } else { 0.0 };
        assert!((estimate - wanted).abs() <= (wanted * 0.02).max(1.0), "{key}: {estimate} of {wanted}");
    }
}
