//! Wide events and CloudEvents as they are written, and the trace context of requests.

use serde_json::{Value, json};

use crate::{BATCH, PUBLISH, fixture::App};

/// A value without its time, which must be one of this year or later.
fn without_time(mut value: Value, name: &str) -> Value {
    let time = value.as_object_mut().unwrap().remove(name).unwrap();
    assert!(time.as_str().is_some_and(|time| time >= "2026"), "{time}");
    value
}

#[tokio::test]
async fn wide_and_cloud_events_get_all_that_their_form_asks_for() {
    let app = App::start().await;
    let given = json!({"userId": "u", "source": "shop", "correlationId": "c", "priority": "high", "eventId": "i"});
    let with = |topic: &str, more: &Value| {
        let mut request = json!({"topic": topic, "data": {"n": 1.10}});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    for (request, key, time, value) in [
        (
            with("stream.events", &json!({"eventType": "stream.ended", "eventId": "i-1"})),
            "streamgauge",
            "timestamp",
            json!({"eventId": "i-1", "eventType": "stream.ended", "source": "streamgauge", "version": "1", "data": {"n": 1.10}}),
        ),
        (
            with(
                "stream.events",
                &json!({"eventType": "stream.started", "userId": "u", "source": "shop", "correlationId": "c", "priority": "high", "eventId": "i-2"}),
            ),
            "shop",
            "timestamp",
            json!({"eventId": "i-2", "eventType": "stream.started", "source": "shop", "version": "1", "data": {"n": 1.10},
                "metadata": {"correlationId": "c", "userId": "u", "priority": "high"}}),
        ),
        (
            with("cloud", &given),
            "shop:u",
            "time",
            json!({"specversion": "1.0", "id": "i", "source": "shop", "type": "cloud", "datacontenttype": "application/json",
                "version": "1", "priority": "high", "correlationid": "c", "userid": "u", "data": {"n": 1.10}}),
        ),
    ] {
        let (status, answer) = app.post(PUBLISH, &request).await;
        assert_eq!(status, 200, "{request} {answer}");
        let sent = app.sent().pop().unwrap();
        assert_eq!((sent.key().as_deref(), without_time(sent.value(), time)), (Some(key), value), "{request}");
    }
    assert_eq!(app.sent().pop().unwrap().header("content-type"), "application/cloudevents+json; charset=utf-8");
}

#[tokio::test]
async fn the_trace_context_of_a_request_goes_with_its_events() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let app = App::start().await;
    let event = json!({"topic": "cloud", "data": {}});
    for (path, body) in [(PUBLISH, event.clone()), (BATCH, json!({"events": [event.clone()]}))] {
        let request = app.request("POST", path).header("traceparent", PARENT).header("tracestate", "a=1").json(&body);
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
        let sent = app.sent().pop().unwrap();
        assert_eq!((&*sent.header("traceparent"), &*sent.header("tracestate")), (PARENT, "a=1"), "{path}");
    }
}
