//! Requests and answers as bytes (<https://kafka.apache.org/protocol#protocol_messages>).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};

/// Where the correlation id stands in a request, behind the length (4), the key (2) and the version (2).
const CORRELATION_AT: usize = 8;
const CORRELATION_BYTES: usize = 4;

/// A call's name.
pub(super) fn name<R: Request>() -> String {
    ApiKey::try_from(R::KEY).map_or_else(|()| R::KEY.to_string(), |key| format!("{key:?}"))
}

/// A whole request, its length first, without a correlation id yet.
///
/// # Errors
/// It has a field that this version of the call lacks.
pub(super) fn encode<R: Request>(request: &R, version: i16, client_id: &StrBytes) -> Result<Bytes, String> {
    let told = |error: &dyn std::fmt::Display| format!("{} v{version} cannot be encoded: {error}", name::<R>());
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version).map_err(|error| told(&error))?
        + request.compute_size(version).map_err(|error| told(&error))?;
    let mut frame = BytesMut::with_capacity(4 + size);
    frame.put_i32(i32::try_from(size).map_err(|error| told(&error))?);
    header.encode(&mut frame, header_version).map_err(|error| told(&error))?;
    request.encode(&mut frame, version).map_err(|error| told(&error))?;
    Ok(frame.freeze())
}

/// The request with its correlation id.
pub(super) fn correlated(mut frame: Bytes, correlation: i32) -> impl Buf {
    let mut start = BytesMut::with_capacity(CORRELATION_AT + CORRELATION_BYTES);
    start.put(frame.split_to(frame.len().min(CORRELATION_AT)));
    start.put_i32(correlation);
    frame.advance(frame.len().min(CORRELATION_BYTES));
    start.chain(frame)
}

/// The correlation id of an answer, which comes without its length.
pub(super) fn correlation(answer: &Bytes) -> Option<i32> {
    answer.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Reads an answer, which comes without its length.
///
/// # Errors
/// It is none to this version of the call.
pub(super) fn decode<R: Request>(mut answer: Bytes, version: i16) -> Result<R::Response, String> {
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(|error| error.to_string())?;
    R::Response::decode(&mut answer, version).map_err(|error| error.to_string())
}
