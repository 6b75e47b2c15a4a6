//! `KAFKA_TLS_*` and `KAFKA_SASL_*`, and the relations among them.

use std::{net::IpAddr, path::PathBuf};

use super::{
    reader::Reader,
    setting::Setting,
    table::{self as t},
    types::{KafkaSasl, KafkaToken, LogChoice, PasswordMechanism, TlsConfig},
};
use crate::model::SecretSource;

/// All of them.
const SETTINGS: [&Setting; 13] = [
    &t::KAFKA_TLS_ENABLED,
    &t::KAFKA_TLS_CA,
    &t::KAFKA_TLS_CERT,
    &t::KAFKA_TLS_KEY,
    &t::KAFKA_SASL_MECHANISM,
    &t::KAFKA_SASL_USERNAME,
    &t::KAFKA_SASL_PASSWORD,
    &t::KAFKA_SASL_OAUTH_TOKEN,
    &t::KAFKA_SASL_OAUTH_TOKEN_URL,
    &t::KAFKA_SASL_OAUTH_CLIENT_ID,
    &t::KAFKA_SASL_OAUTH_CLIENT_SECRET,
    &t::KAFKA_SASL_OAUTH_SCOPE,
    &t::KAFKA_SASL_OAUTH_EXTENSIONS,
];
const LOGIN: [&Setting; 2] = [&t::KAFKA_SASL_USERNAME, &t::KAFKA_SASL_PASSWORD];
const ENDPOINT: [&Setting; 4] = [
    &t::KAFKA_SASL_OAUTH_TOKEN_URL,
    &t::KAFKA_SASL_OAUTH_CLIENT_ID,
    &t::KAFKA_SASL_OAUTH_CLIENT_SECRET,
    &t::KAFKA_SASL_OAUTH_SCOPE,
];

/// Names of extensions are letters (RFC 7628, 3.1); this one is the token's own (KIP-342).
const RESERVED_EXTENSION: &str = "auth";

#[derive(Clone, Copy, PartialEq)]
enum Mechanism {
    Password(PasswordMechanism),
    Token,
}

/// Reads them; none where the log is embedded, which is plain and on loopback.
pub fn read(
    reader: &mut Reader<'_>,
    warnings: &mut Vec<String>,
    log: &LogChoice,
) -> (Option<TlsConfig>, Option<KafkaSasl>) {
    let tls = tls(reader, warnings, &KAFKA_TLS);
    let sasl = sasl(reader);
    let LogChoice::Kafka { brokers } = log else {
        for setting in SETTINGS.into_iter().filter(|setting| reader.is_given(setting)) {
            if setting.name != t::KAFKA_TLS_ENABLED.name || tls.is_some() {
                warnings.push(format!("{} does nothing: the log is embedded", setting.name));
            }
        }
        return (None, None);
    };
    let in_the_clear = |sasl: &KafkaSasl| match sasl {
        KafkaSasl::Password { mechanism, .. } => *mechanism == PasswordMechanism::Plain,
        KafkaSasl::Token { .. } => true,
    };
    // No error: clusters behind a service mesh or in a network of their own are set up so, and Kafka's clients allow it.
    if tls.is_none() && sasl.as_ref().is_some_and(in_the_clear) && !brokers.iter().all(|broker| is_loopback(broker)) {
        warnings.push(
            "KAFKA_SASL_MECHANISM sends its secret as it is, and without TLS whoever is in between can read it: set \
             KAFKA_TLS_ENABLED=true, or use scram-sha-512"
                .into(),
        );
    }
    (tls, sasl)
}

/// Settings of TLS towards one kind of server.
pub(super) struct TlsSettings {
    pub enabled: &'static Setting,
    pub ca: &'static Setting,
    pub cert: &'static Setting,
    pub key: &'static Setting,
}

const KAFKA_TLS: TlsSettings = TlsSettings {
    enabled: &t::KAFKA_TLS_ENABLED,
    ca: &t::KAFKA_TLS_CA,
    cert: &t::KAFKA_TLS_CERT,
    key: &t::KAFKA_TLS_KEY,
};

/// TLS as the settings have it: where a certificate is named, it is on unless they say otherwise.
pub(super) fn tls(reader: &mut Reader<'_>, warnings: &mut Vec<String>, of: &TlsSettings) -> Option<TlsConfig> {
    let TlsSettings { enabled, ca, cert, key } = of;
    let path = |reader: &Reader<'_>, setting: &Setting| reader.text(setting).map(PathBuf::from);
    let (ca_file, cert_file, key_file) = (path(reader, ca), path(reader, cert), path(reader, key));
    let is_enabled = reader.flag(enabled);
    if cert_file.is_some() && key_file.is_none() {
        reader.refuse(cert, format!("needs {}, the key of this certificate", key.name));
    }
    if key_file.is_some() && cert_file.is_none() {
        reader.refuse(key, format!("needs {}, the certificate of this key", cert.name));
    }
    let has_files = ca_file.is_some() || cert_file.is_some();
    if is_enabled == Some(false) {
        for setting in [ca, cert, key] {
            if reader.is_given(setting) {
                warnings.push(format!("{} does nothing: {} is false", setting.name, enabled.name));
            }
        }
    }
    is_enabled.unwrap_or(has_files).then(|| TlsConfig { ca: ca_file, identity: cert_file.zip(key_file) })
}

