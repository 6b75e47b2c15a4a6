//! HTTP requests that we make with a secret in them: to a token endpoint, to a schema registry.

use std::{path::Path, time::Duration};

use reqwest::{Client, ClientBuilder, redirect::Policy};

use super::{TlsError, https};

/// Longest text of somebody else's that an error of ours repeats, characters.
const MAX_TOLD_CHARS: usize = 300;

/// A client that trusts the system's authorities and those in `ca`, with a deadline for each request. It follows no redirect:
/// the secret goes to the server that was named and nowhere else.
///
/// # Errors
/// As for [`https`].
pub fn http_client(ca: Option<&Path>, timeout: Duration) -> Result<ClientBuilder, TlsError> {
    Ok(Client::builder().tls_backend_preconfigured(https(ca)?).timeout(timeout).redirect(Policy::none()))
}

/// Why a request failed, and what lies below that, without its URL: reqwest's own text says only that it failed.
pub fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    repeated(&text)
}

/// What somebody else said, as an error of ours may repeat it: without control characters, and not without end.
pub fn repeated(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_TOLD_CHARS).collect()
}
