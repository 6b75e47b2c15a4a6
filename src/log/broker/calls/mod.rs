//! One file per call of the Kafka protocol, and the table of what is offered.

mod fetch;
mod list_offsets;
mod produce;
mod topics;

use std::{net::SocketAddr, sync::Arc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ApiVersionsResponse, FindCoordinatorResponse, api_versions_response::ApiVersion},
    protocol::{Decodable, Encodable},
};

use super::{
    flusher::Queue,
    shape::{self, Field},
    topics::Topics,
};

/// What the calls work on.
#[derive(Debug)]
pub struct Serving {
    /// The topics and their logs.
    pub topics: Topics,
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

struct Offer {
    key: ApiKey,
    /// First version served; older ones down to 0 are listed where clients look for them.
    min: i16,
    max: i16,
    listed_min: i16,
    shape: &'static [Field],
}

/// What ApiVersions lists. All are versions without compact encoding and without topic ids.
///
/// librdkafka looks at this list for more than it says: without Produce from 0 it sends no compressed batches at all, without
/// FindCoordinator no lz4 ones. Kafka 4 lists old Produce versions for that reason too (KAFKA-18659). Neither is used then.
const OFFERED: [Offer; 7] = [
    Offer { key: ApiKey::Produce, min: 3, max: 8, listed_min: 0, shape: shape::PRODUCE },
    Offer { key: ApiKey::Fetch, min: 4, max: 11, listed_min: 4, shape: shape::FETCH },
    Offer { key: ApiKey::ListOffsets, min: 1, max: 5, listed_min: 1, shape: shape::LIST_OFFSETS },
    Offer { key: ApiKey::Metadata, min: 0, max: 8, listed_min: 0, shape: shape::METADATA },
    Offer { key: ApiKey::FindCoordinator, min: 0, max: 0, listed_min: 0, shape: &[] },
    Offer { key: ApiKey::ApiVersions, min: 0, max: 3, listed_min: 0, shape: &[] },
    Offer { key: ApiKey::CreateTopics, min: 2, max: 4, listed_min: 2, shape: shape::CREATE_TOPICS },
];

struct Call {
    key: i16,
    version: i16,
    correlation_id: i32,
    body: Bytes,
}

/// Answers one request, given without its length prefix. `local` is the address that the client reached, which is the one to
/// tell it. `None` where the protocol has no answer (Produce with acks=0).
pub async fn answer(serving: &Serving, local: SocketAddr, request: Bytes) -> Result<Option<BytesMut>, RequestError> {
    let call = parse(request)?;
    let (key, version) = (call.key, call.version);
    if key == ApiKey::ApiVersions as i16 {
        return api_versions(&call).map(Some);
    }
    let Some(offer) =
        OFFERED.iter().find(|offer| offer.key as i16 == key && (offer.min..=offer.max).contains(&version))
    else {
        return Err(RequestError::NotOffered { key, version });
    };
    if offer.key != ApiKey::FindCoordinator && !shape::fits(offer.shape, version, &call.body) {
        return Err(RequestError::Malformed { key, version, reason: String::new() });
    }
    match offer.key {
        ApiKey::Produce => match produce::answer(serving, call.decode()?) {
            Some(response) => call.encode(&response).map(Some),
            None => Ok(None),
        },
        ApiKey::Fetch => call.encode(&fetch::answer(serving, call.decode()?).await).map(Some),
        ApiKey::ListOffsets => call.encode(&list_offsets::answer(serving, version, call.decode()?)).map(Some),
        ApiKey::Metadata => call.encode(&topics::metadata(serving, local, version, &call.decode()?)).map(Some),
        ApiKey::CreateTopics => call.encode(&topics::create(serving, &call.decode()?)).map(Some),
        // There are no groups; this error ends a client's search at once where "not available" would have it ask for ever.
        _ => {
            let none = FindCoordinatorResponse::default().with_error_code(ResponseError::UnsupportedVersion.code());
            call.encode(&none.with_node_id((-1).into()).with_port(-1)).map(Some)
        }
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
    Ok(Call { key, version, correlation_id, body: request })
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

impl Call {
    fn decode<T: Decodable>(&self) -> Result<T, RequestError> {
        T::decode(&mut self.body.clone(), self.version).map_err(|error| RequestError::Malformed {
            key: self.key,
            version: self.version,
            reason: format!(": {error}"),
        })
    }

    /// Writes an answer with its length and header. All offered versions have the plain header, ApiVersions by its definition.
    fn encode<T: Encodable>(&self, response: &T) -> Result<BytesMut, RequestError> {
        const PREFIX_BYTES: usize = 8;
        let wrong = |reason: String| RequestError::Answer { key: self.key, reason };
        let body_bytes = response.compute_size(self.version).map_err(|error| wrong(error.to_string()))?;
        let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + body_bytes);
        let length = i32::try_from(body_bytes + 4).map_err(|_| wrong("it is larger than 2 GiB".into()))?;
        bytes.put_i32(length);
        bytes.put_i32(self.correlation_id);
        response.encode(&mut bytes, self.version).map_err(|error| wrong(error.to_string()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
