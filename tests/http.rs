//! The API over a real connection: what goes in, what comes out, to the letter.
//! Longer than most files, since it is tables of requests and answers.
//!
//! Log and counting stand in as small values in memory; everything between the socket and them is the real thing.
//!
//! Longer than most files, since what holds for every route is tried in one place.

// What is wrong in a helper of a test fails the test.
#![allow(clippy::unwrap_used)]

#[path = "http/after.rs"]
mod after;
#[path = "http/catalog.rs"]
mod catalog;
#[path = "http/checked.rs"]
mod checked;
#[path = "http/document.rs"]
mod document;
#[path = "http/fixture.rs"]
mod fixture;
#[path = "http/groups.rs"]
mod groups;
#[path = "http/gzipped.rs"]
mod gzipped;
#[path = "http/letters.rs"]
mod letters;
#[path = "http/once.rs"]
mod once;
#[path = "http/processed.rs"]
mod processed;
#[path = "http/publishing.rs"]
mod publishing;
#[path = "http/shapes.rs"]
mod shapes;
#[path = "http/stream.rs"]
mod stream;
mod support;

use fixture::{App, problem};
use serde_json::json;
use streamgauge::{
    core::card::{self, Card},
    model::{Lease, Roster, TopicPartition},
    runtime::{health::Level, reads::PendingValue},
};

const PUBLISH: &str = "/api/events/publish";
const BATCH: &str = "/api/events/publish-batch";

#[tokio::test]
async fn requests_that_no_handler_sees_are_problems_too() {
    let app = App::start().await;
    let json_type = "application/json";
    for (method, path, content_type, body, status, detail) in [
        ("GET", "/nowhere", json_type, "", 404, "/openapi.json"),
        ("GET", PUBLISH, json_type, "", 405, "allow"),
        ("POST", PUBLISH, "text/plain", "{}", 415, "application/json"),
        ("POST", PUBLISH, "application/x-ndjson", "{}", 415, "application/json"),
        ("POST", PUBLISH, json_type, "{", 400, "EOF"),
        ("POST", "/api/events/publish?wait=2s", json_type, "{}", 400, "unknown field `wait`"),
        ("GET", "/api/uniques/a?after=t:0:1", json_type, "", 400, "unknown field `after`"),
        ("GET", "/api/counters/a?wait=2s", json_type, "", 400, "wait needs after"),
        ("GET", "/api/counters/a?after=plain:0:1&wait=21s", json_type, "", 400, "at most 20 s"),
        ("GET", "/api/counters/a?after=plain:0:1&wait=2", json_type, "", 400, "like 500ms or 2s"),
        ("GET", "/api/counters/a?after=plain:0", json_type, "", 400, "topic:partition:offset"),
        ("GET", "/api/counters/a?after=plain:0:-1", json_type, "", 400, "topic:partition:offset"),
        ("GET", "/api/counters/a?after=plan:0:1", json_type, "", 404, "did you mean plain?"),
        ("GET", "/api/counters/a?x=1", json_type, "", 400, "unknown field `x`"),
        ("GET", "/api/counters/%ff", json_type, "", 400, "UTF-8"),
        ("GET", "/api/history/a?limit=1001", json_type, "", 400, "1 to 1000"),
        ("GET", "/api/history/a?limit=0", json_type, "", 400, "1 to 1000"),
        ("GET", "/api/uniques/a?day=2026-1-5", json_type, "", 400, "2026-11-21"),
        ("GET", "/api/trending/trending:videos?at=noon", json_type, "", 400, "RFC 3339"),
        ("GET", "/api/trending/trending:videos?window=2h", json_type, "", 400, "it has 1h, 1d"),
        ("GET", "/api/trending/trending:video", json_type, "", 404, "did you mean trending:videos?"),
        ("POST", "/api/counters/query", json_type, "{\"keys\":[\"a\"],\"prefix\":\"a\"}", 400, "either keys"),
    ] {
        let request = app.request(method, path).header("content-type", content_type).body(body);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(response.status(), status, "{method} {path}");
        problem(&response.json().await.unwrap(), status, "", detail, path.split('?').next().unwrap());
    }
    let keyed =
        app.request("POST", PUBLISH).header("idempotency-key", "\"\"").json(&json!({"topic": "plain", "data": {}}));
    problem(&keyed.send().await.unwrap().json().await.unwrap(), 400, "", "Idempotency-Key", PUBLISH);
    assert!(app.sent().is_empty());
}

