//! Three brokers whose leaders are killed while events are published and counted.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use streamgauge::{
    model::TopicPartition,
    store::{Store, redis::RedisStore},
};

use crate::{
    brokers::{BROKERS, Brokers},
    java::Java,
    place::{Place, ready},
    support::{
        numbered::{self, Ledger},
        oracle::fold,
        process::Process,
        results,
    },
};

const PARTITIONS: i32 = 6;
/// Events of Kafka's own idempotent producer, and as many published through us.
const EVENTS: usize = 200_000;
const PUBLISHERS: [&str; 4] = ["a", "b", "c", "d"];
/// Both publish for about this long, so that there is something to interrupt.
const PUBLISHING: Duration = Duration::from_secs(50);
/// Fewer kills would prove little.
const LEAST_KILLS: usize = 3;
/// Reading goes on within this after a new leader was elected.
const READS_WITHIN: Duration = Duration::from_secs(5);
/// How long brokers may take to start, to elect and to catch up.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until the check gives something.
async fn until<T>(what: &str, brokers: &Brokers, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        let said = || (0..BROKERS).map(|at| brokers.said(at)).collect::<Vec<_>>().join("\n--\n");
        assert!(Instant::now() < deadline, "{what}: not within {SETTLED_WITHIN:?}\n{}", said());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Leader and number of replicas in sync by partition; `None` while nobody can say.
fn leaders(java: &mut Java, topic: &str) -> Option<BTreeMap<i32, (i64, usize)>> {
    let answer = java.try_ask(&json!({ "do": "leaders", "topic": topic }));
    let one = |(number, partition): (&String, &Value)| {
        let in_sync = partition["isr"].as_array().map_or(0, Vec::len);
        (number.parse().unwrap(), (partition["leader"].as_i64().unwrap(), in_sync))
    };
    Some(answer["partitions"].as_object()?.iter().map(one).collect())
}

/// The topic under test, who may be asked about it, and where it is counted to.
struct Topic {
    name: String,
    java: Java,
    store: RedisStore,
}

impl Topic {
    async fn in_sync(&mut self, brokers: &Brokers) -> BTreeMap<i32, (i64, usize)> {
        let (java, name) = (&mut self.java, &self.name);
        until("all replicas in sync", brokers, async || {
            leaders(java, name).filter(|found| found.values().all(|(leader, isr)| *leader > 0 && *isr == BROKERS))
        })
        .await
    }

    /// Kills the broker that leads a partition, waits for the next leader and for counting to go on behind what was counted
    /// when it came; then starts the broker again. Gives how long reading stood still after the election at the longest;
    /// `None` where there was nothing more to read, since publishing is `done`.
    async fn kill_a_leader(&mut self, brokers: &mut Brokers, partition: i32, done: &Cell<bool>) -> Option<Duration> {
        let before = self.in_sync(brokers).await;
        let killed = before[&partition].0;
        let mut waiting: Vec<i32> =
            before.iter().filter(|(_, (leader, _))| *leader == killed).map(|(number, _)| *number).collect();
        let led = waiting.len();
        let begun = Instant::now();
        brokers.kill(killed as usize - 1);
        let (mut elected, mut pauses): (BTreeMap<i32, (Instant, i64)>, Vec<Duration>) = Default::default();
        let (java, name, store) = (&mut self.java, self.name.clone(), &self.store);
        let position = async |number: i32| {
            let stored = store.positions(&[TopicPartition::new(name.as_str(), number)]).await.unwrap();
            stored[0][0].checkpoint.map_or(0, |checkpoint| checkpoint.offset)
        };
        let mut first_election = None;
        until("counting goes on", brokers, async || {
            if elected.len() < led {
                for (number, (leader, _)) in leaders(java, &name).unwrap_or_default() {
                    if waiting.contains(&number) && leader > 0 && leader != killed && !elected.contains_key(&number) {
                        elected.insert(number, (Instant::now(), position(number).await));
                        first_election.get_or_insert(begun.elapsed());
                    }
                }
            }
            let mut still = Vec::new();
            for number in waiting.drain(..) {
                match elected.get(&number) {
                    Some((at, counted)) if position(number).await > *counted => pauses.push(at.elapsed()),
                    Some(_) if done.get() => {}
                    _ => still.push(number),
                }
            }
            waiting = still;
            waiting.is_empty().then_some(())
        })
        .await;
        brokers.restart(killed as usize - 1);
        let (election, longest) = (first_election.unwrap(), pauses.into_iter().max());
        eprintln!(
            "killed broker {killed}, leader of {led} partitions: a new leader after {election:?}, counting stood still for \
             {longest:?} after"
        );
        longest
    }
}

async fn publish(process: &Process, topic: &str) -> BTreeMap<String, Ledger> {
    let each = EVENTS / PUBLISHERS.len();
    let one = |by| numbered::publish(process, topic, by, each, PUBLISHING);
    let ledgers = futures::future::join_all(PUBLISHERS.map(one)).await;
    PUBLISHERS.map(str::to_owned).into_iter().zip(ledgers).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_amid_publishing_lose_and_double_nothing() {
    let mut brokers = Brokers::start();
    let mut place = Place { brokers: brokers.bootstrap(), ..Place::own_topics() };
    let name = format!("{}numbered", place.topic_prefix);
    place.write_catalog(&numbered::catalog(&name, PARTITIONS));
    let mut topic = Topic { name: name.clone(), java: Java::start(&brokers.bootstrap()), store: place.store() };
    let create = json!({ "do": "create", "topic": name, "partitions": PARTITIONS, "replication": BROKERS });
    let java = &mut topic.java;
    until("the topic is made", &brokers, async || java.try_ask(&create).get("error").is_none().then_some(())).await;
    topic.in_sync(&brokers).await;
    let mut process = place.start(&[]);
    ready(&mut process).await;

    let rate = EVENTS / PUBLISHING.as_secs() as usize;
    // A client of its own: the one that is asked for leaders must not wait for anything.
    let mut numbering = Java::start(&brokers.bootstrap());
    numbering.ask(&json!({ "do": "number", "topic": name, "by": "java", "count": EVENTS, "rate": rate }));
    let done = Cell::new(false);
    let publishing = async {
        let ledgers = publish(&process, &name).await;
        done.set(true);
        ledgers
    };
    let killing = async {
        let mut pauses = Vec::new();
        while !done.get() {
            topic.in_sync(&brokers).await;
            pauses.extend(topic.kill_a_leader(&mut brokers, pauses.len() as i32 % PARTITIONS, &done).await);
        }
        pauses
    };
    let (mut ledgers, pauses) = tokio::join!(publishing, killing);
    let done = until("the Java producer is done", &brokers, async || {
        let answer = numbering.ask(&json!({ "do": "numbered" }));
        (answer["done"] == true).then_some(answer)
    })
    .await;
    assert_eq!((&done["acknowledged"], &done["failed"]), (&json!(EVENTS), &json!(0)), "{done}");
    ledgers
        .insert("java".to_owned(), Ledger { answered: (0..EVENTS).map(|n| (n, None)).collect(), ..Ledger::default() });

    let events = topic.java.dump(&name);
    numbered::assert_once(&events, &ledgers);
    place.counted_to_the_end(&mut process, &topic.store, &events, |_| true).await;
    results::assert_stored(&topic.store, &place.reference(), &fold(&place.catalog(), &events)).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    assert!(pauses.len() >= LEAST_KILLS, "only {} leaders were killed", pauses.len());
    assert!(pauses.iter().all(|pause| *pause < READS_WITHIN), "{pauses:?}");
}
