//! Rules that change while a Redis is counted into, in one shard and in three: asked for by `catalog activate`, with a member
//! killed in between, a shard put back to before the switch, another one emptied, and then the whole Redis.

#![expect(clippy::disallowed_methods, reason = "a test waits for the commands that it runs")]
// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    process::{Command, Output},
    sync::Arc,
};

use serde_json::{Value, json};
use streamgauge::{
    core::{register::Scope, shards::shard_of},
    log::{Log, OutRecord},
    model::{Fingerprint, Switches, TopicPartition},
    runtime::outside::{LogOutside, Outside},
};

use crate::{
    place::{Place, ready},
    shards::{COPY, PUT_BACK},
    support::{process::Process, results},
    verify::verify,
};

const SHARDS: u16 = 3;
const PARTITIONS: i32 = 2;
const IDS: usize = 30;
/// What an event adds by the old rules and by the new ones.
const AMOUNTS: [i64; 2] = [1, 1_000];

/// A topic of this test's own, and the catalogue of a version of it.
fn place(store_shards: u16) -> (Place, [String; 2], String) {
    let mut place = Place { store_shards, ..Place::own_topics() };
    let topic = format!("{}changing", place.topic_prefix);
    let catalogs = AMOUNTS.map(|by| {
        format!(
            "name = \"c\"\n[[topic]]\nname = \"{topic}\"\npartitions = {PARTITIONS}\nidentity = []\nshape = [\"flat\"]\n\
             [[topic.event]]\ntype = \"e\"\nrules = [{{ count = \"n:{{id}}\", by = {by} }}]\n"
        )
    });
    place.write_catalog(&catalogs[0]);
    (place, catalogs, topic)
}

async fn write(place: &Place, topic: &str, count: usize) {
    for partition in 0..PARTITIONS {
        let record = |n: usize| OutRecord {
            value: Some(format!("{{\"type\":\"e\",\"id\":\"{}\"}}", n % IDS).into_bytes()),
            timestamp_ms: Some(chrono::Utc::now().timestamp_millis()),
            ..OutRecord::default()
        };
        for answer in
            place.log().produce(&TopicPartition::new(topic, partition), (0..count).map(record).collect()).await
        {
            answer.unwrap();
        }
    }
}

async fn activate(place: &Place, more: &[&str]) -> (i32, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.args(["catalog", "activate"]).args(more).env_clear();
    command.env("KAFKA_BROKERS", &place.brokers).env("REDIS_URL", &place.redis_url);
    command.env("REDIS_KEY_PREFIX", &place.key_prefix).env("STORE_SHARDS", SHARDS.to_string());
    command.env("CATALOG_PATH", place.catalog_path.as_ref().unwrap());
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    (status.code().unwrap(), serde_json::from_slice(&stdout).unwrap_or(Value::Null), said)
}

/// The rules of a version, as a store in these shards names them.
fn fingerprint(place: &mut Place, catalog: &str) -> Fingerprint {
    place.write_catalog(catalog);
    place.catalog().for_shards(place.store_shards).unwrap().topics[0].fingerprint
}

/// Every counter is what the rules of each record's offset make of it.
async fn assert_exact(place: &Place, topic: &str, newer: Fingerprint) -> Vec<Switches> {
    let mut tables = Vec::new();
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let scope = Scope { prefix: place.key_prefix.clone(), group: "streamgauge".to_owned(), shards: place.store_shards };
    let register = LogOutside::new(Arc::new(place.log()), scope, false).read().await.unwrap();
    for ((_, partition), records) in results::read_events(&place.log(), &place.catalog()).await {
        let partition = TopicPartition::new(topic, partition);
        let topic_id = place.log().identity(&partition).await.unwrap().topic_id;
        assert!(topic_id.is_some());
        let noted = register.noted(&partition, topic_id);
        let table = noted.switches();
        assert_eq!(noted.origin, Some(0));
        for record in records {
            let value: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
            let rules = table.0.iter().rfind(|rules| rules.from <= record.offset).unwrap();
            let by = AMOUNTS[usize::from(rules.fingerprint == newer)];
            *expected.entry(format!("n:{}", value["id"].as_str().unwrap())).or_insert(0) += by;
        }
        tables.push(table);
    }
    let mut shown = BTreeMap::new();
    for shard in 0..place.store_shards {
        let tag = if place.store_shards > 1 { format!("{{{shard}}}:") } else { String::new() };
        let lines = place.redis_cli(&["hgetall", &format!("@{tag}counters:aggregated")]);
        assert!(!lines.is_empty(), "nothing lies in shard {shard}");
        for pair in lines.chunks(2) {
            assert_eq!(shard_of(&pair[0], place.store_shards), shard);
            shown.insert(pair[0].clone(), pair[1].parse::<i64>().unwrap());
        }
    }
    results::assert_same("counters", &shown, &expected);
    tables
}

