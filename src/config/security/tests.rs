//! What the settings of TLS and SASL promise, as tables.

#![allow(clippy::panic, reason = "the helpers of a test may end it, as the test itself may")]

use std::io::Write;

use super::super::{Environment, Loaded, load};
use super::*;

/// A configuration with these settings and a Kafka elsewhere.
fn environment(pairs: &[(&str, &str)]) -> Environment {
    let kafka = [("KAFKA_BROKERS", "kafka.example.com:9093")];
    kafka.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn loaded(pairs: &[(&str, &str)]) -> Loaded {
    load(&environment(pairs), None).unwrap_or_else(|error| panic!("{pairs:?}: {error}"))
}

const PLAIN: [(&str, &str); 3] = [
    ("KAFKA_SASL_MECHANISM", "PLAIN"),
    ("KAFKA_SASL_USERNAME", "$ConnectionString"),
    ("KAFKA_SASL_PASSWORD", "hunter2"),
];
const CLIENT: [(&str, &str); 4] = [
    ("KAFKA_SASL_MECHANISM", "oauthbearer"),
    ("KAFKA_SASL_OAUTH_TOKEN_URL", "https://id.example.com/token"),
    ("KAFKA_SASL_OAUTH_CLIENT_ID", "me"),
    ("KAFKA_SASL_OAUTH_CLIENT_SECRET", "hunter2"),
];

#[test]
fn tls_is_on_where_its_files_are_named_or_it_is_asked_for() {
    let both = [("KAFKA_TLS_CERT", "c"), ("KAFKA_TLS_KEY", "k")];
    let identity = Some(("c".into(), "k".into()));
    for (pairs, expected) in [
        (&[][..], None),
        (&[("KAFKA_TLS_ENABLED", "true")], Some(TlsConfig::default())),
        (&[("KAFKA_TLS_CA", "ca")], Some(TlsConfig { ca: Some("ca".into()), identity: None })),
        (&both, Some(TlsConfig { ca: None, identity })),
        (&[("KAFKA_TLS_CA", "ca"), ("KAFKA_TLS_ENABLED", "false")], None),
    ] {
        assert_eq!(loaded(pairs).config.kafka.tls, expected, "{pairs:?}");
    }
}

#[test]
fn each_mechanism_has_what_it_needs() {
    let tls = ("KAFKA_TLS_ENABLED", "true");
    let Loaded { config, warnings } = loaded(&[&PLAIN[..], &[tls]].concat());
    assert!(warnings.is_empty(), "{warnings:?}");
    let password = SecretSource::fixed("hunter2");
    let username = "$ConnectionString".to_owned();
    assert_eq!(
        config.kafka.sasl,
        Some(KafkaSasl::Password { mechanism: PasswordMechanism::Plain, username, password: password.clone() })
    );
    assert_eq!(config.mode().split(',').next(), Some("Kafka at kafka.example.com:9093 (TLS"));
    let extensions = ("KAFKA_SASL_OAUTH_EXTENSIONS", "logicalCluster=lkc-1, identityPoolId=pool-1");
    let config = loaded(&[&CLIENT[..], &[tls, extensions, ("KAFKA_SASL_OAUTH_SCOPE", "a b")]].concat()).config;
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        config.kafka.sasl,
        Some(KafkaSasl::Token {
            token: KafkaToken::Endpoint {
                url: "https://id.example.com/token".to_owned(),
                client_id: "me".to_owned(),
                client_secret: password,
                scope: Some("a b".to_owned()),
            },
            extensions: vec![pair("logicalCluster", "lkc-1"), pair("identityPoolId", "pool-1")],
        })
    );
}

