//! A broker of one partition that keeps Kafka's rules for idempotent producers and fails as told or at random.
//!
//! Longer than most files, as it is a whole broker: its calls, its faults and its log are read together.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ApiVersionsResponse, BrokerId, InitProducerIdResponse, MetadataResponse, ProduceRequest,
        ProduceResponse, ProducerId, RequestHeader, ResponseHeader, TopicName,
        api_versions_response::ApiVersion,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::{Decodable, Encodable, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

use crate::log::record::{Batch, Scratch};

/// Records whose value begins so are invalid, or too large.
pub const INVALID: &str = "invalid";
pub const LARGE: &str = "large";
/// Batches that a broker remembers of a producer.
const REMEMBERED: usize = 5;

/// What happens to a produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The connection closes before anything is done.
    LoseRequest,
    /// The connection closes after the records are stored.
    LoseAnswer,
    /// The connection closes; what was sent on it is done later.
    Late,
    /// Nothing is answered any more on this connection; what is sent on it is done later.
    Stall,
    /// Refused with this error before anything is stored.
    Before(ResponseError),
    /// Answered with this error after the records are stored.
    After(ResponseError),
}

/// A small random source.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[derive(Default)]
struct Known {
    epoch: i16,
    last_sequence: i32,
    /// First and last sequence, and base offset.
    recent: VecDeque<(i32, i32, i64)>,
}

pub struct State {
    pub log: Vec<String>,
    producers: HashMap<i64, Known>,
    /// Producer ids given.
    pub given: i64,
    /// The faults of the next requests; then random ones.
    pub script: VecDeque<Fault>,
    dice: Dice,
    /// Of 100 requests.
    faulty: u64,
    may_stall: bool,
    late: VecDeque<Bytes>,
    pub identities: Identities,
    /// Stamps of the batches that came: id, epoch, sequence.
    pub stamps: Vec<(i64, i16, i32)>,
    names_invalid_records: bool,
}

/// Whether producer ids are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identities {
    Given,
    Refused,
    NotOffered,
}

pub struct FakeBroker {
    pub address: String,
    pub state: Arc<Mutex<State>>,
    _task: AbortOnDropHandle<()>,
}

impl FakeBroker {
    pub async fn start(seed: u64, faulty: u64, may_stall: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            log: Vec::new(),
            producers: HashMap::new(),
            given: 0,
            script: VecDeque::new(),
            dice: Dice::new(seed),
            faulty,
            may_stall,
            late: VecDeque::new(),
            identities: Identities::Given,
            stamps: Vec::new(),
            names_invalid_records: (seed / 2).is_multiple_of(2),
        };
        let state = Arc::new(Mutex::new(state));
        let serving = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving), address.port()));
            }
        });
        Self { address: address.to_string(), state, _task: AbortOnDropHandle::new(task) }
    }

    /// Does what came late.
    pub fn settle(&self) {
        let mut state = self.state.lock().unwrap();
        while let Some(batch) = state.late.pop_front() {
            let _ = state.append(&batch);
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<(RequestHeader, Bytes)> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    let mut frame = Bytes::from(frame);
    let (key, version) = ((&frame[..2]).get_i16(), (&frame[2..4]).get_i16());
    let header_version = ApiKey::try_from(key).unwrap().request_header_version(version);
    Some((RequestHeader::decode(&mut frame, header_version).unwrap(), frame))
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, port: u16) {
    while let Some((header, mut body)) = read(&mut stream).await {
        let version = header.request_api_version;
        let mut answer = BytesMut::new();
        let key = ApiKey::try_from(header.request_api_key).unwrap();
        let answer_header = ResponseHeader::default().with_correlation_id(header.correlation_id);
        answer_header.encode(&mut answer, key.response_header_version(version)).unwrap();
        match key {
            ApiKey::ApiVersions => state.lock().unwrap().versions().encode(&mut answer, version).unwrap(),
            ApiKey::Metadata => metadata(port).encode(&mut answer, version).unwrap(),
            ApiKey::InitProducerId => state.lock().unwrap().give().encode(&mut answer, version).unwrap(),
            ApiKey::Produce => {
                let request = ProduceRequest::decode(&mut body, version).unwrap();
                let bytes = request.topic_data[0].partition_data[0].records.clone().unwrap();
                let fault = state.lock().unwrap().fault();
                let told = match fault {
                    Fault::Late | Fault::Stall => {
                        state.lock().unwrap().late.push_back(bytes);
                        return haunt(stream, &state, fault).await;
                    }
                    Fault::LoseRequest => return,
                    Fault::LoseAnswer => {
                        let _ = state.lock().unwrap().append(&bytes);
                        return;
                    }
                    Fault::None => state.lock().unwrap().append(&bytes),
                    Fault::Before(error) => refused(error),
                    Fault::After(error) => {
                        let told = state.lock().unwrap().append(&bytes);
                        if told.error_code == 0 { refused(error) } else { told }
                    }
                };
                let topic = TopicProduceResponse::default()
                    .with_name(request.topic_data[0].name.clone())
                    .with_partition_responses(vec![told]);
                let response = ProduceResponse::default().with_responses(vec![topic]);
                response.encode(&mut answer, version).unwrap();
            }
            other => unreachable!("{other:?}"),
        }
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(answer.len()).unwrap());
        frame.put_slice(&answer);
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

/// Reads on, answers nothing, and does it all later.
async fn haunt(mut stream: TcpStream, state: &Mutex<State>, fault: Fault) {
    if fault == Fault::Late {
        let _ = stream.shutdown().await;
    }
    while let Some((header, mut body)) = read(&mut stream).await {
        let request = ProduceRequest::decode(&mut body, header.request_api_version).unwrap();
        let bytes = request.topic_data[0].partition_data[0].records.clone().unwrap();
        state.lock().unwrap().late.push_back(bytes);
    }
}

fn refused(error: ResponseError) -> PartitionProduceResponse {
    PartitionProduceResponse::default().with_error_code(error.code()).with_base_offset(-1)
}

fn metadata(port: u16) -> MetadataResponse {
    let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(1)).with_leader_epoch(1);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
        .with_partitions(vec![partition]);
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(i32::from(port));
    MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]).with_controller_id(BrokerId(1))
}

