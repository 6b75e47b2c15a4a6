//! The running process that a command talks to.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;

/// How long a call may take as a whole.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The HTTP API of a running process.
#[derive(Clone, Debug)]
pub struct Endpoint {
    base: Url,
    client: Client,
}

impl Endpoint {
    /// The process at this base URL, such as `http://127.0.0.1:3007`.
    ///
    /// # Errors
    /// The URL is none, or is no `http://` URL.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let base: Url =
            base.parse().with_context(|| format!("{base:?} is no URL; give one like http://127.0.0.1:3007"))?;
        if base.cannot_be_a_base() || base.scheme() != "http" {
            bail!("{base} cannot be called; give a URL like http://127.0.0.1:3007");
        }
        // A proxy of the environment would take calls to this very machine elsewhere; and where no CA is installed, reading
        // the system's would fail, though none is needed.
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self { base, client })
    }

    /// A GET of a path given as segments; each is percent-encoded.
    pub fn get(&self, segments: &[&str]) -> RequestBuilder {
        self.client.get(self.url(segments))
    }

    /// A GET with query parameters.
    pub fn get_with(&self, segments: &[&str], params: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url(segments);
        url.query_pairs_mut().extend_pairs(params);
        self.client.get(url)
    }

    /// A POST, as [`Endpoint::get`].
    pub fn post(&self, segments: &[&str]) -> RequestBuilder {
        self.client.post(self.url(segments))
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only URLs that cannot be a base have no segments, and `new` refuses these.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Sends a call.
    ///
    /// # Errors
    /// The process does not answer; the text says what to do.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        request.send().await.map_err(|error| {
            anyhow!(
                "{} does not answer ({}): is streamgauge running there? PORT and HTTP_ADDR say where it is looked for",
                self.base,
                innermost(&error)
            )
        })
    }

    /// Sends a call and reads its JSON.
    ///
    /// # Errors
    /// As [`Endpoint::send`]; the answer is a problem, whose detail the error tells.
    pub async fn json(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = self.send(request).await?;
        let status = response.status();
        let body: Value =
            response.json().await.with_context(|| format!("{} answered {status} without JSON", self.base))?;
        match body.get("detail").and_then(Value::as_str) {
            Some(detail) if !status.is_success() => bail!("{detail} (status {status})"),
            None if !status.is_success() => bail!("{} answered {status}: {body}", self.base),
            _ => Ok(body),
        }
    }
}

/// The first cause: what stands around it names layers of the client that the user never asked about.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