#[tokio::test]
async fn bodies_may_be_gzipped_and_are_bounded() {
    let app = App::start().await;
    let send = async |encoding: &'static str, body: Vec<u8>| {
        let request = app.request("POST", PUBLISH).header("content-type", "application/json");
        request.header("content-encoding", encoding).body(body).send().await.unwrap()
    };
    let event = br#"{"topic":"plain","data":{"zip":true}}"#;
    assert_eq!(send("gzip", gzipped::gzip(event)).await.status(), 200);
    assert_eq!(app.sent().pop().unwrap().value(), json!({"zip": true}));
    // A few kilobytes that would be far more than the limit.
    let bomb = gzipped::gzip_bomb(40_000);
    problem(&send("gzip", bomb).await.json().await.unwrap(), 413, "", "decompressed", PUBLISH);
    let large = vec![b' '; streamgauge::http::MAX_BODY_BYTES + 1];
    problem(&send("identity", large).await.json().await.unwrap(), 413, "", "decompressed", PUBLISH);
    problem(&send("br", event.to_vec()).await.json().await.unwrap(), 415, "", "gzip", PUBLISH);
    problem(&send("gzip", b"no gzip".to_vec()).await.json().await.unwrap(), 400, "", "", PUBLISH);
}

#[tokio::test]
async fn counters_are_stored_plus_pending() {
    let app = App::start().await;
    app.results.store_counter("video:1:views", 40);
    app.results.store_counter("a%3Ab", 1);
    app.results.store_counter("peak", 10);
    app.results.hold("video:1:views", PendingValue::Sum(2));
    app.results.hold("fresh", PendingValue::Sum(5));
    app.results.hold("peak", PendingValue::Highest(7));
    let counter = |key: &str, value: i64, stored: i64, pending: i64, exists: bool| json!({"key": key, "value": value, "stored": stored, "pending": pending, "exists": exists});
    for (path, expected) in [
        ("video:1:views", counter("video:1:views", 42, 40, 2, true)),
        ("a%253Ab", counter("a%3Ab", 1, 1, 0, true)),
        ("fresh", counter("fresh", 5, 0, 5, true)),
        ("peak", counter("peak", 10, 10, 7, true)),
        ("never%2Fcounted", counter("never/counted", 0, 0, 0, false)),
    ] {
        let (status, answer) = app.get(&format!("/api/counters/{path}")).await;
        assert_eq!((status, answer), (200, json!({"success": true, "data": expected})), "{path}");
    }
    let (_, answer) = app.post("/api/counters/query", &json!({"keys": ["peak", "no"]})).await;
    assert_eq!(
        answer,
        json!({"success": true, "data": [counter("peak", 10, 10, 7, true), counter("no", 0, 0, 0, false)]})
    );
    let (_, answer) = app.post("/api/counters/query", &json!({"prefix": "video:", "limit": 1})).await;
    let expected = json!({"success": true, "data": [counter("video:1:views", 42, 40, 2, true)], "cursor": "1"});
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_counter_that_is_flushed_while_it_is_read_is_read_again() {
    let app = App::start().await;
    app.results.store_counter("c", 10);
    app.results.hold("c", PendingValue::Sum(5));
    // During the first read of the store the pending part moves into it.
    app.results.flush_during_reads(1);
    let (_, answer) = app.get("/api/counters/c").await;
    assert_eq!(answer["data"], json!({"key": "c", "value": 15, "stored": 15, "pending": 0, "exists": true}));
    app.results.flush_during_reads(usize::MAX);
    let (status, answer) = app.get("/api/counters/c").await;
    assert_eq!((status, &answer["type"]), (503, &json!("urn:streamgauge:problem:unsettled")));
}

#[tokio::test]
async fn other_results_are_found_under_their_names() {
    let app = App::start().await;
    for (path, data) in [
        (
            "uniques/video:1:viewers?day=2020-01-05",
            json!({"key": "video:1:viewers", "exists": true, "value": 3, "day": "2020-01-05"}),
        ),
        ("uniques/all:users", json!({"key": "all:users", "exists": true, "value": 9, "day": null})),
        (
            "history/user:1:history?limit=1",
            json!({"key": "user:1:history", "exists": true, "items": [{"element": "v1", "time": "1970-01-01T00:00:01.000Z"}]}),
        ),
        ("history/none", json!({"key": "none", "exists": false, "items": []})),
        ("sets/s", json!({"key": "s", "exists": true, "members": ["a", "b"], "cursor": "next"})),
        ("sets/s?element=a", json!({"key": "s", "exists": true, "element": "a", "member": true})),
        ("sets/none?element=a", json!({"key": "none", "exists": false, "element": "a", "member": false})),
        (
            "trending/trending:videos?at=2026-11-21T10:30:00Z",
            json!({"key": "trending:videos", "exists": true, "window": "1h", "windowStart": "2026-11-21T10:00:00.000Z",
                "items": [{"element": "v1", "sum": 4}]}),
        ),
        (
            "trending/trending:videos?window=1d&at=0",
            json!({"key": "trending:videos", "exists": false, "window": "1d", "windowStart": "1970-01-01T00:00:00.000Z", "items": []}),
        ),
    ] {
        let (status, answer) = app.get(&format!("/api/{path}")).await;
        assert_eq!((status, answer), (200, json!({"success": true, "data": data})), "{path}");
    }
    let (_, answer) = app.get("/api/uniques/video:1:viewers").await;
    assert_eq!(answer["data"]["exists"], json!(false), "the default is today");
    assert_eq!(answer["data"]["day"].as_str().unwrap().len(), 10);
    let (status, _) = app.get("/api/uniques/all:users?day=2026-11-21").await;
    assert_eq!(status, 400);
    app.results.break_store();
    let (status, answer) = app.get("/api/history/h").await;
    problem(&answer, status, "store-unavailable", "gone", "/api/history/h");
    assert_eq!(status, 503);
}

#[tokio::test]
async fn health_and_probes_tell_how_it_is() {
    let app = App::start().await;
    let now = std::time::Instant::now();
    app.health.add_part("log", true, now);
    for (level, status, name, ready) in
        [(Level::Down, 503, "down", 503), (Level::Degraded, 200, "degraded", 200), (Level::Ok, 200, "ok", 200)]
    {
        app.health.set("log", level, "no leader", now);
        for path in ["/health", "/api/health"] {
            let (got, answer) = app.get(path).await;
            assert_eq!((got, &answer["status"], &answer["service"]), (status, &json!(name), &json!("streamgauge")));
            assert_eq!(answer["parts"]["log"]["status"], name);
            assert!(answer["timestamp"].is_string());
        }
        assert_eq!(app.get("/readyz").await.0, ready);
    }
    assert_eq!(app.get("/livez").await, (200, json!({"status": "ok"})));
    let _beat = app.health.watch("flusher", std::time::Duration::ZERO, now);
    fixture::until(async || app.get("/livez").await.0 == 503).await;
    problem(&app.get("/livez").await.1, 503, "stalled", "flusher", "/livez");
    let text = app.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert_eq!(text, "metrics here\n");
    let (_, topics) = app.get("/api/topics").await;
    assert_eq!(topics["data"][0]["topic"], "video.views");
    assert_eq!(
        topics["data"][0]["events"][0],
        json!({"type": "video.view", "version": "1", "required": ["videoId", "userId"], "rules": 4})
    );
}

#[tokio::test]
async fn members_are_shown_with_what_they_count_and_will_count() {
    let app = App::start().await;
    let (_, none) = app.get("/api/members").await;
    assert_eq!(none, json!({"success": true, "data": {"group": "g", "member": "m-1", "members": []}}));
    let card = Card { version: card::VERSION, host: "there".to_owned(), program: "9".to_owned(), ..Card::default() };
    let lease = |holder: &str, next: Option<&str>| Lease { holder: holder.into(), next: next.map(Into::into) };
    let roster = Roster {
        version: 1,
        // What another version says of itself need not be understood.
        members: [("m-1".into(), card.to_bytes()), ("m-2".into(), b"?".to_vec())].into(),
        leases: [
            (TopicPartition::new("t", 0), lease("m-1", None)),
            (TopicPartition::new("t", 1), lease("m-1", Some("m-2"))),
        ]
        .into(),
    };
    app.membership.note(roster.into());
    let (status, answer) = app.get("/api/members").await;
    let members = json!([
        {"member": "m-1", "host": "there", "version": "9", "partitions": ["t:0", "t:1"], "next": []},
        {"member": "m-2", "host": "", "version": "", "partitions": [], "next": ["t:1"]},
    ]);
    assert_eq!((status, &answer["data"]["members"]), (200, &members));
}

#[tokio::test]
async fn a_process_that_does_not_publish_says_so() {
    let app = App::serve(None, false).await;
    for path in [PUBLISH, BATCH] {
        let request = app.request("POST", path).header("content-type", "application/json").body("{}");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403);
        problem(&answer.json().await.unwrap(), 403, "role-is-off", "ROLES", path);
    }
    assert_eq!(app.get("/api/topics").await.0, 200);
}

