//! One file per call of the Kafka protocol, and the table of what is offered.

mod configs;
mod fetch;
mod groups;
mod list_offsets;
mod metadata;
mod offers;
mod offset_fetch;
mod partitions;
mod produce;
mod topics;

use std::{net::SocketAddr, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ApiVersionsResponse, BrokerId, api_versions_response::ApiVersion},
    protocol::{Decodable, Encodable, StrBytes},
};

use self::offers::OFFERED;
use super::{flusher::Queue, offsets::Offsets, shape, topics::Topics};

/// The one broker's id.
const NODE_ID: BrokerId = BrokerId(1);

/// What the calls work on.
#[derive(Debug)]
pub struct Serving {
    /// The topics and their logs.
    pub topics: Topics,
    /// What consumers have committed.
    pub offsets: Offsets,
    /// Where to ask for syncs.
    pub syncs: Arc<Queue>,
}

/// Why a connection cannot go on: the bytes are not a request that was offered.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A call or a version of it that ApiVersions does not list.
    #[error("call {key} in version {version} is not offered")]
    NotOffered {
        /// The call's number.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// The bytes do not have the call's shape.
    #[error("call {key} in version {version} is malformed{reason}")]
    Malformed {
        /// The call's number.
        key: i16,
        /// The version asked for.
        version: i16,
        /// What the decoder said, if it came so far.
        reason: String,
    },
    /// The request ends within its header.
    #[error("a request's header is incomplete")]
    Header,
    /// An answer that the protocol cannot carry.
    #[error("the answer to call {key} cannot be written: {reason}")]
    Answer {
        /// The call's number.
        key: i16,
        /// What the encoder said.
        reason: String,
    },
}

struct Call {
    key: i16,
    version: i16,
    correlation_id: i32,
    /// Whether the answer's header carries tagged fields; ApiVersions' never does.
    is_flexible: bool,
    body: Bytes,
}

/// Answers one request, given without its length prefix. `local` is the address that the client reached, which is the one to
/// tell it. `None` where the protocol has no answer (Produce with acks=0).
pub async fn answer(serving: &Serving, local: SocketAddr, request: Bytes) -> Result<Option<BytesMut>, RequestError> {
    let mut call = parse(request)?;
    let (key, version) = (call.key, call.version);
    if key == ApiKey::ApiVersions as i16 {
        return api_versions(&call).map(Some);
    }
    let offer = offers::find(key, version).ok_or(RequestError::NotOffered { key, version })?;
    call.is_flexible = offer.layout.is_flexible(version);
    if call.is_flexible {
        let tags_bytes = shape::tagged_fields_bytes(&call.body).ok_or(RequestError::Header)?;
        call.body.advance(tags_bytes);
    }
    if !offer.layout.fits(version, &call.body) {
        return Err(RequestError::Malformed { key, version, reason: String::new() });
    }
    match offer.key {
        ApiKey::Produce => match produce::answer(serving, version, call.decode()?) {
            Some(response) => call.encode(&response).map(Some),
            None => Ok(None),
        },
        ApiKey::Fetch => call.encode(&fetch::answer(serving, version, call.decode()?).await).map(Some),
        _ => call.answer_at_once(offer.key, serving, local).map(Some),
    }
}

fn parse(mut request: Bytes) -> Result<Call, RequestError> {
    const FIXED_BYTES: usize = 8;
    if request.len() < FIXED_BYTES {
        return Err(RequestError::Header);
    }
    let (key, version, correlation_id) = (request.get_i16(), request.get_i16(), request.get_i32());
    // ApiVersions is answered without its body, so that a version of the far future gets its answer too.
    if key != ApiKey::ApiVersions as i16 {
        let client_id = request.try_get_i16().map_err(|_| RequestError::Header)?;
        let length = usize::try_from(client_id.max(0)).unwrap_or(0);
        if request.len() < length {
            return Err(RequestError::Header);
        }
        request.advance(length);
    }
    Ok(Call { key, version, correlation_id, is_flexible: false, body: request })
}

