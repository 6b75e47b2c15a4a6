//! The validated configuration, as the rooms use it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    catalog::plan::Compression,
    model::{Secret, SecretSource},
};

/// A configuration that can run: every value in range, the relations among them checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which log.
    pub log: LogChoice,
    /// How the Kafka client behaves; the embedded log is read by the same client.
    pub kafka: KafkaConfig,
    /// Which store.
    pub store: StoreChoice,
    /// `DATA_DIR`: folder of the embedded log and store.
    pub data_dir: PathBuf,
    /// What is counted.
    pub counting: CountingConfig,
    /// The API.
    pub http: HttpConfig,
    /// Logs and shutdown.
    pub running: RunningConfig,
    /// `ROLES`: what this process does.
    pub roles: Roles,
}

/// What a process does. What this version does not do yet is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Takes events over HTTP.
    pub publish: bool,
    /// Counts: it is a member of the group.
    pub count: bool,
}

/// The log that events are read from. Chosen independently of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChoice {
    /// The log of this process.
    Embedded {
        /// `KAFKA_LISTEN`: where it speaks the Kafka protocol; loopback.
        listen: SocketAddr,
    },
    /// Kafka.
    Kafka {
        /// `KAFKA_BROKERS`: `host:port` each; at least one.
        brokers: Vec<String>,
    },
}

/// How the Kafka client behaves.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `KAFKA_CLIENT_ID`.
    pub client_id: String,
    /// `KAFKA_CONSUMER_GROUP`: the counting group.
    pub group: String,
    /// `KAFKA_AUTO_OFFSET_RESET`.
    pub offset_reset: OffsetReset,
    /// `KAFKA_COMPRESSION`.
    pub compression: Compression,
    /// `KAFKA_LINGER_MS`.
    pub linger: Duration,
    /// `KAFKA_BATCH_BYTES`.
    pub batch_bytes: usize,
    /// `KAFKA_RETRIES`.
    pub retries: u32,
    /// `KAFKA_RETRY_BACKOFF_MS`.
    pub retry_backoff: Duration,
    /// `KAFKA_MAX_IN_FLIGHT`.
    pub max_in_flight: usize,
    /// `KAFKA_REQUEST_TIMEOUT_MS`.
    pub request_timeout: Duration,
    /// `KAFKA_FETCH_MIN_BYTES`.
    pub fetch_min_bytes: i32,
    /// `KAFKA_FETCH_MAX_BYTES`: over all partitions.
    pub fetch_max_bytes: usize,
    /// `KAFKA_FETCH_MAX_PARTITION_BYTES`.
    pub fetch_max_partition_bytes: i32,
    /// `MIRROR_OFFSETS`: by default with Kafka, and not with the embedded log.
    pub mirror_offsets: bool,
    /// `KAFKA_TLS_*`; `None` is plain TCP, as to the embedded log always.
    pub tls: Option<KafkaTls>,
    /// `KAFKA_SASL_*`.
    pub sasl: Option<KafkaSasl>,
}

/// The certificates of connections to Kafka.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaTls {
    /// `KAFKA_TLS_CA`; `None` is what the system trusts.
    pub ca: Option<PathBuf>,
    /// `KAFKA_TLS_CERT` and `KAFKA_TLS_KEY`.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How to authenticate to Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaSasl {
    /// By user and password.
    Password {
        /// How the password is proved.
        mechanism: PasswordMechanism,
        /// `KAFKA_SASL_USERNAME`.
        username: String,
        /// `KAFKA_SASL_PASSWORD`.
        password: SecretSource,
    },
    /// OAUTHBEARER.
    Token {
        /// Where the token comes from.
        token: KafkaToken,
        /// `KAFKA_SASL_OAUTH_EXTENSIONS`.
        extensions: Vec<(String, String)>,
    },
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordMechanism {
    /// It is sent.
    Plain,
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaToken {
    /// `KAFKA_SASL_OAUTH_TOKEN`.
    Given(SecretSource),
    /// An endpoint gives it for client credentials.
    Endpoint {
        /// `KAFKA_SASL_OAUTH_TOKEN_URL`.
        url: String,
        /// `KAFKA_SASL_OAUTH_CLIENT_ID`.
        client_id: String,
        /// `KAFKA_SASL_OAUTH_CLIENT_SECRET`.
        client_secret: SecretSource,
        /// `KAFKA_SASL_OAUTH_SCOPE`.
        scope: Option<String>,
    },
}

/// Where a group begins on a partition that it never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record that the broker holds.
    Earliest,
    /// Behind the last.
    Latest,
}

