//! The registry's HTTP API, as far as reading needs it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    model::Secret,
    tls::{self, TlsError},
};

/// Deadline of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read, bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Most schemas that one refers to, by others too.
const MAX_REFERENCES: usize = 100;
/// The registry's code for an id that it does not have.
const NO_SUCH_SCHEMA: u32 = 40403;

/// Where to ask, and as whom.
pub struct RegistryOptions {
    /// `SCHEMA_REGISTRY_URL`, with `user:password@` if need be.
    pub url: Secret,
    /// `SCHEMA_REGISTRY_USERNAME`, instead of the URL's.
    pub username: Option<String>,
    /// `SCHEMA_REGISTRY_PASSWORD`.
    pub password: Option<Secret>,
    /// `SCHEMA_REGISTRY_TLS_CA`: authorities to trust beside the system's.
    pub ca: Option<PathBuf>,
}

/// Why the registry does not tell. No user or password stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The URL is none.
    #[error("SCHEMA_REGISTRY_URL is no URL such as http://registry:8081: {0}")]
    Url(String),
    /// The CA file.
    #[error("TLS to the schema registry (SCHEMA_REGISTRY_TLS_CA): {0}")]
    Tls(#[from] TlsError),
    /// No answer comes.
    #[error("the schema registry at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It answers otherwise than a registry does that has the schema or not.
    #[error("the schema registry at {url} answered {status}: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// The status.
        status: u16,
        /// What it said, and what to do.
        reason: String,
    },
}

/// The language of a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Kind {
    #[default]
    Avro,
    Json,
    Protobuf,
}

/// A schema with those that it refers to, by the names that it calls them.
#[derive(Clone, Debug, Default)]
pub(super) struct Registered {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) references: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    #[serde(default)]
    schema_type: Kind,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: u32,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error_code: u32,
    #[serde(default)]
    message: String,
}

pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    user: Option<(String, Secret)>,
}

impl Client {
    pub(super) fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let invalid = |reason: &str| RegistryError::Url(reason.to_owned());
        let mut url: Url = options.url.reveal().trim().parse().map_err(|_| invalid("it cannot be read as one"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(invalid("it begins with http:// or https:// and names a host"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let username = options.username.unwrap_or_else(|| decoded(url.username()));
        let password = options.password.unwrap_or_else(|| Secret::new(decoded(url.password().unwrap_or_default())));
        // What is left is shown.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let http = tls::http_client(options.ca.as_deref(), REQUEST_TIMEOUT)?
            .build()
            .map_err(|error| invalid(&error.without_url().to_string()))?;
        Ok(Self { http, url, user: (!username.is_empty()).then_some((username, password)) })
    }

    /// The schema with this id and all that it refers to; `None` where the registry says that there is none.
    pub(super) async fn schema(&self, id: u32) -> Result<Option<Registered>, RegistryError> {
        let Some(Answer { schema, schema_type, references }) = self.get(&["schemas", "ids", &id.to_string()]).await?
        else {
            return Ok(None);
        };
        let mut found = Registered { kind: schema_type, text: schema, references: BTreeMap::new() };
        let mut open = references;
        while let Some(Reference { name, subject, version }) = open.pop() {
            if found.references.contains_key(&name) || found.references.len() >= MAX_REFERENCES {
                continue;
            }
            let version = version.to_string();
            let path = ["subjects", &*subject, "versions", &*version];
            let referred = self.get::<Answer>(&path).await?.ok_or_else(|| {
                self.refused(
                    StatusCode::NOT_FOUND,
                    &format!("schema {id} refers to version {version} of {subject}, which is gone"),
                )
            })?;
            open.extend(referred.references);
            found.references.insert(name, referred.schema);
        }
        Ok(Some(found))
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<Option<T>, RegistryError> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request =
            self.http.get(url).header("accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some((user, password)) = &self.user {
            request = request.basic_auth(user, Some(password.reveal()));
        }
        let unreachable =
            |error: reqwest::Error| RegistryError::Unreachable { url: self.url.to_string(), reason: tls::why(error) };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER_BYTES {
                return Err(self.refused(status, &format!("its answer is larger than {MAX_ANSWER_BYTES} bytes")));
            }
        }
        if status.is_success() {
            let parsed = serde_json::from_slice(&body);
            return parsed.map(Some).map_err(|error| {
                self.refused(status, &format!("that is no schema ({error}); is it a schema registry?"))
            });
        }
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        if status == StatusCode::NOT_FOUND && refusal.error_code == NO_SUCH_SCHEMA {
            return Ok(None);
        }
        let advice = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "; check the user and password in SCHEMA_REGISTRY_URL, or SCHEMA_REGISTRY_USERNAME and _PASSWORD"
            }
            StatusCode::NOT_FOUND => "; check the path in SCHEMA_REGISTRY_URL",
            _ => "",
        };
        Err(self.refused(status, &format!("{}{advice}", refusal.message)))
    }

    fn refused(&self, status: StatusCode, reason: &str) -> RegistryError {
        RegistryError::Refused { url: self.url.to_string(), status: status.as_u16(), reason: tls::repeated(reason) }
    }
}
