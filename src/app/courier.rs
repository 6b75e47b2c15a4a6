//! Carries requests over HTTP: a client of its own for each subscription, with as many idle connections as it may have requests
//! in flight. It follows no redirect, so an event goes where it was told to and nowhere else.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Url, header::RETRY_AFTER};

use crate::{
    core::delivery::{Answer, Request, Told, Trouble},
    model::Secret,
    runtime::delivery::{Courier, Load},
    tls,
};

/// Most bytes of an answer that are read; what is behind them says nothing of events.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Posts to one URL.
pub struct HttpCourier {
    http: reqwest::Client,
    url: Url,
    timeout_ms: u64,
}

impl HttpCourier {
    /// A courier to a URL, which may hold a user and a password.
    ///
    /// # Errors
    /// The URL is none, or the system's certificates cannot be read.
    pub fn new(url: &Secret, timeout: Duration, concurrency: usize) -> Result<Self, String> {
        let url: Url = url.reveal().parse().map_err(|error| format!("url is none: {error}"))?;
        if url.host_str().is_none() {
            return Err("url names no host".to_owned());
        }
        let http = tls::http_client(None, timeout)
            .map_err(|error| error.to_string())?
            .pool_max_idle_per_host(concurrency)
            .tcp_nodelay(true)
            .build()
            .map_err(tls::why)?;
        Ok(Self { http, url, timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) })
    }

    /// Scheme, host and port.
    pub fn target(&self) -> String {
        let port = self.url.port_or_known_default().unwrap_or_default();
        format!("{}://{}:{port}", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }

    async fn post(&self, request: Request) -> Result<Answer, Trouble> {
        let mut post = self.http.post(self.url.clone()).body(request.body);
        for (name, value) in request.headers {
            post = post.header(name, value);
        }
        let mut response = post.send().await.map_err(|error| self.trouble(error))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while body.len() < MAX_ANSWER_BYTES
            && let Some(chunk) = response.chunk().await.map_err(|error| self.trouble(error))?
        {
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, retry_after, body })
    }

    fn trouble(&self, error: reqwest::Error) -> Trouble {
        if error.is_timeout() {
            Trouble::TimedOut { timeout_ms: self.timeout_ms }
        } else {
            Trouble::Unreachable(tls::why(error))
        }
    }
}

#[async_trait]
impl Courier for HttpCourier {
    async fn carry(&self, load: Load<'_>) -> Told {
        let answer = self.post(load.request()).await;
        Told::of(&answer, load.events.len(), chrono::Utc::now().timestamp_millis())
    }
}
