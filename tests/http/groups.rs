//! The calls for groups: who holds what, and how far each is behind, by a log and a store in memory.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use streamgauge::{
    core::{
        card::{self, Card},
        delivery::{Position, Tried},
    },
    log::{Log, OutRecord},
    model::{Lease, Roster, TopicPartition},
    runtime::groups::{Group, Groups, Kind},
    store::Store,
};

use crate::fixture::{App, problem};

/// Counting's group, and one that gets one topic.
pub fn of(log: Arc<dyn Log>, store: Arc<dyn Store>) -> Arc<Groups> {
    let group = |name: &str, kind, topics: &[&str]| Group {
        name: name.to_owned(),
        kind,
        topics: topics.iter().map(|topic| (*topic).into()).collect(),
        only: BTreeMap::new(),
    };
    let groups =
        vec![group("g", Kind::Counting, &["video.views", "plain"]), group("mail", Kind::Delivery, &["order.paid"])];
    Arc::new(Groups::new(log, store, groups))
}

/// A topic of two partitions with so many records each, written so many seconds ago.
fn written(app: &App, topic: &str, records: [usize; 2], seconds: i64) {
    app.log.have(topic);
    for (partition, count) in records.into_iter().enumerate() {
        for _ in 0..count {
            let timestamp_ms = Some(chrono::Utc::now().timestamp_millis() - seconds * 1_000);
            app.log.append(
                &TopicPartition::new(topic, partition as i32),
                OutRecord { timestamp_ms, ..OutRecord::default() },
            );
        }
    }
}

fn held_by(member: &str, partition: &TopicPartition) -> Roster {
    let about = Card { version: card::VERSION, host: "there".into(), program: "1.2.3".into(), ..Card::default() };
    let lease = Lease { holder: member.into(), next: None };
    Roster {
        version: 1,
        members: [(member.into(), about.to_bytes())].into(),
        leases: [(partition.clone(), lease)].into(),
    }
}

#[tokio::test]
async fn it_is_told_who_holds_what() {
    let app = App::start().await;
    let (views, paid) = (TopicPartition::new("video.views", 1), TopicPartition::new("order.paid", 0));
    let rosters = [("g".to_owned(), held_by("m-1", &views)), ("delivery:mail".to_owned(), held_by("m-2", &paid))];
    app.results.rosters.lock().unwrap().extend(rosters);
    let member = |member, partition: &TopicPartition| json!([{"member": member, "host": "there", "version": "1.2.3", "partitions": [partition.to_string()], "next": []}]);
    let expected = json!({"success": true, "data": [
        {"group": "g", "kind": "counting", "topics": ["video.views", "plain"], "members": member("m-1", &views)},
        {"group": "mail", "kind": "delivery", "topics": ["order.paid"], "members": member("m-2", &paid)},
    ]});
    assert_eq!(app.get("/api/groups").await, (200, expected));
}

/// A partition as it is told, without its seconds, and those.
fn told(partition: &Value) -> (Value, Option<f64>) {
    let mut partition = partition.clone();
    let seconds = partition.as_object_mut().unwrap().remove("lagSeconds").unwrap();
    (partition, seconds.as_f64())
}

#[tokio::test]
async fn a_group_is_as_far_behind_as_its_positions_are_from_the_end_of_the_log() {
    let app = App::start().await;
    written(&app, "video.views", [7, 3], 60);
    let views = |number| TopicPartition::new("video.views", number);
    app.results.count_to(&views(0), &[4, 5]);
    app.results.rosters.lock().unwrap().insert("g".to_owned(), held_by("m-1", &views(0)));
    let (status, answer) = app.get("/api/groups/g/lag").await;
    assert_eq!(status, 200, "{answer}");
    let data = &answer["data"];
    assert_eq!(
        (&data["kind"], &data["lag"], &data["absentTopics"]),
        (&json!("counting"), &json!(3), &json!(["plain"]))
    );
    let partitions: Vec<_> = data["partitions"].as_array().unwrap().iter().map(told).collect();
    // The shard that is furthest behind decides; where nothing has begun, nothing is known.
    let first = json!({"topic": "video.views", "partition": 0, "member": "m-1", "host": "there", "position": 4, "end": 7, "lag": 3});
    let second = json!({"topic": "video.views", "partition": 1, "member": null, "host": null, "position": null, "end": 3, "lag": null});
    assert_eq!((&partitions[0].0, &partitions[1]), (&first, &(second, None)));
    assert!((60.0..90.0).contains(&partitions[0].1.unwrap()), "{answer}");
    assert_eq!(data["lagSeconds"], data["partitions"][0]["lagSeconds"]);

    // Of a delivery what is unfinished below its position counts too, and the oldest of that is how old it is.
    written(&app, "order.paid", [9, 4], 5);
    let paid = |number: i32, to, unfinished: &[i64]| {
        let unfinished = unfinished.iter().map(|offset| (*offset, Tried::default())).collect();
        let position = Position { to, unfinished, ..Position::default() };
        (format!("delivery:mail:order.paid:{number}"), (position.to_bytes(), 0))
    };
    app.results.documents.lock().unwrap().extend([paid(0, 6, &[1, 4]), paid(1, 4, &[])]);
    let (_, answer) = app.get("/api/groups/mail/lag").await;
    let data = &answer["data"];
    let seen = |number: usize| ["position", "end", "lag"].map(|name| data["partitions"][number][name].clone());
    assert_eq!((seen(0), seen(1)), ([json!(1), json!(9), json!(5)], [json!(4), json!(4), json!(0)]), "{answer}");
    assert_eq!((&data["lag"], &data["partitions"][1]["lagSeconds"]), (&json!(5), &json!(0.0)));
    assert!((5.0..35.0).contains(&data["lagSeconds"].as_f64().unwrap()), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_told_says_why() {
    let app = App::start().await;
    let path = "/api/groups/mial/lag";
    let (status, answer) = app.get(path).await;
    assert_eq!((status, &answer["nearest"]), (404, &json!("mail")));
    problem(&answer, 404, "unknown-group", "did you mean mail?", path);
    written(&app, "order.paid", [1, 0], 0);
    app.results.documents.lock().unwrap().insert("delivery:mail:order.paid:0".to_owned(), (b"v9".to_vec(), 0));
    let path = "/api/groups/mail/lag";
    problem(&app.get(path).await.1, 500, "position-unreadable", "delivery:mail:order.paid:0", path);
    // A log that does not say where it ends holds up nothing else.
    app.results.documents.lock().unwrap().clear();
    app.log.keep_silent(true);
    let (status, answer) = app.get(path).await;
    assert_eq!((status, &answer["data"]["partitions"][0]["end"]), (200, &json!(null)), "{answer}");
    app.results.break_store();
    assert_eq!(app.get(path).await.0, 503);
}