/// The store that takes the results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// A file in `DATA_DIR`.
    Embedded,
    /// Redis.
    Redis(RedisConfig),
}

/// One Redis server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u8,
    /// `REDIS_KEY_PREFIX`: before every key; may be empty.
    pub key_prefix: String,
    /// `REDIS_ALLOW_EVICTION`.
    pub allow_eviction: bool,
}

/// What is counted, and how often it is written.
#[derive(Clone, Debug)]
pub struct CountingConfig {
    /// The built-in catalogues that run; may be empty where `catalog_path` is set.
    pub catalogs: Vec<String>,
    /// `CATALOG_PATH`: the user's own catalogue file, or a folder of them.
    pub catalog_path: Option<PathBuf>,
    /// `TOPICS`: what is counted here; `None` is every topic of the catalogues.
    pub topics: Option<Vec<String>>,
    /// `PARTITIONS`: what is counted here by topic, ascending; `None` is every partition.
    pub partitions: Option<BTreeMap<String, Vec<i32>>>,
    /// `BATCH_SIZE`: events decoded in one batch at most.
    pub batch_size: usize,
    /// `BATCH_TIMEOUT`: how long a fetch waits for data.
    pub batch_timeout: Duration,
    /// `FLUSH_INTERVAL_MS`.
    pub flush_interval: Duration,
    /// `TOPICS_AUTO_APPLY`.
    pub topics_auto_apply: bool,
    /// `SESSION_TIMEOUT_MS`.
    pub session_timeout: Duration,
    /// `HEARTBEAT_INTERVAL_MS`: below the session timeout.
    pub heartbeat_interval: Duration,
}

/// The API.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// `HTTP_ADDR` and `PORT`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// `CORS_ORIGIN`: origins that browsers may call from; `*` is any.
    pub cors_origins: Vec<String>,
    /// `METRICS_ADDR`.
    pub metrics_listen: Option<SocketAddr>,
}

/// Logs and shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningConfig {
    /// `LOG_LEVEL`: a level, or directives as `tracing` reads them.
    pub log_level: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `SHUTDOWN_TIMEOUT`.
    pub shutdown_timeout: Duration,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object a line.
    Json,
    /// Text for people.
    Text,
}

impl Config {
    /// What runs, in a line.
    pub fn mode(&self) -> String {
        let log = match &self.log {
            LogChoice::Embedded { listen } => format!("embedded log on {listen}"),
            LogChoice::Kafka { brokers } => format!("Kafka at {}{}", brokers.join(","), self.kafka.secured()),
        };
        let store = match &self.store {
            StoreChoice::Embedded => format!("embedded store in {}", self.data_dir.display()),
            StoreChoice::Redis(redis) => format!("Redis at {}:{}/{}", redis.host, redis.port, redis.database),
        };
        format!("{log}, {store}")
    }
}

impl KafkaConfig {
    /// How connections are secured, in words; empty where they are not.
    fn secured(&self) -> String {
        let tls = self.tls.as_ref().map(|tls| match tls.identity {
            Some(_) => "TLS with a client certificate",
            None => "TLS",
        });
        let sasl = self.sasl.as_ref().map(|sasl| match sasl {
            KafkaSasl::Password { mechanism: PasswordMechanism::Plain, .. } => "PLAIN",
            KafkaSasl::Password { mechanism: PasswordMechanism::ScramSha256, .. } => "SCRAM-SHA-256",
            KafkaSasl::Password { mechanism: PasswordMechanism::ScramSha512, .. } => "SCRAM-SHA-512",
            KafkaSasl::Token { .. } => "OAUTHBEARER",
        });
        let parts: Vec<&str> = [tls, sasl].into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

/// Whether two listeners would want the same port.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |addr: IpAddr| addr.is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || everywhere(one.ip()) || everywhere(other.ip()))
}
