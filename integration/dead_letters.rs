//! Dead letters on a real Kafka and a real Redis: a bug is mended and what it failed is replayed, through kills and by two members
//! at a time; records of all kinds come back byte for byte.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use streamgauge::{
    catalog::plan::Compression,
    log::{
        Log, OutRecord,
        kafka::{KafkaLog, KafkaOptions},
    },
    model::TopicPartition,
};

use crate::{
    place::{Place, kafka, ready},
    support::{
        events::{Random, fresh_seed},
        replays::{catalog, counted, header, publish, replays, run, told, waiting},
        results,
    },
};

const ORDERS: usize = 4_000;
/// Whoever was killed may have been sending for so long, and five seconds more.
const SETTINGS: [(&str, &str); 1] = [("KAFKA_REQUEST_TIMEOUT_MS", "2000")];

/// A place whose topic counts nothing, and its name.
fn place() -> (Place, String) {
    let mut place = Place::own_topics();
    let topic = format!("{}orders", place.topic_prefix);
    place.write_catalog(&catalog(&topic, 1));
    (place, topic)
}

async fn failed(place: &Place, topic: &str) {
    let mut process = place.start(&SETTINGS);
    ready(&mut process).await;
    publish(&process, topic, 0..ORDERS).await;
    waiting(&mut process, topic, ORDERS).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

/// That each of so many dead letters lies in the topic once, replayed.
async fn assert_each_once(place: &Place, letters: usize) {
    let found = replays(&results::read_events(&place.log(), &place.catalog()).await);
    let doubled: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
    assert!(doubled.is_empty() && found.len() == letters, "{} were replayed, doubled: {doubled:?}", found.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_bug_failed_is_replayed_once_through_kills_and_counted_as_if_there_had_been_none() {
    const KILLS: usize = 6;
    let mut random = Random::new(fresh_seed());
    let (mut place, topic) = place();
    failed(&place, &topic).await;
    place.write_catalog(&catalog(&topic, 2));
    let mut amid = 0;
    for _ in 0..KILLS {
        let mut process = place.start(&SETTINGS);
        ready(&mut process).await;
        let url = process.url().await;
        let name = topic.clone();
        let replay = tokio::spawn(async move { run(&url, &["dlq", "replay", &name]).await });
        process
            .until("a replay", async |process| {
                (process.metric("streamgauge_replays_total", "").await > 0.0 || replay.is_finished()).then_some(())
            })
            .await;
        tokio::time::sleep(Duration::from_micros(random.below(60_000) as u64)).await;
        process.kill();
        amid += usize::from(replay.await.unwrap().0 != Some(0));
    }
    assert!(amid > 0, "no kill came amid a replay");
    eprintln!("{amid} of {KILLS} kills came amid a replay");
    let mut process = place.start(&SETTINGS);
    ready(&mut process).await;
    let url = process.url().await;
    let (code, told) = run(&url, &["dlq", "replay", &topic]).await;
    assert_eq!(code, Some(0), "{told}");
    counted(&mut process, ORDERS).await;
    waiting(&mut process, &topic, 0).await;
    assert_each_once(&place, ORDERS).await;

    // A recount by the rules of before and of now comes to the same; and so does one by the rules of now alone, which count each
    // original, so that its replay has nothing to add.
    for (command, said) in [
        (&["counters", "verify", "--json"][..], "\"differences\":[]"),
        (&["counters", "rebuild", "--yes", "--json"], ""),
    ] {
        let mut recount = place.start_with(command, &SETTINGS);
        let ended = recount.ended().await;
        let words = recount.last_words();
        assert!(ended.success() && words.contains(said), "{command:?}: {words}");
        counted(&mut process, ORDERS).await;
    }
    let mut verify = place.start_with(&["counters", "verify", "--json"], &SETTINGS);
    assert!(verify.ended().await.success(), "{}", verify.last_words());
    // An order behind the rebuild counts on from there.
    publish(&process, &topic, ORDERS..ORDERS + 1).await;
    counted(&mut process, ORDERS + 1).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_that_replay_at_once_send_each_once_between_them() {
    let (mut place, topic) = place();
    failed(&place, &topic).await;
    place.write_catalog(&catalog(&topic, 2));
    let mut members = [place.start(&SETTINGS), place.start(&SETTINGS)];
    let mut urls = Vec::new();
    for member in &mut members {
        ready(member).await;
        urls.push(member.url().await);
    }
    let command = ["dlq", "replay", &topic];
    let (one, other) = tokio::join!(run(&urls[0], &command), run(&urls[1], &command));
    let replayed = |ended: &(Option<i32>, String)| told(ended)["replayed"].as_u64().unwrap() as usize;
    let (one, other) = (replayed(&one), replayed(&other));
    eprintln!("{one} by one member, {other} by the other");
    assert_eq!(one + other, ORDERS);
    assert_each_once(&place, ORDERS).await;
    counted(&mut members[0], ORDERS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_all_kinds_come_back_byte_for_byte_in_every_compression() {
    let (place, topic) = place();
    let mut process = place.start(&SETTINGS);
    ready(&mut process).await;
    let values: [&[u8]; 7] = [b"", b"\xff\xfe\x00", b"not json", b"{}", b" {\"a\":1}", b"{\"a\":1} \n", b"[1]"];
    let mut sent: BTreeMap<String, OutRecord> = BTreeMap::new();
    let now_ms = chrono::Utc::now().timestamp_millis();
    let all = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (number, compression) in all.into_iter().enumerate() {
        let log = KafkaLog::connect(KafkaOptions { compression, ..KafkaOptions::new(vec![kafka()]) });
        for (at, value) in values.iter().enumerate() {
            let name = format!("{number}-{at}");
            let headers = vec![("name".to_owned(), name.clone().into_bytes()), ("raw".to_owned(), vec![0, 255, 7])];
            let key = [None, Some(Vec::new()), Some(vec![0xff, 0]), Some(b"k".to_vec())][at % 4].clone();
            let record = OutRecord {
                key,
                value: Some(value.to_vec()),
                headers,
                timestamp_ms: Some(now_ms - 3_600_000 + at as i64),
            };
            let partition = TopicPartition::new(topic.as_str(), (number % 3) as i32);
            log.produce(&partition, vec![record.clone()]).await.pop().unwrap().unwrap();
            sent.insert(name, record);
        }
    }
    waiting(&mut process, &topic, sent.len()).await;
    let url = process.url().await;
    let (code, told) = run(&url, &["dlq", "replay", &topic]).await;
    assert_eq!(code, Some(0), "{told}");
    let records = results::read_events(&place.log(), &place.catalog()).await;
    let mut found = 0;
    for ((_, partition), records) in &records {
        for replay in records.iter().filter(|record| header(record, "replay-origin").is_some()) {
            let name = header(replay, "name").unwrap();
            let original = &sent[&name];
            assert_eq!((&replay.key, &replay.value), (&original.key, &original.value), "{name}");
            assert_eq!(replay.headers[..2], original.headers[..], "{name}");
            assert_eq!(Some(replay.timestamp_ms), original.timestamp_ms, "{name}");
            assert_eq!(*partition, name[..1].parse::<i32>().unwrap() % 3, "{name} has its partition");
            assert_eq!(header(replay, "replay-group").as_deref(), Some("streamgauge"));
            found += 1;
        }
    }
    assert_eq!(found, sent.len());
    // They fail again, by their number; a purge takes them all.
    waiting(&mut process, &topic, sent.len()).await;
    let (code, told) = run(&url, &["dlq", "purge", &topic, "--all", "--yes"]).await;
    assert_eq!(code, Some(0), "{told}");
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["purged"], &told["hidden"]), (&Value::from(sent.len()), &Value::from(0)));
    waiting(&mut process, &topic, 0).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
