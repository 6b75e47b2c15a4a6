//! Redis' and the client's errors in the words of the seam.

use fred::error::{Error, ErrorKind};

use crate::store::StoreError;

/// What Redis 6 says of an error within a script; the error's own code stands behind the last dash.
const IN_SCRIPT: &str = "ERR Error running script";

/// The code that begins an error of the server, such as `NOSCRIPT`; `None` for an error of the connection.
pub(super) fn server_code(error: &Error) -> Option<&str> {
    let first_word = |text: &'_ str| -> Option<usize> {
        let code = text.split_whitespace().next()?;
        (code.len() > 1 && code.bytes().all(|b| b.is_ascii_uppercase())).then_some(code.len())
    };
    let details = error.details();
    if let Some((_, inner)) = details.strip_prefix(IN_SCRIPT).and_then(|rest| rest.rsplit_once(": -"))
        && let Some(length) = first_word(inner)
    {
        return inner.get(..length);
    }
    details.get(..first_word(details)?)
}

/// Whether the connection is of no more use after this error.
pub(super) fn ends_connection(error: &Error) -> bool {
    server_code(error).is_none_or(|code| code == "NOAUTH") || is_of_the_role(error)
}

/// Whether the server is not what it was taken for: a replica, one that begins anew, a cluster that is not whole. After a
/// failover another one has its part, and only a new connection finds it.
pub(super) fn is_of_the_role(error: &Error) -> bool {
    matches!(server_code(error), Some("READONLY" | "MASTERDOWN" | "LOADING" | "CLUSTERDOWN"))
}

/// What the system said. The client keeps its errors in their debug form, `Os { code: 111, …, message: "Connection refused" }`.
fn plain(details: &str) -> &str {
    let quoted = details.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
    quoted.map_or(details, |(text, _)| text)
}

/// What an error means for the caller. `doing` says what was being done, to what.
pub(super) fn store_error(doing: &str, error: &Error) -> StoreError {
    let doing = doing.to_owned();
    let details = error.details();
    let unavailable = |reason: String| StoreError::Unavailable { doing: doing.clone(), reason };
    let refused = |reason: String| StoreError::Refused { doing: doing.clone(), reason };
    match server_code(error) {
        None if *error.kind() == ErrorKind::Auth => refused(format!("Redis refused to sign in: {details}")),
        None if *error.kind() == ErrorKind::Tls => refused(format!("no TLS with Redis: {details}")),
        None if details.starts_with("Failed to connect to all sentinel") => {
            unavailable("no sentinel answers, or takes what signs in there (REDIS_SENTINEL_PASSWORD)".to_owned())
        }
        None if details.starts_with("Missing primary address") => {
            unavailable("the sentinels watch no service of this name: check REDIS_URL".to_owned())
        }
        None => unavailable(format!("the connection to Redis failed ({})", plain(details))),
        Some("WRONGPASS" | "NOAUTH") => refused(
            "Redis refused the user or password: check REDIS_PASSWORD, or user and password in REDIS_URL".to_owned(),
        ),
        Some("NOPERM") => refused(format!(
            "the Redis user lacks a right ({details}): allow it the keys under REDIS_KEY_PREFIX and scripts (EVAL, EVALSHA)"
        )),
        Some("LOADING") => unavailable("Redis is loading its data".to_owned()),
        Some("READONLY" | "MASTERDOWN") => {
            unavailable("this Redis is a replica: name the primary, or wait until the failover is done".to_owned())
        }
        Some("OOM") => unavailable(
            "Redis has reached its maxmemory and takes no more writes: raise maxmemory, or remove keys".to_owned(),
        ),
        Some("MISCONF" | "NOREPLICAS" | "BUSY" | "CLUSTERDOWN" | "TRYAGAIN") => {
            unavailable(format!("Redis takes no writes at present: {details}"))
        }
        Some("WRONGTYPE") => StoreError::OtherKind {
            doing,
            reason: "a key holds a value of another type: something else writes to it; move it away or choose another \
                     REDIS_KEY_PREFIX"
                .to_owned(),
        },
        Some("MOVED" | "ASK" | "CROSSSLOT") => {
            refused("this Redis is a cluster: name it by redis-cluster://host:port in REDIS_URL".to_owned())
        }
        Some("ERR") if details.contains("cluster support disabled") => {
            refused("this Redis is no cluster: name it by redis://host:port in REDIS_URL".to_owned())
        }
        Some("ERR") if details.contains("SENTINEL") => {
            refused("this Redis is no sentinel: a redis-sentinel:// URL names sentinels (port 26379)".to_owned())
        }
        Some("ERR") if details.contains("AUTH") => refused(
            "Redis has no password set, but one was given: remove REDIS_PASSWORD, or set requirepass".to_owned(),
        ),
        Some(_) => refused(format!("Redis answered an error that is not expected here: {details}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_retriable_only_where_waiting_helps() {
        let cases: &[(ErrorKind, &'static str, bool, &str)] = &[
            (ErrorKind::IO, "Connection refused (os error 111)", true, "connection"),
            (ErrorKind::Canceled, "Connection closed unexpectedly.", true, "connection"),
            (ErrorKind::Auth, "WRONGPASS invalid username-password pair", false, "REDIS_PASSWORD"),
            (ErrorKind::Auth, "NOAUTH Authentication required.", false, "REDIS_PASSWORD"),
            (ErrorKind::Unknown, "NOPERM this user has no permissions", false, "right"),
            (ErrorKind::Unknown, "LOADING Redis is loading the dataset in memory", true, "loading"),
            (ErrorKind::Unknown, "READONLY You can't write against a read only replica.", true, "replica"),
            (
                ErrorKind::Unknown,
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write.",
                true,
                "replica",
            ),
            (ErrorKind::Tls, "r:6379 wants a client certificate", false, "client certificate"),
            (ErrorKind::Unknown, "MOVED 1 127.0.0.1:7001", false, "redis-cluster://"),
            (ErrorKind::Cluster, "ERR This instance has cluster support disabled", false, "redis://host"),
            (ErrorKind::Sentinel, "Failed to connect to all sentinel nodes.", true, "REDIS_SENTINEL_PASSWORD"),
            (ErrorKind::Unknown, "OOM command not allowed when used memory > 'maxmemory'.", true, "maxmemory"),
            (ErrorKind::Cluster, "CLUSTERDOWN Hash slot not served", true, "writes"),
            (ErrorKind::InvalidArgument, "WRONGTYPE Operation against a key", false, "another type"),
            (ErrorKind::Unknown, "ERR user_script:1: boom", false, "not expected"),
        ];
        for (kind, details, retriable, word) in cases {
            let error = store_error("reading a counter", &Error::new(kind.clone(), *details));
            assert_eq!(error.is_retriable(), *retriable, "{details}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_server_in_another_role_is_looked_for_anew() {
        for (details, expected) in [
            ("READONLY You can't write against a read only replica.", true),
            ("ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't", true),
            ("MASTERDOWN Link with MASTER is down", true),
            ("LOADING Redis is loading the dataset in memory", true),
            ("CLUSTERDOWN Hash slot not served", true),
            ("OOM command not allowed", false),
            ("Connection closed unexpectedly.", false),
            ("ERR Error running script (call to f_1): @user_script:1: boom", false),
        ] {
            let error = Error::new(ErrorKind::Unknown, details);
            assert_eq!(is_of_the_role(&error), expected, "{details}");
            assert!(!expected || ends_connection(&error), "{details}");
        }
    }
}
