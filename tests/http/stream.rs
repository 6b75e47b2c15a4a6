//! Following counters: server-sent events over a real connection.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{App, problem};

/// A stream that is read event by event.
struct Follower {
    response: reqwest::Response,
    text: String,
}

impl Follower {
    async fn of(app: &App, path: &str, last: Option<&str>) -> Self {
        let mut request = app.request("GET", path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { response, text: String::new() }
    }

    /// The next event: its id, and its counters by key.
    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (id, data) = (line("id: "), line("data: "));
                self.text = rest.to_owned();
                let Some(id) = id else { continue };
                let data: Value = serde_json::from_str(&data.unwrap()).unwrap();
                let counters = data["counters"].as_array().unwrap().iter();
                return (id, counters.map(|c| (c["key"].as_str().unwrap().to_owned(), c["value"].clone())).collect());
            }
            let chunk = self.response.chunk().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn ended(mut self) -> bool {
        self.response.chunk().await.unwrap().is_none()
    }
}

#[tokio::test]
async fn a_follower_is_told_what_is_there_and_then_each_change() {
    let app = App::start().await;
    app.results.store_counter("a", 1);
    app.results.store_counter("other", 9);
    let mut follower = Follower::of(&app, "/api/stream?key=a&key=b&key=a", None).await;
    let (first, counters) = follower.next().await;
    assert_eq!(counters, json!({"a": 1}));
    app.results.store_counter("b", 5);
    app.results.store_counter("other", 10);
    app.generations.settle();
    let (second, counters) = follower.next().await;
    assert_eq!((counters, first != second), (json!({"b": 5}), true));
    // Whoever comes back with what it saw last is told nothing until something changes; with an older one it is told all.
    let mut same = Follower::of(&app, "/api/stream?key=b&key=a", Some(&second)).await;
    let mut older = Follower::of(&app, "/api/stream?key=a&key=b", Some(&first)).await;
    assert_eq!(older.next().await, (second, json!({"a": 1, "b": 5})));
    app.results.store_counter("a", 2);
    assert_eq!(same.next().await.1, json!({"a": 2}));
    assert_eq!(older.next().await.1, json!({"a": 2}));
}

#[tokio::test]
async fn a_prefix_is_followed_and_what_is_too_much_refused() {
    let app = App::start().await;
    for (name, value) in [("video:1:likes", 1), ("video:1:views", 2), ("video:2:views", 3)] {
        app.results.store_counter(name, value);
    }
    let mut follower = Follower::of(&app, "/api/stream?prefix=video:1:", None).await;
    assert_eq!(follower.next().await.1, json!({"video:1:likes": 1, "video:1:views": 2}));
    app.results.store_counter("video:1:views", 4);
    assert_eq!(follower.next().await.1, json!({"video:1:views": 4}));
    (0..1_001).for_each(|n| app.results.store_counter(&format!("many:{n}"), n));
    for (query, detail) in [
        ("", "give 1 to 1000 times key, or prefix once"),
        ("?key=a&prefix=b", "give 1 to 1000 times key, or prefix once"),
        ("?prefix=a&prefix=b", "there twice"),
        ("?keys=a", "unknown field `keys`"),
        ("?key=", "a key has 1 to"),
        ("?prefix=many:", "more than 1000 counters begin with \"many:\"; name the counters"),
    ] {
        problem(&app.get(&format!("/api/stream{query}")).await.1, 400, "", detail, "/api/stream");
    }
    app.results.break_store();
    problem(&app.get("/api/stream?key=a").await.1, 503, "store-unavailable", "gone", "/api/stream");
}

#[tokio::test]
async fn who_reads_slowly_gets_the_newest_and_all_end_with_the_service() {
    let app = App::start().await;
    // So large that few events fill what lies between the two sides.
    let keys: Vec<String> = (0..8).map(|n| format!("{n}{}", "k".repeat(1_000))).collect();
    let path = format!("/api/stream?key={}", keys.join("&key="));
    keys.iter().for_each(|key| app.results.store_counter(key, 0));
    let (mut slow, mut quick) = (Follower::of(&app, &path, None).await, Follower::of(&app, &path, None).await);
    let mut told = 0;
    for value in 1..=20 {
        keys.iter().for_each(|key| app.results.store_counter(key, value));
        app.generations.settle();
        while quick.next().await.1[&keys[7]] != value {}
    }
    while slow.next().await.1[&keys[7]] != 20 {
        told += 1;
    }
    assert!(told <= 20, "{told}");
    app.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), async { slow.ended().await && quick.ended().await });
    assert!(ended.await.unwrap());
}

#[tokio::test]
async fn streams_have_a_cap() {
    let app = App::start().await;
    let mut open = Vec::new();
    for _ in 0..streamgauge::runtime::changes::MAX_SUBSCRIPTIONS {
        open.push(Follower::of(&app, "/api/stream?key=a", None).await);
    }
    let (status, answer) = app.get("/api/stream?key=a").await;
    problem(&answer, 503, "overloaded", "256 streams are open", "/api/stream");
    assert_eq!(status, 503);
    open.truncate(200);
    crate::fixture::until(async || app.request("GET", "/api/stream?key=a").send().await.unwrap().status() == 200).await;
}
