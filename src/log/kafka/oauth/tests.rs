//! What is asked of a token endpoint, and what its answers mean.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode as Status},
    routing::post,
};
use serde_json::{Value, json};

use super::*;
use crate::model::SecretSource;

/// An endpoint that gives these answers, the last one again and again, and counts how often it was asked.
async fn endpoint(answers: Vec<(u16, Value)>) -> (TokenEndpoint, Arc<AtomicUsize>) {
    tls::install_provider();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move |headers: HeaderMap, body: Bytes| {
        let turn = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let (status, answer) = answers[turn].clone();
        async move {
            // Id and secret are "me" and "a+b": form-encoded, then base64.
            assert_eq!(headers["authorization"], "Basic bWU6YSUyQmI=");
            assert_eq!(body, "grant_type=client_credentials&scope=one+two");
            (Status::from_u16(status).expect("a status"), answer.to_string())
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/token", post(answer))).await });
    let options = TokenOptions {
        url: format!("http://{address}/token?tenant=hidden"),
        client_id: "me".to_owned(),
        client_secret: Renewable::new(SecretSource::fixed("a+b")),
        scope: Some("one two".to_owned()),
        ca: None,
    };
    (TokenEndpoint::new(options), asked)
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_before_it_expires() {
    let first = json!({ "access_token": "t1", "token_type": "Bearer", "expires_in": 3600 });
    let (endpoint, asked) = endpoint(vec![(200, first), (200, json!({ "access_token": "t2" }))]).await;
    let tokens = futures::future::join_all((0..8).map(|_| endpoint.token())).await;
    assert!(tokens.iter().all(|token| token.as_ref().is_ok_and(|token| token.reveal() == "t1")), "{tokens:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let mut kept = endpoint.kept.lock().await;
    kept.as_mut().expect("a token").renew_at = Instant::now();
    drop(kept);
    assert_eq!(endpoint.token().await.expect("a token").reveal(), "t2");
    assert!(!format!("{endpoint:?}").contains("t2"));
}

#[tokio::test]
async fn an_endpoint_that_is_down_does_not_end_a_token_that_is_valid() {
    let first = json!({ "access_token": "t1", "expires_in": "3600" });
    let (endpoint, asked) = endpoint(vec![(200, first), (503, json!({}))]).await;
    endpoint.token().await.expect("a token");
    endpoint.kept.lock().await.as_mut().expect("a token").renew_at = Instant::now();
    assert_eq!(endpoint.token().await.expect("the old one").reveal(), "t1");
    assert_eq!(asked.load(Ordering::SeqCst), 1 + ATTEMPTS as usize);
    endpoint.kept.lock().await.as_mut().expect("a token").expires_at = Instant::now();
    assert!(endpoint.token().await.is_err_and(|error| error.is_retriable()));
}

#[tokio::test]
async fn each_wrong_answer_is_told_and_retried_as_fits() {
    let refusal = json!({ "error": "invalid_client", "error_description": "no\u{7} such client" });
    for (status, answer, passes, hint) in [
        (401, refusal, false, "401 Unauthorized: invalid_client: no such client; check KAFKA_SASL_OAUTH_CLIENT_ID"),
        (503, json!({}), true, "503"),
        (429, json!({}), true, "429"),
        (302, json!({}), false, "302"),
        (200, json!({ "token": "t" }), false, "no access_token"),
        (200, json!({ "access_token": "a\u{1}b" }), false, "no access_token"),
        (200, json!("x".repeat(MAX_ANSWER_BYTES)), false, "larger than"),
    ] {
        let (endpoint, asked) = endpoint(vec![(status, answer)]).await;
        let error = endpoint.token().await.expect_err("no token");
        let told = error.to_string();
        assert!(told.contains(hint) && !told.contains("a+b") && !told.contains("hidden"), "{told}");
        assert_eq!(error.is_retriable(), passes, "{told}");
        assert_eq!(asked.load(Ordering::SeqCst), if passes { ATTEMPTS as usize } else { 1 });
    }
}

#[tokio::test]
async fn nobody_there_passes() {
    let (endpoint, _) = endpoint(vec![(200, json!({}))]).await;
    let mut options = Arc::into_inner(endpoint.options).expect("the only one");
    options.url = "http://127.0.0.1:1/token".to_owned();
    let error = TokenEndpoint::new(options).token().await.expect_err("nobody");
    assert!(error.is_retriable() && error.to_string().contains("http://127.0.0.1:1/token"), "{error}");
}
