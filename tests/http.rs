//! The API over a real connection: what goes in, what comes out, to the letter.
//!
//! Log and counting stand in as small values in memory; everything between the socket and them is the real thing.

#[path = "http/fixture.rs"]
mod fixture;

use fixture::{App, Sent, problem};
use serde_json::{Value, json};
use streamgauge::runtime::{health::Level, publish::SendError, reads::PendingValue};

const PUBLISH: &str = "/api/events/publish";
const BATCH: &str = "/api/events/publish-batch";

#[tokio::test]
async fn a_published_event_is_answered_with_where_it_is() {
    let app = App::start().await;
    let body = json!({"topic": "video.views", "data": {"videoId": "1", "userId": 7}, "eventId": "e-1"});
    let (status, answer) = app.post(PUBLISH, &body).await;
    assert_eq!(status, 200);
    let expected = json!({"success": true, "message": "Event published successfully", "eventId": "e-1",
        "topic": "video.views", "partition": 3, "offset": 0, "duplicate": false});
    assert_eq!(answer, expected);
    let body = json!({"topic": "video.views", "data": {"videoId": "1", "userId": 7}});
    let (_, answer) = app.post(PUBLISH, &body).await;
    let id = answer["eventId"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(app.sent().last().unwrap().header("event-id"), id);
}

#[tokio::test]
async fn events_are_written_in_their_topics_shape() {
    let app = App::start().await;
    for (request, key, value) in [
        // Flat: the type is added, data stays as it is, no time is made up.
        (
            json!({"topic": "video.views", "data": {"videoId": "1", "userId": 7}}),
            Some("1"),
            json!({"type": "video.view", "videoId": "1", "userId": 7}),
        ),
        (
            json!({"topic": "video.views", "userId": "u", "source": "web", "priority": "high", "correlationId": "c",
                "data": {"videoId": 9, "timestamp": 5, "type": "video.view"}}),
            Some("9"),
            json!({"userId": "u", "source": "web", "correlationId": "c", "priority": "high", "videoId": 9,
                "timestamp": 5, "type": "video.view"}),
        ),
        // Several types: named by the data or the request.
        (json!({"topic": "video.likes", "data": {"type": "video.unlike"}}), None, json!({"type": "video.unlike"})),
        (
            json!({"topic": "video.likes", "eventType": "video.like", "key": "k", "data": {"userId": "a:b"}}),
            Some("k"),
            json!({"type": "video.like", "userId": "a:b"}),
        ),
        (
            json!({"topic": "video.likes", "eventType": "video.like", "data": {"userId": "a", "videoId": 2}}),
            Some("a:2"),
            json!({"type": "video.like", "userId": "a", "videoId": 2}),
        ),
        // A key field that is no string or whole number, or empty: any partition.
        (
            json!({"topic": "video.views", "data": {"videoId": 1.5, "userId": 7}}),
            None,
            json!({"type": "video.view", "videoId": 1.5, "userId": 7}),
        ),
        // Bare: as it is, with the id that was given.
        (json!({"topic": "plain", "data": {"type": "own", "n": 1}}), None, json!({"type": "own", "n": 1})),
        (json!({"topic": "plain", "data": {}, "eventId": "x"}), None, json!({"id": "x"})),
    ] {
        let (status, answer) = app.post(PUBLISH, &request).await;
        assert_eq!(status, 200, "{request} {answer}");
        let sent = app.sent().pop().unwrap();
        assert_eq!((sent.key(), sent.value()), (key.map(str::to_owned), value), "{request}");
    }
}

#[tokio::test]
async fn a_nested_event_gets_id_time_and_version() {
    let app = App::start().await;
    let request = json!({"topic": "order.created", "userId": "u", "source": "shop", "correlationId": "c",
        "priority": "critical", "eventId": "o-1", "data": {"orderId": "5", "total": 1.10}});
    let (status, _) = app.post(PUBLISH, &request).await;
    assert_eq!(status, 200);
    let sent: Sent = app.sent().pop().unwrap();
    let mut value = sent.value();
    let time = value["metadata"]["timestamp"].take();
    assert!(streamgauge::core::time::parse_rfc3339_ms(time.as_str().unwrap()).is_some(), "{time}");
    assert_eq!(
        value,
        json!({"metadata": {"eventId": "o-1", "eventType": "order.created", "timestamp": null, "version": "1",
            "priority": "critical", "source": "shop", "correlationId": "c", "userId": "u"},
            "data": {"orderId": "5", "total": 1.10}})
    );
    assert_eq!(sent.key().as_deref(), Some("5"));
    // Numbers keep their digits.
    assert!(sent.text().contains("1.1"), "{}", sent.text());
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name() {
    let app = App::start().await;
    let views = |data: Value| json!({"topic": "video.views", "data": data});
    for (body, status, kind, detail) in [
        (json!({"topic": "video.view", "data": {}}), 404, "unknown-topic", "did you mean video.views?"),
        (views(json!({"videoId": "1"})), 400, "missing-field", "userId"),
        (views(json!({"videoId": null, "userId": null})), 400, "missing-field", "fields videoId, userId"),
        (views(json!([1])), 400, "invalid-event", "must be a JSON object"),
        (views(json!({"type": "video.viev"})), 400, "unknown-event-type", "did you mean video.view?"),
        (views(json!({"type": 5})), 400, "invalid-event", "must be a string"),
        (json!({"topic": "video.likes", "data": {}}), 400, "no-event-type", "video.like, video.unlike"),
        (
            json!({"topic": "video.likes", "data": {"type": "video.like"}, "eventType": "video.unlike"}),
            400,
            "invalid-event",
            "leave one of them out",
        ),
        (json!({"topic": "plain", "data": {}, "priority": "urgent"}), 400, "invalid-event", "critical, high"),
        (json!({"topic": "plain", "data": {}, "eventId": ""}), 400, "invalid-event", "eventId is empty"),
        (json!({"topic": "plain", "data": {}, "evenId": ""}), 400, "about:blank", "unknown field `evenId`"),
        (json!({"topic": "plain"}), 400, "about:blank", "missing field `data`"),
    ] {
        let (got, answer) = app.post(PUBLISH, &body).await;
        problem(&answer, status, kind, detail, PUBLISH);
        assert_eq!(got, status, "{body}");
    }
    assert!(app.sent().is_empty(), "nothing that was refused is sent");
    let (_, answer) = app.post(PUBLISH, &json!({"topic": "video.view", "data": {}})).await;
    assert_eq!(answer["nearest"], "video.views");
}

#[tokio::test]
async fn what_the_broker_does_not_have_is_never_answered_200() {
    let app = App::start().await;
    let body = json!({"topic": "plain", "data": {}});
    for (error, status, kind) in [
        (SendError::Full, 503, "overloaded"),
        (SendError::Unavailable("no leader".into()), 503, "broker-unavailable"),
        (SendError::UnknownTopic, 503, "broker-unavailable"),
        (SendError::TooLarge, 413, "record-too-large"),
        (SendError::Invalid("bad".into()), 400, "record-refused"),
    ] {
        app.sender.fail_with(Some(error.clone()));
        let response = app.request("POST", PUBLISH).json(&body).send().await.unwrap();
        assert_eq!(response.headers().contains_key("retry-after"), status == 503, "{error:?}");
        problem(&response.json().await.unwrap(), status, kind, "", PUBLISH);
        // A batch of which nothing is stored for want of a broker is no 207 that a hasty client takes for done.
        let (batch, _) = app.post(BATCH, &json!({"topic": "plain", "events": [{"data": {}}]})).await;
        assert_eq!(batch, if status == 503 { 503 } else { 207 }, "{error:?}");
    }
}

#[tokio::test]
async fn a_batch_tells_of_each_event() {
    let app = App::start().await;
    let view = json!({"data": {"videoId": "1", "userId": "2"}, "eventId": "a"});
    let (status, answer) = app.post(BATCH, &json!({"topic": "video.views", "events": [view, view]})).await;
    let result = |offset: i64| json!({"success": true, "status": 200, "eventId": "a", "topic": "video.views", "partition": 3, "offset": offset, "duplicate": false});
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"success": true, "message": "Batch published successfully (2 events)", "results": [result(0), result(1)]})
    );
    let events = json!([{"data": {"videoId": "1"}}, view, {"dat": 1}, {"data": {}, "topic": "plain"}]);
    let (status, answer) = app.post(BATCH, &json!({"topic": "video.views", "events": events})).await;
    let statuses: Vec<i64> =
        answer["results"].as_array().unwrap().iter().map(|r| r["status"].as_i64().unwrap()).collect();
    assert_eq!((status, statuses), (207, vec![400, 200, 400, 200]), "{answer}");
    assert_eq!(
        (&answer["success"], &answer["message"]),
        (&json!(false), &json!("Batch published in part (2 of 4 events)"))
    );
    assert_eq!(answer["results"][0]["error"]["type"], "urn:streamgauge:problem:missing-field");

    let lines =
        "{\"data\":{\"n\":1}}\r\n\n{\"topic\":\"video.views\",\"data\":{\"videoId\":1,\"userId\":2}}\n{broken\n";
    let path = format!("{BATCH}?topic=plain");
    let request = app.request("POST", &path).header("content-type", "application/x-ndjson").body(lines);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let statuses: Vec<&Value> = answer["results"].as_array().unwrap().iter().map(|r| &r["status"]).collect();
    assert_eq!(statuses, [200, 200, 400], "{answer}");

    let (status, answer) = app.post(BATCH, &json!({"topic": "plain", "events": []})).await;
    assert_eq!((status, &answer["detail"]), (400, &json!("the batch has no events")));
    let many = vec![json!({"data": {}}); streamgauge::http::MAX_BATCH_EVENTS + 1];
    let (status, _) = app.post(BATCH, &json!({"topic": "plain", "events": many})).await;
    assert_eq!(status, 413);
    let (status, _) = app.post(BATCH, &json!({"topic": "no", "events": [{"data": {}}]})).await;
    assert_eq!(status, 207);
}

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
        ("POST", "/api/events/publish?wait=2s", json_type, "{}", 400, "wait is not in this version yet"),
        ("GET", "/api/counters/a?after=t:0:1", json_type, "", 400, "after is not in this version yet"),
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
        app.request("POST", PUBLISH).header("idempotency-key", "1").json(&json!({"topic": "plain", "data": {}}));
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
    assert_eq!(send("gzip", fixture::gzip(event)).await.status(), 200);
    assert_eq!(app.sent().pop().unwrap().value(), json!({"zip": true}));
    // A few kilobytes that would be far more than the limit.
    let bomb = fixture::gzip_bomb(40_000);
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
async fn the_document_has_every_route_and_the_service_every_one_of_the_document() {
    let app = App::start().await;
    let (_, document) = app.get("/openapi.json").await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let expected = [
        "/api/counters/query",
        "/api/counters/{key}",
        BATCH,
        PUBLISH,
        "/api/health",
        "/api/history/{key}",
        "/api/sets/{key}",
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
            let request = app.request(&method.to_uppercase(), &path.replace("{key}", "trending:videos"));
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
    let app = App::with_cors("https://a.example, https://b.example").await;
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
