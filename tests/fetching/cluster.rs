//! Brokers that answer as a test says: enough of the protocol for a reader, on real sockets.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, MetadataRequest, MetadataResponse,
        RequestHeader, ResponseHeader, TopicName,
        api_versions_response::ApiVersion,
        fetch_response::{FetchableTopicResponse, PartitionData},
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};
use streamgauge::log::{
    OutRecord,
    kafka::KafkaOptions,
    record::{BuildOptions, Builder, Compression, NO_PRODUCER},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use uuid::Uuid;

pub const TOPIC: &str = "t";
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNKNOWN_TOPIC_ID: i16 = 100;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER: i16 = 6;

/// What the cluster is like now; a test changes it while it runs.
pub struct State {
    pub topic_id: Uuid,
    pub has_topic: bool,
    /// Who leads each partition, and the epoch; what metadata tells and what brokers go by.
    pub leaders: Vec<(i32, i32)>,
    /// Batches by partition: first offset, offset behind the last, bytes.
    pub logs: HashMap<i32, Vec<(i64, i64, Bytes)>>,
    /// Brokers that take requests and never answer a fetch.
    pub silent: Vec<i32>,
    /// Error for the next fetches of a partition, one for each.
    pub refusals: HashMap<i32, Vec<PartitionData>>,
    /// Told once, with the next answer.
    pub throttle_ms: i32,
    pub newest_fetch: i16,
    /// What was asked: broker, version, request, when.
    pub asked: Vec<(i32, i16, FetchRequest, Instant)>,
    addresses: Vec<String>,
}

/// Running brokers, numbered from 0.
pub struct Cluster {
    state: Arc<Mutex<State>>,
    _brokers: JoinSet<()>,
}

impl Cluster {
    /// A topic whose partitions are led by these brokers.
    pub async fn start(leaders: &[i32]) -> Self {
        let state = Arc::new(Mutex::new(State {
            topic_id: Uuid::from_u128(7),
            has_topic: true,
            leaders: leaders.iter().map(|leader| (*leader, 1)).collect(),
            logs: HashMap::new(),
            silent: Vec::new(),
            refusals: HashMap::new(),
            throttle_ms: 0,
            newest_fetch: 17,
            asked: Vec::new(),
            addresses: Vec::new(),
        }));
        let mut brokers = JoinSet::new();
        for node in 0..=leaders.iter().copied().max().unwrap() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            state.lock().unwrap().addresses.push(listener.local_addr().unwrap().to_string());
            brokers.spawn(listen(node, listener, Arc::clone(&state)));
        }
        Self { state, _brokers: brokers }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn options(&self) -> KafkaOptions {
        KafkaOptions {
            request_timeout: Duration::from_secs(3),
            retry_backoff: Duration::from_millis(10),
            ..KafkaOptions::new(self.state().addresses.clone())
        }
    }
}

impl State {
    /// Appends a batch with these values.
    pub fn append(&mut self, partition: i32, values: &[&str]) {
        let log = self.logs.entry(partition).or_default();
        let base = log.last().map_or(0, |(_, next, _)| *next);
        let records: Vec<OutRecord> = values
            .iter()
            .map(|value| OutRecord { value: Some(value.as_bytes().to_vec()), ..OutRecord::default() })
            .collect();
        let mut bytes = Vec::new();
        let options = BuildOptions { compression: Compression::Lz4, producer: NO_PRODUCER, now_ms: 0 };
        Builder::default().build(&records, &options, &mut bytes).unwrap();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        log.push((base, base + values.len() as i64, bytes.into()));
    }

    /// The partitions that each request so far has asked for, with their offsets.
    pub fn rounds(&self) -> Vec<(i32, Vec<(i32, i64)>)> {
        let places = |request: &FetchRequest| {
            let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
            let mut places: Vec<_> = partitions.map(|asked| (asked.partition, asked.fetch_offset)).collect();
            places.sort_unstable();
            places
        };
        self.asked.iter().map(|(node, _, request, _)| (*node, places(request))).collect()
    }

    fn metadata(&self) -> MetadataResponse {
        let brokers = (0..).zip(&self.addresses).map(|(node, address)| {
            let (host, port) = address.rsplit_once(':').unwrap();
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(node))
                .with_host(StrBytes::from_string(host.to_owned()))
                .with_port(port.parse().unwrap())
        });
        let partitions = (0..).zip(&self.leaders).map(|(index, (leader, epoch))| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(BrokerId(*leader))
                .with_leader_epoch(*epoch)
        });
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
            .with_topic_id(self.topic_id);
        let topic = if self.has_topic {
            topic.with_partitions(partitions.collect())
        } else {
            topic.with_error_code(UNKNOWN_TOPIC_OR_PARTITION)
        };
        MetadataResponse::default().with_brokers(brokers.collect()).with_topics(vec![topic])
    }

    /// One partition's part of an answer; `None` while there is nothing to say.
    fn read(&mut self, node: i32, index: i32, offset: i64, max_bytes: usize) -> Option<PartitionData> {
        let data = PartitionData::default().with_partition_index(index);
        if let Some(refusal) = self.refusals.get_mut(&index).and_then(Vec::pop) {
            return Some(refusal.with_partition_index(index));
        }
        match self.leaders.get(index as usize) {
            Some((leader, _)) if *leader == node => {}
            Some(_) => return Some(data.with_error_code(NOT_LEADER)),
            None => return Some(data.with_error_code(UNKNOWN_TOPIC_OR_PARTITION)),
        }
        let log = self.logs.get(&index).map(Vec::as_slice).unwrap_or_default();
        let end = log.last().map_or(0, |(_, next, _)| *next);
        if offset > end {
            return Some(data.with_error_code(OFFSET_OUT_OF_RANGE));
        }
        if offset == end {
            return None;
        }
        let mut bytes = Vec::new();
        log.iter().filter(|(_, next, _)| *next > offset).for_each(|(_, _, batch)| bytes.extend_from_slice(batch));
        bytes.truncate(max_bytes);
        Some(
            data.with_high_watermark(end)
                .with_last_stable_offset(end)
                .with_log_start_offset(0)
                .with_records(Some(bytes.into())),
        )
    }

    fn fetch(&mut self, node: i32, request: &FetchRequest) -> Option<FetchResponse> {
        let mut topics = Vec::new();
        for asked in &request.topics {
            let by_id = !asked.topic_id.is_nil();
            let partitions: Vec<PartitionData> = asked
                .partitions
                .iter()
                .filter_map(|p| {
                    if by_id && (asked.topic_id != self.topic_id || !self.has_topic) {
                        let refused = PartitionData::default().with_error_code(UNKNOWN_TOPIC_ID);
                        return Some(refused.with_partition_index(p.partition));
                    }
                    self.read(node, p.partition, p.fetch_offset, p.partition_max_bytes as usize)
                })
                .collect();
            if !partitions.is_empty() {
                let topic = FetchableTopicResponse::default().with_topic(asked.topic.clone());
                topics.push(topic.with_topic_id(asked.topic_id).with_partitions(partitions));
            }
        }
        let throttle_ms = std::mem::take(&mut self.throttle_ms);
        let is_answer = !topics.is_empty() || throttle_ms > 0;
        let answer = FetchResponse::default().with_responses(topics).with_throttle_time_ms(throttle_ms);
        is_answer.then_some(answer)
    }
}

