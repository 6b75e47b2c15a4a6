//! URLs of a Redis: one server, a service that sentinels watch, or a cluster.
//!
//! `redis://[user[:password]@]host[:port][/db]`, as IANA's `redis` scheme has it. The other two take several hosts, divided by
//! commas or as the Rust client fred writes them, in `node` parameters:
//! `redis-sentinel://[user[:password]@]host[:port][,…]/service[/db]` (or `?sentinelServiceName=service`, with
//! `sentinelUsername` and `sentinelPassword`), `redis-cluster://[user[:password]@]host[:port][,…]`. With `rediss` in place of
//! `redis` it is TLS.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::model::{HostPort, RedisServers, Secret};

/// Port of a server where the URL names none.
const SERVER_PORT: u16 = 6379;
/// Port of a sentinel where the URL names none.
const SENTINEL_PORT: u16 = 26379;
/// Most hosts of a URL.
const MAX_HOSTS: usize = 64;

/// The parts of a Redis URL.
#[derive(Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// Where it is.
    pub servers: RedisServers,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u8,
    /// It is reached by TLS.
    pub tls: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    One,
    Sentinel,
    Cluster,
}

/// What stands behind the question mark.
#[derive(Default)]
struct Parameters {
    nodes: Vec<String>,
    service: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
}

/// Reads a Redis URL.
///
/// # Errors
/// Says what is wrong without repeating the URL, which may hold a password.
pub fn parse(url: &str) -> Result<RedisUrl, String> {
    let (scheme, rest) = url.split_once("://").ok_or("has no scheme; redis://host:6379/0 would be right")?;
    let (scheme, tls) = match scheme {
        "redis" | "valkey" => (Scheme::One, false),
        "rediss" | "valkeys" => (Scheme::One, true),
        "redis-sentinel" | "valkey-sentinel" => (Scheme::Sentinel, false),
        "rediss-sentinel" | "valkeys-sentinel" => (Scheme::Sentinel, true),
        "redis-cluster" | "valkey-cluster" => (Scheme::Cluster, false),
        "rediss-cluster" | "valkeys-cluster" => (Scheme::Cluster, true),
        _ => return Err("has a scheme that is not redis; redis://host:6379/0 would be right".into()),
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (path, query) = tail.split_once('?').map_or((tail, None), |(path, query)| (path, Some(query)));
    if tail.contains('#') || (scheme == Scheme::One && query.is_some()) {
        return Err("has options behind ? or #, and none are known; redis://host:6379/0 would be right".into());
    }
    let parameters = parameters(scheme, query.unwrap_or_default())?;
    // The last @ ends the user part: a password may hold one that nobody encoded.
    let (user, address) = match authority.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, authority),
    };
    let (username, password) = user.map_or((None, None), |user| match user.split_once(':') {
        Some((name, password)) => (Some(name), Some(password)),
        None => (Some(user), None),
    });
    let (servers, database) = servers(scheme, address, path.trim_matches('/'), parameters)?;
    Ok(RedisUrl {
        servers,
        username: username.filter(|name| !name.is_empty()).map(decode).transpose()?,
        password: password.filter(|password| !password.is_empty()).map(decode).transpose()?.map(Secret::new),
        database: match database {
            "" => 0,
            number => number.parse().map_err(|_| "has a database that is not a number from 0 to 255")?,
        },
        tls,
    })
}

/// Where the Redis is, and what the path says of the database.
fn servers<'p>(
    scheme: Scheme,
    address: &str,
    path: &'p str,
    parameters: Parameters,
) -> Result<(RedisServers, &'p str), String> {
    let default_port = if scheme == Scheme::Sentinel { SENTINEL_PORT } else { SERVER_PORT };
    let further = parameters.nodes.iter().map(String::as_str);
    let hosts = address.split(',').chain(further).map(|host| host_and_port(host, default_port));
    let mut hosts = hosts.collect::<Result<Vec<HostPort>, String>>()?;
    if hosts.len() > MAX_HOSTS {
        return Err(format!("names more than {MAX_HOSTS} hosts"));
    }
    match scheme {
        Scheme::One if hosts.len() > 1 => {
            Err("names several hosts; redis-sentinel:// or redis-cluster:// says what they are to each other".into())
        }
        Scheme::One => Ok((RedisServers::One(hosts.swap_remove(0)), path)),
        Scheme::Cluster if !path.is_empty() && path != "0" => {
            Err("names a database, and a Redis Cluster has none but 0; redis-cluster://host:6379 would be right".into())
        }
        Scheme::Cluster => Ok((RedisServers::Cluster { nodes: hosts }, "")),
        Scheme::Sentinel => {
            let (service, database) = match parameters.service {
                Some(service) => (service, path),
                None => {
                    let (service, database) = path.split_once('/').unwrap_or((path, ""));
                    (decode(service)?, database)
                }
            };
            if service.is_empty() {
                return Err("does not say which service the sentinels watch; \
                            redis-sentinel://host:26379/mymaster/0 would be right"
                    .into());
            }
            let Parameters { username, password, .. } = parameters;
            Ok((RedisServers::Sentinel { sentinels: hosts, service, username, password }, database))
        }
    }
}

