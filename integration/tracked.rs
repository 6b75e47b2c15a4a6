//! Statuses between real servers: what became of each event of a tracked topic, as it is asked through any process.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use crate::{
    kcat,
    place::{Place, ready},
    support::process::Process,
};

const EVENTS: usize = 300;

fn catalog(topic: &str) -> String {
    format!(
        r#"name = "tracked"
[[topic]]
name = "{topic}"
partitions = 3
key = ["orderId"]
track = true
[[topic.event]]
type = "order.created"
rules = [
  {{ count = "orders" }},
  {{ count = "order:{{orderId}}:total", by = {{ field = "total", scale = 2 }} }},
]
"#
    )
}

async fn status(process: &Process, id: &str, query: &str) -> Value {
    let (status, mut answer) = process.get(&format!("/api/events/processed/{id}{query}")).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_each_event_is_told_through_any_process() {
    for shards in [1, 3] {
        let mut place = Place::own_topics();
        place.store_shards = shards;
        let topic = format!("{}orders", place.topic_prefix);
        place.write_catalog(&catalog(&topic));
        // Nothing counts yet: all is pending.
        let mut door = place.start(&[("ROLES", "publish")]);
        ready(&mut door).await;
        let event = |n: usize| {
            // Each tenth cannot be counted: its total has too many digits, which nobody knows at the door.
            let total = if n.is_multiple_of(10) { "1.005" } else { "1.50" };
            let data: Value = serde_json::from_str(&format!(r#"{{"orderId":"{n}","total":{total}}}"#)).unwrap();
            json!({"topic": topic, "eventId": format!("o-{n}"), "data": data})
        };
        for from in (0..EVENTS).step_by(100) {
            let events: Vec<Value> = (from..from + 100).map(event).collect();
            let (code, answer) = door.post("/api/events/publish-batch", &json!({ "events": events })).await;
            assert_eq!(code, 200, "{answer}");
        }
        let pending = status(&door, "o-1", "").await;
        assert_eq!((&pending["status"], pending["offset"].is_i64()), (&json!("PENDING"), true), "{pending}");
        assert_eq!(status(&door, "never", "").await["status"], "UNKNOWN");

        let mut counting = place.start(&[("KAFKA_CONSUMER_GROUP", "streamgauge")]);
        ready(&mut counting).await;
        let (mut processed, mut failed) = (0, 0);
        for n in 0..EVENTS {
            let told = status(&door, &format!("o-{n}"), "?wait=20s").await;
            assert_eq!(told["topic"], topic);
            let group = &told["groups"]["streamgauge"];
            if n.is_multiple_of(10) {
                assert_eq!((&told["status"], &group["attempts"]), (&json!("FAILED"), &json!(1)), "{told}");
                assert!(group["error"].as_str().unwrap().starts_with("bad-amount: "), "{told}");
                assert_eq!(group["deadLetter"], format!("{topic}.dlq"));
                failed += 1;
            } else {
                assert_eq!((&told["status"], &told["processed"]), (&json!("PROCESSED"), &json!(true)), "{told}");
                processed += 1;
            }
        }
        place.caught_up(&mut counting).await;
        assert_eq!(counting.get("/api/counters/orders").await.1["data"]["stored"], EVENTS - EVENTS / 10);
        eprintln!("{shards} shards: {processed} PROCESSED, {failed} FAILED");
        // Of another client, whose events no mark announces; one without an id leaves no status, and a copy changes none.
        let line = |id: &str| {
            format!(
                "k|{{\"metadata\":{{\"eventId\":\"{id}\",\"eventType\":\"order.created\"}},\"data\":{{\"orderId\":\"k\",\"total\":1}}}}\n"
            )
        };
        let lines = [line("foreign"), line("foreign"), line("")].concat();
        kcat::produce(&place.brokers, &topic, &["-K", "|"], lines.as_bytes());
        let told = status(&counting, "foreign", "?wait=20s&group=streamgauge").await;
        assert_eq!(told["status"], "PROCESSED", "{told}");
        place.caught_up(&mut counting).await;
        assert_eq!(status(&counting, "foreign", "").await["offset"], told["offset"], "the copy is none");
        let keys = place.redis_cli(&["--scan", "--pattern", &format!("{}*sg:status:*", place.key_prefix)]);
        assert_eq!(keys.len(), EVENTS + 1);
        let prefix = keys.iter().find(|key| key.ends_with("sg:status:o-1")).unwrap();
        let ttl: i64 = place.redis_cli(&["pttl", prefix])[0].parse().unwrap();
        assert!((3_000_000..=3_600_000).contains(&ttl), "{ttl}");
    }
}
