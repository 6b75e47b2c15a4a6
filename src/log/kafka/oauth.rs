//! Tokens for client credentials (RFC 6749, 4.4; KIP-768): asked for once, kept until shortly before they expire.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{access::AccessError, security::Renewable};
use crate::{model::Secret, tls};

/// Deadline of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a request is tried before the caller is told.
const ATTEMPTS: u32 = 2;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Largest answer that is read, bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Lifetime where the endpoint tells none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// Longest time that a token is kept.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The part of its lifetime after which a token is asked for anew.
const RENEW_AFTER: f64 = 0.8;

/// An endpoint that gives tokens.
#[derive(Debug)]
pub struct TokenEndpoint {
    options: Arc<TokenOptions>,
    /// Held while asking, so that many connections ask once.
    kept: Mutex<Option<Kept>>,
}

/// Where to ask, and as whom.
pub struct TokenOptions {
    /// The endpoint (`KAFKA_SASL_OAUTH_TOKEN_URL`).
    pub url: String,
    /// Client id.
    pub client_id: String,
    /// Client secret.
    pub client_secret: Renewable,
    /// Scopes, separated by spaces.
    pub scope: Option<String>,
    /// Authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for TokenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenOptions")
            .field("url", &self.url)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Kept {
    token: Secret,
    renew_at: Instant,
    expires_at: Instant,
}

/// The endpoint's answer (RFC 6749, 5.1 and 5.2).
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    #[serde(default)]
    expires_in: serde_json::Value,
    error: Option<String>,
    error_description: Option<String>,
}

impl TokenEndpoint {
    /// An endpoint; nothing is asked yet.
    pub fn new(options: TokenOptions) -> Self {
        Self { options: Arc::new(options), kept: Mutex::new(None) }
    }

    /// A token that is valid now.
    pub(super) async fn token(&self) -> Result<Secret, AccessError> {
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.renew_at) {
            return Ok(kept.token.clone());
        }
        let mut attempt = 1;
        let error = loop {
            match self.ask().await {
                Ok(new) => return Ok(kept.insert(new).token.clone()),
                Err(error) if !error.is_retriable() || attempt == ATTEMPTS => break error,
                Err(_) => sleep(PAUSE).await,
            }
            attempt += 1;
        };
        match kept.as_ref().filter(|kept| now < kept.expires_at) {
            Some(kept) => {
                tracing::warn!("{error}; going on with the token from before");
                Ok(kept.token.clone())
            }
            None => Err(error),
        }
    }

    async fn ask(&self) -> Result<Kept, AccessError> {
        let options = &self.options;
        let failed =
            |passes: bool, reason: String| AccessError::TokenEndpoint { url: shown(&options.url), reason, passes };
        let of_transport = |error: reqwest::Error| failed(true, tls::why(error));
        let asked_at = Instant::now();
        let (client, secret) = (client(options.ca.as_deref())?, options.client_secret.current());
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(options.scope.as_deref().map(|scope| ("scope", scope)));
        let request = client
            .post(&options.url)
            // Id and secret are form-encoded first (RFC 6749, 2.3.1).
            .basic_auth(encoded(&options.client_id), Some(encoded(secret.reveal())))
            .form(&form);
        let mut response = request.send().await.map_err(of_transport)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(of_transport)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(failed(false, format!("its answer is larger than {MAX_ANSWER_BYTES} bytes")));
            }
        }
        let answer = serde_json::from_slice::<Answer>(&body).ok();
        if !status.is_success() {
            let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            let why = answer.map_or_else(String::new, |answer| {
                let parts = [answer.error, answer.error_description].into_iter().flatten();
                format!(": {}", tls::repeated(&parts.collect::<Vec<_>>().join(": ")))
            });
            let advice = if passes { "" } else { "; check KAFKA_SASL_OAUTH_CLIENT_ID, _CLIENT_SECRET and _SCOPE" };
            return Err(failed(passes, format!("it answered {status}{why}{advice}")));
        }
        let no_token = || failed(false, "its answer holds no access_token; is this the token endpoint?".to_owned());
        let answer = answer.ok_or_else(no_token)?;
        let token = answer.access_token.filter(|token| is_token(token)).ok_or_else(no_token)?;
        let lifetime = lifetime(&answer.expires_in);
        Ok(Kept {
            token: Secret::new(token),
            renew_at: asked_at + lifetime.mul_f64(RENEW_AFTER),
            expires_at: asked_at + lifetime,
        })
    }
}

/// Made for each request, which come once an hour: the CA file may have been renewed.
fn client(ca: Option<&std::path::Path>) -> Result<Client, AccessError> {
    tls::http_client(ca, REQUEST_TIMEOUT)?
        .build()
        .map_err(|error| AccessError::Interrupted { reason: error.to_string() })
}

/// What RFC 6750 (2.1) lets a token be: no character that would end it in the SASL message.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Seconds, as a number or, where an endpoint gives it so, as text.
fn lifetime(expires_in: &serde_json::Value) -> Duration {
    let seconds = expires_in.as_u64().or_else(|| expires_in.as_str()?.parse().ok());
    seconds.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME)
}

fn encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The URL without user, password and query: what stands there may be secret.
fn shown(url: &str) -> String {
    let Ok(mut url) = url.parse::<Url>() else { return "the token endpoint".to_owned() };
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests;
