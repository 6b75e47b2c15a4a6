//! Publishing under an id: one record, however often it is asked for, and an honest answer to whoever asks again.

use serde_json::{Value, json};
use streamgauge::runtime::{publish::SendError, reads::PendingValue};

use crate::{
    BATCH, PUBLISH,
    fixture::{App, problem, until},
};

const HOUR_MS: u64 = 3_600_000;
const FLIGHT_MS: u64 = 90_000;

fn view(id: &str) -> Value {
    json!({"topic": "video.views", "eventId": id, "data": {"videoId": "1", "userId": 7}})
}

/// The body with other members.
fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn under_key(app: &App, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let response = app.request("POST", path).header("idempotency-key", key).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn an_event_sent_again_is_answered_as_before_and_not_sent() {
    let app = App::start().await;
    let (status, first) = app.post(PUBLISH, &view("e-1")).await;
    assert_eq!((status, &first["duplicate"], &first["offset"]), (200, &json!(false), &json!(0)));
    let again = with(first.clone(), &json!({"duplicate": true}));
    assert_eq!(app.post(PUBLISH, &view("e-1")).await, (200, again.clone()));
    let batch = json!({"events": [view("e-1")]});
    let (status, answer) = app.post(BATCH, &batch).await;
    let told = &answer["results"][0];
    assert_eq!((status, &told["duplicate"], &told["offset"]), (200, &json!(true), &json!(0)), "{answer}");
    assert_eq!(app.sent().len(), 1);
    let (mark, ttl_ms) = app.results.document("publish:e-1").unwrap();
    assert_eq!((&mark["state"], ttl_ms), (&json!({"stored": {"partition": 3, "offset": 0}}), HOUR_MS));
}

#[tokio::test]
async fn an_idempotency_key_stands_for_an_id_and_without_either_the_store_is_not_asked() {
    let app = App::start().await;
    app.results.hold("unused", PendingValue::Sum(0));
    let body = json!({"topic": "plain", "data": {"n": 1}});
    let (status, first) = under_key(&app, PUBLISH, "\"k-1\"", &body).await;
    assert_eq!((status, &first["eventId"], &first["duplicate"]), (200, &json!("k-1"), &json!(false)));
    assert_eq!(app.sent()[0].value(), json!({"id": "k-1", "n": 1}), "a consumer must know it again");
    // With quotes and without, in the header and as the event's id, it is the same one.
    for answer in [
        under_key(&app, PUBLISH, "k-1", &body).await,
        app.post(PUBLISH, &with(body.clone(), &json!({"eventId": "k-1"}))).await,
    ] {
        assert_eq!(answer, (200, with(first.clone(), &json!({"duplicate": true}))));
    }
    let (status, answer) = under_key(&app, PUBLISH, "k-2", &with(body.clone(), &json!({"eventId": "e"}))).await;
    problem(&answer, 400, "invalid-event", "leave one of them out", PUBLISH);
    assert_eq!(status, 400);
    // A bare event that has an id of its own keeps it.
    let own = json!({"topic": "plain", "data": {"id": "own"}});
    for is_duplicate in [false, true] {
        let (_, answer) = under_key(&app, PUBLISH, "k-3", &own).await;
        assert_eq!((&answer["eventId"], &answer["duplicate"]), (&json!("own"), &json!(is_duplicate)));
    }
    let swaps = app.results.swaps();
    app.post(PUBLISH, &body).await;
    app.post(BATCH, &json!({"topic": "plain", "events": [{"data": {}}]})).await;
    assert_eq!((app.results.swaps(), app.sent().len()), (swaps, 4));
}

#[tokio::test]
async fn other_content_under_an_id_is_refused() {
    let app = App::start().await;
    let full = with(view("e"), &json!({"key": "k", "priority": "low", "source": "s", "correlationId": "c"}));
    assert_eq!(app.post(PUBLISH, &full).await.0, 200);
    for other in [
        json!({"topic": "plain"}),
        json!({"data": {"videoId": "2", "userId": 7}}),
        json!({"data": {"videoId": "1", "userId": 7, "more": null}}),
        json!({"key": "l"}),
        json!({"key": null}),
        json!({"priority": "high"}),
        json!({"priority": null}),
        json!({"source": "t"}),
        json!({"correlationId": "d"}),
        json!({"userId": "u"}),
    ] {
        let (status, answer) = app.post(PUBLISH, &with(full.clone(), &other)).await;
        assert_eq!(status, 422, "{other}");
        problem(&answer, 422, "other-content", "give another event another id", PUBLISH);
    }
    // Named or not, the type is the same; and so is what the request carries beside the event.
    let named = with(full.clone(), &json!({"eventType": "video.view"}));
    let request = app.request("POST", PUBLISH).header("traceparent", "00-1-2-01").json(&named);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["duplicate"], app.sent().len()), (&json!(true), 1));
}

