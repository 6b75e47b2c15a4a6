//! What became of an event, by its id: from its mark, and from what its groups wrote.

use serde_json::{Value, json};
use streamgauge::{
    model::{GroupStatus, Progress, Status},
    runtime::publish::SendError,
};

use crate::{
    PUBLISH,
    fixture::{App, problem},
};

const PATH: &str = "/api/events/processed/e-1";

fn order() -> Value {
    json!({"topic": "order.created", "eventId": "e-1", "data": {"orderId": "1"}})
}

/// A group's status of the event at this offset, a second later or before now.
fn write(app: &App, group: &str, progress: Progress, offset: i64, seconds: i64) {
    write_of(app, "order.created", group, progress, offset, seconds);
}

fn write_of(app: &App, topic: &str, group: &str, progress: Progress, offset: i64, seconds: i64) {
    let error = (progress == Progress::Failed).then(|| "bad-field: x".into());
    let status = Status {
        progress,
        attempts: 1,
        topic: topic.into(),
        partition: 3,
        offset,
        at_ms: chrono::Utc::now().timestamp_millis() + seconds * 1_000,
        dead_letter: error.as_ref().map(|_| format!("{topic}.dlq").into()),
        error,
    };
    let mut statuses = app.results.statuses.lock().unwrap();
    let groups = statuses.entry("e-1".to_owned()).or_default();
    groups.retain(|known| &*known.group != group);
    groups.push(GroupStatus { group: group.into(), status });
}

/// The status, without the time, and whether there is one.
async fn look(app: &App, query: &str) -> (Value, bool) {
    let (status, mut answer) = app.get(&format!("{PATH}{query}")).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let at = answer["data"].as_object_mut().unwrap().remove("updatedAt").unwrap();
    assert!(at.is_null() || streamgauge::core::time::parse_rfc3339_ms(at.as_str().unwrap()).is_some(), "{at}");
    (answer["data"].take(), !at.is_null())
}

#[tokio::test]
async fn an_event_is_unknown_then_pending_then_processed() {
    let app = App::start().await;
    let unknown = json!({"eventId": "e-1", "processed": false, "status": "UNKNOWN", "groups": {}, "topic": null,
        "partition": null, "offset": null});
    assert_eq!(look(&app, "").await, (unknown, false));
    // Sent, and nobody knows whether it is stored.
    app.sender.fail_with(Some(SendError::Unconfirmed("no answer".into())));
    app.post(PUBLISH, &order()).await;
    let pending = json!({"status": "PENDING", "attempts": 0});
    let (data, _) = look(&app, "").await;
    assert_eq!((&data["status"], &data["groups"]["g"], &data["offset"]), (&json!("PENDING"), &pending, &json!(null)));
    app.sender.fail_with(None);
    app.post(PUBLISH, &order()).await;
    let expected = json!({"eventId": "e-1", "processed": false, "status": "PENDING", "groups": {"g": pending},
        "topic": "order.created", "partition": 3, "offset": 0});
    assert_eq!(look(&app, "").await, (expected.clone(), true));
    write(&app, "g", Progress::Processed, 0, 0);
    let mut done = expected;
    done["processed"] = json!(true);
    done["status"] = json!("PROCESSED");
    done["groups"]["g"] = json!({"status": "PROCESSED", "attempts": 1});
    assert_eq!(look(&app, "").await, (done, true));
}

#[tokio::test]
async fn the_least_finished_of_the_groups_is_told() {
    let app = App::start().await;
    for (counting, mail, overall) in [
        (Progress::Processed, Progress::Retrying, "RETRYING"),
        (Progress::Failed, Progress::Processed, "FAILED"),
        (Progress::Processed, Progress::Processing, "PROCESSING"),
        (Progress::Failed, Progress::Retrying, "RETRYING"),
        (Progress::Processed, Progress::Processed, "PROCESSED"),
    ] {
        write(&app, "g", counting, 0, 0);
        write(&app, "mail", mail, 0, 1);
        let (data, _) = look(&app, "").await;
        assert_eq!((&data["status"], data["processed"] == true), (&json!(overall), overall == "PROCESSED"), "{data}");
        assert_eq!(data["groups"]["mail"]["status"], mail.name());
        let (data, _) = look(&app, "?group=g").await;
        assert_eq!((&data["status"], data["groups"].as_object().unwrap().len()), (&json!(counting.name()), 1));
    }
    write(&app, "g", Progress::Failed, 0, 0);
    let (data, _) = look(&app, "?group=g").await;
    let failed = json!({"status": "FAILED", "attempts": 1, "error": "bad-field: x", "deadLetter": "order.created.dlq"});
    assert_eq!(data["groups"]["g"], failed);
    assert_eq!(look(&app, "?group=other").await.0["status"], "UNKNOWN");
}

