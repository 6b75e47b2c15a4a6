//! Where Redis is and how to sign in.

use std::fmt;

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
    /// Port. Default 6379.
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
            port: 6379,
            username: None,
            password: None,
            db: 0,
            key_prefix: String::new(),
            allow_eviction: false,
        }
    }
}

impl RedisOptions {
    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_10_options_do_not_show_their_password() {
        let options = RedisOptions { password: Some(Password::new("hunter2")), ..RedisOptions::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
