//! TLS and SASL for rskafka, which takes them when a client is built and keeps them: where they have changed since, the
//! client is built anew.

use std::{sync::Arc, time::Duration};

use rskafka::{
    BackoffConfig,
    client::{Client, ClientBuilder, Credentials as RskafkaLogin, OauthBearerCredentials, SaslConfig, error::Error},
};
use rustls::ClientConfig;

use super::{
    KafkaOptions,
    access::AccessError,
    security::{Sasl, Security},
};
use crate::model::Secret;

/// What a client was built with. Tokens are no part of it: the client asks for one at each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    certificates: Option<u64>,
    password: Option<Secret>,
}

/// What a client is built with. No Debug: rskafka's own shows the password.
pub(super) struct Secured {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) sasl: Option<SaslConfig>,
}

/// The settings as they are now.
pub(super) async fn settings(security: &Security) -> Result<(Stamp, Secured), AccessError> {
    let credentials = security.credentials()?;
    let (mut password, mut sasl) = (None, None);
    if let Some(ours) = &security.sasl {
        if ours.username().is_some() {
            password = Some(ours.secret().await?);
        }
        sasl = Some(rskafkas(ours, password.as_ref()));
    }
    let certificates = credentials.as_ref().map(|credentials| credentials.generation);
    Ok((Stamp { certificates, password }, Secured { tls: credentials.map(|credentials| credentials.config), sasl }))
}

/// Builds a client: finds a broker that lets us in.
pub(super) async fn client(options: &KafkaOptions, secured: Secured) -> Result<Client, Error> {
    // A deadline of zero: the first failure is the answer, and trying again is decided by the caller.
    let backoff = BackoffConfig { deadline: Some(Duration::ZERO), ..BackoffConfig::default() };
    let mut builder = ClientBuilder::new(options.brokers.clone())
        .client_id(options.client_id.as_str())
        .max_message_size(options.max_message_bytes)
        .backoff_config(backoff);
    if let Some(tls) = secured.tls {
        builder = builder.tls_config(tls);
    }
    if let Some(sasl) = secured.sasl {
        builder = builder.sasl_config(sasl);
    }
    builder.build().await
}

fn rskafkas(sasl: &Arc<Sasl>, password: Option<&Secret>) -> SaslConfig {
    let login = || {
        let password = password.map(Secret::reveal).unwrap_or_default();
        RskafkaLogin::new(sasl.username().unwrap_or_default().to_owned(), password.to_owned())
    };
    match &**sasl {
        Sasl::Plain(_) => SaslConfig::Plain(login()),
        Sasl::ScramSha256(_) => SaslConfig::ScramSha256(login()),
        Sasl::ScramSha512(_) => SaslConfig::ScramSha512(login()),
        Sasl::OauthBearer(bearer) => {
            let sasl = Arc::clone(sasl);
            SaslConfig::Oauthbearer(OauthBearerCredentials {
                callback: Arc::new(move || {
                    let sasl = Arc::clone(&sasl);
                    Box::pin(async move { Ok(sasl.secret().await?.reveal().to_owned()) })
                }),
                authz_id: None,
                bearer_kvs: bearer.extensions.clone(),
            })
        }
    }
}
