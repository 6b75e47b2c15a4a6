//! The table of all settings. Parsing, `config show`, the hints in errors and `.env.example` are made from it.
//!
//! Longer than most files: it is data, one block per setting, and is read by looking a name up.

use super::setting::{Area, Kind, Setting};

/// Longest wait that a setting may ask for, ms.
const MAX_WAIT_MS: u64 = 600_000;
/// Largest answer that a setting may ask of a broker, bytes.
const MAX_FETCH_BYTES: u64 = 1 << 30;

const fn millis(min: u64, max: u64) -> Kind {
    Kind::Number { min, max, unit: "ms" }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Number { min, max, unit: "bytes" }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Number { min, max, unit: "" }
}

macro_rules! settings {
    ($($area:ident { $($name:ident: $kind:expr, $meaning:literal $(, $($how:ident($($value:literal)?)),+)?;)+ })+) => {
        $($(
            #[doc = $meaning]
            pub static $name: Setting =
                Setting::new(stringify!($name), Area::$area, $kind, $meaning)$($(.$how($($value)?))+)?;
        )+)+

        /// Every setting, by area.
        pub static ALL: &[&Setting] = &[$($(&$name),+),+];
    };
}

settings! {
    Kafka {
        KAFKA_BROKERS: Kind::Brokers, "Brokers to begin with. Unset: the embedded log.";
        KAFKA_ENABLED: Kind::Flag, "false runs the embedded log though KAFKA_BROKERS is set. Unset: true where KAFKA_BROKERS is set.";
        KAFKA_CLIENT_ID: Kind::Text, "The name by which the broker knows this client.", or("streamgauge");
        KAFKA_CONSUMER_GROUP: Kind::Text, "The counting group. A topic's results in a store belong to one group.", or("streamgauge");
        KAFKA_AUTO_OFFSET_RESET: Kind::Choice(&["earliest", "latest"]), "Where a group begins on a partition that it never read.", or("earliest");
        KAFKA_COMPRESSION: Kind::Choice(&["gzip", "none", "snappy", "lz4", "zstd"]), "Compression of published batches, where the catalogue names none for the topic.", or("gzip");
        KAFKA_LINGER_MS: millis(0, 10_000), "How long a published record waits for others to share its batch.", or("0");
        KAFKA_BATCH_BYTES: bytes(1_024, 104_857_600), "Size of a published batch at most, before compression. The default fits a broker's default message.max.bytes.", or("1000000");
        KAFKA_RETRIES: count(0, 1_000), "How often a failed call to the broker is tried again before its caller is told. What may have been stored is tried until KAFKA_REQUEST_TIMEOUT_MS.", or("8");
        KAFKA_RETRY_BACKOFF_MS: millis(1, 60_000), "Wait before the first such retry; it doubles with each.", or("100");
        KAFKA_REQUEST_TIMEOUT_MS: millis(1_000, MAX_WAIT_MS), "Deadline of one call to the broker.", or("30000");
        KAFKA_FETCH_MIN_BYTES: bytes(1, MAX_FETCH_BYTES), "What the broker should have before it answers a fetch; it answers with less after BATCH_TIMEOUT.", or("1");
        KAFKA_FETCH_MAX_BYTES: bytes(65_536, MAX_FETCH_BYTES), "What is fetched and not yet counted, over all partitions, at most.", or("3145728");
        KAFKA_FETCH_MAX_PARTITION_BYTES: bytes(4_096, MAX_FETCH_BYTES), "What one fetch takes from one partition at most; a larger record batch still comes whole.", or("1572864");
        KAFKA_MAX_IN_FLIGHT: count(1, 5), "Published batches under way per partition. Their order is kept.", or("5");
        KAFKA_TLS_ENABLED: Kind::Flag, "TLS to the broker. Unset: true where KAFKA_TLS_CA or KAFKA_TLS_CERT is set.";
        KAFKA_TLS_CA: Kind::Path, "Certificates of the CAs that sign the brokers' (PEM, one or several). Unset: those that the system trusts.";
        KAFKA_TLS_CERT: Kind::Path, "Client certificate, with its chain (PEM). Read again when it was renewed, as the other TLS files are.";
        KAFKA_TLS_KEY: Kind::Path, "Key of the client certificate (PEM, not encrypted).";
        KAFKA_SASL_MECHANISM: Kind::Choice(&["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]), "How to authenticate to the broker. Unset: not at all, or by the client certificate.";
        KAFKA_SASL_USERNAME: Kind::Text, "User for plain and scram.";
        KAFKA_SASL_PASSWORD: Kind::Text, "Password for plain and scram. Its file is read again for each connection.", secret();
        KAFKA_SASL_OAUTH_TOKEN: Kind::Text, "Token for oauthbearer, as it is. Its file is read again for each connection.", secret();
        KAFKA_SASL_OAUTH_TOKEN_URL: Kind::Text, "Where oauthbearer gets its tokens by client credentials, instead of KAFKA_SASL_OAUTH_TOKEN.";
        KAFKA_SASL_OAUTH_CLIENT_ID: Kind::Text, "Client id there.";
        KAFKA_SASL_OAUTH_CLIENT_SECRET: Kind::Text, "Client secret there.", secret();
        KAFKA_SASL_OAUTH_SCOPE: Kind::Text, "Scopes to ask for there, separated by spaces.";
        KAFKA_SASL_OAUTH_EXTENSIONS: Kind::List, "What goes beside the token, such as Confluent Cloud's logicalCluster=lkc-1,identityPoolId=pool-1.";
    }
    Embedded {
        KAFKA_LISTEN: Kind::Endpoint, "Where the embedded log speaks the Kafka protocol. Loopback only; a free port where this one is taken.", or("127.0.0.1:9092");
        DATA_DIR: Kind::Path, "Folder of the embedded log and store; one process at a time.", or("./streamgauge-data");
    }
    Store {
        REDIS_URL: Kind::RedisUrl, "The Redis that takes the results. Unset, and REDIS_HOST too: the embedded store.", secret();
        REDIS_HOST: Kind::Text, "The Redis host, instead of REDIS_URL.";
        REDIS_PORT: count(1, 65_535), "Port at REDIS_HOST.", or("6379");
        REDIS_USERNAME: Kind::Text, "ACL user.";
        REDIS_PASSWORD: Kind::Text, "Password.", secret();
        REDIS_TLS_ENABLED: Kind::Flag, "TLS to Redis, its sentinels too. Unset: true with a rediss:// URL, or where REDIS_TLS_CA or REDIS_TLS_CERT is set.";
        REDIS_TLS_CA: Kind::Path, "Certificates of the CAs that sign the servers' (PEM, one or several). Unset: those that the system trusts.";
        REDIS_TLS_CERT: Kind::Path, "Client certificate, with its chain (PEM). Read again when it was renewed, as the other TLS files are.";
        REDIS_TLS_KEY: Kind::Path, "Key of the client certificate (PEM, not encrypted).";
        REDIS_SENTINEL_USERNAME: Kind::Text, "ACL user at the sentinels of a redis-sentinel:// URL.";
        REDIS_SENTINEL_PASSWORD: Kind::Text, "Password at the sentinels; REDIS_PASSWORD is the servers'.", secret();
        REDIS_DB: count(0, 255), "Number of the database at REDIS_HOST.", or("0");
        REDIS_KEY_PREFIX: Kind::Text, "Goes before every key, so that several deployments can share a Redis.", or("");
        REDIS_ALLOW_EVICTION: Kind::Flag, "Start though the Redis may evict keys. Counts are lost then.", or("false");
        STORE_SHARDS: count(1, 64), "Into how many parts the results are split in Redis, each with a hash tag of its own. It is fixed when a REDIS_KEY_PREFIX is first used.", or("1");
        DATABASE_URL: Kind::Text, "PostgreSQL that takes the copy of the totals, instead of counters:persistent in Redis: postgres://USER:PASSWORD@HOST:PORT/NAME, with ?sslmode=verify-full for TLS and &sslrootcert=FILE for a CA of your own. Needs Redis as the store.", secret();
    }
    Counting {
        CATALOG: Kind::List, "The built-in catalogues that run: video, commerce, social, creator, live. Unset: video, or none where CATALOG_PATH is set.";
        CATALOG_PATH: Kind::Path, "A catalogue file of your own, or a folder of them.";
        TOPICS: Kind::List, "The catalogues' topics that are counted here. Unset: all.";
        PARTITIONS: Kind::Partitions, "The partitions that are counted here, by hand. Unset: all.";
        ROLES: Kind::List, "What this process does: publish, count, deliver, console. Console does nothing in this version.", or("publish,count,deliver,console");
        BATCH_SIZE: count(1, 1_000_000), "Events decoded in one batch at most.", or("10000");
        BATCH_TIMEOUT: millis(1, 60_000), "How long a fetch waits for data.", or("500");
        FLUSH_INTERVAL_MS: millis(1, 60_000), "How often results are written to the store; up to four times as long while all that waits lies more than 50,000 records behind the log's end.", or("100");
        COUNTER_FLUSH_INTERVAL: millis(1_000, 86_400_000), "How often totals that changed are copied to counters:persistent or DATABASE_URL, from which an emptied store is restored.", or("30000");
        SESSION_TIMEOUT_MS: millis(1_000, MAX_WAIT_MS), "When a silent member is replaced by the others of its group.", or("10000");
        HEARTBEAT_INTERVAL_MS: millis(100, MAX_WAIT_MS), "How often a member says that it lives. Unset: 3000, or a third of SESSION_TIMEOUT_MS where that is less.";
        MIRROR_OFFSETS: Kind::Flag, "Copy checkpoints to the broker as the offsets of KAFKA_CONSUMER_GROUP, for tools that show lag. Unset: true with Kafka, false with the embedded log.";
        TOPICS_AUTO_APPLY: Kind::Flag, "Make the broker's topics as the catalogue says at the start: missing ones are created, settings mended where that deletes no records. `streamgauge topics apply` does the rest.", or("true");
        DLQ_MAX_REPLAYS: count(1, 1_000), "How often the record of a dead letter is replayed at most. One that has failed again each time is parked: it is listed, and not replayed any more.", or("5");
        MAX_RETRIES: count(0, 1_000), "Attempts to deliver an event after the first, where neither its subscription nor its topic says.", or("3");
        RETRY_INITIAL_MS: millis(1, MAX_WAIT_MS), "Wait before the first of them, where neither says.", or("5000");
        RETRY_FACTOR: Kind::Text, "By which each further wait is longer, from 1 to 100.", or("2");
        RETRY_MAX_DELAY_MS: millis(1, 86_400_000), "Where it stops growing.", or("300000");
        SUBSCRIPTION: Kind::Tables, "Deliveries over HTTP: [[subscription]] in the file.";
    }
    Http {
        PORT: count(0, 65_535), "Port of the API; 0 takes a free one and the log says which.", or("3007");
        HTTP_ADDR: Kind::Address, "Address of the API. Beyond loopback it needs HTTP_INSECURE=true in this version.", or("127.0.0.1");
        HTTP_INSECURE: Kind::Flag, "Let the API listen beyond loopback without keys: whoever reaches it may publish and read.", or("false");
        CORS_ORIGIN: Kind::Origins, "Web origins that browsers may call from. Unset: none.";
        METRICS_ADDR: Kind::Endpoint, "Serve /metrics, /livez and /readyz alone here too, for probes and scrapers. Unset: not.";
        HTTP_TLS_CERT: Kind::Path, "Certificate of the API (PEM).", later();
        HTTP_TLS_KEY: Kind::Path, "Key of that certificate (PEM).", later();
        API_KEYS: Kind::Text, "Keys that callers must show.", secret(), later();
    }
    Running {
        LOG_LEVEL: Kind::LogFilter, "How much is logged.", or("info");
        LOG_FORMAT: Kind::Choice(&["json", "text"]), "JSON lines, or text for a terminal.", or("json");
        SHUTDOWN_TIMEOUT: millis(100, MAX_WAIT_MS), "How long stopping may take to finish and flush.", or("8000");
        SCHEMA_REGISTRY_URL: Kind::Text, "Confluent Schema Registry: values that name a schema of it (Avro, Protobuf, JSON Schema) are counted. http://HOST:8081, with USER:PASSWORD@ before the host if need be.", secret();
        SCHEMA_REGISTRY_USERNAME: Kind::Text, "User there, instead of the URL's.";
        SCHEMA_REGISTRY_PASSWORD: Kind::Text, "Password there.", secret();
        SCHEMA_REGISTRY_TLS_CA: Kind::Path, "Certificates of CAs to trust there beside the system's (PEM, one or several).";
        OTEL_EXPORTER_OTLP_ENDPOINT: Kind::Text, "Where traces go.", ignored();
    }
}

/// Beginnings of environment names that are ours: an unknown name that begins so is warned about.
pub const PREFIXES: &[&str] = &[
    "KAFKA_",
    "REDIS_",
    "STORE_",
    "CATALOG_",
    "TOPICS_",
    "BATCH_",
    "FLUSH_",
    "COUNTER_",
    "RETRY_",
    "DLQ_",
    "MIRROR_",
    "HTTP_",
    "CORS_",
    "METRICS_",
    "SHUTDOWN_",
    "LOG_LEVEL_",
    "LOG_FORMAT_",
    "SESSION_TIMEOUT_",
    "HEARTBEAT_",
    "SCHEMA_REGISTRY_",
];

/// Names that begin like ours and belong to others: the proxy of HTTP clients.
pub const FOREIGN: &[&str] = &["HTTP_PROXY"];

/// The setting of this name, in upper case.
pub fn find(name: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.name == name).copied()
}

/// The known name nearest to `name`, when it is near enough to have been meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    const NEAR: f64 = 0.8;
    // In a name as short as PORT one slip is already a great part of it.
    let likeness = |known: &str| match strsim::osa_distance(known, name) {
        1 if known.len() > 2 => 1.0,
        _ => strsim::normalized_damerau_levenshtein(known, name),
    };
    ALL.iter()
        .map(|setting| (likeness(setting.name), setting.name))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
