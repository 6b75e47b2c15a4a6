//! The first words, with a broker that answers by script.

use bytes::{BufMut, BytesMut};
use kafka_protocol::{
    messages::{ApiVersionsResponse, FetchRequest, api_versions_response::ApiVersion},
    protocol::Encodable,
};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// The broker's part: what it answers to each request, in order. After the last one it hangs up.
pub(in crate::log::kafka::wire) type Script = Vec<Bytes>;

pub(in crate::log::kafka::wire) fn body<M: Encodable>(message: &M, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).expect("an answer");
    bytes.freeze()
}

pub(in crate::log::kafka::wire) async fn broker(
    script: Script,
) -> (Stream, tokio::task::JoinHandle<io::Result<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        let mut heard = Vec::new();
        for answer in script {
            let mut request = vec![0; usize::try_from(stream.read_i32().await?).unwrap_or_default()];
            stream.read_exact(&mut request).await?;
            let mut frame = BytesMut::new();
            frame.put_i32(i32::try_from(answer.len() + 4).unwrap_or_default());
            // The correlation id stands behind the key and the version.
            frame.put_slice(&request[4..8]);
            frame.put_slice(&answer);
            stream.write_all(&frame).await?;
            heard.push(request);
        }
        Ok(heard)
    });
    (Stream::Plain(TcpStream::connect(address).await.expect("a connection")), heard)
}

/// An answer to `ApiVersions` that offers one call.
fn offer(code: i16, api_key: i16, newest: i16, version: i16) -> Bytes {
    let api = ApiVersion::default().with_api_key(api_key).with_max_version(newest);
    body(&ApiVersionsResponse::default().with_error_code(code).with_api_keys(vec![api]), version)
}

#[tokio::test]
async fn versions_are_asked_for_in_the_newest_form_and_then_in_the_oldest() {
    const API_VERSIONS: i16 = ApiVersionsRequest::KEY;
    const FETCH: i16 = FetchRequest::KEY;
    const UNSUPPORTED_VERSION: i16 = 35;
    let oldest = || offer(0, FETCH, 11, 0);
    let empty = body(&ApiVersionsResponse::default().with_error_code(UNSUPPORTED_VERSION), 0);
    for (name, script, asked) in [
        ("a broker of today", vec![offer(0, FETCH, 11, 3)], vec![3]),
        ("refused in the newest form", vec![offer(UNSUPPORTED_VERSION, API_VERSIONS, 2, 3), oldest()], vec![3, 0]),
        ("refused in the oldest form", vec![offer(UNSUPPORTED_VERSION, API_VERSIONS, 2, 0), oldest()], vec![3, 0]),
        ("refused, and offers nothing", vec![empty, oldest()], vec![3, 0]),
    ] {
        let (mut stream, heard) = broker(script).await;
        let security = Security::default();
        let versions = Greeting::new(&mut stream, "kafka:9092", "me", &security).ask_versions().await;
        let chosen = versions.map(|versions| versions.choose::<FetchRequest>(&(4..=17), "kafka:9092"));
        assert_eq!(chosen, Ok(Ok(11)), "{name}");
        let heard = heard.await.expect("no panic").expect("the script to its end");
        // The version stands behind the key; only the newest form has the name of the program.
        let forms = heard.iter().map(|request| i16::from_be_bytes([request[2], request[3]]));
        assert_eq!(forms.collect::<Vec<_>>(), asked, "{name}");
        assert!(heard[0].windows(SOFTWARE_NAME.len()).any(|part| part == SOFTWARE_NAME.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn what_is_no_kafka_is_told() {
    for (answer, hint) in [
        (&b"\x15\x03\x03\x00\x02\x02\x50"[..], "wants TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "begins with \"HTTP\""),
        (b"\xff\xff\xff\xff", "is no Kafka broker"),
        (b"\0\0\0\x04\0\0\0\x09", "something that was not asked"),
        (b"", "closed the connection"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut request = [0; 8];
            stream.read_exact(&mut request).await?;
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            // Reads what is left, else closing would be a reset.
            stream.read_to_end(&mut Vec::new()).await
        });
        let mut stream = Stream::Plain(TcpStream::connect(address).await.expect("a connection"));
        let security = Security::default();
        let asked = Greeting::new(&mut stream, "kafka:9092", "me", &security).ask_versions().await;
        let error = asked.expect_err(hint).to_string();
        assert!(error.contains(hint), "{hint}: {error}");
        drop(stream);
        let _ = server.await;
    }
}
