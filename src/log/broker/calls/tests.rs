//! Each offered version of each call, as the protocol's own codec writes and reads it.

use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
        DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest, FetchRequest,
        GroupId, IncrementalAlterConfigsRequest, InitProducerIdRequest, ListGroupsRequest, ListOffsetsRequest,
        MetadataRequest, ProduceRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::CreatableTopic,
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        fetch_request::{FetchPartition, FetchTopic},
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Request, StrBytes},
};

use std::ops::RangeInclusive;

use super::*;
use crate::log::broker::{batch::tests::batch, flusher::Flusher, settings::Settings};

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

/// Sends the request in every offered version and hands each answer to `check`.
async fn in_all_versions<R: Request>(serving: &Serving, request: R, check: impl FnMut(i16, R::Response)) {
    in_versions(serving, 0..=i16::MAX, request, check).await;
}

/// The same in those of the offered versions that lie in `wanted`.
async fn in_versions<R: Request>(
    serving: &Serving,
    wanted: RangeInclusive<i16>,
    request: R,
    mut check: impl FnMut(i16, R::Response),
) {
    let offer = OFFERED.iter().find(|offer| offer.key as i16 == R::KEY).unwrap();
    for version in offer.min.max(*wanted.start())..=offer.max.min(*wanted.end()) {
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
                (code, code == 0, 11),
                "version {version}"
            );
        })
        .await;
    }

    for (timestamp, offset) in [(-1, 11), (-2, 0), (1_000, 0), (1_001, -1)] {
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

#[tokio::test]
async fn every_offered_version_of_the_administrators_calls_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let flusher = Flusher::start().unwrap();
    let (topics, offsets) = (Topics::open(dir.path(), u64::MAX).unwrap(), Offsets::open(dir.path()).unwrap());
    let serving = Serving { topics, offsets, syncs: flusher.queue() };
    serving.topics.create("t", 1, Settings::default(), false).unwrap();

    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let mut ids = std::collections::BTreeSet::new();
    in_all_versions(&serving, request, |version, response| {
        assert!(response.error_code == 0 && ids.insert(response.producer_id), "version {version}");
    })
    .await;
    for (asked, count) in [(None, 6), (Some(vec![text("retention.ms"), text("unknown")]), 1)] {
        let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text("t"));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(asked)]);
        in_all_versions(&serving, request, |version, response| {
            let result = &response.results[0];
            assert_eq!((result.error_code, result.configs.len()), (0, count), "version {version}");
        })
        .await;
    }
    for (value, code) in [("1000", 0), ("soon", 40)] {
        let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("t"));
        let request =
            IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(vec![config])]);
        in_all_versions(&serving, request, |version, response| {
            assert_eq!(response.responses[0].error_code, code, "version {version}");
        })
        .await;
    }
    let topic = CreatePartitionsTopic::default().with_name(name()).with_count(1).with_assignments(None);
    in_all_versions(&serving, CreatePartitionsRequest::default().with_topics(vec![topic]), |version, response| {
        assert_eq!(response.results[0].error_code, 37, "version {version}");
    })
    .await;
    let partition = DeleteRecordsPartition::default().with_offset(0);
    let topic = DeleteRecordsTopic::default().with_name(name()).with_partitions(vec![partition]);
    in_all_versions(&serving, DeleteRecordsRequest::default().with_topics(vec![topic]), |version, response| {
        let partition = &response.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), (0, 0), "version {version}");
    })
    .await;
    in_all_versions(&serving, DescribeLogDirsRequest::default().with_topics(None), |version, response| {
        assert_eq!(response.results[0].topics[0].partitions.len(), 1, "version {version}");
    })
    .await;
    in_all_versions(&serving, DescribeClusterRequest::default(), |version, response| {
        assert_eq!((response.error_code, response.brokers.len()), (0, 1), "version {version}");
    })
    .await;
    in_all_versions(&serving, ListGroupsRequest::default(), |version, response| {
        assert_eq!((response.error_code, response.groups.len()), (0, 0), "version {version}");
    })
    .await;
    let group = GroupId(text("g"));
    in_all_versions(
        &serving,
        DescribeGroupsRequest::default().with_groups(vec![group.clone()]),
        |version, response| {
            assert_eq!(response.groups[0].group_state.as_str(), "Dead", "version {version}");
        },
    )
    .await;
    in_all_versions(&serving, DeleteGroupsRequest::default().with_groups_names(vec![group]), |version, response| {
        assert_eq!(response.results[0].error_code, 69, "version {version}");
    })
    .await;
    let absent = TopicName(text("absent"));
    // From version 6 on topics are named in another field.
    let by_state = DeleteTopicState::default().with_name(Some(absent.clone()));
    let by_name = DeleteTopicsRequest::default().with_topic_names(vec![absent]);
    for (versions, request) in
        [(0..=5, by_name), (6..=i16::MAX, DeleteTopicsRequest::default().with_topics(vec![by_state]))]
    {
        in_versions(&serving, versions, request, |version, response| {
            assert_eq!(response.responses[0].error_code, 3, "version {version}");
        })
        .await;
    }
    flusher.finish().await.unwrap();
}
