//! TLS and SASL towards the brokers: the same settings for every connection, whichever client opens it.

use std::{
    fs::File,
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use super::{access::AccessError, oauth::TokenEndpoint};
use crate::{
    model::{Secret, SecretSource},
    tls::{ClientTls, Credentials},
};

/// Largest file that is read for a secret, bytes.
const MAX_SECRET_BYTES: u64 = 65_536;

/// How connections to brokers are secured. Default: not at all.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// TLS (`KAFKA_TLS_*`).
    pub tls: Option<Arc<ClientTls>>,
    /// How we say who we are (`KAFKA_SASL_*`).
    pub sasl: Option<Arc<Sasl>>,
}

/// A SASL mechanism with what it needs (RFC 4422).
#[derive(Debug)]
pub enum Sasl {
    /// PLAIN (RFC 4616): the password itself is sent.
    Plain(Login),
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256(Login),
    /// SCRAM-SHA-512.
    ScramSha512(Login),
    /// OAUTHBEARER (RFC 7628, KIP-255).
    OauthBearer(Bearer),
}

/// User and password.
#[derive(Debug)]
pub struct Login {
    /// User.
    pub username: String,
    /// Password.
    pub password: Renewable,
}

/// A token, and what goes beside it.
#[derive(Debug)]
pub struct Bearer {
    /// Where the token comes from.
    pub token: Token,
    /// Extensions (RFC 7628, 3.1; KIP-342), such as Confluent Cloud's `logicalCluster`.
    pub extensions: Vec<(String, String)>,
}

/// Where a token comes from.
#[derive(Debug)]
pub enum Token {
    /// It is given.
    Given(Renewable),
    /// An endpoint gives it for client credentials (RFC 6749, 4.4; KIP-768).
    Endpoint(TokenEndpoint),
}

/// A secret that is read again from its file, where it has one, before each use.
#[derive(Debug)]
pub struct Renewable {
    source: SecretSource,
    last: Mutex<Secret>,
}

impl Renewable {
    /// From where the configuration has it.
    pub fn new(source: SecretSource) -> Self {
        Self { last: Mutex::new(source.value.clone()), source }
    }

    /// The secret as it is now; the one read before where the file cannot be read or is empty.
    pub(super) fn current(&self) -> Secret {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.source.file else { return last.clone() };
        match read_secret(path) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => *last = Secret::new(text),
            Err(error) => tracing::warn!(
                "cannot read the secret in {}: {error}; going on with the one that was read before",
                path.display()
            ),
        }
        last.clone()
    }
}

/// A secret from its file, without the line end that editors put there.
fn read_secret(path: &std::path::Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SECRET_BYTES).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Sasl {
    /// The mechanism's name, as SASL has it.
    pub fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain(_) => "PLAIN",
            Self::ScramSha256(_) => "SCRAM-SHA-256",
            Self::ScramSha512(_) => "SCRAM-SHA-512",
            Self::OauthBearer(_) => "OAUTHBEARER",
        }
    }

    /// The user that we say we are, where the mechanism has one.
    pub(super) fn username(&self) -> Option<&str> {
        match self {
            Self::Plain(login) | Self::ScramSha256(login) | Self::ScramSha512(login) => Some(&login.username),
            Self::OauthBearer(_) => None,
        }
    }

    /// What is sent: the password, or a token that is valid now.
    pub(super) async fn secret(&self) -> Result<Secret, AccessError> {
        match self {
            Self::OauthBearer(Bearer { token: Token::Endpoint(endpoint), .. }) => endpoint.token().await,
            Self::OauthBearer(Bearer { token: Token::Given(given), .. }) => Ok(given.current()),
            Self::Plain(login) | Self::ScramSha256(login) | Self::ScramSha512(login) => Ok(login.password.current()),
        }
    }

    pub(super) fn extensions(&self) -> &[(String, String)] {
        match self {
            Self::OauthBearer(bearer) => &bearer.extensions,
            _ => &[],
        }
    }
}

impl Security {
    /// What the next TLS connection is opened with; `None` for a plain one. Reads the files in place: they are small, and
    /// connections are rare.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, AccessError> {
        Ok(self.tls.as_ref().map(|tls| tls.current()).transpose()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_secret_is_read_again_and_an_unreadable_one_is_not_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        let secret = Renewable::new(SecretSource { value: Secret::new("first"), file: Some(file.clone()) });
        assert_eq!(secret.current().reveal(), "first");
        std::fs::write(&file, "second\n").expect("written");
        assert_eq!(secret.current().reveal(), "second");
        std::fs::write(&file, "").expect("written");
        assert_eq!(secret.current().reveal(), "second");
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(secret.current().reveal(), "second");
    }

    #[test]
    fn invariant_10_no_secret_in_debug() {
        let password = || Renewable::new(SecretSource::fixed("hunter2"));
        let sasl = [
            Sasl::Plain(Login { username: "u".to_owned(), password: password() }),
            Sasl::OauthBearer(Bearer { token: Token::Given(password()), extensions: Vec::new() }),
        ];
        for sasl in sasl {
            let security = Security { tls: None, sasl: Some(Arc::new(sasl)) };
            assert!(!format!("{security:?}").contains("hunter2"));
        }
    }
}
