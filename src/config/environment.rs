//! The environment: which of its names are ours, which begin like ours, and which Kubernetes puts there.

use std::collections::BTreeMap;

use super::table;

/// Environment variables, handed in so that tests need no process of their own.
pub type Environment = BTreeMap<String, String>;

/// Whether Kubernetes put this variable there for a Service of the namespace.
///
/// A Service called `redis` gives every pod `REDIS_SERVICE_HOST`, `REDIS_SERVICE_PORT`, `REDIS_PORT=tcp://10.0.0.1:6379`
/// and `REDIS_PORT_6379_TCP…` (Kubernetes: "Discovering services, environment variables"). None of it is meant for us.
pub fn is_service_link(name: &str, value: &str) -> bool {
    let is_link = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    (name.ends_with("_PORT") && is_link)
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || is_port_variable(name)
}

/// `X_PORT_6379_TCP`, with `_PROTO`, `_PORT` or `_ADDR` behind it or not.
fn is_port_variable(name: &str) -> bool {
    let Some((_, rest)) = name.rsplit_once("_PORT_").and_then(|split| match split {
        // `…_TCP_PORT` ends in `_PORT` without a further `_`, so the split above is at the number already.
        (head, tail) if tail.starts_with(|first: char| first.is_ascii_digit()) => Some((head, tail)),
        _ => None,
    }) else {
        return false;
    };
    let mut words = rest.split('_');
    let number = words.next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let protocol = words.next().is_some_and(|word| ["TCP", "UDP", "SCTP"].contains(&word));
    number && protocol && words.next().is_none_or(|word| ["PROTO", "PORT", "ADDR"].contains(&word))
}

/// Warnings about names that begin like ours and are not known.
pub fn unknown_names(environment: &Environment) -> Vec<String> {
    let ours = |name: &str| table::PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    environment
        .iter()
        .filter(|(name, value)| ours(name) && !is_known(name) && !is_service_link(name, value))
        .map(|(name, _)| match table::nearest(name) {
            Some(near) => format!("{name} is not a setting: did you mean {near}?"),
            None => format!("{name} begins like a setting but is none; it does nothing here"),
        })
        .collect()
}

fn is_known(name: &str) -> bool {
    table::FOREIGN.contains(&name)
        || table::find(name).is_some()
        || name.strip_suffix("_FILE").and_then(table::find).is_some_and(|setting| setting.secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_injects_is_not_ours() {
        for (name, value, link) in [
            ("REDIS_PORT", "tcp://10.0.0.11:6379", true),
            ("KAFKA_PORT", "tcp://10.0.0.12:9092", true),
            ("REDIS_SERVICE_HOST", "10.0.0.11", true),
            ("REDIS_SERVICE_PORT", "6379", true),
            ("REDIS_SERVICE_PORT_CLIENT", "6379", true),
            ("REDIS_PORT_6379_TCP", "tcp://10.0.0.11:6379", true),
            ("REDIS_PORT_6379_TCP_PROTO", "tcp", true),
            ("REDIS_PORT_6379_TCP_PORT", "6379", true),
            ("REDIS_PORT_6379_TCP_ADDR", "10.0.0.11", true),
            ("REDIS_PORT", "6379", false),
            ("REDIS_HOST", "10.0.0.11", false),
            ("KAFKA_BROKERS", "kafka:9092", false),
            ("REDIS_PORT_X_TCP", "1", false),
        ] {
            assert_eq!(is_service_link(name, value), link, "{name}={value}");
        }
    }

    #[test]
    fn a_misspelt_name_is_pointed_out() {
        let environment =
            [("KAFKA_BROKER", "x"), ("HTTP_PROXY", "x"), ("NODE_ENV", "production"), ("KAFKA_HEAP_OPTS", "x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let warnings = unknown_names(&environment);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("KAFKA_BROKERS"), "{warnings:?}");
    }
}
