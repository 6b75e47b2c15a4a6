//! The conversation before a broker lets us in, with a broker that answers by script.

use std::sync::Arc;

use kafka_protocol::messages::{ApiVersionsResponse, SaslHandshakeResponse, api_versions_response::ApiVersion};

use super::*;
use crate::{
    log::kafka::{
        security::{Bearer, Login, Renewable, Security, Token},
        wire::greeting::tests::{Script, body, broker},
    },
    model::SecretSource,
};

fn versions(newest: i16) -> Bytes {
    let api = ApiVersion::default().with_api_key(ApiKey::SaslAuthenticate as i16).with_max_version(newest);
    body(&ApiVersionsResponse::default().with_api_keys(vec![api]), 0)
}

fn handshake(code: i16, mechanisms: &[&'static str]) -> Bytes {
    let mechanisms = mechanisms.iter().map(|name| StrBytes::from_static_str(name)).collect();
    body(&SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(mechanisms), 1)
}

/// An answer to `SaslAuthenticate` v1.
fn answer(code: i16, reason: Option<&'static str>, bytes: &'static [u8], lifetime_ms: i64) -> Bytes {
    let answer = SaslAuthenticateResponse::default()
        .with_error_code(code)
        .with_error_message(reason.map(StrBytes::from_static_str))
        .with_auth_bytes(Bytes::from_static(bytes))
        .with_session_lifetime_ms(lifetime_ms);
    body(&answer, 1)
}

fn password() -> Renewable {
    Renewable::new(SecretSource::fixed("hunter2"))
}

fn login() -> Login {
    Login { username: "alice".to_owned(), password: password() }
}

fn bearer() -> Sasl {
    let extensions = vec![("logicalCluster".to_owned(), "lkc-1".to_owned())];
    Sasl::OauthBearer(Bearer { token: Token::Given(password()), extensions })
}

async fn talk(sasl: Sasl, script: Script) -> (Result<Option<Duration>, AccessError>, Vec<Vec<u8>>) {
    let (mut stream, heard) = broker(script).await;
    let security = Security { tls: None, sasl: Some(Arc::new(sasl)) };
    let result = Greeting::new(&mut stream, "kafka:9092", "me", &security).authenticate().await;
    drop(stream);
    (result, heard.await.expect("no panic").unwrap_or_default())
}

#[tokio::test]
async fn a_session_ends_when_the_broker_says_so() {
    for (lifetime_ms, expected) in [(0, None), (-1, None), (60_000, Some(Duration::from_secs(60)))] {
        let script = vec![versions(1), handshake(0, &["PLAIN"]), answer(0, None, b"", lifetime_ms)];
        let (result, heard) = talk(Sasl::Plain(login()), script).await;
        assert_eq!(result, Ok(expected));
        assert!(heard[2].ends_with(b"\0alice\0hunter2"));
    }
}

#[tokio::test]
async fn a_token_goes_with_its_extensions() {
    let script = vec![versions(1), handshake(0, &["OAUTHBEARER"]), answer(0, None, b"", 1_000)];
    let (result, heard) = talk(bearer(), script).await;
    assert_eq!(result, Ok(Some(Duration::from_secs(1))));
    assert!(heard[2].ends_with(b"n,,\x01logicalCluster=lkc-1\x01auth=Bearer hunter2\x01\x01"));
}

#[tokio::test]
async fn each_refusal_is_told_and_retried_as_fits() {
    const HUGE: &[u8] = b"r=0123456789,s=c2FsdA==,i=4000000000";
    let scram = || Sasl::ScramSha512(login());
    for (sasl, rest, hint, passes) in [
        (
            scram(),
            vec![handshake(33, &["PLAIN", "GSSAPI"])],
            "does not take SCRAM-SHA-512: it offers PLAIN, GSSAPI",
            false,
        ),
        (scram(), vec![handshake(34, &[])], "this listener has no SASL", false),
        (
            Sasl::Plain(login()),
            vec![handshake(0, &[]), answer(58, Some("Authentication failed: no"), b"", 0)],
            "refused user \"alice\" with PLAIN: Authentication failed: no; check KAFKA_SASL_USERNAME",
            false,
        ),
        (
            bearer(),
            vec![
                handshake(0, &[]),
                answer(0, None, b"{\"status\":\"invalid_token\"}", 0),
                answer(58, Some("it is old"), b"", 0),
            ],
            "refused the OAUTHBEARER token: {\"status\":\"invalid_token\"} it is old",
            false,
        ),
        (scram(), vec![handshake(0, &[]), answer(0, None, HUGE, 0)], "rounds of hashing", true),
        (scram(), vec![handshake(0, &[]), answer(0, None, b"r=wrong,s=c2FsdA==,i=4096", 0)], "SCRAM-SHA-512", true),
        (scram(), vec![], "closed the connection: it restarts, or the listener wants TLS", true),
        (scram(), vec![Bytes::from_static(b"?")], "is no Kafka broker", false),
    ] {
        let script = [vec![versions(1)], rest].concat();
        let (result, _) = talk(sasl, script).await;
        let error = result.expect_err(hint);
        let told = error.to_string();
        assert!(told.contains(hint) && told.contains("kafka:9092") && !told.contains("hunter2"), "{hint}: {told}");
        assert_eq!(error.is_retriable(), passes, "{told}");
    }
}
