//! Numbered events published over HTTP by several publishers, and what of them must lie in the log: each that was answered
//! exactly once, each that was refused at most once, in the order of their numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use streamgauge::{log::Log, model::TopicPartition};

use super::{
    process::Process,
    results::{self, Partitions},
};

/// Events of one request.
const BATCH_EVENTS: usize = 250;
/// Requests in a row that may fail before the publisher gives up.
const MAX_FAILURES: usize = 500;

/// Partition and offset.
type Place = (i32, i64);

/// What became of one publisher's events.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Where the events are that were answered, by number; `None` where the publisher was not told.
    pub answered: BTreeMap<usize, Option<Place>>,
    /// Numbers that were refused: stored or not.
    pub refused: BTreeSet<usize>,
}

/// A catalogue of one topic of numbered events, without identity, so that nothing hides what is there twice.
pub fn catalog(topic: &str, partitions: i32) -> String {
    format!(
        r#"name = "numbered"
[[topic]]
name = "{topic}"
partitions = {partitions}
shape = ["flat"]
key = ["item"]
[[topic.event]]
type = "sale"
required = ["item"]
rules = [
  {{ count = "all" }},
  {{ count = "item:{{item}}:sales" }},
]
"#
    )
}

/// The event of a number, as `LogClient.java` writes it too.
pub fn event(by: &str, n: usize) -> Value {
    json!({ "type": "sale", "item": format!("i{}", n % 97), "by": by, "n": n })
}

/// Publishes until `count` events are answered, one request at a time. A refused event is not published again: a new one takes
/// its place, since whether it is stored is not known. Takes at least about `over`.
pub async fn publish(process: &Process, topic: &str, by: &str, count: usize, over: Duration) -> Ledger {
    let (mut ledger, mut next, mut failures) = (Ledger::default(), 0, 0);
    let pause = over / u32::try_from(count.div_ceil(BATCH_EVENTS)).unwrap();
    let mut pace = tokio::time::interval(pause.max(Duration::from_nanos(1)));
    while ledger.answered.len() < count {
        pace.tick().await;
        let numbers: Vec<_> = (next..next + BATCH_EVENTS.min(count - ledger.answered.len())).collect();
        next += numbers.len();
        let events: Vec<_> = numbers.iter().map(|n| json!({ "data": event(by, *n) })).collect();
        let batch = json!({ "topic": topic, "events": events });
        let (status, answer) = process.post("/api/events/publish-batch", &batch).await;
        let results = answer["results"].as_array();
        for (place, n) in numbers.into_iter().enumerate() {
            match results.map(|results| &results[place]) {
                Some(result) if result["success"] == true => {
                    let (partition, offset) =
                        (result["partition"].as_i64().unwrap(), result["offset"].as_i64().unwrap());
                    ledger.answered.insert(n, Some((partition as i32, offset)));
                }
                _ => {
                    ledger.refused.insert(n);
                }
            }
        }
        if status != 200 {
            failures += 1;
            assert!(failures < MAX_FAILURES, "{by}: {failures} requests failed, the last with {status}: {answer}");
        }
    }
    eprintln!("{by}: {} answered, {} refused in {failures} requests", ledger.answered.len(), ledger.refused.len());
    ledger
}

/// Where each event lies, by publisher and number.
type Found = BTreeMap<(String, usize), Vec<Place>>;

/// Reads the events of a log, and what stands there out of order.
fn find(log: &Partitions) -> (Found, Vec<String>) {
    let (mut found, mut disorder) = (Found::new(), Vec::new());
    for ((_, partition), records) in log {
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for record in records {
            let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            let (by, n) = (value["by"].as_str().unwrap().to_owned(), value["n"].as_u64().unwrap() as usize);
            let before = last.insert(by.clone(), n).filter(|before| *before >= n);
            if let Some(before) = before {
                disorder.push(format!("{by} {n} behind {before} at {partition}:{}", record.offset));
            }
            found.entry((by, n)).or_default().push((*partition, record.offset));
        }
    }
    (found, disorder)
}

/// Waits until all that was answered can be read.
pub async fn until_readable(log: &dyn Log, topic: &str, ledgers: &BTreeMap<String, Ledger>) {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, offset) in ledgers.values().flat_map(|ledger| ledger.answered.values()).flatten() {
        let last = last.entry(*partition).or_insert(*offset);
        *last = (*last).max(*offset);
    }
    for (partition, offset) in last {
        results::until_readable(log, &TopicPartition::new(topic, partition), offset).await;
    }
}

/// The log holds what the ledgers say: nothing lost, nothing doubled, nothing in the wrong order.
pub fn assert_once(log: &Partitions, ledgers: &BTreeMap<String, Ledger>) {
    let (found, disorder) = find(log);
    let (mut lost, mut misplaced, mut strange, mut unsure) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (by, ledger) in ledgers {
        for (n, answered) in &ledger.answered {
            match (found.get(&(by.clone(), *n)), answered) {
                (None, _) => lost.push(format!("{by} {n}, answered at {answered:?}")),
                (Some(places), Some(answered)) if !places.contains(answered) => {
                    misplaced.push(format!("{by} {n} at {places:?}, answered at {answered:?}"));
                }
                _ => {}
            }
        }
    }
    for (by, n) in found.keys() {
        match ledgers.get(by) {
            Some(ledger) if ledger.answered.contains_key(n) => {}
            Some(ledger) if ledger.refused.contains(n) => unsure += 1,
            _ => strange.push(format!("{by} {n}")),
        }
    }
    let doubled = found.iter().filter(|(_, places)| places.len() > 1);
    let doubled: Vec<_> = doubled.map(|((by, n), places)| format!("{by} {n} at {places:?}")).collect();
    eprintln!("{} different events in the log, {unsure} of the refused ones among them", found.len());
    let wrong: Vec<_> = [
        ("lost", lost),
        ("doubled", doubled),
        ("at another place than answered", misplaced),
        ("never published", strange),
        ("out of order", disorder),
    ]
    .into_iter()
    .filter(|(_, such)| !such.is_empty())
    .map(|(what, such)| format!("{} {what}, such as {:?}", such.len(), &such[..such.len().min(3)]))
    .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
