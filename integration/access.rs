//! Counting and publishing through TLS and SASL, and what is said where a broker does not let us.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::{
    place::{Place, ready},
    support::{events::events_of_these_days, process::Process, results},
};

pub const USER: &str = "alice";
/// May see the names of topics that begin with [`DENIED_PREFIX`], which [`USER`] may not, and nothing else of them.
pub const SEEING_USER: &str = "mallory";
pub const DENIED_PREFIX: &str = "denied.";

pub type Settings = Vec<(&'static str, String)>;

fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; integration/services run sets it"))
}

/// A file that `integration/services` made.
fn cert(name: &str) -> String {
    PathBuf::from(given("STREAMGAUGE_TEST_KAFKA_CERTS")).join(name).display().to_string()
}

/// The listener that wants a user.
pub fn sasl(mechanism: &str, user: &str) -> Settings {
    vec![
        ("KAFKA_BROKERS", given("STREAMGAUGE_TEST_KAFKA_SASL_SSL")),
        ("KAFKA_TLS_CA", cert("ca.pem")),
        ("KAFKA_SASL_MECHANISM", mechanism.to_owned()),
        ("KAFKA_SASL_USERNAME", user.to_owned()),
        ("KAFKA_SASL_PASSWORD", given("STREAMGAUGE_TEST_KAFKA_PASSWORD")),
    ]
}

/// The listener that wants a token. It takes what nobody signed (RFC 7519, 6).
fn token() -> Settings {
    vec![
        ("KAFKA_BROKERS", given("STREAMGAUGE_TEST_KAFKA_SASL_SSL")),
        ("KAFKA_TLS_CA", cert("ca.pem")),
        ("KAFKA_SASL_MECHANISM", "oauthbearer".to_owned()),
        ("KAFKA_SASL_OAUTH_TOKEN", unsigned_token(chrono::Utc::now().timestamp())),
    ]
}

/// The listener that wants a client certificate.
fn mutual(client: &str) -> Settings {
    vec![
        ("KAFKA_BROKERS", given("STREAMGAUGE_TEST_KAFKA_MTLS")),
        ("KAFKA_TLS_CA", cert("ca.pem")),
        ("KAFKA_TLS_CERT", cert(&format!("{client}.pem"))),
        ("KAFKA_TLS_KEY", cert(&format!("{client}.key"))),
    ]
}

/// `settings` with some of them changed; an empty value leaves one out.
fn but(mut settings: Settings, changes: &[(&'static str, &str)]) -> Settings {
    for (name, value) in changes {
        settings.retain(|(known, _)| known != name);
        settings.push((name, (*value).to_owned()));
    }
    settings
}

fn start(place: &Place, settings: &Settings) -> Process {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    place.start(&settings)
}

fn unsigned_token(issued_at: i64) -> String {
    let part = |text: String| base64url(text.as_bytes());
    let claims = format!("{{\"sub\":\"{USER}\",\"iat\":{issued_at},\"exp\":{}}}", issued_at + 3600);
    format!("{}.{}.", part("{\"alg\":\"none\"}".to_owned()), part(claims))
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).for_each(|digit| text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into()));
    }
    text
}

