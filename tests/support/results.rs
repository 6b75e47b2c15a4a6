//! What lies in a log and in a store, read back and held against the naive fold.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use streamgauge::{
    catalog::plan::{Catalog, dead_letter_topic},
    core::{dead_letter::original_value, partitioner::partition_for_key},
    log::{At, Log, OutRecord, TopicSpec},
    model::{
        Answer, Checkpoint, Delta, Key, Kind, LogIdentity, Outcome, Query, Section, StoredPosition, TopicPartition,
    },
    store::Store,
};

use super::{
    events::Published,
    log_contract::read_to,
    oracle::{Record, Results},
};

/// Records by topic and partition.
pub type Partitions = BTreeMap<(String, i32), Vec<Record>>;
/// Topic, partition, offset and reason of a dead letter.
pub type Letter = (String, i32, i64, String);

/// Queries of one call to a store.
const QUERIES_PER_CALL: usize = 500;
/// More than any key here holds.
const ALL: usize = 10_000;
/// Records of one batch: small, so that a fetch brings a part of what is there.
const BATCH_RECORDS: usize = 20;

/// How long a log may take to show what it has answered, and how often it is looked at.
const READABLE_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// Creates topics that are missing.
pub async fn create(log: &dyn Log, names: &[String], partitions: i32) {
    for name in names {
        log.create_topic(&TopicSpec { name: name.clone(), partitions, ..TopicSpec::default() }).await.unwrap();
    }
}

/// Publishes events as clients would: the partition by murmur2 of the key. `prefix` stands before each topic's name.
pub async fn publish(log: &dyn Log, prefix: &str, events: &[Published]) {
    let counts: BTreeMap<_, _> =
        log.topics().await.unwrap().into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let mut batches: BTreeMap<TopicPartition, Vec<OutRecord>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        let name = format!("{prefix}{}", event.topic);
        let count = counts[&name];
        let number = event.key.as_ref().map_or(index as i32 % count, |key| partition_for_key(key, count));
        let record = OutRecord { key: event.key.clone(), value: Some(event.value.clone()), ..OutRecord::default() };
        batches.entry(TopicPartition::new(name.as_str(), number)).or_default().push(record);
    }
    for (partition, records) in batches {
        let mut last = -1;
        for batch in records.chunks(BATCH_RECORDS) {
            for answer in log.produce(&partition, batch.to_vec()).await {
                last = answer.unwrap();
            }
        }
        until_readable(log, &partition, last).await;
    }
}

/// A log may answer a record before anybody can read it: the embedded one shows what is synced.
pub async fn until_readable(log: &dyn Log, partition: &TopicPartition, offset: i64) {
    let began = Instant::now();
    while log.offset_at(partition, At::End).await.unwrap() <= offset {
        assert!(began.elapsed() < READABLE_WITHIN, "{partition}: offset {offset} cannot be read");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Everything that lies in topics, partition by partition; topics that are not there are empty.
pub async fn read_topics(log: &dyn Log, names: &[String]) -> Partitions {
    let mut read = Partitions::new();
    for topic in log.topics().await.unwrap().into_iter().filter(|topic| names.contains(&topic.name)) {
        for number in 0..topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), number);
            let start = log.offset_at(&partition, At::Start).await.unwrap();
            let end = log.offset_at(&partition, At::End).await.unwrap();
            let records = if start < end { read_to(log, &partition, start, end).await } else { Vec::new() };
            let record = |(offset, record): (i64, OutRecord)| Record {
                offset,
                timestamp_ms: record.timestamp_ms.unwrap(),
                key: record.key,
                value: record.value,
                headers: record.headers,
            };
            read.insert((topic.name.clone(), number), records.into_iter().map(record).collect());
        }
    }
    read
}

/// The names of a catalogue's topics.
pub fn topics_of(catalog: &Catalog) -> Vec<String> {
    catalog.topics.iter().map(|topic| topic.name.to_string()).collect()
}

/// The events of a catalogue's topics.
pub async fn read_events(log: &dyn Log, catalog: &Catalog) -> Partitions {
    read_topics(log, &topics_of(catalog)).await
}

/// How far every shard of a store has counted.
pub fn counted_to(shards: &[StoredPosition]) -> i64 {
    shards.iter().map(|shard| shard.checkpoint.map_or(0, |checkpoint| checkpoint.offset)).min().unwrap()
}

/// The records below what a store has counted, in every shard.
pub async fn counted_part(store: &dyn Store, partitions: &Partitions) -> Partitions {
    let names: Vec<_> = partitions.keys().map(|(topic, number)| TopicPartition::new(topic.as_str(), *number)).collect();
    let positions = store.positions(&names).await.unwrap();
    let below = |(((topic, number), records), shards): ((&(String, i32), &Vec<Record>), Vec<_>)| {
        let end = counted_to(&shards);
        ((topic.clone(), *number), records.iter().filter(|record| record.offset < end).cloned().collect())
    };
    partitions.iter().zip(positions).map(below).collect()
}