#[tokio::test]
async fn the_document_has_every_route_and_the_service_every_one_of_the_document() {
    let app = App::start().await;
    let (_, document) = app.get("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let expected = [
        "/api/counters/query",
        "/api/counters/{key}",
        "/api/dlq",
        "/api/dlq/{topic}",
        "/api/dlq/{topic}/purge",
        "/api/dlq/{topic}/replay",
        BATCH,
        PUBLISH,
        "/api/deliveries",
        "/api/events/processed/{eventId}",
        "/api/groups",
        "/api/groups/{group}/lag",
        "/api/health",
        "/api/history/{key}",
        "/api/members",
        "/api/sets/{key}",
        "/api/stream",
        "/api/topics",
        "/api/trending/{key}",
        "/api/uniques/{key}",
        "/health",
        "/livez",
        "/metrics",
        "/openapi.json",
        "/readyz",
    ];
    let mut known: Vec<&str> = paths.keys().map(String::as_str).collect();
    known.sort_unstable();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(known, wanted);
    for (path, operations) in paths {
        for method in ["get", "post", "put", "delete", "patch"] {
            let path = path.replace("{key}", "trending:videos").replace("{topic}", "views.checked");
            let path = path.replace("{eventId}", "e").replace("{group}", "g");
            let request = app.request(&method.to_uppercase(), &path);
            let status = request.send().await.unwrap().status().as_u16();
            assert_eq!(status != 405, operations.get(method).is_some(), "{method} {path} answered {status}");
            assert_ne!(status, 404, "{path}");
        }
    }
    // Every schema that is referred to is there.
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn browsers_of_the_named_origins_may_call() {
    let app = App::serve(Some("https://a.example, https://b.example".to_owned()), true).await;
    for (origin, allowed) in [("https://b.example", true), ("https://c.example", false)] {
        let preflight =
            app.request("OPTIONS", PUBLISH).header("origin", origin).header("access-control-request-method", "POST");
        let headers = preflight.send().await.unwrap().headers().clone();
        assert_eq!(headers.get("access-control-allow-origin").is_some(), allowed, "{origin}");
        let answer = app.request("GET", "/nowhere").header("origin", origin).send().await.unwrap();
        assert_eq!(answer.headers().get("access-control-allow-origin").is_some(), allowed, "problems too");
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let app = App::start().await;
    let hold = app.sender.hold();
    let pending = tokio::spawn(app.request("POST", PUBLISH).json(&json!({"topic": "plain", "data": {}})).send());
    fixture::until(async || app.sender.waiting() == 1).await;
    app.shutdown.cancel();
    fixture::until(async || tokio::net::TcpStream::connect(app.address).await.is_err()).await;
    drop(hold);
    assert_eq!(pending.await.unwrap().unwrap().status(), 200);
    app.served.await.unwrap().unwrap();
}
