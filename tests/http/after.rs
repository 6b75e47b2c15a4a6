//! Reading one's own write: a read that waits until an event is counted, by this member or by another one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use streamgauge::{
    model::{Checkpoint, Fingerprint, TopicPartition},
    runtime::tenure::Tenure,
};

use crate::fixture::{App, problem, until};

const VIEWS: &str = "/api/counters/video:1:views";

fn partition() -> TopicPartition {
    TopicPartition::new("video.views", 3)
}

#[tokio::test]
async fn a_read_waits_until_all_shards_of_the_store_have_counted_the_event() {
    let app = App::start().await;
    app.results.store_counter("video:1:views", 5);
    let path = format!("{VIEWS}?after=video.views:3:17&wait=10s");
    for (shards, is_counted) in [(&[7, 9][..], false), (&[8, 7], false), (&[8, 8], true)] {
        app.results.count_to(&partition(), shards);
        let (status, answer) = app.get(&format!("{VIEWS}?after=video.views:3:7&wait=60ms")).await;
        assert_eq!(status, if is_counted { 200 } else { 504 }, "{shards:?} {answer}");
    }
    let waiting = tokio::spawn(app.request("GET", &path).send());
    let looks = app.results.looks();
    until(async || app.results.looks() > looks + 2).await;
    assert!(!waiting.is_finished());
    app.results.count_to(&partition(), &[18, 18]);
    let answer: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["value"], 5, "{answer}");
    // A query waits alike, also for several events.
    let (status, _) = app
        .post("/api/counters/query?after=video.views:3:7,plain:0:1&wait=20ms", &json!({"keys": ["video:1:views"]}))
        .await;
    assert_eq!(status, 504);
    app.results.count_to(&TopicPartition::new("plain", 0), &[2]);
    let path = "/api/counters/query?after=video.views:3:7,plain:0:1";
    assert_eq!(app.post(path, &json!({"keys": ["video:1:views"]})).await.0, 200);
}

#[tokio::test]
async fn at_the_deadline_the_answer_says_how_far_the_partition_is_counted() {
    let app = App::start().await;
    let began = Instant::now();
    let response = app.request("GET", &format!("{VIEWS}?after=video.views:3:7&wait=100ms")).send().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100));
    assert!(response.headers().contains_key("retry-after"));
    problem(&response.json().await.unwrap(), 504, "not-counted-yet", "from its beginning only", VIEWS);
    app.results.count_to(&partition(), &[5]);
    let (_, answer) = app.get(&format!("{VIEWS}?after=video.views:3:7&wait=100ms")).await;
    problem(
        &answer,
        504,
        "not-counted-yet",
        "video.views:3:7 is not counted yet: its partition is counted up to offset 5",
        VIEWS,
    );
    app.results.break_store();
    assert_eq!(app.get(&format!("{VIEWS}?after=video.views:3:7")).await.0, 503);
}

#[tokio::test]
async fn a_member_that_counts_the_partition_itself_asks_no_store() {
    let app = App::start().await;
    let at = |offset| Checkpoint { offset, fingerprint: Fingerprint(1), ..Checkpoint::default() };
    let tenure = Tenure::begin(partition(), Fingerprint(1), Some(at(3)), 3);
    app.tenures.add(&tenure);
    let waiting = tokio::spawn(app.request("GET", &format!("{VIEWS}?after=video.views:3:7&wait=10s")).send());
    let (status, answer) = app.get(&format!("{VIEWS}?after=video.views:3:7&wait=20ms")).await;
    assert!(status == 504 && answer["detail"].as_str().unwrap().contains("offset 3"), "{answer}");
    tenure.advance(0, at(8));
    app.generations.settle();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(app.results.looks(), 0);
    // Another member has it from now on.
    tenure.let_go();
    app.results.count_to(&partition(), &[9]);
    assert_eq!(app.get(&format!("{VIEWS}?after=video.views:3:8&wait=0ms")).await.0, 200);
    assert_eq!(app.results.looks(), 1);
}

#[tokio::test]
async fn all_that_wait_share_one_look() {
    let app = App::start().await;
    let waiting: Vec<_> = (0..200)
        .map(|n| tokio::spawn(app.request("GET", &format!("{VIEWS}?after=video.views:{}:7&wait=10s", n % 5)).send()))
        .collect();
    let began = Instant::now();
    until(async || app.results.looks() > 10).await;
    let (looks, took) = (app.results.looks(), began.elapsed());
    // One look has to serve all that come within 25 ms; how many came in one is the machine's affair.
    assert!(looks as u128 <= 12 + 5 + took.as_millis() / 25, "{looks} looks in {took:?}");
    for n in 0..5 {
        app.results.count_to(&TopicPartition::new("video.views", n), &[8]);
    }
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    }
}
