//! Each offered version of each call, as the protocol's own codec writes and reads it.

use kafka_protocol::{
    messages::{
        CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest, TopicName,
        create_topics_request::CreatableTopic,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Request, StrBytes},
};

use super::*;
use crate::log::broker::{batch::tests::batch, flusher::Flusher, settings::Settings};

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// Sends the request in every offered version and hands each answer to `check`.
async fn in_all_versions<R: Request>(serving: &Serving, request: R, mut check: impl FnMut(i16, R::Response)) {
    let offer = OFFERED.iter().find(|offer| offer.key as i16 == R::KEY).unwrap();
    for version in offer.min..=offer.max {
        let is_flexible = offer.layout.is_flexible(version);
        assert_eq!(is_flexible, R::header_version(version) == 2, "version {version}");
        let mut bytes = BytesMut::new();
        bytes.put_i16(R::KEY);
        bytes.put_i16(version);
        bytes.put_i32(77);
        bytes.put_i16(-1);
        if is_flexible {
            // A tagged field that no one knows.
            bytes.put_slice(&[1, 9, 2, 0xab, 0xcd]);
        }
        request.encode(&mut bytes, version).unwrap();
        let local = SocketAddr::from(([127, 0, 0, 1], 9092));
        let mut answered = answer(serving, local, bytes.freeze()).await.unwrap().unwrap();
        let length = answered.get_i32() as usize;
        assert_eq!(length, answered.len(), "version {version}");
        assert_eq!(answered.get_i32(), 77, "version {version}");
        if is_flexible {
            assert_eq!(answered.get_u8(), 0, "version {version}");
        }
        check(version, R::Response::decode(&mut answered, version).unwrap());
        assert!(answered.is_empty(), "version {version}");
    }
}

#[tokio::test]
async fn every_offered_version_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let flusher = Flusher::start().unwrap();
    let (topics, offsets) = (Topics::open(dir.path(), u64::MAX).unwrap(), Offsets::open(dir.path()).unwrap());
    let serving = Serving { topics, offsets, syncs: flusher.queue() };
    let id = serving.topics.create("t", 1, Settings::default(), false).unwrap().unwrap().id;

    let records = Some(Bytes::from(batch(1, b"record")));
    for (acked, code) in [(records, 0), (Some(Bytes::from_static(&[0; 70])), 43)] {
        let partition = PartitionProduceData::default().with_records(acked);
        let topic =
            TopicProduceData::default().with_name(name()).with_topic_id(id).with_partition_data(vec![partition]);
        let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
        in_all_versions(&serving, request, |version, response| {
            assert_eq!(response.responses[0].partition_responses[0].error_code, code, "version {version}");
        })
        .await;
    }
    serving.topics.partition("t", 0).unwrap().sync().unwrap();

    for (offset, code) in [(0, 0), (99, 1)] {
        let partition = FetchPartition::default().with_fetch_offset(offset).with_partition_max_bytes(1_000);
        let topic = FetchTopic::default().with_topic(name()).with_topic_id(id).with_partitions(vec![partition]);
        let request = FetchRequest::default().with_max_bytes(1_000).with_topics(vec![topic]);
        in_all_versions(&serving, request, |version, response| {
            let partition = &response.responses[0].partitions[0];
            let has_records = partition.records.as_ref().is_some_and(|bytes| !bytes.is_empty());
            assert_eq!(
                (partition.error_code, has_records, partition.high_watermark),
                (code, code == 0, 6),
                "version {version}"
            );
        })
        .await;
    }

    for (timestamp, offset) in [(-1, 6), (-2, 0), (1_000, 0), (1_001, -1)] {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
        in_all_versions(&serving, ListOffsetsRequest::default().with_topics(vec![topic]), |version, response| {
            assert_eq!(response.topics[0].partitions[0].offset, offset, "version {version}");
        })
        .await;
    }

    for (asked, code) in [("t", 0), ("absent", 3), ("a b", 17)] {
        let topic = MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_static_str(asked))));
        in_all_versions(&serving, MetadataRequest::default().with_topics(Some(vec![topic])), |version, response| {
            assert_eq!((response.topics[0].error_code, response.brokers[0].port), (code, 9092), "version {version}");
        })
        .await;
    }

    for (partitions, code) in [(1, 36), (-1, 36)] {
        let topic =
            CreatableTopic::default().with_name(name()).with_num_partitions(partitions).with_replication_factor(-1);
        in_all_versions(&serving, CreateTopicsRequest::default().with_topics(vec![topic]), |version, response| {
            assert_eq!(response.topics[0].error_code, code, "version {version}");
        })
        .await;
    }
    flusher.finish().await.unwrap();
}
