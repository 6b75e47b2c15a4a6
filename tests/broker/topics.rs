//! Topics come, change and go, with their settings, ids and files.

use std::{fs, path::Path, time::SystemTime};

use kafka_protocol::messages::{
    CreatePartitionsRequest, DescribeConfigsRequest, DescribeLogDirsRequest, IncrementalAlterConfigsRequest,
    create_partitions_request::CreatePartitionsTopic,
    describe_configs_request::DescribeConfigsResource,
    incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
};
use streamgauge::log::{
    broker::{Broker, SEGMENT_BYTES},
    record::{Batch, Compression, NO_PRODUCER, Producer},
};
use uuid::Uuid;

use crate::{
    fixture::{TOPIC, config, filled, segments, start},
    wire::{Wire, batch_at, name, plain, text},
};

const OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC: i16 = 3;
const TOO_LARGE: i16 = 10;
const INVALID_CONFIG: i16 = 40;
const INVALID_RECORD: i16 = 87;
const UNKNOWN_TOPIC_ID: i16 = 100;
const TOPIC_RESOURCE: i8 = 2;

/// The files and folders of the broker that belong to partitions.
fn partition_folders(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir.join("log")).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_deleted_topic_is_gone_with_its_files_and_a_new_one_is_another() {
    let dir = filled(5, SEGMENT_BYTES).await;
    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    let old = wire.topic_id(TOPIC).await;
    assert_eq!(wire.fetch_by_id(old, 0, 0).await, (0, true));
    assert_eq!(wire.fetch_by_id(Uuid::new_v4(), 0, 0).await, (UNKNOWN_TOPIC_ID, false));

    // Who waits for its records is told at once.
    let mut waiting = Wire::to(&broker).await;
    let waiting = tokio::spawn(async move { waiting.fetch_by_id(old, 5, 600_000).await });
    assert_eq!(wire.delete(TOPIC).await, 0);
    assert!([UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID].contains(&waiting.await.unwrap().0));
    assert_eq!(partition_folders(dir.path()), [""; 0]);
    assert_eq!(wire.delete(TOPIC).await, UNKNOWN_TOPIC);
    assert_eq!(wire.produce(plain(1)).await.0, UNKNOWN_TOPIC);

    assert_eq!(wire.create(TOPIC, 1, &[]).await.0, 0);
    let new = wire.topic_id(TOPIC).await;
    assert_ne!(old, new);
    assert_eq!(wire.fetch_by_id(old, 0, 0).await.0, UNKNOWN_TOPIC_ID);
    assert_eq!(wire.produce(plain(2)).await, (0, 0), "it begins anew");
    broker.shutdown().await.unwrap();
    let broker = start(dir.path()).await;
    assert_eq!(Wire::to(&broker).await.topic_id(TOPIC).await, new, "an id stays");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_a_crash_cut_short_is_finished_on_opening() {
    let dir = filled(5, SEGMENT_BYTES).await;
    let path = dir.path().join("log/broker.json");
    let mut saved: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    saved["topics"].as_object_mut().unwrap().remove(TOPIC).unwrap();
    saved["deleting"] = serde_json::json!({ TOPIC: 2 });
    fs::write(&path, saved.to_string()).unwrap();
    // One of two folders had gone already.
    fs::remove_dir_all(dir.path().join(format!("log/{TOPIC}-1"))).unwrap();
    let broker = start(dir.path()).await;
    assert_eq!(partition_folders(dir.path()), [""; 0]);
    let mut wire = Wire::to(&broker).await;
    assert_eq!(wire.topic_id(TOPIC).await, Uuid::nil());
    wire.create(TOPIC, 1, &[]).await;
    assert_eq!(wire.offset_at(-1).await.1, 0);
    broker.shutdown().await.unwrap();
}

/// What a folder of the first version holds: topics with their number of partitions, and no file beside the segments.
#[tokio::test]
async fn a_folder_of_the_first_version_opens_and_its_topics_get_ids_that_stay() {
    let dir = filled(30, 600).await;
    let old = format!(r#"{{ "version": 1, "cluster_id": "the-cluster", "topics": {{ "{TOPIC}": 2 }} }}"#);
    fs::write(dir.path().join("log/broker.json"), old).unwrap();
    fs::remove_file(dir.path().join("log/offsets.jsonl")).unwrap();
    for entry in fs::read_dir(dir.path().join(format!("log/{TOPIC}-0"))).unwrap().map(Result::unwrap) {
        if entry.path().extension().is_some_and(|extension| extension == "producers") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let mut ids = Vec::new();
    for _ in 0..2 {
        let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
        let mut wire = Wire::to(&broker).await;
        assert_eq!((wire.offset_at(-2).await.1, wire.offset_at(-1).await.1), (0, 30));
        ids.push(wire.topic_id(TOPIC).await);
        broker.shutdown().await.unwrap();
    }
    assert!(ids[0] == ids[1] && !ids[0].is_nil(), "{ids:?}");
}

async fn alter(wire: &mut Wire, changes: &[(&str, Option<&str>)]) -> (i16, String) {
    let configs = changes.iter().map(|(name, value)| {
        let config = AlterableConfig::default().with_name(text(name)).with_value(value.map(text));
        config.with_config_operation(i8::from(value.is_none()))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(TOPIC))
        .with_configs(configs.collect());
    let response = wire.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource])).await;
    let response = &response.responses[0];
    (response.error_code, response.error_message.as_ref().map(|text| text.to_string()).unwrap_or_default())
}

async fn settings(wire: &mut Wire) -> Vec<(String, String, bool)> {
    let resource =
        DescribeConfigsResource::default().with_resource_type(TOPIC_RESOURCE).with_resource_name(text(TOPIC));
    let resource = resource.with_configuration_keys(None);
    let response = wire.call(4, &DescribeConfigsRequest::default().with_resources(vec![resource])).await;
    let configs = response.results[0].configs.iter();
    configs
        .map(|config| (config.name.to_string(), config.value.as_ref().unwrap().to_string(), config.config_source == 1))
        .collect()
}

#[tokio::test]
async fn settings_are_kept_and_hold_and_what_is_not_honoured_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    for (setting, value) in [("cleanup.policy", "compact"), ("compression.type", "best"), ("min.insync.replicas", "1")]
    {
        let (code, message) = wire.create(TOPIC, 1, &[(setting, value)]).await;
        assert!(code == INVALID_CONFIG && message.contains(setting), "{code} {message}");
    }
    assert_eq!(wire.create(TOPIC, 1, &[("max.message.bytes", "200"), ("cleanup.policy", "delete")]).await.0, 0);
    assert_eq!(wire.produce(plain(1)).await, (0, 0));
    assert_eq!(wire.produce(plain(50)).await.0, TOO_LARGE);
    assert_eq!(alter(&mut wire, &[("max.message.bytes", None), ("retention.ms", Some("86400000"))]).await.0, 0);
    assert_eq!(wire.produce(plain(50)).await, (0, 1));
    let (code, message) = alter(&mut wire, &[("retention.ms", Some("1")), ("flush.ms", Some("1"))]).await;
    assert!(code == INVALID_CONFIG && message.contains("flush.ms"), "{code} {message}");
    let expected = [
        ("cleanup.policy", "delete", true),
        ("compression.type", "producer", false),
        ("max.message.bytes", "16777216", false),
        ("retention.bytes", "-1", false),
        ("retention.ms", "86400000", true),
        ("segment.bytes", "268435456", false),
    ];
    let expected = expected.map(|(name, value, is_set)| (name.to_owned(), value.to_owned(), is_set));
    assert_eq!(settings(&mut wire).await, expected);

    let grow = |count| {
        let topic = CreatePartitionsTopic::default().with_name(name(TOPIC)).with_count(count).with_assignments(None);
        CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    assert_eq!(wire.call(3, &grow(1)).await.results[0].error_code, 37, "INVALID_PARTITIONS");
    assert_eq!(wire.call(3, &grow(3)).await.results[0].error_code, 0);
    assert_eq!(wire.produce_to(TOPIC, 2, plain(4)).await, (0, 0));
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    assert_eq!(settings(&mut wire).await, expected);
    assert_eq!(wire.produce_to(TOPIC, 2, plain(1)).await, (0, 4));
    let dirs = wire.call(4, &DescribeLogDirsRequest::default().with_topics(None)).await;
    let sizes: Vec<_> = dirs.results[0].topics[0].partitions.iter().map(|partition| partition.partition_size).collect();
    let on_disk = fs::metadata(&segments(dir.path())[0]).unwrap().len() as i64;
    assert_eq!((sizes.len(), sizes[0], sizes[1]), (3, on_disk, 0));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn deleted_records_stay_deleted_and_their_segments_go() {
    let dir = filled(40, 600).await;
    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    let before = segments(dir.path()).len();
    assert_eq!(wire.delete_records(41).await.0, OUT_OF_RANGE);
    assert_eq!(wire.delete_records(21).await, (0, 21));
    assert_eq!(wire.delete_records(7).await, (0, 21), "the start never goes back");
    assert!(segments(dir.path()).len() < before);
    let id = wire.topic_id(TOPIC).await;
    assert_eq!(wire.fetch_by_id(id, 20, 0).await, (OUT_OF_RANGE, false));
    assert_eq!(wire.fetch_by_id(id, 21, 0).await, (0, true));
    broker.shutdown().await.unwrap();

    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    assert_eq!((wire.offset_at(-2).await.1, wire.offset_at(-1).await.1), (21, 40));
    assert_eq!(wire.delete_records(-1).await, (0, 40), "all");
    assert_eq!(segments(dir.path()).len(), 1);
    assert_eq!(fs::metadata(&segments(dir.path())[0]).unwrap().len(), 0);
    assert_eq!(wire.produce(plain(1)).await, (0, 40));
    broker.shutdown().await.unwrap();

    // A deletion that a crash cut short: the start was kept, and the files are still there.
    fs::write(segments(dir.path())[0].with_file_name("log-start"), "41").unwrap();
    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    assert_eq!((wire.offset_at(-2).await.1, wire.offset_at(-1).await.1), (41, 41));
    assert_eq!(wire.produce(plain(1)).await, (0, 41));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn batches_are_kept_in_the_codec_that_the_topic_names() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    wire.create(TOPIC, 1, &[]).await;
    let id = wire.topic_id(TOPIC).await;
    let stamp = Producer { id: wire.producer_id().await, epoch: 0, base_sequence: 0 };
    let steps = [
        (None, Compression::Gzip, Compression::Gzip),
        (Some("lz4"), Compression::None, Compression::Lz4),
        (Some("lz4"), Compression::Lz4, Compression::Lz4),
        (Some("uncompressed"), Compression::Zstd, Compression::None),
        (Some("producer"), Compression::Snappy, Compression::Snappy),
    ];
    for (at, (setting, sent, kept)) in (0..).zip(steps) {
        assert_eq!(alter(&mut wire, &[("compression.type", setting)]).await.0, 0);
        let batch = batch_at(&[1_000; 2], sent, Producer { base_sequence: 2 * at, ..stamp });
        let offset = 2 * i64::from(at);
        assert_eq!(wire.produce(batch.clone()).await, (0, offset), "{setting:?}");
        assert_eq!(wire.produce(batch.clone()).await, (0, offset), "one that comes again is known");
        wire.shown(offset + 2).await;
        let (_, bytes) = wire.bytes_by_id(id, offset, 0).await;
        let batch = Batch::read(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!((batch.base_offset, batch.record_count), (offset, 2));
        assert_eq!(batch.attributes.compression(), Some(kept), "{setting:?}");
    }
    assert_eq!(alter(&mut wire, &[("compression.type", Some("lz4"))]).await.0, 0);
    let mut damaged = batch_at(&[1_000], Compression::Gzip, NO_PRODUCER);
    let payload = damaged.len() - 4;
    damaged.truncate(payload);
    damaged[8..12].copy_from_slice(&(payload as i32 - 12).to_be_bytes());
    let crc = crc32c::crc32c(&damaged[21..]);
    damaged[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(wire.produce(damaged).await.0, INVALID_RECORD);
    broker.shutdown().await.unwrap();
}

/// By a check at the start, as there is one every few minutes; the rules of what goes are tested on the partition itself.
#[tokio::test]
async fn what_is_too_old_goes_and_the_log_starts_later_then() {
    let dir = filled(40, 600).await;
    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    assert_eq!(wire.offset_at(-2).await.1, 0, "the records are years old, but were written just now");
    assert_eq!(alter(&mut wire, &[("retention.ms", Some("60000"))]).await.0, 0);
    broker.shutdown().await.unwrap();
    let third = segments(dir.path())[2].clone();
    for path in &segments(dir.path())[..2] {
        fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    let start: i64 = third.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let until = std::time::Instant::now() + crate::fixture::DEADLINE;
    while wire.offset_at(-2).await.1 != start {
        assert!(std::time::Instant::now() < until, "nothing was deleted");
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.offset_at(-1).await.1, 40);
    broker.shutdown().await.unwrap();
}
