//! Who we are: the part of a [`Greeting`] that SASL has (KIP-43, KIP-152).
//!
//! `ApiVersions` (v0, which every broker answers), `SaslHandshake` with the mechanism, then `SaslAuthenticate` until the
//! mechanism is through. A broker takes one `ApiVersions` before the handshake and any number after it.

use std::{io::Cursor, time::Duration};

use bytes::Bytes;
use kafka_protocol::{
    messages::{ApiKey, ApiVersionsRequest, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest},
    protocol::StrBytes,
};
use rsasl::{
    callback::{Context, Request as PropertyRequest, SessionCallback, SessionData},
    config::SASLConfig,
    prelude::{Mechname, SASLClient, Session, SessionError},
    property::{OAuthBearerKV, OAuthBearerToken},
};

use super::greeting::Greeting;
use crate::{
    log::kafka::{access::AccessError, security::Sasl},
    model::Secret,
};

/// Most rounds of one mechanism; SCRAM has two.
const MAX_ROUNDS: usize = 8;
/// Most rounds of hashing that a broker may ask for (SCRAM); Kafka's own limit is 16384.
const MAX_ITERATIONS: u64 = 1_000_000;
/// Longest text of the broker's that an error repeats, characters.
const MAX_TOLD_CHARS: usize = 300;

const NEWEST_AUTHENTICATE: i16 = 2;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

impl Greeting<'_> {
    /// Says who we are, where that is asked for: nothing may have been sent before. Returns how long the session lasts, where
    /// the broker ends it (KIP-368): the caller closes the connection before.
    ///
    /// # Errors
    /// Why the broker does not let us in.
    pub(super) async fn authenticate(&mut self) -> Result<Option<Duration>, AccessError> {
        let Some(sasl) = &self.security.sasl else { return Ok(None) };
        let version = self.ask_version().await?;
        self.prove(sasl, version).await
    }

    /// The newest version of `SaslAuthenticate` that both sides know.
    async fn ask_version(&mut self) -> Result<i16, AccessError> {
        let answer = self.exchange(&ApiVersionsRequest::default(), 0).await?;
        let key = ApiKey::SaslAuthenticate as i16;
        let offered = answer.api_keys.iter().find(|api| api.api_key == key).map_or(0, |api| api.max_version);
        Ok(offered.clamp(0, NEWEST_AUTHENTICATE))
    }

    async fn prove(&mut self, sasl: &Sasl, version: i16) -> Result<Option<Duration>, AccessError> {
        let mechanism = sasl.mechanism();
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
        let answer = self.exchange(&request, 1).await?;
        match answer.error_code {
            0 => {}
            UNSUPPORTED_SASL_MECHANISM => {
                let offered: Vec<String> = answer.mechanisms.iter().map(|name| short(name)).collect();
                return Err(AccessError::Mechanism {
                    address: self.address.to_owned(),
                    mechanism,
                    offered: if offered.is_empty() { "none".to_owned() } else { offered.join(", ") },
                });
            }
            ILLEGAL_SASL_STATE => {
                return Err(AccessError::Mechanism {
                    address: self.address.to_owned(),
                    mechanism,
                    offered: "none, since this listener has no SASL".to_owned(),
                });
            }
            code => return Err(self.failed(format!("the handshake was answered with error {code}"))),
        }
        let mut session = session(sasl, sasl.secret().await?).map_err(|error| self.failed(error))?;
        let mut received: Option<Bytes> = None;
        let mut lifetime = None;
        for _ in 0..MAX_ROUNDS {
            let mut message = Cursor::new(Vec::new());
            if let Some(challenge) = &received {
                self.check(sasl, challenge, version).await?;
            }
            let state = session
                .step(received.as_deref(), &mut message)
                .map_err(|error| self.failed(format!("the broker's answer is not what {mechanism} has: {error}")))?;
            if state.has_sent_message() {
                let answer = self.send(sasl, message.into_inner(), version).await?;
                lifetime =
                    u64::try_from(answer.session_lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
                received = Some(answer.auth_bytes);
            }
            if state.is_finished() {
                return Ok(lifetime);
            }
        }
        Err(self.failed(format!("{mechanism} did not end after {MAX_ROUNDS} rounds")))
    }

    /// Looks at a challenge before the mechanism does: a refused token's reason, a SCRAM that would keep us busy for hours.
    async fn check(&mut self, sasl: &Sasl, challenge: &Bytes, version: i16) -> Result<(), AccessError> {
        let text = String::from_utf8_lossy(challenge);
        if let Sasl::OauthBearer(_) = sasl
            && !challenge.is_empty()
        {
            // The broker says why only when it hears that we have understood (RFC 7628, 3.2.3).
            let reason = match self.send(sasl, vec![1], version).await {
                Err(AccessError::Token { reason, .. }) => format!("{} {reason}", short(&text)),
                _ => short(&text),
            };
            return Err(AccessError::Token { address: self.address.to_owned(), reason });
        }
        let iterations = text.split(',').find_map(|part| part.strip_prefix("i="));
        if iterations.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count > MAX_ITERATIONS)) {
            return Err(self.failed(format!("it asks for more than {MAX_ITERATIONS} rounds of hashing")));
        }
        Ok(())
    }

    async fn send(
        &mut self,
        sasl: &Sasl,
        message: Vec<u8>,
        version: i16,
    ) -> Result<SaslAuthenticateResponse, AccessError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer = self.exchange(&request, version).await?;
        let reason = answer.error_message.as_deref().map_or_else(|| "no reason given".to_owned(), short);
        match answer.error_code {
            0 => Ok(answer),
            SASL_AUTHENTICATION_FAILED => Err(refused(self.address, sasl, reason)),
            code => Err(self.failed(format!("{reason} (error {code})"))),
        }
    }

    fn failed(&self, reason: String) -> AccessError {
        AccessError::Sasl { address: self.address.to_owned(), reason }
    }
}

fn refused(address: &str, sasl: &Sasl, reason: String) -> AccessError {
    let (address, mechanism) = (address.to_owned(), sasl.mechanism());
    match sasl.username() {
        Some(username) => AccessError::Login { address, mechanism, username: username.to_owned(), reason },
        None => AccessError::Token { address, reason },
    }
}

/// The mechanism's own state.
fn session(sasl: &Sasl, secret: Secret) -> Result<Session, String> {
    let config = match sasl.username() {
        Some(username) => SASLConfig::with_credentials(None, username.to_owned(), secret.reveal().to_owned()),
        None => SASLConfig::builder()
            .with_default_mechanisms()
            .with_callback(Bearing { token: secret, extensions: sasl.extensions().to_vec() }),
    };
    let config = config.map_err(|error| error.to_string())?;
    let mechanism = Mechname::parse(sasl.mechanism().as_bytes()).map_err(|error| error.to_string())?;
    SASLClient::new(config).start_suggested(&[mechanism]).map_err(|error| error.to_string())
}

/// Hands the token to the mechanism.
struct Bearing {
    token: Secret,
    extensions: Vec<(String, String)>,
}

impl SessionCallback for Bearing {
    fn callback(
        &self,
        _session: &SessionData,
        _context: &Context<'_>,
        request: &mut PropertyRequest<'_>,
    ) -> Result<(), SessionError> {
        let extensions: Vec<(&str, &str)> =
            self.extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        request.satisfy::<OAuthBearerKV>(&extensions)?.satisfy::<OAuthBearerToken>(self.token.reveal())?;
        Ok(())
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_TOLD_CHARS).collect()
}

#[cfg(test)]
mod tests;
