//! Numbered events published over HTTP by several publishers, and what of them must lie in the log: each that was answered
//! exactly once, each that was refused at most once, in the order of their numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use super::{process::Process, results::Partitions};

/// Events of one request.
const BATCH_EVENTS: usize = 250;
/// Requests in a row that may fail before the publisher gives up.
const MAX_FAILURES: usize = 500;

/// What became of one publisher's events.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Partition and offset of the events that were answered, by number.
    pub answered: BTreeMap<usize, Option<(i32, i64)>>,
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

/// The log holds what the ledgers say: nothing lost, nothing doubled, nothing in the wrong order.
pub fn assert_once(log: &Partitions, ledgers: &BTreeMap<String, Ledger>) {
    let mut found: BTreeMap<(String, usize), Vec<(i32, i64)>> = BTreeMap::new();
    let mut disorder = Vec::new();
    for ((_, partition), records) in log {
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for record in records {
            let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            let (by, n) = (value["by"].as_str().unwrap().to_owned(), value["n"].as_u64().unwrap() as usize);
            let before = last.insert(by.clone(), n);
            if before.is_some_and(|before| before >= n) {
                disorder.push((*partition, record.offset, by.clone(), before, n));
            }
            found.entry((by, n)).or_default().push((*partition, record.offset));
        }
    }
    let none = Vec::new();
    let places = |by: &String, n: &usize| found.get(&(by.clone(), *n)).unwrap_or(&none);
    let numbers = |which: fn(&Ledger) -> Vec<(usize, Option<(i32, i64)>)>| {
        ledgers.iter().flat_map(move |(by, ledger)| which(ledger).into_iter().map(move |(n, place)| (by, n, place)))
    };
    let answered = |ledger: &Ledger| ledger.answered.iter().map(|(n, place)| (*n, *place)).collect();
    let refused = |ledger: &Ledger| ledger.refused.iter().map(|n| (*n, None)).collect();
    let lost: Vec<_> = numbers(answered).filter(|(by, n, _)| places(by, n).is_empty()).collect();
    let doubled: Vec<_> = found.iter().filter(|(_, places)| places.len() > 1).collect();
    let misplaced: Vec<_> = numbers(answered)
        .filter(|(by, n, place)| {
            place.is_some_and(|place| !places(by, n).is_empty() && !places(by, n).contains(&place))
        })
        .collect();
    let stored = numbers(refused).filter(|(by, n, _)| !places(by, n).is_empty()).count();
    let known = |by: &String, n: &usize| {
        ledgers.get(by).is_some_and(|ledger| ledger.answered.contains_key(n) || ledger.refused.contains(n))
    };
    let strange: Vec<_> = found.keys().filter(|(by, n)| !known(by, n)).collect();
    eprintln!("{} different events in the log, {stored} of the refused ones among them", found.len());
    let some = |what: &str, count: usize, such: String| format!("{count} {what}, such as {such}\n");
    let mut wrong = String::new();
    for (what, count, such) in [
        ("lost", lost.len(), format!("{:?}", lost.first())),
        ("doubled", doubled.len(), format!("{:?}", doubled.first())),
        ("at another place than answered", misplaced.len(), format!("{:?}", misplaced.first())),
        ("never published", strange.len(), format!("{:?}", strange.first())),
        ("out of order (partition, offset, by, before, then)", disorder.len(), format!("{:?}", disorder.first())),
    ] {
        if count > 0 {
            wrong += &some(what, count, such);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