/// Counts what others wrote, and publishes.
async fn counts_and_publishes(settings: Settings) {
    const EVENTS: usize = 500;
    let place = Place::own_topics();
    let mut process = start(&place, &settings);
    ready(&mut process).await;
    results::publish(&place.log(), &place.topic_prefix, &events_of_these_days(7, EVENTS, 5)).await;
    let topic = format!("{}video.views", place.topic_prefix);
    let event = json!({ "topic": topic, "data": { "type": "video.view", "videoId": "v", "userId": "u" } });
    let (status, answer) = process.post("/api/events/publish", &event).await;
    assert_eq!(status, 200, "{answer}");
    place.caught_up(&mut process).await;
    assert_eq!(place.assert_complete().await, EVENTS + 1);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let secret = given("STREAMGAUGE_TEST_KAFKA_PASSWORD");
    assert!(!process.last_words().contains(&secret), "invariant 10: {}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_tls_as_a_user_by_each_mechanism() {
    for mechanism in ["scram-sha-512", "scram-sha-256", "plain"] {
        counts_and_publishes(sasl(mechanism, USER)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_tls_by_a_token() {
    counts_and_publishes(token()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_mutual_tls() {
    counts_and_publishes(mutual("client")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_credential_gives_its_error() {
    let scram = || sasl("scram-sha-512", USER);
    let plain_port = given("STREAMGAUGE_TEST_KAFKA");
    let old = unsigned_token(chrono::Utc::now().timestamp() - 100_000);
    for (what, settings, told) in [
        ("another CA", but(scram(), &[("KAFKA_TLS_CA", &cert("stranger.pem"))]), "is not signed by the CA in"),
        (
            "the system's CAs",
            but(
                scram(),
                &[("KAFKA_TLS_CA", ""), ("KAFKA_TLS_ENABLED", "true"), ("SSL_CERT_FILE", &cert("stranger.pem"))],
            ),
            "set KAFKA_TLS_CA to the certificate of the CA",
        ),
        ("an expired CA", but(scram(), &[("KAFKA_TLS_CA", &cert("expired.pem"))]), "expired on 2002-01-01"),
        ("wrong password", but(scram(), &[("KAFKA_SASL_PASSWORD", "open-barley")]), "check KAFKA_SASL_USERNAME and"),
        ("no such user", but(scram(), &[("KAFKA_SASL_USERNAME", "ali")]), "refused user"),
        (
            "wrong password, sent",
            but(sasl("plain", USER), &[("KAFKA_SASL_PASSWORD", "open-barley")]),
            "with PLAIN: Authentication failed",
        ),
        ("an expired token", but(token(), &[("KAFKA_SASL_OAUTH_TOKEN", &old)]), "refused the OAUTHBEARER token"),
        (
            "no client certificate",
            but(mutual("client"), &[("KAFKA_TLS_CERT", ""), ("KAFKA_TLS_KEY", "")]),
            "wants a client certificate",
        ),
        ("an expired client certificate", mutual("expired"), "it expired on 2002-01-01"),
        ("a stranger's client certificate", mutual("foreign"), "must trust the CA that signed it"),
        ("TLS to a plain listener", but(scram(), &[("KAFKA_BROKERS", &plain_port)]), "speaks no TLS"),
        ("plain to a TLS listener", but(mutual("client"), &[("KAFKA_TLS_ENABLED", "false")]), "wants TLS"),
        (
            "SASL to a listener without",
            but(
                scram(),
                &[
                    ("KAFKA_BROKERS", &given("STREAMGAUGE_TEST_KAFKA_MTLS")),
                    ("KAFKA_TLS_CERT", &cert("client.pem")),
                    ("KAFKA_TLS_KEY", &cert("client.key")),
                ],
            ),
            "KAFKA_SASL_MECHANISM",
        ),
    ] {
        let place = Place::own_topics();
        let mut process = start(&place, &settings);
        let is_told = async |process: &Process| {
            let (status, health) = process.get_text("/readyz").await;
            assert_ne!(status, 200, "{what}: {}", process.said());
            (process.has_said(told) && health.contains(told)).then_some(())
        };
        process.until(&format!("{what}: {told}"), is_told).await;
        assert_eq!(process.terminate().await.code(), Some(0), "{what}: {}", process.said());
        let said = process.last_words();
        assert!(
            !said.contains("open-barley") && !said.contains("open-sesame") && !said.contains(&old),
            "{what}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_is_told_to_who_counts_and_to_who_publishes() {
    let mut place = Place::own_topics();
    let text = fs::read_to_string(place.catalog_path.as_ref().unwrap()).unwrap();
    let denied = format!("{DENIED_PREFIX}{}", place.topic_prefix);
    place.write_catalog(&text.replace(&place.topic_prefix, &denied));
    place.topic_prefix = denied;
    results::create(&place.log(), &results::topics_of(&place.catalog()), 3).await;
    results::publish(&place.log(), &place.topic_prefix, &events_of_these_days(7, 50, 0)).await;
    let mut process = start(&place, &sasl("scram-sha-256", USER));
    process.says("the broker does not list it to this user").await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    let mut process = start(&place, &sasl("scram-sha-256", SEEING_USER));
    process.says("grant its user READ and DESCRIBE on it").await;
    let topic = format!("{}video.views", place.topic_prefix);
    let event = json!({ "topic": topic, "data": { "type": "video.view", "videoId": "v", "userId": "u" } });
    let (status, answer) = process.post("/api/events/publish", &event).await;
    // Not the publisher's fault, so that it may come again.
    assert_eq!(status, 503, "{answer}");
    assert!(answer.to_string().contains("WRITE"), "{answer}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_files_are_used_without_a_restart() {
    let place = Place::own_topics();
    let folder = &place.folder;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let put = |name: &str, from: &str| fs::write(file(name), fs::read(cert(from)).unwrap()).unwrap();
    put("client.pem", "foreign.pem");
    put("client.key", "foreign.key");
    let mut process = start(
        &place,
        &but(mutual("client"), &[("KAFKA_TLS_CERT", &file("client.pem")), ("KAFKA_TLS_KEY", &file("client.key"))]),
    );
    process.says("must trust the CA that signed it").await;
    // For a moment certificate and key do not belong together.
    put("client.pem", "client.pem");
    put("client.key", "client.key");
    ready(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    let password = file("password");
    fs::write(&password, "open-barley\n").unwrap();
    let settings =
        but(sasl("scram-sha-512", USER), &[("KAFKA_SASL_PASSWORD", ""), ("KAFKA_SASL_PASSWORD_FILE", &password)]);
    let mut process = start(&place, &settings);
    process.says("check KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD").await;
    fs::write(&password, given("STREAMGAUGE_TEST_KAFKA_PASSWORD")).unwrap();
    ready(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