#[tokio::test]
async fn an_event_that_is_delivered_is_done_when_every_group_is() {
    let app = App::start().await;
    app.post(PUBLISH, &json!({"topic": "order.paid", "eventId": "e-1", "data": {"orderId": "1"}})).await;
    let (data, _) = look(&app, "").await;
    let pending = json!({"status": "PENDING", "attempts": 0});
    assert_eq!(data["groups"], json!({"g": pending, "mail": pending, "stock": pending}));
    let write = |group: &str, progress| write_of(&app, "order.paid", group, progress, 0, 0);
    let waiting = tokio::spawn(app.request("GET", &format!("{PATH}?wait=10s")).send());
    for (group, progress, overall) in [
        // Counted, and a subscription has yet to get it.
        ("g", Progress::Processed, "PENDING"),
        ("mail", Progress::Failed, "PENDING"),
        ("stock", Progress::Processing, "PROCESSING"),
        ("stock", Progress::Retrying, "RETRYING"),
    ] {
        write(group, progress);
        let (data, _) = look(&app, "?wait=50ms").await;
        assert_eq!((&data["status"], data["groups"].as_object().unwrap().len()), (&json!(overall), 3), "{data}");
    }
    assert_eq!(look(&app, "?group=g&wait=10s").await.0["status"], "PROCESSED");
    assert!(!waiting.is_finished());
    write("stock", Progress::Processed);
    let answer: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!((&answer["data"]["status"], &answer["data"]["processed"]), (&json!("FAILED"), &json!(false)));
    write("mail", Progress::Processed);
    assert_eq!(look(&app, "").await.0["status"], "PROCESSED");
}

#[tokio::test]
async fn what_was_published_again_under_the_same_id_is_pending_again_and_an_untracked_topic_unknown() {
    let app = App::start().await;
    write(&app, "g", Progress::Failed, 7, -60);
    assert_eq!(look(&app, "").await.0["status"], "FAILED");
    app.post(PUBLISH, &order()).await;
    let (data, _) = look(&app, "").await;
    assert_eq!((&data["status"], &data["offset"]), (&json!("PENDING"), &json!(0)), "{data}");
    app.post(PUBLISH, &json!({"topic": "plain", "eventId": "p", "data": {}})).await;
    let (_, answer) = app.get("/api/events/processed/p").await;
    assert_eq!((&answer["data"]["status"], &answer["data"]["topic"]), (&json!("UNKNOWN"), &json!("plain")));
}

#[tokio::test]
async fn one_may_wait_until_nothing_more_happens() {
    let app = App::start().await;
    app.post(PUBLISH, &order()).await;
    assert_eq!(look(&app, "?wait=50ms").await.0["status"], "PENDING");
    let waiting = tokio::spawn(app.request("GET", &format!("{PATH}?wait=10s")).send());
    write(&app, "g", Progress::Processing, 0, 0);
    assert_eq!(look(&app, "?wait=50ms").await.0["status"], "PROCESSING");
    assert!(!waiting.is_finished());
    write(&app, "g", Progress::Processed, 0, 0);
    let answer: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["status"], "PROCESSED");
    for (query, detail) in [("?wait=30s", "at most 20 s"), ("?group=a&wat=1s", "unknown field `wat`")] {
        problem(&app.get(&format!("{PATH}{query}")).await.1, 400, "", detail, PATH);
    }
    app.results.break_store();
    assert_eq!(app.get(PATH).await.0, 503);
    assert_eq!(app.get(&format!("{PATH}?wait=1s")).await.0, 503);
}
