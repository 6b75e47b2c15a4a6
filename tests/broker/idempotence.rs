//! What an idempotent producer sends again is stored once, over restarts too.

use kafka_protocol::messages::{
    FindCoordinatorRequest, InitProducerIdRequest, ProduceRequest, TransactionalId,
    produce_request::{PartitionProduceData, TopicProduceData},
};
use streamgauge::log::broker::{Broker, SEGMENT_BYTES};

use crate::{
    fixture::{TOPIC, config, segments},
    wire::{Wire, name, plain, stamped, text},
};

const OUT_OF_ORDER: i16 = 45;
const OLD_EPOCH: i16 = 47;
const UNSUPPORTED: i16 = 35;
const INVALID_REQUEST: i16 = 42;

#[tokio::test]
async fn a_batch_that_comes_again_is_answered_with_its_first_offset_over_restarts_too() {
    // With small segments most of what is remembered comes out of the files beside sealed ones.
    for segment_bytes in [SEGMENT_BYTES, 300] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(config(dir.path(), segment_bytes)).await.unwrap();
        let mut wire = Wire::to(&broker).await;
        assert_eq!(wire.create(TOPIC, 1, &[]).await.0, 0);
        let id = wire.producer_id().await;
        let mut sent = Vec::new();
        for sequence in [0, 3, 6, 9, 12, 15, 18] {
            sent.push((sequence, wire.produce(stamped(3, id, 0, sequence)).await));
        }
        assert!(sent.iter().all(|(sequence, answer)| *answer == (0, i64::from(*sequence))), "{sent:?}");
        broker.shutdown().await.unwrap();

        if segment_bytes < SEGMENT_BYTES {
            assert!(segments(dir.path()).len() > 3);
        }
        let broker = Broker::start(config(dir.path(), segment_bytes)).await.unwrap();
        let mut wire = Wire::to(&broker).await;
        for (sequence, answer) in &sent[2..] {
            assert_eq!(wire.produce(stamped(3, id, 0, *sequence)).await, *answer, "again {sequence}");
        }
        assert_eq!(wire.produce(stamped(3, id, 0, 0)).await.0, OUT_OF_ORDER, "no more than five are remembered");
        assert_eq!(wire.produce(stamped(1, id, 0, 22)).await.0, OUT_OF_ORDER);
        assert_eq!(wire.produce(stamped(1, id, 0, 21)).await, (0, 21));
        assert_eq!(wire.produce(stamped(1, id, 1, 0)).await, (0, 22), "a new epoch begins at 0");
        assert_eq!(wire.produce(stamped(1, id, 0, 22)).await.0, OLD_EPOCH);
        assert_eq!(wire.produce(stamped(1, id + 500, 0, 77)).await, (0, 23), "one that is not known begins anywhere");
        assert_eq!(wire.produce(plain(1)).await, (0, 24));
        wire.shown(25).await;
        assert_ne!(wire.producer_id().await, id, "ids are not given twice");
        broker.shutdown().await.unwrap();
    }
}

/// The files beside the segments are a short cut only: without them the segments tell.
#[tokio::test]
async fn what_is_remembered_is_found_in_the_segments_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path(), 300)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    wire.create(TOPIC, 1, &[]).await;
    let id = wire.producer_id().await;
    for sequence in 0..8 {
        assert_eq!(wire.produce(stamped(1, id, 0, sequence)).await, (0, i64::from(sequence)));
    }
    broker.shutdown().await.unwrap();
    let kept = segments(dir.path())[0].parent().unwrap().to_owned();
    let snapshots: Vec<_> = std::fs::read_dir(kept)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "producers"))
        .collect();
    assert_eq!(snapshots.len(), 1);
    std::fs::remove_file(&snapshots[0]).unwrap();
    let broker = Broker::start(config(dir.path(), 300)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    assert_eq!(wire.produce(stamped(1, id, 0, 4)).await, (0, 4));
    assert_eq!(wire.produce(stamped(1, id, 0, 8)).await, (0, 8));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn transactions_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config(dir.path(), SEGMENT_BYTES)).await.unwrap();
    let mut wire = Wire::to(&broker).await;
    wire.create(TOPIC, 1, &[]).await;
    let transactional = Some(TransactionalId(text("tx")));
    let request = InitProducerIdRequest::default().with_transactional_id(transactional.clone());
    assert_eq!(wire.call(4, &request).await.error_code, UNSUPPORTED);
    let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text("tx")]);
    assert_eq!(wire.call(4, &request).await.coordinators[0].error_code, UNSUPPORTED);
    let data = PartitionProduceData::default().with_records(Some(stamped(1, 1, 0, 0).into()));
    let topic = TopicProduceData::default().with_name(name(TOPIC)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_transactional_id(transactional).with_acks(-1);
    let answer = wire.call(9, &request.with_topic_data(vec![topic])).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, INVALID_REQUEST);
    let mut batch = stamped(1, 1, 0, 0);
    // The attribute bit of a transactional batch, and the checksum over it.
    batch[22] |= 0x10;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(wire.produce(batch).await.0, 87, "INVALID_RECORD");
    broker.shutdown().await.unwrap();
}