async fn listen(node: i32, listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(node, stream, Arc::clone(&state)));
    }
}

/// Answers the requests of a connection one after the other, as Kafka does.
async fn serve(node: i32, mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(length) = stream.read_i32().await {
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await.unwrap();
        let mut request = Bytes::from(request);
        let (key, version) =
            (i16::from_be_bytes([request[0], request[1]]), i16::from_be_bytes([request[2], request[3]]));
        let key = ApiKey::try_from(key).unwrap();
        let header = RequestHeader::decode(&mut request, key.request_header_version(version)).unwrap();
        let answer = match key {
            ApiKey::ApiVersions => {
                let newest = state.lock().unwrap().newest_fetch;
                let offer = |key: ApiKey, max: i16| {
                    ApiVersion::default().with_api_key(key as i16).with_min_version(0).with_max_version(max)
                };
                let offers = vec![offer(ApiKey::Fetch, newest), offer(ApiKey::Metadata, 12)];
                frame(&ApiVersionsResponse::default().with_api_keys(offers), version, &header)
            }
            ApiKey::Metadata => {
                MetadataRequest::decode(&mut request, version).unwrap();
                frame(&state.lock().unwrap().metadata(), version, &header)
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(&mut request, version).unwrap();
                state.lock().unwrap().asked.push((node, version, request.clone(), Instant::now()));
                frame(&poll(node, &request, &state).await, version, &header)
            }
            _ => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// Waits for records as long as the request says; for ever where the broker is silent.
async fn poll(node: i32, request: &FetchRequest, state: &Mutex<State>) -> FetchResponse {
    const STEP: Duration = Duration::from_millis(2);
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms as u64);
    loop {
        let is_silent = state.lock().unwrap().silent.contains(&node);
        let answer = if is_silent { None } else { state.lock().unwrap().fetch(node, request) };
        match answer {
            Some(answer) => return answer,
            None if !is_silent && Instant::now() >= deadline => return FetchResponse::default(),
            None => tokio::time::sleep(STEP).await,
        }
    }
}

fn frame<T: Encodable + HeaderVersion>(answer: &T, version: i16, header: &RequestHeader) -> BytesMut {
    let mut body = BytesMut::new();
    let answered = ResponseHeader::default().with_correlation_id(header.correlation_id);
    answered.encode(&mut body, T::header_version(version)).unwrap();
    answer.encode(&mut body, version).unwrap();
    let mut frame = BytesMut::from(&(body.len() as i32).to_be_bytes()[..]);
    frame.extend_from_slice(&body);
    frame
}