#[tokio::test]
async fn while_the_first_is_in_flight_a_second_is_told_so_also_when_the_first_caller_has_gone() {
    let app = App::start().await;
    for id in ["waits", "goes"] {
        let hold = app.sender.hold();
        let first = tokio::spawn(app.request("POST", PUBLISH).json(&view(id)).send());
        until(async || app.sender.waiting() == 1).await;
        let (mark, ttl_ms) = app.results.document(&format!("publish:{id}")).unwrap();
        assert!(mark["state"]["inFlight"]["attempt"].is_string() && ttl_ms == FLIGHT_MS, "{mark} {ttl_ms}");
        let response = app.request("POST", PUBLISH).json(&view(id)).send().await.unwrap();
        assert!(response.headers().contains_key("retry-after"));
        problem(&response.json().await.unwrap(), 409, "in-flight", "ask again in a moment", PUBLISH);
        let response = app.request("POST", BATCH).json(&json!({"events": [view(id)]})).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (207, true));
        let other = with(view(id), &json!({"key": "k"}));
        assert_eq!(app.post(PUBLISH, &other).await.0, 422);
        if id == "goes" {
            first.abort();
            assert!(first.await.unwrap_err().is_cancelled());
        } else {
            drop(hold);
            assert_eq!(first.await.unwrap().unwrap().status(), 200);
            continue;
        }
        drop(hold);
        until(async || app.post(PUBLISH, &view(id)).await.0 == 200).await;
        assert_eq!(app.post(PUBLISH, &view(id)).await.1["duplicate"], true);
    }
    assert_eq!(app.sent().len(), 2);
}

#[tokio::test]
async fn what_was_surely_not_stored_is_forgotten_and_what_may_be_is_sent_again() {
    let app = App::start().await;
    let other = with(view("e"), &json!({"key": "k"}));
    for refused in [SendError::TooLarge, SendError::Full, SendError::Unavailable("no leader".into())] {
        app.sender.fail_with(Some(refused));
        assert_ne!(app.post(PUBLISH, &view("e")).await.0, 200);
        assert_eq!(app.results.document("publish:e"), None);
    }
    app.sender.fail_with(Some(SendError::Unconfirmed("no answer".into())));
    assert_eq!(app.post(PUBLISH, &view("e")).await.0, 503);
    let (mark, ttl_ms) = app.results.document("publish:e").unwrap();
    assert_eq!((&mark["state"], ttl_ms), (&json!("open"), HOUR_MS));
    app.sender.fail_with(None);
    assert_eq!(app.post(PUBLISH, &other).await.0, 422, "the first may be stored");
    let (status, answer) = app.post(PUBLISH, &view("e")).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(false)));
    assert_eq!(app.post(PUBLISH, &view("e")).await.1["duplicate"], true);
    assert_eq!(app.sent().len(), 1);
}

#[tokio::test]
async fn a_store_that_is_down_stops_what_has_an_id_only_and_lost_answers_nothing() {
    let app = App::start().await;
    // Carried out without an answer: the claim, then what is said afterwards.
    for lost in [1, 2] {
        app.results.lose_answers(lost);
        let id = format!("lost-{lost}");
        assert_eq!(app.post(PUBLISH, &view(&id)).await.0, 200);
        assert_eq!(app.post(PUBLISH, &view(&id)).await.1["duplicate"], true);
    }
    app.results.break_store();
    let response = app.request("POST", PUBLISH).json(&view("e")).send().await.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    problem(&response.json().await.unwrap(), 503, "store-unavailable", "so it was not sent", PUBLISH);
    let events = json!([view("e"), {"topic": "plain", "data": {}}]);
    let (status, answer) = app.post(BATCH, &json!({"events": events})).await;
    let statuses = [&answer["results"][0]["status"], &answer["results"][1]["status"]];
    assert_eq!((status, statuses), (207, [&json!(503), &json!(200)]), "{answer}");
    assert_eq!(app.sent().len(), 3);
}

#[tokio::test]
async fn a_batch_asks_the_store_twice_and_tells_of_each_event() {
    let app = App::start().await;
    app.post(PUBLISH, &view("before")).await;
    app.post(PUBLISH, &view("other")).await;
    let before = app.results.swaps();
    let events = json!([
        view("new"), view("before"), view("new"), with(view("new"), &json!({"key": "k"})),
        with(view("other"), &json!({"key": "k"})), {"topic": "plain", "data": {}}, view(""), view("newer"),
    ]);
    let (status, answer) = app.post(BATCH, &json!({"events": events})).await;
    let told = |result: &Value| (result["status"].as_i64().unwrap(), result["duplicate"].as_bool());
    let results: Vec<_> = answer["results"].as_array().unwrap().iter().map(told).collect();
    let expected = [
        (200, Some(false)),
        (200, Some(true)),
        (200, Some(true)),
        (422, None),
        (422, None),
        (200, Some(false)),
        (400, None),
        (200, Some(false)),
    ];
    assert_eq!((status, results), (207, expected.to_vec()), "{answer}");
    assert_eq!(answer["results"][2]["offset"], answer["results"][0]["offset"]);
    assert_eq!((app.results.swaps() - before, app.sent().len()), (2, 5));

    // The header of a batch gives an id to each event that has none, by its place.
    let events = json!({"topic": "plain", "events": [{"data": {}}, {"eventId": "own", "data": {}}, {"data": {}}]});
    for is_duplicate in [false, true] {
        let (_, answer) = under_key(&app, BATCH, "b", &events).await;
        let told = |result: &Value| (result["eventId"].clone(), result["duplicate"].as_bool().unwrap());
        let results: Vec<_> = answer["results"].as_array().unwrap().iter().map(told).collect();
        assert_eq!(results, ["b-0", "own", "b-2"].map(|id| (json!(id), is_duplicate)));
    }
}
