//! How the log reaches the Kafka that the configuration names.

use std::sync::Arc;

use crate::{
    catalog::plan::Catalog,
    config::{Config, KafkaConfig, KafkaSasl, KafkaToken, PasswordMechanism, TlsConfig},
    log::kafka::{Bearer, KafkaOptions, Login, Renewable, Sasl, Security, Token, TokenEndpoint, TokenOptions},
    tls::{ClientTls, IdentityFiles, TlsError, TlsOptions},
};

/// The options of the log.
///
/// # Errors
/// The TLS files cannot be used: someone is looking at the start, so it is said at once.
pub fn kafka_options(config: &Config, catalog: &Catalog, brokers: Vec<String>) -> Result<KafkaOptions, TlsError> {
    let compression_of =
        catalog.topics.iter().filter_map(|topic| Some((topic.name.to_string(), topic.compression?))).collect();
    Ok(KafkaOptions {
        client_id: config.kafka.client_id.clone(),
        request_timeout: config.kafka.request_timeout,
        retry_backoff: config.kafka.retry_backoff,
        retries: config.kafka.retries,
        max_in_flight: config.kafka.max_in_flight,
        compression: config.kafka.compression,
        compression_of,
        security: security(&config.kafka)?,
        ..KafkaOptions::new(brokers)
    })
}

/// The certificates that the configuration names, read for the first time.
pub(super) fn client_tls(tls: &TlsConfig) -> Result<ClientTls, TlsError> {
    let identity = tls.identity.clone().map(|(cert, key)| IdentityFiles { cert, key });
    ClientTls::load(TlsOptions { ca: tls.ca.clone(), identity })
}

/// TLS and SASL as the configuration has them.
///
/// # Errors
/// The TLS files cannot be used.
pub fn security(config: &KafkaConfig) -> Result<Security, TlsError> {
    let tls = config.tls.as_ref().map(client_tls);
    let ca = config.tls.as_ref().and_then(|tls| tls.ca.clone());
    let sasl = config.sasl.clone().map(|sasl| match sasl {
        KafkaSasl::Password { mechanism, username, password } => {
            let login = Login { username, password: Renewable::new(password) };
            match mechanism {
                PasswordMechanism::Plain => Sasl::Plain(login),
                PasswordMechanism::ScramSha256 => Sasl::ScramSha256(login),
                PasswordMechanism::ScramSha512 => Sasl::ScramSha512(login),
            }
        }
        KafkaSasl::Token { token, extensions } => {
            let token = match token {
                KafkaToken::Given(given) => Token::Given(Renewable::new(given)),
                KafkaToken::Endpoint { url, client_id, client_secret, scope } => {
                    let client_secret = Renewable::new(client_secret);
                    Token::Endpoint(TokenEndpoint::new(TokenOptions { url, client_id, client_secret, scope, ca }))
                }
            };
            Sasl::OauthBearer(Bearer { token, extensions })
        }
    });
    Ok(Security { tls: tls.transpose()?.map(Arc::new), sasl: sasl.map(Arc::new) })
}
