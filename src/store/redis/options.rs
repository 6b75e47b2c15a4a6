//! Where Redis is and how to sign in.

use std::{fmt, num::ParseIntError};

/// Redis' own port.
pub const DEFAULT_PORT: u16 = 6379;

/// A password. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself: for the connection only.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// How to reach a Redis server, and where in it the results lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// Host name or address. Default `127.0.0.1`.
    pub host: String,
    /// Port. Default [`DEFAULT_PORT`].
    pub port: u16,
    /// User of Redis' access control lists; `None` is the default user.
    pub username: Option<String>,
    /// Password; `None` signs in nowhere.
    pub password: Option<Password>,
    /// Number of the database. Default 0.
    pub db: u8,
    /// Stands before each key. Default empty.
    pub key_prefix: String,
    /// Go on although the server may evict keys, and counts may therefore be wrong. Default `false`.
    pub allow_eviction: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: DEFAULT_PORT,
            username: None,
            password: None,
            db: 0,
            key_prefix: String::new(),
            allow_eviction: false,
        }
    }
}

/// A Redis URL that cannot be used. The messages never repeat the URL, since it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// The scheme is not `redis`.
    #[error("a Redis URL begins with redis:// (redis://[user:password@]host[:port][/db])")]
    Scheme,
    /// The scheme asks for TLS.
    #[error("rediss:// asks for TLS, which this version does not do yet: use redis:// over a network that is private")]
    Tls,
    /// There is no host.
    #[error("the Redis URL names no host (redis://[user:password@]host[:port][/db])")]
    Host,
    /// The port is no port.
    #[error("the port of the Redis URL is no number from 0 to 65535: {0}")]
    Port(ParseIntError),
    /// The path is no database number.
    #[error("the path of the Redis URL is the number of a database, 0 to 255: {0}")]
    Db(ParseIntError),
    /// User or password hold a `%` that two hexadecimal digits do not follow, or no UTF-8.
    #[error("user or password in the Redis URL are not percent-encoded UTF-8: write a % as %25")]
    Encoding,
    /// There is a query or a fragment.
    #[error(
        "the Redis URL ends with ?… or #…, of which nothing is known here; in a password, write ? as %3F and # as %23"
    )]
    Extra,
}

impl RedisOptions {
    /// Reads `redis://[user:password@]host[:port][/db]`; what the URL does not say has its default.
    ///
    /// # Errors
    /// The URL is of another form, or asks for TLS.
    pub fn from_url(url: &str) -> Result<Self, RedisUrlError> {
        if url.starts_with("rediss://") {
            return Err(RedisUrlError::Tls);
        }
        let rest = url.strip_prefix("redis://").ok_or(RedisUrlError::Scheme)?;
        if rest.contains(['?', '#']) {
            return Err(RedisUrlError::Extra);
        }
        let mut options = Self::default();
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        if let Some(credentials) = credentials {
            // `redis://secret@host` is a user without a password by the standard; Redis' own tools read it alike.
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            options.username = Some(decode(user)?).filter(|user| !user.is_empty());
            options.password = Some(decode(password)?).filter(|password| !password.is_empty()).map(Password);
        }
        let (address, db) = place.split_once('/').unwrap_or((place, ""));
        if !db.is_empty() {
            options.db = db.parse().map_err(RedisUrlError::Db)?;
        }
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(RedisUrlError::Host)?)),
            None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(RedisUrlError::Host);
        }
        host.clone_into(&mut options.host);
        if let Some(port) = port {
            options.port = port.parse().map_err(RedisUrlError::Port)?;
        }
        Ok(options)
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn decode(text: &str) -> Result<String, RedisUrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or(RedisUrlError::Encoding);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| RedisUrlError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_as_a_table() {
        // URL; host, port, user, password, database.
        type Case = (&'static str, &'static str, u16, Option<&'static str>, Option<&'static str>, u8);
        let cases: &[Case] = &[
            ("redis://localhost", "localhost", 6379, None, None, 0),
            ("redis://localhost/", "localhost", 6379, None, None, 0),
            ("redis://10.0.0.1:7000/3", "10.0.0.1", 7000, None, None, 3),
            ("redis://:s%40cret@h", "h", 6379, None, Some("s@cret"), 0),
            ("redis://app:p%2Fw%25@h:1", "h", 1, Some("app"), Some("p/w%"), 0),
            ("redis://[::1]:7001/2", "::1", 7001, None, None, 2),
            ("redis://[::1]", "::1", 6379, None, None, 0),
        ];
        for (url, host, port, user, password, db) in cases {
            let options = RedisOptions::from_url(url).unwrap();
            assert_eq!(
                (options.host.as_str(), options.port, options.username.as_deref(), options.db),
                (*host, *port, *user, *db),
                "{url}"
            );
            assert_eq!(options.password.as_ref().map(Password::expose), *password, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_the_password() {
        let bad = [
            "rediss://:hunter2@h",
            "http://h",
            "redis://:hunter2@",
            "redis://:hunter2@h:99999",
            "redis://:hunter2@h:1/x",
            "redis://:hunter2%zz@h",
            "redis://:hunter2@h?x=1",
        ];
        for url in bad {
            let error = RedisOptions::from_url(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let options = RedisOptions::from_url("redis://:hunter2@h").unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