async fn started(place: &Place) -> Process {
    // Small bites, so that it is killed amid counting.
    let mut process =
        place.start(&[("FLUSH_INTERVAL_MS", "2"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096"), ("BATCH_SIZE", "20")]);
    ready(&mut process).await;
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_changed_while_counting_goes_on_and_each_record_is_counted_by_those_of_its_offset() {
    let (mut place, catalogs, topic) = place(SHARDS);
    let newer = fingerprint(&mut place, &catalogs[1]);
    place.write_catalog(&catalogs[0]);
    let mut old = started(&place).await;
    write(&place, &topic, 300).await;
    place.caught_up(&mut old).await;
    let copy = format!("copy-{}", uuid::Uuid::new_v4());
    place.redis_cli(&["eval", COPY, "0", "@{1}:", &copy]);
    let whole = format!("whole-{}", uuid::Uuid::new_v4());
    place.redis_cli(&["eval", COPY, "0", "@", &whole]);
    write(&place, &topic, 300).await;
    place.caught_up(&mut old).await;

    place.write_catalog(&catalogs[1]);
    let (code, shown, said) = activate(&place, &[]).await;
    assert_eq!(
        (code, &shown["executed"], &shown["topics"][0]["isInForce"]),
        (0, &json!(false), &json!(false)),
        "{said}"
    );
    let (code, _, said) = activate(&place, &["--execute"]).await;
    assert!(code == 1 && said.contains("start one with it first"), "{said}");
    let mut new = started(&place).await;
    new.says("stands by for this topic").await;
    write(&place, &topic, 300).await;
    let (code, shown, said) = activate(&place, &[&topic, "--execute"]).await;
    assert_eq!((code, &shown["topics"][0]["isInForce"]), (0, &json!(true)), "{said}");
    assert!(said.contains("waits for"), "{said}");
    old.says("stands by for this topic").await;
    write(&place, &topic, 300).await;
    place.caught_up(&mut new).await;
    old.kill();
    let tables = assert_exact(&place, &topic, newer).await;
    assert!(tables.iter().all(|table| table.0.len() == 2 && table.end_of(0) >= Some(600)), "{tables:?}");

    // One shard comes back from before the switch while records come, and whoever mends that is killed.
    write(&place, &topic, 2_000).await;
    place.redis_cli(&["eval", PUT_BACK, "0", "@{1}:", &copy]);
    new.says("shard 1 of the store has").await;
    new.kill();
    let mut new = started(&place).await;
    place.caught_up(&mut new).await;
    assert_eq!(assert_exact(&place, &topic, newer).await, tables);
    new.kill();
    place.redis_cli(&["eval", PUT_BACK, "0", "@{0}:", "nothing-"]);
    let mut new = started(&place).await;
    place.caught_up(&mut new).await;
    assert_eq!(assert_exact(&place, &topic, newer).await, tables);
    falls_back_as_a_whole(&place, &topic, new, &whole, (newer, &tables)).await;
}

/// The Redis comes back as it was before the switch, and with nothing in it, while the process runs and while it does not.
async fn falls_back_as_a_whole(
    place: &Place,
    topic: &str,
    mut process: Process,
    whole: &str,
    (newer, tables): (Fingerprint, &[Switches]),
) {
    for (copy, is_running) in [(whole, true), (whole, false), ("nothing-", true), ("nothing-", false)] {
        if !is_running {
            assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
        }
        place.redis_cli(&["eval", PUT_BACK, "0", "@", copy]);
        write(place, topic, 100).await;
        if !is_running {
            process = started(place).await;
        }
        place.caught_up(&mut process).await;
        assert_eq!(assert_exact(place, topic, newer).await, tables, "{copy}, running: {is_running}");
        let (code, shown, said) = verify(place).await;
        assert_eq!(code, 0, "each offset is recounted by the rules that counted it: {shown} {said}");
    }
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_changes_its_rules_where_it_did_before_also_where_its_redis_is_put_back_or_emptied() {
    let (mut place, catalogs, topic) = place(1);
    let newer = fingerprint(&mut place, &catalogs[1]);
    place.write_catalog(&catalogs[0]);
    let mut old = started(&place).await;
    write(&place, &topic, 300).await;
    place.caught_up(&mut old).await;
    let whole = format!("whole-{}", uuid::Uuid::new_v4());
    place.redis_cli(&["eval", COPY, "0", "@", &whole]);
    write(&place, &topic, 300).await;
    place.caught_up(&mut old).await;
    assert_eq!(old.terminate().await.code(), Some(0), "{}", old.said());
    place.write_catalog(&catalogs[1]);
    let mut new = started(&place).await;
    write(&place, &topic, 300).await;
    place.caught_up(&mut new).await;
    let tables = assert_exact(&place, &topic, newer).await;
    assert!(tables.iter().all(|table| table.0.len() == 2 && table.end_of(0) == Some(600)), "{tables:?}");
    falls_back_as_a_whole(&place, &topic, new, &whole, (newer, &tables)).await;
}