#[test]
fn what_does_not_fit_together_is_refused_with_what_would() {
    let scram = |more: &[(&'static str, &'static str)]| [&[("KAFKA_SASL_MECHANISM", "scram-sha-512")], more].concat();
    let client = |more: &[(&'static str, &'static str)]| [&CLIENT[..], more].concat();
    for (pairs, hint) in [
        (vec![("KAFKA_TLS_CERT", "c")], "KAFKA_TLS_CERT: \"c\": needs KAFKA_TLS_KEY"),
        (vec![("KAFKA_TLS_KEY", "k")], "needs KAFKA_TLS_CERT"),
        (vec![("KAFKA_SASL_PASSWORD", "hunter2")], "needs KAFKA_SASL_MECHANISM: plain"),
        (vec![("KAFKA_SASL_OAUTH_TOKEN", "hunter2")], "needs KAFKA_SASL_MECHANISM: oauthbearer"),
        (vec![("KAFKA_SASL_MECHANISM", "gssapi")], "must be one of plain"),
        (scram(&[("KAFKA_SASL_PASSWORD", "hunter2")]), "KAFKA_SASL_USERNAME: is missing"),
        (scram(&[("KAFKA_SASL_USERNAME", "u")]), "KAFKA_SASL_PASSWORD: is missing"),
        (scram(&[("KAFKA_SASL_OAUTH_SCOPE", "s")]), "is for KAFKA_SASL_MECHANISM=oauthbearer"),
        (vec![("KAFKA_SASL_MECHANISM", "oauthbearer")], "needs KAFKA_SASL_OAUTH_TOKEN, or"),
        (client(&[("KAFKA_SASL_USERNAME", "u")]), "is not for KAFKA_SASL_MECHANISM=oauthbearer"),
        (client(&[("KAFKA_SASL_OAUTH_TOKEN", "hunter2")]), "given together with KAFKA_SASL_OAUTH_TOKEN"),
        (client(&[("KAFKA_SASL_OAUTH_TOKEN_URL", "http://id.example.com/")]), "must be https://"),
        (client(&[("KAFKA_SASL_OAUTH_TOKEN_URL", "id.example.com")]), "must be an URL"),
        (client(&[("KAFKA_SASL_OAUTH_EXTENSIONS", "lkc-1")]), "must be name=value"),
        (client(&[("KAFKA_SASL_OAUTH_EXTENSIONS", "auth=x")]), "must be name=value"),
        (client(&[("KAFKA_SASL_OAUTH_EXTENSIONS", "a=\u{1}x")]), "must be name=value"),
    ] {
        let error = match load(&environment(&pairs), None) {
            Ok(_) => panic!("{pairs:?} was taken"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(hint) && !error.contains("hunter2"), "{pairs:?}: {error}");
    }
    loaded(&client(&[("KAFKA_SASL_OAUTH_TOKEN_URL", "http://127.0.0.1:8080/token")]));
}

#[test]
fn a_secret_in_the_clear_and_settings_without_effect_are_warned_about() {
    let on = |broker: &'static str| [&PLAIN[..], &[("KAFKA_BROKERS", broker)]].concat();
    for (pairs, hint) in [
        (PLAIN.to_vec(), Some("whoever is in between can read it")),
        (on("127.0.0.1:9092,[::1]:9092,localhost:1"), None),
        (on("127.0.0.1:9092,10.0.0.1:9092"), Some("whoever is in between can read it")),
        ([&PLAIN[..], &[("KAFKA_SASL_MECHANISM", "scram-sha-256")]].concat(), None),
        (
            [&PLAIN[..], &[("KAFKA_ENABLED", "false"), ("KAFKA_TLS_ENABLED", "false")]].concat(),
            Some("the log is embedded"),
        ),
        (vec![("KAFKA_TLS_CA", "ca"), ("KAFKA_TLS_ENABLED", "false")], Some("KAFKA_TLS_CA does nothing")),
    ] {
        let warnings = loaded(&pairs).warnings;
        let found = hint.is_none_or(|hint| warnings.iter().any(|warning| warning.contains(hint)));
        assert!(found && hint.is_none() == warnings.is_empty(), "{pairs:?}: {warnings:?}");
    }
}

#[test]
fn a_secret_of_a_file_keeps_the_file_to_read_it_again() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"hunter2\n").expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let pairs =
        [("KAFKA_SASL_MECHANISM", "scram-sha-256"), ("KAFKA_SASL_USERNAME", "u"), ("KAFKA_SASL_PASSWORD_FILE", path)];
    let Some(KafkaSasl::Password { password, .. }) = loaded(&pairs).config.kafka.sasl else { panic!("no password") };
    assert_eq!(password.value.reveal(), "hunter2");
    assert_eq!(password.file.as_deref(), Some(file.path()));
}
