//! Kafka's frames: a length and a message, and the addresses in answers.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{ApiKey, FindCoordinatorResponse, MetadataResponse, ResponseHeader},
    protocol::{Decodable, Encodable, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

/// Largest frame that is taken for one.
const MAX_FRAME_BYTES: usize = 128 * 1024 * 1024;

/// The next frame; `None` where the other side has closed.
pub async fn read_frame(from: &mut OwnedReadHalf) -> Option<Bytes> {
    let length = usize::try_from(from.read_i32().await.ok()?).ok().filter(|length| *length <= MAX_FRAME_BYTES)?;
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame.into())
}

/// Sends a frame; `None` where the other side has closed.
pub async fn write_frame(to: &mut OwnedWriteHalf, frame: &Bytes) -> Option<()> {
    to.write_all(&length_of(frame)).await.ok()?;
    to.write_all(frame).await.ok()
}

/// What stands before a frame.
pub fn length_of(frame: &Bytes) -> [u8; 4] {
    i32::try_from(frame.len()).unwrap().to_be_bytes()
}

/// The answer to a call, with the proxy's address for the broker's where it names that.
pub fn with_address(frame: Bytes, key: i16, version: i16, address: SocketAddr) -> Bytes {
    let host = StrBytes::from_string(address.ip().to_string());
    let port = i32::from(address.port());
    if key == ApiKey::Metadata as i16 {
        rewritten(&frame, ApiKey::Metadata, version, |answer: &mut MetadataResponse| {
            for broker in &mut answer.brokers {
                (broker.host, broker.port) = (host.clone(), port);
            }
        })
    } else if key == ApiKey::FindCoordinator as i16 {
        rewritten(&frame, ApiKey::FindCoordinator, version, |answer: &mut FindCoordinatorResponse| {
            // Newer answers have a list instead.
            if answer.coordinators.is_empty() {
                (answer.host, answer.port) = (host.clone(), port);
            }
            for coordinator in &mut answer.coordinators {
                (coordinator.host, coordinator.port) = (host.clone(), port);
            }
        })
    } else {
        frame
    }
}

fn rewritten<T: Decodable + Encodable>(frame: &Bytes, key: ApiKey, version: i16, change: impl Fn(&mut T)) -> Bytes {
    let header_version = key.response_header_version(version);
    let mut rest = frame.clone();
    let header = ResponseHeader::decode(&mut rest, header_version).unwrap();
    let mut answer = T::decode(&mut rest, version).unwrap();
    change(&mut answer);
    let mut out = BytesMut::new();
    header.encode(&mut out, header_version).unwrap();
    answer.encode(&mut out, version).unwrap();
    out.freeze()
}