/// KIP-511: an unknown version is answered in version 0 with the list, so that the client can choose.
fn api_versions(call: &Call) -> Result<BytesMut, RequestError> {
    let is_known = (0..=3).contains(&call.version);
    let error_code = if is_known { 0 } else { ResponseError::UnsupportedVersion.code() };
    let list = OFFERED.iter().map(|offer| {
        ApiVersion::default()
            .with_api_key(offer.key as i16)
            .with_min_version(offer.listed_min)
            .with_max_version(offer.max)
    });
    let response = ApiVersionsResponse::default().with_error_code(error_code).with_api_keys(list.collect());
    let version = if is_known { call.version } else { 0 };
    Call { version, body: Bytes::new(), ..*call }.encode(&response)
}

/// A refusal: its code, and why in words, which not all calls can carry.
type Refusal = (ResponseError, String);

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

impl Call {
    /// The calls that wait for nothing but the disk.
    fn answer_at_once(&self, key: ApiKey, serving: &Serving, local: SocketAddr) -> Result<BytesMut, RequestError> {
        let version = self.version;
        match key {
            ApiKey::ListOffsets => self.encode(&list_offsets::answer(serving, version, self.decode()?)),
            ApiKey::Metadata => self.encode(&metadata::metadata(serving, local, version, &self.decode()?)),
            ApiKey::DescribeCluster => self.encode(&metadata::cluster(serving, local, &self.decode()?)),
            ApiKey::InitProducerId => self.encode(&produce::init_producer_id(serving, &self.decode()?)),
            ApiKey::CreateTopics => self.encode(&topics::create(serving, version, &self.decode()?)),
            ApiKey::CreatePartitions => self.encode(&topics::create_partitions(serving, &self.decode()?)),
            ApiKey::DeleteTopics => self.encode(&topics::delete(serving, version, self.decode()?)),
            ApiKey::DeleteRecords => self.encode(&partitions::delete_records(serving, self.decode()?)),
            ApiKey::DescribeLogDirs => self.encode(&partitions::log_dirs(serving, &self.decode()?)),
            ApiKey::OffsetForLeaderEpoch => self.encode(&partitions::epoch_ends(serving, self.decode()?)),
            ApiKey::DescribeConfigs => self.encode(&configs::describe(serving, version, self.decode()?)),
            ApiKey::IncrementalAlterConfigs => self.encode(&configs::alter(serving, self.decode()?)),
            ApiKey::FindCoordinator => self.encode(&groups::find_coordinator(local, version, self.decode()?)),
            ApiKey::OffsetCommit => self.encode(&groups::commit(serving, self.decode()?)),
            ApiKey::OffsetFetch => self.encode(&groups::fetch(serving, version, self.decode()?)),
            ApiKey::ListGroups => self.encode(&groups::list(serving, version)),
            ApiKey::DescribeGroups => self.encode(&groups::describe(serving, self.decode()?)),
            ApiKey::DeleteGroups => self.encode(&groups::delete(serving, self.decode()?)),
            _ => Err(RequestError::NotOffered { key: self.key, version }),
        }
    }

    fn decode<T: Decodable>(&self) -> Result<T, RequestError> {
        T::decode(&mut self.body.clone(), self.version).map_err(|error| RequestError::Malformed {
            key: self.key,
            version: self.version,
            reason: format!(": {error}"),
        })
    }

    /// Writes an answer with its length and header.
    fn encode<T: Encodable>(&self, response: &T) -> Result<BytesMut, RequestError> {
        const PREFIX_BYTES: usize = 8;
        let wrong = |reason: String| RequestError::Answer { key: self.key, reason };
        let body_bytes = response.compute_size(self.version).map_err(|error| wrong(error.to_string()))?;
        let tags_bytes = usize::from(self.is_flexible);
        let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + tags_bytes + body_bytes);
        let length = i32::try_from(body_bytes + tags_bytes + 4).map_err(|_| wrong("it is larger than 2 GiB".into()))?;
        bytes.put_i32(length);
        bytes.put_i32(self.correlation_id);
        if self.is_flexible {
            bytes.put_u8(0);
        }
        response.encode(&mut bytes, self.version).map_err(|error| wrong(error.to_string()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
