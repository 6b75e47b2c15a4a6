//! Publishing over a real connection: one event, a batch, and all that is refused.

use serde_json::{Value, json};
use streamgauge::runtime::publish::SendError;

use crate::{
    BATCH, PUBLISH,
    fixture::{App, Sent, problem},
};

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
        (
            json!({"topic": "order.checked", "data": {"total": "3"}}),
            400,
            "schema-mismatch",
            "order.checked: the data does not fit its schema at /total: value is not of type",
        ),
        (
            json!({"topic": "order.checked", "data": {"total": 3, "more": 1}}),
            400,
            "schema-mismatch",
            "'more' was unexpected",
        ),
        (
            json!({"topic": "views.checked", "data": {"videoId": "1"}}),
            400,
            "schema-mismatch",
            "view: the data does not fit its schema: \"userId\" is a required",
        ),
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
        (SendError::Unconfirmed("no answer".into()), 503, "broker-unavailable"),
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
    let other = json!({"data": {"videoId": "1", "userId": "2"}, "eventId": "b"});
    let (status, answer) = app.post(BATCH, &json!({"topic": "video.views", "events": [view, other]})).await;
    let result = |id: &str, offset: i64| json!({"success": true, "status": 200, "eventId": id, "topic": "video.views", "partition": 3, "offset": offset, "duplicate": false});
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"success": true, "message": "Batch published successfully (2 events)", "results": [result("a", 0), result("b", 1)]})
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
async fn each_line_is_answered_in_its_place() {
    let app = App::start().await;
    let path = format!("{BATCH}?topic=plain");
    let send = async |lines: Vec<u8>| {
        let request = app.request("POST", &path).header("content-type", "application/x-ndjson").body(lines);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    // What each line is answered: its eventId where it is stored, else words of the reason.
    let table: &[(&[u8], u64, &str)] = &[
        (b"{broken", 400, "the event: key must be a string at line 1 column 2"),
        (br#"{"eventId":"a","data":{}}"#, 200, "a"),
        (br#"{"eventId":"b","topic":"pl\u0061in","key":"k\"1","data":{"n":1}}"#, 200, "b"),
        (b"{\"eventId\":\"\xff\",\"data\":{}}", 400, "invalid unicode"),
        (br#"{"topic":"nowhere","data":{}}"#, 404, "nowhere"),
        (b"  {\"eventId\":\"\xc3\xa9\\n\",\"data\":{\"\xc3\xa9\":\"\xf0\x9f\x98\x80\"}}\t\r", 200, "\u{e9}\n"),
        (br#"{"data":{}} {}"#, 400, "trailing characters"),
        (br#"{"eventId":"c","data":{}}"#, 200, "c"),
        (b"\xff", 400, "the event"),
    ];
    // Also without the lines that are not UTF-8: the body is read in another way then.
    for is_utf8 in [false, true] {
        let rows: Vec<_> = table.iter().filter(|(line, ..)| !is_utf8 || std::str::from_utf8(line).is_ok()).collect();
        let body = rows.iter().map(|(line, ..)| *line).collect::<Vec<_>>().join(&b"\n\n \r\n"[..]);
        let (status, answer) = send(body).await;
        assert_eq!((status, answer["results"].as_array().unwrap().len()), (207, rows.len()), "{answer}");
        let stored = rows.iter().filter(|(_, status, _)| *status == 200).count();
        assert_eq!(answer["message"], format!("Batch published in part ({stored} of {} events)", rows.len()));
        for ((line, status, words), result) in rows.iter().zip(answer["results"].as_array().unwrap()) {
            let line = String::from_utf8_lossy(line);
            assert_eq!((&result["status"], &result["success"]), (&json!(status), &json!(*status == 200)), "{line}");
            match *status {
                200 => assert_eq!(result["eventId"], *words, "{line}"),
                _ => assert!(result["error"]["detail"].as_str().unwrap().contains(words), "{line}: {result}"),
            }
        }
    }
    let sent = app.sent();
    assert_eq!(sent[1].key().as_deref(), Some("k\"1"));
    assert_eq!(sent[2].value(), json!({"id": "\u{e9}\n", "\u{e9}": "\u{1f600}"}));
    assert_eq!(send(b" \n\r\n".to_vec()).await.0, 400, "blank lines are no events");
    let (status, answer) = send(br#"{"eventId":"last","data":{}}"#.to_vec()).await;
    assert_eq!((status, &answer["results"][0]["eventId"]), (200, &json!("last")), "a last line needs no end");
    let lines = |events: usize| b"{\"data\":{}}\n".repeat(events);
    assert_eq!(send(lines(streamgauge::http::MAX_BATCH_EVENTS)).await.0, 200);
    let before = app.sent().len();
    assert_eq!(send(lines(streamgauge::http::MAX_BATCH_EVENTS + 1)).await.0, 413);
    assert_eq!(app.sent().len(), before, "nothing of a batch that is too large is sent");
}

#[tokio::test]
async fn ids_that_are_given_by_the_service_are_new_for_each_event() {
    let app = App::start().await;
    let events = vec![json!({"data": {}}); 300];
    let mut ids = std::collections::HashSet::new();
    for _ in 0..3 {
        let (_, answer) = app.post(BATCH, &json!({"topic": "plain", "events": events})).await;
        for result in answer["results"].as_array().unwrap() {
            let id = uuid::Uuid::parse_str(result["eventId"].as_str().unwrap()).unwrap();
            assert_eq!(id.get_version_num(), 7);
            assert!(ids.insert(id), "{id} was given twice");
        }
    }
    let headers: Vec<String> = app.sent().iter().map(|sent| sent.header("event-id")).collect();
    assert!(headers.iter().all(|id| ids.contains(&uuid::Uuid::parse_str(id).unwrap())));
}
