//! Redis' and the client's errors in the words of the seam.

use fred::error::{Error, ErrorKind};

use crate::store::StoreError;

/// The code that begins an error of the server, such as `NOSCRIPT`; `None` for an error of the connection.
pub(super) fn server_code(error: &Error) -> Option<&str> {
    let code = error.details().split_whitespace().next()?;
    let is_code = code.len() > 1 && code.bytes().all(|b| b.is_ascii_uppercase());
    is_code.then_some(code)
}

/// Whether the connection is of no more use after this error.
pub(super) fn ends_connection(error: &Error) -> bool {
    // A replica answers READONLY: after a failover the same name may lead to the new primary.
    server_code(error).is_none_or(|code| matches!(code, "READONLY" | "CLUSTERDOWN" | "NOAUTH" | "MASTERDOWN"))
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
        Some("WRONGTYPE") => StoreError::Corrupt {
            doing,
            reason: "a key holds a value of another type: something else writes to it; move it away or choose another \
                     REDIS_KEY_PREFIX"
                .to_owned(),
        },
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
}
