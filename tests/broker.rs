//! The embedded broker as its clients see it: through sockets, and over its files between two lives.

// The lint excuses test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "broker/by_hand.rs"]
mod by_hand;
#[path = "broker/fixture.rs"]
mod fixture;
#[path = "broker/full_disk.rs"]
mod full_disk;
#[path = "broker/groups.rs"]
mod groups;
#[path = "broker/idempotence.rs"]
mod idempotence;
#[path = "broker/times.rs"]
mod times;
#[path = "broker/topics.rs"]
mod topics;
#[path = "broker/wire.rs"]
mod wire;

use std::{
    fs,
    ops::Range,
    path::Path,
    time::{Duration, Instant},
};

use by_hand::fetch_error;
use chrono::{TimeZone, Utc};
use fixture::{
    TOPIC, client, config, create, filled, numbers, partition, read, record, segments, server_error, start, values,
};
use rskafka::client::{
    error::ProtocolError,
    partition::{Compression, OffsetAt, UnknownTopicHandling},
};
use streamgauge::log::{
    broker::{Broker, BrokerConfig, BrokerError, DataDirLock, SEGMENT_BYTES},
    record::{Batch, Compression as Codec, NO_PRODUCER, batches},
};
use wire::{Wire, batch_at};

#[tokio::test]
async fn every_compression_comes_back_as_it_went_in_and_survives_a_restart() {
    /// Where a batch has what the broker writes: its base offset, and the leader's epoch behind the length.
    const PLACED: [Range<usize>; 2] = [0..8, 12..16];
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    create(&client(&broker).await).await;
    let mut wire = Wire::to(&broker).await;
    let mut sent = Vec::new();
    for (base, codec) in (0..).step_by(100).zip(Codec::ALL) {
        let batch = batch_at(&[1_000; 100], codec, NO_PRODUCER);
        assert_eq!(Batch::read(&batch).unwrap().attributes.compression(), Some(codec));
        assert_eq!(wire.produce(batch.clone()).await, (0, base));
        sent.push(batch);
    }
    let came_back = async |wire: &mut Wire| {
        wire.shown(500).await;
        let id = wire.topic_id(TOPIC).await;
        let (code, bytes) = wire.bytes_by_id(id, 0, 0).await;
        let mut came: Vec<_> = batches(&bytes).map(|batch| batch.unwrap().bytes.to_vec()).collect();
        for (base, batch) in (0..).step_by(100).zip(&mut came) {
            assert_eq!(Batch::read(batch).unwrap().base_offset, base);
            PLACED.into_iter().for_each(|place| batch[place].fill(0));
        }
        (code, came)
    };
    sent.iter_mut().for_each(|batch| PLACED.into_iter().for_each(|place| batch[place].fill(0)));
    assert_eq!(came_back(&mut wire).await, (0, sent.clone()));
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    let mut wire = Wire::to(&broker).await;
    assert_eq!(came_back(&mut wire).await, (0, sent));
    assert_eq!(wire.produce(batch_at(&[1_000], Codec::Gzip, NO_PRODUCER)).await, (0, 500));
    let listed = client(&broker).await.list_topics().await.unwrap();
    assert_eq!(listed.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect::<Vec<_>>(), [(TOPIC, 2)]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_answered_publish_survives_the_death_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let topic = create(&client(&broker).await).await;
    topic.produce((0..50).map(|n| record(n.to_string())).collect(), Compression::NoCompression).await.unwrap();
    // What the system has at this moment is what `kill -9` leaves.
    let left = tempfile::tempdir().unwrap();
    copy(&dir.path().join("log"), &left.path().join("log"));
    let second = start(left.path()).await;
    let topic = partition(&client(&second).await).await;
    assert_eq!(values(&read(&topic, 0, 50).await), numbers(0..50));
    broker.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            fs::copy(entry.path(), target).map(|_| ()).unwrap()
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_and_offsets_go_on() {
    type Damage = fn(&mut Vec<u8>);
    let table: [(&str, Damage, i64); 5] = [
        ("garbage behind the end", |bytes| bytes.extend_from_slice(&[0xab; 100]), 10),
        ("zeros behind the end", |bytes| bytes.extend_from_slice(&[0; 5_000]), 10),
        ("last batch cut", |bytes| bytes.truncate(bytes.len() - 3), 9),
        ("bit flipped in the last batch", |bytes| *bytes.last_mut().unwrap() ^= 4, 9),
        ("a piece of a header", |bytes| bytes.extend_from_within(..20), 10),
    ];
    for (name, damage, kept) in table {
        let dir = filled(10, SEGMENT_BYTES).await;
        let path = &segments(dir.path())[0];
        let mut bytes = fs::read(path).unwrap();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();

        let broker = start(dir.path()).await;
        let topic = partition(&client(&broker).await).await;
        assert_eq!(topic.get_offset(OffsetAt::Latest).await.unwrap(), kept, "{name}");
        let answered = topic.produce(vec![record(kept.to_string())], Compression::NoCompression).await.unwrap();
        assert_eq!(answered, [kept], "{name}");
        assert_eq!(values(&read(&topic, 0, kept as usize + 1).await), numbers(0..kept + 1), "{name}");
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn segments_roll_and_read_on_across_restarts() {
    let dir = filled(40, 600).await;
    assert!(segments(dir.path()).len() > 5);
    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let topic = partition(&client(&broker).await).await;
    for from in 0..40 {
        assert_eq!(values(&read(&topic, from, 40 - from as usize).await), numbers(from..40), "from {from}");
    }
    assert_eq!(topic.produce(vec![record("40")], Compression::NoCompression).await.unwrap(), [40]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn damage_in_a_sealed_segment_is_never_silent() {
    // A flipped bit is found when the batch is read.
    let dir = filled(40, 600).await;
    let path = segments(dir.path())[1].clone();
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let broker = Broker::start(config(dir.path(), 600)).await.unwrap();
    let topic = partition(&client(&broker).await).await;
    let first_damaged: i64 = segments(dir.path())[2].file_stem().unwrap().to_str().unwrap().parse::<i64>().unwrap() - 1;
    assert_eq!(values(&read(&topic, 0, first_damaged as usize).await).len() as i64, first_damaged);
    assert_eq!(fetch_error(&broker, first_damaged).await, 2, "CORRUPT_MESSAGE");
    broker.shutdown().await.unwrap();

    // Without its index it is checked whole, which finds the bit as well.
    fs::remove_file(path.with_extension("index")).unwrap();
    let refused = Broker::start(config(dir.path(), 600)).await.unwrap_err();
    assert!(matches!(&refused, BrokerError::SealedSegmentCorrupt { path: named, .. } if *named == path), "{refused}");

    type Damage = fn(&Path);
    let table: [(&str, Damage); 2] = [
        ("shortened", |path| fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap()),
        ("missing", |path| fs::remove_file(path).unwrap()),
    ];
    for (name, damage) in table {
        let dir = filled(40, 600).await;
        damage(&segments(dir.path())[1]);
        let refused = Broker::start(config(dir.path(), 600)).await.unwrap_err();
        assert!(matches!(refused, BrokerError::SealedSegmentCorrupt { .. }), "{name}: {refused}");
    }
}

#[tokio::test]
async fn a_lost_topic_list_is_an_error_and_not_an_empty_broker() {
    let dir = filled(1, SEGMENT_BYTES).await;
    fs::remove_file(dir.path().join("log/broker.json")).unwrap();
    let refused = Broker::start(config(dir.path(), SEGMENT_BYTES)).await.unwrap_err();
    assert!(matches!(refused, BrokerError::MetadataUnusable { .. }), "{refused}");
}

#[tokio::test]
async fn a_folder_has_one_process_and_a_port_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let refused = Broker::start(config(dir.path(), SEGMENT_BYTES)).await.unwrap_err();
    assert!(
        matches!(&refused, BrokerError::Locked { holder, .. } if *holder == std::process::id().to_string()),
        "{refused}"
    );

    let other = tempfile::tempdir().unwrap();
    let taken = BrokerConfig { listen: broker.local_addr(), ..config(other.path(), SEGMENT_BYTES) };
    assert!(matches!(Broker::start(taken.clone()).await.unwrap_err(), BrokerError::Listen { .. }));
    let fallen_back = Broker::start(BrokerConfig { fall_back_to_free_port: true, ..taken }).await.unwrap();
    assert_ne!(fallen_back.local_addr(), broker.local_addr());
    fallen_back.shutdown().await.unwrap();
    broker.shutdown().await.unwrap();
    DataDirLock::acquire(&dir.path().join("log")).expect("given back at shutdown");
}

#[tokio::test]
async fn a_waiting_fetch_wakes_when_records_come() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let client = client(&broker).await;
    let (reader, writer) = (create(&client).await, partition(&client).await);
    let began = Instant::now();
    let waiting = tokio::spawn(async move { reader.fetch_records(0, 1..1_000_000, 15_000).await });
    // A connection of its own: the waiting one does not hold this up.
    writer.produce(vec![record("now")], Compression::NoCompression).await.unwrap();
    let (records, watermark) = waiting.await.unwrap().unwrap();
    assert_eq!((values(&records), watermark), (vec!["now".to_owned()], 1));
    assert!(began.elapsed() < Duration::from_secs(10), "it waited for its time instead: {:?}", began.elapsed());
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn offsets_outside_the_log_and_topics_that_are_not_there_are_refused() {
    let dir = filled(3, SEGMENT_BYTES).await;
    let broker = start(dir.path()).await;
    let client = client(&broker).await;
    let topic = partition(&client).await;
    for offset in [-5, 4, i64::MAX] {
        let error = topic.fetch_records(offset, 1..1_000, 10).await.unwrap_err();
        assert_eq!(server_error(&error), Some(ProtocolError::OffsetOutOfRange), "{offset}");
    }
    assert_eq!(topic.fetch_records(3, 1..1_000, 10).await.unwrap(), (vec![], 3));
    assert_eq!(topic.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
    let time = |ms| OffsetAt::Timestamp(Utc.timestamp_millis_opt(ms).unwrap());
    assert_eq!(topic.get_offset(time(1_600_000_000_000)).await.unwrap(), 0);
    assert_eq!(topic.get_offset(time(1_800_000_000_000)).await.unwrap(), -1);

    let absent = client.partition_client("absent", 0, UnknownTopicHandling::Error).await.unwrap_err();
    assert_eq!(server_error(&absent), Some(ProtocolError::UnknownTopicOrPartition));
    let controller = client.controller_client().unwrap();
    let table = [
        ("video.views", 1, 1, ProtocolError::TopicAlreadyExists),
        ("no/slash", 1, 1, ProtocolError::InvalidTopicException),
        ("many", 100_000, 1, ProtocolError::InvalidPartitions),
        ("copies", 1, 3, ProtocolError::InvalidReplicationFactor),
    ];
    for (name, partitions, replication, wrong) in table {
        let error = controller.create_topic(name, partitions, replication, 1_000).await.unwrap_err();
        assert_eq!(server_error(&error), Some(wrong), "{name}");
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_batch_beyond_the_limit_is_refused_and_the_next_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let topic = create(&client(&broker).await).await;
    let error = topic.produce(vec![record(vec![b'x'; 17 << 20])], Compression::NoCompression).await.unwrap_err();
    assert_eq!(server_error(&error), Some(ProtocolError::MessageTooLarge));
    // Larger than what the fetch asks for, and it comes all the same.
    topic.produce(vec![record(vec![b'x'; 3 << 20])], Compression::NoCompression).await.unwrap();
    assert_eq!(read(&topic, 0, 1).await[0].record.value.as_ref().unwrap().len(), 3 << 20);
    broker.shutdown().await.unwrap();
}
