//! `redis://[user[:password]@]host[:port][/db]`, as IANA's `redis` scheme has it.

use crate::model::Secret;

/// Port where the URL names none.
const DEFAULT_PORT: u16 = 6379;

/// The parts of a Redis URL.
#[derive(Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Host name or address, IPv6 without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u8,
}

/// Reads a Redis URL.
///
/// # Errors
/// Says what is wrong without repeating the URL, which may hold a password.
pub fn parse(url: &str) -> Result<RedisUrl, String> {
    let (scheme, rest) = url.split_once("://").ok_or("has no scheme; redis://host:6379/0 would be right")?;
    match scheme {
        "redis" | "valkey" => {}
        "rediss" | "valkeys" => return Err("TLS to Redis (rediss://) is not done by this version".into()),
        other if other.contains("sentinel") => {
            return Err(format!("Redis Sentinel ({other}://) is not done by this version"));
        }
        other if other.contains("cluster") => {
            return Err(format!("Redis Cluster ({other}://) is not done by this version"));
        }
        _ => return Err("has a scheme that is not redis; redis://host:6379/0 would be right".into()),
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains(['?', '#']) || authority.contains(['?', '#']) {
        return Err("has options behind ? or #, and none are known; redis://host:6379/0 would be right".into());
    }
    // The last @ ends the user part: a password may hold one that nobody encoded.
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let (username, password) = user.map_or((None, None), |user| match user.split_once(':') {
        Some((name, password)) => (Some(name), Some(password)),
        None => (Some(user), None),
    });
    if address.contains(',') {
        return Err("names several hosts; this version talks to one Redis".into());
    }
    let (host, port) = host_and_port(address)?;
    Ok(RedisUrl {
        host,
        port,
        username: username.filter(|name| !name.is_empty()).map(decode).transpose()?,
        password: password.filter(|password| !password.is_empty()).map(decode).transpose()?.map(Secret::new),
        database: match path.trim_end_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| "has a database that is not a number from 0 to 255")?,
        },
    })
}

fn host_and_port(address: &str) -> Result<(String, u16), String> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host; redis://host:6379/0 would be right".into());
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => {
            port.parse().ok().filter(|port| *port != 0).ok_or("has a port that is not a number from 1 to 65535")?
        }
    };
    Ok((host.to_owned(), port))
}

/// Undoes percent-encoding (RFC 3986, 2.1).
fn decode(text: &str) -> Result<String, String> {
    const WRONG: &str = "has a % in its user or password that is not percent-encoding; write %25 for a %";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(WRONG);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).map_err(|_| WRONG)?);
    }
    String::from_utf8(bytes).map_err(|_| WRONG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(host: &str, port: u16, username: Option<&str>, password: Option<&str>, database: u8) -> RedisUrl {
        RedisUrl {
            host: host.into(),
            port,
            username: username.map(Into::into),
            password: password.map(Secret::new),
            database,
        }
    }

    #[test]
    fn urls_are_read() {
        for (url, expected) in [
            ("redis://localhost", parts("localhost", 6379, None, None, 0)),
            ("redis://r:7000/3", parts("r", 7000, None, None, 3)),
            ("redis://:pa%40ss@r", parts("r", 6379, None, Some("pa@ss"), 0)),
            ("redis://me:p@ss@r:1/", parts("r", 1, Some("me"), Some("p@ss"), 0)),
            ("redis://[::1]:6380/1", parts("::1", 6380, None, None, 1)),
        ] {
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn what_is_not_done_is_named_and_the_password_is_not() {
        for (url, hint) in [
            ("rediss://:hunter2@r", "TLS"),
            ("redis-sentinel://:hunter2@r", "Sentinel"),
            ("redis-cluster://:hunter2@r", "Cluster"),
            ("localhost:6379", "scheme"),
            ("http://:hunter2@r", "scheme"),
            ("redis://:hunter2@r/x", "database"),
            ("redis://:hunter2@r:x", "port"),
            ("redis://:hunter2@", "no host"),
            ("redis://:hunter2%zz@r", "%25"),
            ("redis://:hunter2@a,b", "several hosts"),
        ] {
            let error = parse(url).expect_err(url);
            assert!(error.contains(hint), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