fn parameters(scheme: Scheme, query: &str) -> Result<Parameters, String> {
    let mut known = Parameters::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value)?;
        match (name, scheme) {
            ("node", _) => known.nodes.push(value),
            ("sentinelServiceName", Scheme::Sentinel) => known.service = Some(value),
            ("sentinelUsername", Scheme::Sentinel) => known.username = Some(value),
            ("sentinelPassword", Scheme::Sentinel) => known.password = Some(Secret::new(value)),
            _ => {
                return Err("has an option behind ? that is not known; node, and for sentinels sentinelServiceName, \
                            sentinelUsername and sentinelPassword, are"
                    .into());
            }
        }
    }
    Ok(known)
}

fn host_and_port(address: &str, default_port: u16) -> Result<HostPort, String> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("names no host; redis://host:6379/0 would be right".into());
    }
    let port = match port {
        None => default_port,
        Some(port) => {
            port.parse().ok().filter(|port| *port != 0).ok_or("has a port that is not a number from 1 to 65535")?
        }
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// Undoes percent-encoding (RFC 3986, 2.1). Strict, since a password that nobody encoded may hold a %.
fn decode(text: &str) -> Result<String, String> {
    const WRONG: &str = "has a % in its user or password that is not percent-encoding; write %25 for a %";
    let is_pair = |tail: &str| tail.get(..2).is_some_and(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
    if !text.split('%').skip(1).all(is_pair) {
        return Err(WRONG.into());
    }
    percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| WRONG.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(servers: RedisServers, username: Option<&str>, password: Option<&str>, database: u8) -> RedisUrl {
        let (username, password) = (username.map(Into::into), password.map(Secret::new));
        RedisUrl { servers, username, password, database, tls: false }
    }

    fn hosts(hosts: &[(&str, u16)]) -> Vec<HostPort> {
        hosts.iter().map(|(host, port)| HostPort { host: (*host).into(), port: *port }).collect()
    }

    fn sentinel(of: &[(&str, u16)], service: &str, username: Option<&str>, password: Option<&str>) -> RedisServers {
        let (username, password) = (username.map(Into::into), password.map(Secret::new));
        RedisServers::Sentinel { sentinels: hosts(of), service: service.into(), username, password }
    }

    #[test]
    fn urls_are_read() {
        let one = RedisServers::one;
        let cluster = |of: &[(&str, u16)]| RedisServers::Cluster { nodes: hosts(of) };
        for (url, expected) in [
            ("redis://localhost", parts(one("localhost", 6379), None, None, 0)),
            ("redis://r:7000/3", parts(one("r", 7000), None, None, 3)),
            ("redis://:pa%40ss@r", parts(one("r", 6379), None, Some("pa@ss"), 0)),
            ("redis://me:p@ss@r:1/", parts(one("r", 1), Some("me"), Some("p@ss"), 0)),
            ("redis://[::1]:6380/1", parts(one("::1", 6380), None, None, 1)),
            (
                "redis-sentinel://me:p@a,b:7,[::1]:8/mymaster/2",
                parts(
                    sentinel(&[("a", 26379), ("b", 7), ("::1", 8)], "mymaster", None, None),
                    Some("me"),
                    Some("p"),
                    2,
                ),
            ),
            ("valkey-sentinel://a/my%20one", parts(sentinel(&[("a", 26379)], "my one", None, None), None, None, 0)),
            (
                "redis-sentinel://me:p@a:1/3?sentinelServiceName=s&node=b:2&sentinelUsername=u&sentinelPassword=x%26y",
                parts(sentinel(&[("a", 1), ("b", 2)], "s", Some("u"), Some("x&y")), Some("me"), Some("p"), 3),
            ),
            ("redis-cluster://a,b:7", parts(cluster(&[("a", 6379), ("b", 7)]), None, None, 0)),
            ("redis-cluster://:p@a:1/0?node=b:2", parts(cluster(&[("a", 1), ("b", 2)]), None, Some("p"), 0)),
        ] {
            assert_eq!(parse(url).as_ref(), Ok(&expected), "{url}");
            let over_tls = url.replacen("redis", "rediss", 1).replacen("valkey", "valkeys", 1);
            assert_eq!(parse(&over_tls), Ok(RedisUrl { tls: true, ..expected }), "{over_tls}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_the_password_is_not() {
        let many = format!("redis-cluster://:hunter2@{}", vec!["a"; MAX_HOSTS + 1].join(","));
        for (url, hint) in [
            ("redisss://:hunter2@r", "scheme"),
            ("rediss-cluster://:hunter2@r/1", "none but 0"),
            ("redis-sentinel://:hunter2@r", "which service"),
            ("redis-sentinel://:hunter2@r/", "which service"),
            ("redis-sentinel://:hunter2@r/s/x", "database"),
            ("redis-sentinel://r/s?sentinelPasswd=hunter2", "sentinelPassword"),
            ("redis-cluster://:hunter2@r/1", "none but 0"),
            ("redis-cluster://r?sentinelPassword=hunter2", "not known"),
            (&many, "more than 64"),
            ("localhost:6379", "scheme"),
            ("http://:hunter2@r", "scheme"),
            ("redis://:hunter2@r/x", "database"),
            ("redis://:hunter2@r:x", "port"),
            ("redis://:hunter2@", "no host"),
            ("redis://:hunter2@r?x=1", "behind ?"),
            ("redis://:hunter2%zz@r", "%25"),
            ("redis://:hunter2@a,b", "several hosts"),
            ("redis-sentinel://:hunter2@a,,b/s", "no host"),
        ] {
            let error = parse(url).expect_err(url);
            assert!(error.contains(hint), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