/// How many records there are.
pub fn count(partitions: &Partitions) -> usize {
    partitions.values().map(Vec::len).sum()
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn is_alive(expire_at_ms: Option<i64>) -> bool {
    expire_at_ms.is_none_or(|expire_at_ms| expire_at_ms > now_ms())
}

/// All keys of all rules equal the fold. `reference` is an empty store of the same kind: it says which number it estimates
/// for the same distinct elements, so that uniques are compared exactly.
pub async fn assert_stored(store: &dyn Store, reference: &dyn Store, expected: &Results) {
    assert_same("counters", &counters(store).await, &expected.counters);
    uniques(store, reference, expected).await;
    let recents: Vec<_> = expected.recents.keys().cloned().collect();
    let queries = recents.iter().map(|key| Query::Recent { key: key.clone(), limit: ALL }).collect();
    for ((key, entries), answer) in expected.recents.iter().zip(ask(store, queries).await) {
        let Answer::Recent(items) = answer else { panic!("{key}: {answer:?}") };
        let items: Vec<_> = items.into_iter().map(|item| (item.time_ms, item.element)).collect();
        let wanted: Vec<_> = entries.iter().rev().map(|(time_ms, _, element)| (*time_ms, element.clone())).collect();
        assert_eq!(items, wanted, "history {key}");
    }
    let queries = expected.tops.keys().map(|key| Query::Top { key: key.clone(), limit: ALL }).collect();
    for ((key, (expire_at_ms, sums)), answer) in expected.tops.iter().zip(ask(store, queries).await) {
        let Answer::Top(items) = answer else { panic!("{key}: {answer:?}") };
        let items: BTreeMap<_, _> = items.into_iter().map(|item| (item.element, item.sum)).collect();
        assert_eq!(items, if is_alive(*expire_at_ms) { sums.clone() } else { BTreeMap::new() }, "window {key}");
    }
    let members = |key: &String| Query::Members { key: key.clone(), cursor: String::new(), limit: ALL };
    for ((key, set), answer) in expected.sets.iter().zip(ask(store, expected.sets.keys().map(members).collect()).await)
    {
        let Answer::Members { elements, cursor: None } = answer else { panic!("{key}: {answer:?}") };
        assert_eq!(&elements.into_iter().collect::<BTreeSet<_>>(), set, "set {key}");
    }
}

/// Two maps are equal. Only some of what differs is shown.
pub fn assert_same(what: &str, found: &BTreeMap<String, i64>, wanted: &BTreeMap<String, i64>) {
    let names: BTreeSet<_> =
        found.keys().chain(wanted.keys()).filter(|name| found.get(*name) != wanted.get(*name)).collect();
    let shown: Vec<_> = names.iter().take(10).map(|name| (*name, found.get(*name), wanted.get(*name))).collect();
    assert!(names.is_empty(), "{} {what} differ (name, found, wanted), such as {shown:?}", names.len());
}

async fn ask(store: &dyn Store, queries: Vec<Query>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for part in queries.chunks(QUERIES_PER_CALL) {
        answers.extend(store.read(part).await.unwrap());
    }
    answers
}

async fn counters(store: &dyn Store) -> BTreeMap<String, i64> {
    let (mut counters, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = store.scan("", &cursor, ALL).await.unwrap();
        counters.extend(page.counters);
        match page.cursor {
            Some(next) => cursor = next,
            None => return counters,
        }
    }
}

async fn uniques(store: &dyn Store, reference: &dyn Store, expected: &Results) {
    let delta = |(key, (_, elements)): (&String, &(Option<i64>, BTreeSet<String>))| {
        let elements = elements.iter().map(|element| element.as_str().into()).collect();
        (Key::new(Kind::Unique, key.as_str()), Delta::Unique { expire_at_ms: None, elements })
    };
    // A section of its own each time, so that the reference may be used again and again.
    let partition = TopicPartition::new(format!("reference-{}", uuid::Uuid::new_v4()), 0);
    let next = Checkpoint { offset: 1, ..Checkpoint::default() };
    let deltas = expected.uniques.iter().map(delta).collect();
    let log_identity = LogIdentity::default();
    let (gap, switches, statuses) = (None, None, Vec::new());
    let section = Section { partition, expect: None, next, gap, log_identity, switches, deltas, statuses };
    assert_eq!(reference.apply(0, &[section]).await.unwrap(), [Outcome::Applied]);
    let queries: Vec<_> = expected.uniques.keys().cloned().map(Query::Unique).collect();
    let (found, wanted) = (ask(store, queries.clone()).await, ask(reference, queries).await);
    for (((key, (expire_at_ms, elements)), found), wanted) in expected.uniques.iter().zip(found).zip(wanted) {
        let wanted = if is_alive(*expire_at_ms) { wanted } else { Answer::Unique(None) };
        assert_eq!(found, wanted, "{key}, of {} elements", elements.len());
    }
}

/// Dead letters by what their headers say of their origin. Each holds the bytes of the record that it came from.
pub async fn dead_letters(log: &dyn Log, events: &Partitions) -> BTreeSet<Letter> {
    let topics: BTreeSet<_> = events.keys().map(|(topic, _)| topic.clone()).collect();
    let names: Vec<_> = topics.iter().map(|topic| dead_letter_topic(topic)).collect();
    let mut letters = BTreeSet::new();
    for ((name, _), records) in read_topics(log, &names).await {
        for record in records {
            let header = |name: &str| {
                let found =
                    record.headers.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}"));
                String::from_utf8(found.1.clone()).unwrap()
            };
            let topic = header("dlq-topic");
            assert_eq!(name, dead_letter_topic(&topic));
            let (number, offset) = (header("dlq-partition").parse().unwrap(), header("dlq-offset").parse().unwrap());
            let sources = &events[&(topic.clone(), number)];
            let source = &sources[sources.binary_search_by_key(&offset, |source| source.offset).unwrap()];
            let kept = original_value(record.value.as_deref().unwrap(), &record.headers).unwrap();
            assert_eq!(
                (Some(&*kept), &record.key),
                (source.value.as_deref(), &source.key),
                "{topic}:{number}:{offset}"
            );
            assert!(!header("dlq-message").is_empty() && !header("dlq-group").is_empty());
            letters.insert((topic, number, offset, header("dlq-reason")));
        }
    }
    letters
}