fn sasl(reader: &mut Reader<'_>) -> Option<KafkaSasl> {
    let Some(mechanism) = mechanism(reader) else {
        let rest = SETTINGS.iter().skip_while(|setting| setting.name != t::KAFKA_SASL_MECHANISM.name).skip(1);
        if let Some(setting) = rest.copied().find(|setting| reader.is_given(setting)) {
            let would_be = if LOGIN.iter().any(|login| login.name == setting.name) {
                "plain, scram-sha-256 or scram-sha-512, whichever the broker offers"
            } else {
                "oauthbearer"
            };
            reader.refuse(setting, format!("needs KAFKA_SASL_MECHANISM: {would_be}"));
        }
        return None;
    };
    match mechanism {
        Mechanism::Password(mechanism) => password(reader, mechanism),
        Mechanism::Token => token(reader),
    }
}

fn mechanism(reader: &mut Reader<'_>) -> Option<Mechanism> {
    reader.is_given(&t::KAFKA_SASL_MECHANISM).then(|| {
        let others = [
            ("scram-sha-256", Mechanism::Password(PasswordMechanism::ScramSha256)),
            ("scram-sha-512", Mechanism::Password(PasswordMechanism::ScramSha512)),
            ("oauthbearer", Mechanism::Token),
        ];
        reader.choice(&t::KAFKA_SASL_MECHANISM, ("plain", Mechanism::Password(PasswordMechanism::Plain)), &others)
    })
}

fn password(reader: &mut Reader<'_>, mechanism: PasswordMechanism) -> Option<KafkaSasl> {
    for setting in ENDPOINT.into_iter().chain([&t::KAFKA_SASL_OAUTH_TOKEN, &t::KAFKA_SASL_OAUTH_EXTENSIONS]) {
        if reader.is_given(setting) {
            reader.refuse(setting, "is for KAFKA_SASL_MECHANISM=oauthbearer; leave it out, or change the mechanism");
        }
    }
    let username = required(reader, &t::KAFKA_SASL_USERNAME).map(str::to_owned);
    let password = required_secret(reader, &t::KAFKA_SASL_PASSWORD);
    Some(KafkaSasl::Password { mechanism, username: username?, password: password? })
}

fn token(reader: &mut Reader<'_>) -> Option<KafkaSasl> {
    for setting in LOGIN {
        if reader.is_given(setting) {
            reader
                .refuse(setting, "is not for KAFKA_SASL_MECHANISM=oauthbearer; leave it out, or change the mechanism");
        }
    }
    let extensions = extensions(reader);
    let token = match reader.secret(&t::KAFKA_SASL_OAUTH_TOKEN) {
        Some(given) => {
            if let Some(setting) = ENDPOINT.into_iter().find(|setting| reader.is_given(setting)) {
                reader.refuse(setting, "is given together with KAFKA_SASL_OAUTH_TOKEN; leave one of them out");
            }
            KafkaToken::Given(given)
        }
        None => endpoint(reader)?,
    };
    Some(KafkaSasl::Token { token, extensions })
}

fn endpoint(reader: &mut Reader<'_>) -> Option<KafkaToken> {
    if ENDPOINT.into_iter().all(|setting| !reader.is_given(setting)) {
        reader.refuse(
            &t::KAFKA_SASL_MECHANISM,
            "needs KAFKA_SASL_OAUTH_TOKEN, or KAFKA_SASL_OAUTH_TOKEN_URL with _CLIENT_ID and _CLIENT_SECRET",
        );
        return None;
    }
    let url = required(reader, &t::KAFKA_SASL_OAUTH_TOKEN_URL).map(str::to_owned);
    let client_id = required(reader, &t::KAFKA_SASL_OAUTH_CLIENT_ID).map(str::to_owned);
    let client_secret = required_secret(reader, &t::KAFKA_SASL_OAUTH_CLIENT_SECRET);
    let scope = reader.text(&t::KAFKA_SASL_OAUTH_SCOPE).map(str::to_owned);
    let (url, client_id, client_secret) = (url?, client_id?, client_secret?);
    let host = url.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    match host {
        // RFC 6749, 3.2: the secret is sent there.
        Some(host) if !is_loopback(host) => {
            reader.refuse(&t::KAFKA_SASL_OAUTH_TOKEN_URL, "must be https://: the client secret is sent there");
        }
        None if !url.starts_with("https://") => {
            reader.refuse(&t::KAFKA_SASL_OAUTH_TOKEN_URL, "must be an URL such as https://id.example.com/oauth/token");
        }
        _ => {}
    }
    Some(KafkaToken::Endpoint { url, client_id, client_secret, scope })
}

fn extensions(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    let mut extensions = Vec::new();
    for word in reader.list(&t::KAFKA_SASL_OAUTH_EXTENSIONS).unwrap_or_default() {
        let pair = word.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        match pair {
            Some((name, value))
                if !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphabetic())
                    && name != RESERVED_EXTENSION
                    && !value.is_empty()
                    && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') =>
            {
                extensions.push((name.to_owned(), value.to_owned()));
            }
            _ => {
                reader.refuse(
                    &t::KAFKA_SASL_OAUTH_EXTENSIONS,
                    "must be name=value, several separated by commas, such as logicalCluster=lkc-1,identityPoolId=pool-1",
                );
                break;
            }
        }
    }
    extensions
}

fn required<'a>(reader: &mut Reader<'a>, setting: &Setting) -> Option<&'a str> {
    let text = reader.text(setting);
    if text.is_none() {
        missing(reader, setting);
    }
    text
}

fn required_secret(reader: &mut Reader<'_>, setting: &Setting) -> Option<SecretSource> {
    let secret = reader.secret(setting);
    if secret.is_none() {
        missing(reader, setting);
    }
    secret
}

fn missing(reader: &mut Reader<'_>, setting: &Setting) {
    let mechanism = reader.text(&t::KAFKA_SASL_MECHANISM).unwrap_or_default();
    reader.refuse(setting, format!("is missing: KAFKA_SASL_MECHANISM={mechanism} needs it"));
}

/// Whether `host[:port]` is this machine by its name or address.
fn is_loopback(place: &str) -> bool {
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => place.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
