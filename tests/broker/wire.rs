//! A client of a few lines, which hides nothing: every call of the protocol in the version that a test wants.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, FetchRequest, InitProducerIdRequest,
        ListOffsetsRequest, MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use streamgauge::log::{
    OutRecord,
    broker::Broker,
    record::{BuildOptions, Builder, Compression, NO_PRODUCER, Producer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use uuid::Uuid;

use crate::fixture::{DEADLINE, TOPIC};

/// A connection.
pub struct Wire(TcpStream);

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

impl Wire {
    pub async fn to(broker: &Broker) -> Self {
        Self(TcpStream::connect(broker.local_addr()).await.unwrap())
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let mut bytes = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(5)
            .with_client_id(Some(text("test")));
        header.encode(&mut bytes, R::header_version(version)).unwrap();
        request.encode(&mut bytes, version).unwrap();
        self.0.write_all(&(bytes.len() as i32).to_be_bytes()).await.unwrap();
        self.0.write_all(&bytes).await.unwrap();
        let length = tokio::time::timeout(DEADLINE, self.0.read_i32()).await.unwrap().unwrap();
        let mut answer = vec![0; length as usize];
        self.0.read_exact(&mut answer).await.unwrap();
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 5);
        let response = R::Response::decode(&mut answer, version).unwrap();
        assert!(!answer.has_remaining(), "{} bytes behind the answer", answer.remaining());
        response
    }

    /// Creates a topic and returns the error code and message.
    pub async fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) -> (i16, String) {
        let configs = configs
            .iter()
            .map(|(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value))));
        let topic = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let response = self.call(7, &CreateTopicsRequest::default().with_topics(vec![topic])).await;
        let result = &response.topics[0];
        (result.error_code, result.error_message.as_ref().map(|text| text.to_string()).unwrap_or_default())
    }

    /// Produces a batch to the topic's first partition: the error code and the offset.
    pub async fn produce(&mut self, batch: Vec<u8>) -> (i16, i64) {
        self.produce_to(TOPIC, 0, batch).await
    }

    pub async fn produce_to(&mut self, topic: &str, partition: i32, batch: Vec<u8>) -> (i16, i64) {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.into()));
        let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1_000).with_topic_data(vec![topic]);
        let response = self.call(9, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// Where a time is in the topic's first partition: the error code, the offset and its time.
    pub async fn offset_at(&mut self, timestamp_ms: i64) -> (i16, i64, i64) {
        let partition = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp_ms);
        let topic = ListOffsetsTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let response = self.call(7, &ListOffsetsRequest::default().with_topics(vec![topic])).await;
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.offset, partition.timestamp)
    }

    /// Deletes the records of the topic's first partition below an offset: the error code, and where the log begins.
    pub async fn delete_records(&mut self, before: i64) -> (i16, i64) {
        let partition = DeleteRecordsPartition::default().with_offset(before);
        let topic = DeleteRecordsTopic::default().with_name(name(TOPIC)).with_partitions(vec![partition]);
        let response = self.call(2, &DeleteRecordsRequest::default().with_topics(vec![topic])).await;
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    }

    /// The id of a topic, nil if there is none.
    pub async fn topic_id(&mut self, topic: &str) -> Uuid {
        let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
        self.call(12, &MetadataRequest::default().with_topics(Some(vec![topic]))).await.topics[0].topic_id
    }

    /// Reads the first partition of a topic by its id: the error code, and whether there were records.
    pub async fn fetch_by_id(&mut self, id: Uuid, offset: i64, wait_ms: i32) -> (i16, bool) {
        let (error_code, records) = self.bytes_by_id(id, offset, wait_ms).await;
        (error_code, !records.is_empty())
    }

    /// The same with the batches as they came.
    pub async fn bytes_by_id(&mut self, id: Uuid, offset: i64, wait_ms: i32) -> (i16, Bytes) {
        let partition = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1_000_000);
        let topic = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1_000_000)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let response = self.call(13, &request).await;
        let partition = &response.responses[0].partitions[0];
        (partition.error_code, partition.records.clone().unwrap_or_default())
    }

    /// Deletes a topic and returns the error code.
    pub async fn delete(&mut self, topic: &str) -> i16 {
        let topic = DeleteTopicState::default().with_name(Some(name(topic)));
        self.call(6, &DeleteTopicsRequest::default().with_topics(vec![topic])).await.responses[0].error_code
    }

    /// Waits until all that was produced is synced and shown.
    pub async fn shown(&mut self, end: i64) {
        let until = std::time::Instant::now() + DEADLINE;
        while self.offset_at(-1).await.1 < end {
            assert!(std::time::Instant::now() < until, "offset {end} is not shown");
            tokio::task::yield_now().await;
        }
    }

    /// An id for an idempotent producer.
    pub async fn producer_id(&mut self) -> i64 {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000);
        let response = self.call(4, &request).await;
        assert_eq!((response.error_code, response.producer_epoch), (0, 0));
        response.producer_id.0
    }
}

/// A batch of records with these times, each valued by its place.
pub fn batch_at(times_ms: &[i64], compression: Compression, producer: Producer) -> Vec<u8> {
    let records: Vec<_> = (0..)
        .zip(times_ms)
        .map(|(at, time_ms): (usize, _)| OutRecord {
            value: Some(format!("value {at}").into_bytes()),
            timestamp_ms: Some(*time_ms),
            ..OutRecord::default()
        })
        .collect();
    let mut bytes = Vec::new();
    Builder::default().build(&records, &BuildOptions { compression, producer, now_ms: 0 }, &mut bytes).unwrap();
    bytes
}

/// A batch of `count` records of an idempotent producer.
pub fn stamped(count: usize, id: i64, epoch: i16, base_sequence: i32) -> Vec<u8> {
    batch_at(&vec![1_000; count], Compression::None, Producer { id, epoch, base_sequence })
}

/// A batch of `count` records of no one in particular.
pub fn plain(count: usize) -> Vec<u8> {
    batch_at(&vec![1_000; count], Compression::None, NO_PRODUCER)
}