/// The dead letters that there should be.
pub fn expected_letters(expected: &Results) -> BTreeSet<Letter> {
    let letters = expected.dead.iter();
    letters.map(|dead| (dead.topic.clone(), dead.partition, dead.offset, dead.reason.to_owned())).collect()
}

/// Target, key, value and origin (`topic:partition:offset`) of a forwarded record.
pub type Sent = (String, Option<Vec<u8>>, Vec<u8>, String);

/// What was forwarded to topics.
pub async fn forwards(log: &dyn Log, targets: &BTreeSet<String>) -> BTreeSet<Sent> {
    let mut sent = BTreeSet::new();
    for ((name, _), records) in read_topics(log, &targets.iter().cloned().collect::<Vec<_>>()).await {
        for record in records {
            let origin = record.headers.iter().find(|(known, _)| known == "origin").unwrap();
            let origin = String::from_utf8(origin.1.clone()).unwrap();
            sent.insert((name.clone(), record.key, record.value.unwrap(), origin));
        }
    }
    sent
}

/// The forwards that there should be.
pub fn expected_forwards(expected: &Results) -> BTreeSet<Sent> {
    let forward = |sent: &super::oracle::Forwarded| {
        let (topic, number, offset) = &sent.origin;
        (sent.to.clone(), sent.key.clone(), sent.value.clone(), format!("{topic}:{number}:{offset}"))
    };
    expected.forwards.iter().map(forward).collect()
}

/// What a killed process left behind is whole: the store holds the fold of exactly the records below its checkpoints, and
/// every dead letter and forward of those is there, and none that has no reason to be. Returns how many records are counted,
/// of how many.
pub async fn assert_whole(
    log: &dyn Log,
    store: &dyn Store,
    reference: &dyn Store,
    catalog: &Catalog,
) -> (usize, usize) {
    let events = read_events(log, catalog).await;
    let counted = counted_part(store, &events).await;
    let (now, in_the_end) = (super::oracle::fold(catalog, &counted), super::oracle::fold(catalog, &events));
    assert_stored(store, reference, &now).await;
    let letters = dead_letters(log, &events).await;
    let (needed, allowed) = (expected_letters(&now), expected_letters(&in_the_end));
    assert!(needed.is_subset(&letters), "dead letters are missing: {:?}", needed.difference(&letters));
    assert!(letters.is_subset(&allowed), "dead letters of good events: {:?}", letters.difference(&allowed));
    let targets = catalog.topics.iter().flat_map(|topic| topic.forward_targets().map(str::to_owned)).collect();
    let sent = forwards(log, &targets).await;
    let (needed, allowed) = (expected_forwards(&now), expected_forwards(&in_the_end));
    assert!(needed.is_subset(&sent), "{} forwards are missing", needed.difference(&sent).count());
    assert!(sent.is_subset(&allowed), "{} forwards of nothing", sent.difference(&allowed).count());
    (count(&counted), count(&events))
}
