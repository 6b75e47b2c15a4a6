//! Requests by hand, where a client would hide what is to be seen.

use proptest::prelude::*;
use streamgauge::log::broker::{Broker, SEGMENT_BYTES};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::{DEADLINE, TOPIC, filled, start};

fn request(key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&key.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&correlation_id.to_be_bytes());
    bytes.extend_from_slice(&(-1_i16).to_be_bytes());
    bytes.extend_from_slice(body);
    let mut framed = (bytes.len() as i32).to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

fn fetch_body(offset: i64, max_wait_ms: i32) -> Vec<u8> {
    let mut body = Vec::new();
    for number in [-1, max_wait_ms, 1, 1_000_000] {
        body.extend_from_slice(&i32::to_be_bytes(number));
    }
    body.push(0);
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&(TOPIC.len() as i16).to_be_bytes());
    body.extend_from_slice(TOPIC.as_bytes());
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&0_i32.to_be_bytes());
    body.extend_from_slice(&offset.to_be_bytes());
    body.extend_from_slice(&1_000_000_i32.to_be_bytes());
    body
}

async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let length = tokio::time::timeout(DEADLINE, stream.read_i32()).await.unwrap().unwrap();
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

/// The partition's error code in the answer to a fetch (version 4).
pub async fn fetch_error(broker: &Broker, offset: i64) -> i16 {
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    stream.write_all(&request(1, 4, 1, &fetch_body(offset, 100))).await.unwrap();
    let bytes = answer(&mut stream).await;
    let at = 4 + 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let dir = filled(0, SEGMENT_BYTES).await;
    let broker = start(dir.path()).await;
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    let mut sent = request(1, 4, 100, &fetch_body(0, 300));
    sent.extend(request(18, 0, 101, &[]));
    sent.extend(request(3, 1, 102, &(-1_i32).to_be_bytes()));
    stream.write_all(&sent).await.unwrap();
    for correlation_id in 100..103_i32 {
        assert_eq!(answer(&mut stream).await[..4], correlation_id.to_be_bytes());
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_unknown_api_versions_is_answered_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    stream.write_all(&request(18, 99, 7, b"whatever comes later")).await.unwrap();
    let bytes = answer(&mut stream).await;
    assert_eq!((&bytes[..4], &bytes[4..6]), (&7_i32.to_be_bytes()[..], &35_i16.to_be_bytes()[..]));
    assert!(i32::from_be_bytes(bytes[6..10].try_into().unwrap()) > 0, "the list comes with it");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn hostile_requests_close_their_connection_and_nothing_else() {
    let dir = filled(0, SEGMENT_BYTES).await;
    let broker = start(dir.path()).await;
    let huge_count = i32::MAX.to_be_bytes();
    let table: [(&str, Vec<u8>); 7] = [
        ("negative length", (-1_i32).to_be_bytes().to_vec()),
        ("length beyond the cap", i32::MAX.to_be_bytes().to_vec()),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("unknown call", request(999, 0, 1, &[])),
        ("unknown version", request(3, 50, 1, &[])),
        ("array of two thousand millions", request(3, 1, 1, &huge_count)),
        ("bytes behind the request", request(3, 1, 1, &[0xff, 0xff, 0xff, 0xff, 1, 2, 3])),
    ];
    for (name, bytes) in table {
        let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok() && rest.is_empty(), "{name}: {closed:?}");
    }
    assert_eq!(fetch_error(&broker, 0).await, 0, "others are served");
    broker.shutdown().await.unwrap();
}

/// What the broker offers.
const CALLS: &[i16] = &[0, 1, 2, 3, 8, 9, 10, 15, 16, 18, 19, 20, 21, 22, 23, 32, 35, 37, 42, 44, 60];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Random bodies in well-framed requests of every call; each batch of them ends with a sane request on a new connection.
    #[test]
    fn no_bytes_stop_the_broker(
        requests in proptest::collection::vec(
            (proptest::sample::select(CALLS), 0..17_i16,
             proptest::collection::vec(prop_oneof![3 => Just(0_u8), 1 => Just(0xff), 1 => Just(1), 2 => any::<u8>()], 0..90)),
            1..40,
        )
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = filled(0, SEGMENT_BYTES).await;
            let broker = start(dir.path()).await;
            for (key, version, body) in requests {
                let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
                stream.write_all(&request(key, version, 1, &body)).await.unwrap();
            }
            assert_eq!(fetch_error(&broker, 0).await, 0);
            broker.shutdown().await.unwrap();
        });
    }
}