impl State {
    fn versions(&self) -> ApiVersionsResponse {
        let offers = [(ApiKey::ApiVersions, 0, 3), (ApiKey::Metadata, 1, 9), (ApiKey::Produce, 3, 9)];
        let ids = (self.identities != Identities::NotOffered).then_some((ApiKey::InitProducerId, 0, 3));
        let keys = offers.into_iter().chain(ids).map(|(key, min, max)| {
            ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
        });
        ApiVersionsResponse::default().with_api_keys(keys.collect())
    }

    fn give(&mut self) -> InitProducerIdResponse {
        if self.identities == Identities::Refused {
            let refused = ResponseError::ClusterAuthorizationFailed.code();
            return InitProducerIdResponse::default().with_error_code(refused);
        }
        self.given += 1;
        InitProducerIdResponse::default().with_producer_id(ProducerId(self.given)).with_producer_epoch(0)
    }

    fn fault(&mut self) -> Fault {
        if !self.late.is_empty()
            && self.dice.below(3) == 0
            && let Some(batch) = self.late.pop_front()
        {
            let _ = self.append(&batch);
        }
        if let Some(fault) = self.script.pop_front() {
            return fault;
        }
        if self.dice.below(100) >= self.faulty {
            return Fault::None;
        }
        let faults = [
            Fault::LoseRequest,
            Fault::LoseAnswer,
            Fault::Late,
            Fault::Before(ResponseError::NotLeaderOrFollower),
            Fault::After(ResponseError::NotLeaderOrFollower),
            Fault::Before(ResponseError::NotEnoughReplicas),
            Fault::After(ResponseError::NotEnoughReplicasAfterAppend),
            Fault::After(ResponseError::RequestTimedOut),
            Fault::Stall,
        ];
        let kinds = if self.may_stall { faults.len() } else { faults.len() - 1 };
        faults[self.dice.below(kinds as u64) as usize]
    }

    /// As Kafka: size, records, then the producer's state.
    fn append(&mut self, bytes: &[u8]) -> PartitionProduceResponse {
        let batch = Batch::read(bytes).unwrap();
        batch.check_crc().unwrap();
        self.stamps.push((batch.producer_id, batch.producer_epoch, batch.base_sequence));
        let mut values = Vec::new();
        batch
            .visit(0, &mut Scratch::default(), &mut |record| {
                values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            })
            .unwrap();
        if values.iter().any(|value| value.starts_with(LARGE)) {
            return refused(ResponseError::MessageTooLarge);
        }
        let invalid = values.iter().enumerate().filter(|(_, value)| value.starts_with(INVALID));
        let invalid: Vec<_> =
            invalid.map(|(index, _)| BatchIndexAndErrorMessage::default().with_batch_index(index as i32)).collect();
        if !invalid.is_empty() {
            let named = if self.names_invalid_records { invalid } else { Vec::new() };
            return refused(ResponseError::InvalidRecord).with_record_errors(named);
        }
        let base_offset = self.log.len() as i64;
        let last = batch.base_sequence + batch.record_count - 1;
        if batch.producer_id >= 0 {
            let known = self.producers.entry(batch.producer_id).or_insert(Known {
                epoch: batch.producer_epoch,
                last_sequence: batch.base_sequence - 1,
                recent: VecDeque::new(),
            });
            let same = known.recent.iter().find(|(first, end, _)| (*first, *end) == (batch.base_sequence, last));
            if let (Some((_, _, offset)), true) = (same, known.epoch == batch.producer_epoch) {
                return PartitionProduceResponse::default().with_base_offset(*offset);
            }
            if batch.producer_epoch < known.epoch {
                return refused(ResponseError::InvalidProducerEpoch);
            }
            if batch.producer_epoch > known.epoch {
                *known = Known { epoch: batch.producer_epoch, last_sequence: -1, recent: VecDeque::new() };
            }
            if batch.base_sequence != known.last_sequence + 1 {
                return refused(ResponseError::OutOfOrderSequenceNumber);
            }
            known.last_sequence = last;
            known.recent.push_back((batch.base_sequence, last, base_offset));
            if known.recent.len() > REMEMBERED {
                known.recent.pop_front();
            }
        }
        self.log.append(&mut values);
        PartitionProduceResponse::default().with_base_offset(base_offset)
    }
}
