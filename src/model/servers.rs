//! Where the servers of a Redis are.

use std::fmt;

use super::Secret;

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How the Redis that takes writes is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// It is this one.
    One(HostPort),
    /// Redis Sentinels know it, and who follows it when it fails.
    Sentinel {
        /// The sentinels; at least one.
        sentinels: Vec<HostPort>,
        /// The name under which they watch it.
        service: String,
        /// ACL user at the sentinels.
        username: Option<String>,
        /// Password at the sentinels; the servers have their own.
        password: Option<Secret>,
    },
    /// A Redis Cluster.
    Cluster {
        /// Nodes to begin with; at least one.
        nodes: Vec<HostPort>,
    },
}

impl RedisServers {
    /// A server by itself.
    pub fn one(host: impl Into<String>, port: u16) -> Self {
        Self::One(HostPort { host: host.into(), port })
    }

    /// In words, with the number of the database where there are several.
    pub fn with_database(&self, database: u8) -> String {
        match self {
            Self::One(_) => format!("{self}/{database}"),
            Self::Sentinel { .. } => format!("{self}, database {database}"),
            Self::Cluster { .. } => self.to_string(),
        }
    }

    /// Whether keys are spread over servers by their slot.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }
}

impl fmt::Display for RedisServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[HostPort]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match self {
            Self::One(server) => write!(f, "Redis at {server}"),
            Self::Sentinel { sentinels, service, .. } => {
                write!(f, "Redis service {service} of the sentinels at {}", list(sentinels))
            }
            Self::Cluster { nodes } => write!(f, "Redis Cluster at {}", list(nodes)),
        }
    }
}
