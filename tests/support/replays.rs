//! Dead letters of a running program, replayed as a user does it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{oracle::Record, process::Process, results::Partitions};

/// A topic whose amounts may have so many digits after the point: with fewer than two none of its events can be counted.
pub fn catalog(topic: &str, scale: u32) -> String {
    format!(
        "name = \"shop\"\n[[topic]]\nname = \"{topic}\"\nkey = [\"orderId\"]\nshape = [\"nested\"]\npartitions = 3\n\
         identity = [\"id\"]\n[[topic.event]]\ntype = \"order.created\"\nrequired = [\"totalAmount\"]\n\
         rules = [{{ count = \"orders\" }}, {{ count = \"user:{{userId}}:orders\" }}, \
         {{ count = \"revenue\", by = {{ field = \"totalAmount\", scale = {scale} }} }}]\n"
    )
}

/// The order of this number, as it is published.
pub fn order(number: usize) -> Value {
    let id = format!("e-{number}");
    json!({ "eventId": id, "data": { "orderId": number.to_string(), "userId": (number % 7).to_string(), "totalAmount": 1.25 } })
}

/// Publishes orders.
pub async fn publish(process: &Process, topic: &str, numbers: std::ops::Range<usize>) {
    for chunk in numbers.collect::<Vec<_>>().chunks(1_000) {
        let events: Vec<Value> = chunk.iter().map(|number| order(*number)).collect();
        let body = json!({ "topic": topic, "events": events });
        let (status, answer) = process.post("/api/events/publish-batch", &body).await;
        assert_eq!(status, 200, "{}", answer["message"]);
    }
}

/// Runs a command against the process that listens at this URL. Its exit code, and what it wrote.
pub async fn run(url: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let port = url.rsplit_once(':').unwrap().1;
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    let output = command.args(arguments).env_clear().env("PORT", port).output().await.unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), text.concat())
}

/// The JSON that a command wrote, which has ended well.
pub fn told((code, text): &(Option<i32>, String)) -> Value {
    assert_eq!(*code, Some(0), "{text}");
    let json = text.find('{').map(|at| &text[at..=text.rfind('}').unwrap()]).unwrap();
    serde_json::from_str(json).unwrap()
}

/// Waits until so many dead letters of a topic wait.
pub async fn waiting(process: &mut Process, topic: &str, letters: usize) {
    process
        .until(&format!("{letters} dead letters"), async |process| {
            let (_, answer) = process.get("/api/dlq").await;
            let told = answer["data"].as_array()?.iter().find(|told| told["topic"] == topic)?.clone();
            (told["waiting"] == letters).then_some(())
        })
        .await;
}

/// Waits until the orders below this number are counted, each once.
pub async fn counted(process: &mut Process, orders: usize) {
    let mut expected = BTreeMap::from([("orders".to_owned(), orders), ("revenue".to_owned(), orders * 125)]);
    for number in 0..orders {
        *expected.entry(format!("user:{}:orders", number % 7)).or_default() += 1;
    }
    let keys: Vec<&String> = expected.keys().collect();
    let mut seen = Value::Null;
    for _ in 0..600 {
        let (_, answer) = process.post("/api/counters/query", &json!({ "keys": keys })).await;
        let stored =
            |key: &String| answer["data"].as_array()?.iter().find(|told| told["key"] == **key)?["stored"].as_u64();
        if expected.iter().all(|(key, count)| stored(key) == Some(*count as u64)) {
            return;
        }
        seen = answer;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("expected {expected:?}, found {seen}\n{}", process.said());
}

/// The replays among records, by the dead letter that they name: how many.
pub fn replays(records: &Partitions) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for record in records.values().flatten() {
        if let Some(origin) = header(record, "replay-origin") {
            assert_eq!(header(record, "replay-number").as_deref(), Some("1"));
            *found.entry(origin).or_default() += 1;
        }
    }
    found
}

/// A header as text.
pub fn header(record: &Record, name: &str) -> Option<String> {
    let (_, value) = record.headers.iter().rev().find(|(known, _)| known == name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}
