//! The validated configuration, as the rooms use it.
//!
//! Longer than most files, since the parts of the configuration stand beside each other.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    catalog::plan::{Compression, Priority},
    model::{RedisServers, Secret, SecretSource},
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
    /// `DATABASE_URL`: where totals are copied to, with Redis only.
    pub database: Option<SecretSource>,
    /// `SCHEMA_REGISTRY_*`: who knows the schemas that values name.
    pub registry: Option<RegistryConfig>,
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
    /// `[[subscription]]` of the file, and those whose events handlers of this process take.
    pub subscriptions: Vec<SubscriptionConfig>,
    /// `MAX_RETRIES` and `RETRY_*`: for subscriptions that do not say it themselves. Everything is there.
    pub retry: RetryConfig,
}

/// A subscription (SPEC 7).
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionConfig {
    /// Its group.
    pub group: String,
    /// Its topics; where there are none, those that have its types.
    pub topics: Vec<String>,
    /// Only these event types; empty is all.
    pub types: Vec<String>,
    /// Only these priorities; empty is all.
    pub priorities: Vec<Priority>,
    /// Members that the data must have, each with the values that it may have.
    pub data: Vec<(String, Vec<serde_json::Value>)>,
    /// Requests in flight, or events with handlers.
    pub concurrency: usize,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// Unfinished events of a partition, before it waits.
    pub unfinished: usize,
    /// Where the group begins.
    pub start: OffsetReset,
    /// When an event is tried again, as far as it is said here.
    pub retry: RetryConfig,
    /// Where and how its events are posted; `None` where handlers of this process take them.
    pub post: Option<PostConfig>,
}

/// Where and how events are posted.
#[derive(Clone, Debug, PartialEq)]
pub struct PostConfig {
    /// Where to; it may hold user and password.
    pub url: Secret,
    /// How they are written.
    pub mode: DeliveryMode,
    /// What requests are signed with.
    pub secret: Option<Secret>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The data as the body, the rest as headers.
    Binary,
    /// The event as the body.
    Structured,
    /// Up to so many events as the body.
    Batch(usize),
}

/// When a delivery is tried again; what is not said here is said elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryConfig {
    /// Attempts after the first.
    pub max: Option<u32>,
    /// Wait before the second attempt, ms.
    pub initial_ms: Option<u64>,
    /// By which each further wait is longer.
    pub factor: Option<f64>,
    /// Longest wait, ms.
    pub max_delay_ms: Option<u64>,
}

/// The schema registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// `SCHEMA_REGISTRY_URL`; it may hold user and password.
    pub url: Secret,
    /// `SCHEMA_REGISTRY_USERNAME`.
    pub username: Option<String>,
    /// `SCHEMA_REGISTRY_PASSWORD`.
    pub password: Option<Secret>,
    /// `SCHEMA_REGISTRY_TLS_CA`; `None` is what the system trusts.
    pub ca: Option<PathBuf>,
}

/// What a process does. What this version does not do yet is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Takes events over HTTP.
    pub publish: bool,
    /// Counts: it is a member of the group.
    pub count: bool,
    /// Delivers to subscriptions.
    pub deliver: bool,
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
    pub tls: Option<TlsConfig>,
    /// `KAFKA_SASL_*`.
    pub sasl: Option<KafkaSasl>,
}

/// The certificates of connections that are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `KAFKA_TLS_CA`, `REDIS_TLS_CA`; `None` is what the system trusts.
    pub ca: Option<PathBuf>,
    /// `KAFKA_TLS_CERT` and `KAFKA_TLS_KEY`, and so for Redis.
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

/// A Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// Where it is.
    pub servers: RedisServers,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Number of the database.
    pub database: u8,
    /// A `rediss` URL, or `REDIS_TLS_*`; `None` is plain TCP.
    pub tls: Option<Box<TlsConfig>>,
    /// `REDIS_KEY_PREFIX`: before every key; may be empty.
    pub key_prefix: String,
    /// `REDIS_ALLOW_EVICTION`.
    pub allow_eviction: bool,
    /// `STORE_SHARDS`: into how many parts the results are split.
    pub shards: u16,
}

impl StoreChoice {
    /// Into how many parts the results are split.
    pub fn shards(&self) -> u16 {
        match self {
            Self::Embedded => 1,
            Self::Redis(redis) => redis.shards,
        }
    }
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
    /// `DLQ_MAX_REPLAYS`: how often the record of a dead letter is replayed at most.
    pub max_replays: u32,
    /// `BATCH_SIZE`: events decoded in one batch at most.
    pub batch_size: usize,
    /// `BATCH_TIMEOUT`: how long a fetch waits for data.
    pub batch_timeout: Duration,
    /// `COUNTER_FLUSH_INTERVAL`.
    pub counter_flush_interval: Duration,
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
            StoreChoice::Redis(redis) => redis.servers.with_database(redis.database),
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
