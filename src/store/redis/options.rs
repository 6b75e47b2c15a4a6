//! Where Redis is and how to sign in.

use std::{fmt, sync::Arc};

use crate::{
    model::{RedisServers, ShardId},
    tls::ClientTls,
};

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

/// How to reach a Redis, and where in it the results lie.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Where it is. Default `127.0.0.1:6379`.
    pub servers: RedisServers,
    /// User of Redis' access control lists; `None` is the default user.
    pub username: Option<String>,
    /// Password; `None` signs in nowhere.
    pub password: Option<Password>,
    /// What it is reached by TLS with, the sentinels too; `None` is plain TCP. Default `None`.
    pub tls: Option<Arc<ClientTls>>,
    /// Number of the database. Default 0, which is the only one of a cluster.
    pub db: u8,
    /// Stands before each key. Default empty.
    pub key_prefix: String,
    /// Into how many shards the results are split, each with a hash tag of its own: 1 to
    /// [`crate::core::shards::MAX_SHARDS`]. Default 1, whose keys have no tag but in a cluster.
    pub shards: ShardId,
    /// Go on although the server may evict keys, and counts may therefore be wrong. Default `false`.
    pub allow_eviction: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            servers: RedisServers::one("127.0.0.1", 6379),
            username: None,
            password: None,
            tls: None,
            db: 0,
            key_prefix: String::new(),
            shards: 1,
            allow_eviction: false,
        }
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
