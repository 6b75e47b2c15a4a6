//! From settings as given to a [`Config`]: values first, then the relations among them.
//! Longer than most files, since every relation among settings is to be found in one place.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tracing_subscriber::EnvFilter;

use crate::{catalog::plan::Compression, model::SecretSource};

use super::{
    partitions,
    reader::Reader,
    registry, roles, security,
    setting::{Setting, State},
    store, subscriptions,
    table::{self as t},
    types::{
        Config, CountingConfig, HttpConfig, KafkaConfig, LogChoice, LogFormat, OffsetReset, RunningConfig, StoreChoice,
        collide,
    },
};

/// The catalogue that runs where nothing else is asked for.
const DEFAULT_CATALOG: &str = "video";

/// How often a member says that it lives, where nothing else is asked for.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// Reads everything; what is wrong stands in `reader.problems` afterwards, what is odd in `warnings`.
pub fn validate(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> Config {
    refuse_what_comes_later(reader, warnings);
    let log = log(reader, warnings);
    let store = store::store(reader, warnings);
    let mut config = Config {
        kafka: kafka(reader, warnings, &log),
        log,
        database: database(reader, &store),
        registry: registry::read(reader),
        store,
        data_dir: PathBuf::from(reader.text(&t::DATA_DIR).unwrap_or_default()),
        counting: counting(reader),
        http: http(reader),
        running: running(reader),
        roles: roles::read(reader),
        subscriptions: Vec::new(),
        retry: subscriptions::retry(reader),
    };
    config.subscriptions = subscriptions::read(reader, &config.kafka.group);
    relations(reader, &config);
    config
}

fn refuse_what_comes_later(reader: &mut Reader<'_>, warnings: &mut Vec<String>) {
    for setting in t::ALL {
        if !reader.is_given(setting) {
            continue;
        }
        match setting.state {
            State::Works => {}
            State::Ignored => warnings.push(format!("{} is set; this version does not do it yet", setting.name)),
            State::Later(Some(only)) if same_words(reader.text(setting).unwrap_or_default(), only) => {}
            State::Later(Some(only)) => {
                reader.refuse(setting, format!("is not done by this version; leave it out, or write {only}"));
            }
            State::Later(None) => reader.refuse(setting, "is known but not done by this version; leave it out"),
        }
    }
}

/// Equal as lists in any order.
fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<String> = text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
        words.sort();
        words
    };
    words(one) == words(other)
}

fn millis(reader: &mut Reader<'_>, setting: &Setting) -> Duration {
    Duration::from_millis(reader.number(setting))
}

fn log(reader: &mut Reader<'_>, warnings: &mut Vec<String>) -> LogChoice {
    let brokers = reader.brokers(&t::KAFKA_BROKERS);
    let enabled = reader.flag(&t::KAFKA_ENABLED);
    let listen = reader.endpoint(&t::KAFKA_LISTEN).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    if !listen.ip().is_loopback() {
        reader.refuse(
            &t::KAFKA_LISTEN,
            "must be loopback, such as 127.0.0.1:9092: the embedded log has no authentication",
        );
    }
    if enabled == Some(true) && brokers.is_empty() {
        reader.refuse(&t::KAFKA_ENABLED, "needs KAFKA_BROKERS, such as localhost:9092");
    }
    if brokers.is_empty() || enabled == Some(false) {
        return LogChoice::Embedded { listen };
    }
    if reader.is_given(&t::KAFKA_LISTEN) {
        warnings.push("KAFKA_LISTEN does nothing while KAFKA_BROKERS is set: the log is Kafka".into());
    }
    LogChoice::Kafka { brokers }
}

fn kafka(reader: &mut Reader<'_>, warnings: &mut Vec<String>, log: &LogChoice) -> KafkaConfig {
    let (tls, sasl) = security::read(reader, warnings, log);
    let group = reader.text(&t::KAFKA_CONSUMER_GROUP).unwrap_or_default().trim().to_owned();
    let compressions = [
        ("none", Compression::None),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ];
    KafkaConfig {
        client_id: reader.text(&t::KAFKA_CLIENT_ID).unwrap_or_default().to_owned(),
        group,
        offset_reset: reader.choice(
            &t::KAFKA_AUTO_OFFSET_RESET,
            ("earliest", OffsetReset::Earliest),
            &[("latest", OffsetReset::Latest)],
        ),
        compression: reader.choice(&t::KAFKA_COMPRESSION, ("gzip", Compression::Gzip), &compressions),
        linger: millis(reader, &t::KAFKA_LINGER_MS),
        batch_bytes: reader.number(&t::KAFKA_BATCH_BYTES),
        retries: reader.number(&t::KAFKA_RETRIES),
        retry_backoff: millis(reader, &t::KAFKA_RETRY_BACKOFF_MS),
        max_in_flight: reader.number(&t::KAFKA_MAX_IN_FLIGHT),
        request_timeout: millis(reader, &t::KAFKA_REQUEST_TIMEOUT_MS),
        fetch_min_bytes: reader.number(&t::KAFKA_FETCH_MIN_BYTES),
        fetch_max_bytes: reader.number(&t::KAFKA_FETCH_MAX_BYTES),
        fetch_max_partition_bytes: reader.number(&t::KAFKA_FETCH_MAX_PARTITION_BYTES),
        mirror_offsets: reader.flag(&t::MIRROR_OFFSETS).unwrap_or(matches!(log, LogChoice::Kafka { .. })),
        tls,
        sasl,
    }
}

/// Where totals are copied to, instead of the Redis that they lie in.
fn database(reader: &mut Reader<'_>, store: &StoreChoice) -> Option<SecretSource> {
    let url = reader.secret(&t::DATABASE_URL)?;
    if *store == StoreChoice::Embedded {
        let message = "takes the copy of what lies in Redis, and the store is embedded in this version; leave it out, or set \
                       REDIS_URL";
        reader.refuse(&t::DATABASE_URL, message);
    } else if !["postgres://", "postgresql://"].iter().any(|scheme| url.value.reveal().starts_with(scheme)) {
        reader.refuse(&t::DATABASE_URL, "is no PostgreSQL URL; postgres://user:password@host:5432/name would be right");
    }
    Some(url)
}

fn counting(reader: &mut Reader<'_>) -> CountingConfig {
    let catalog_path = reader.text(&t::CATALOG_PATH).map(PathBuf::from);
    let catalogs = match reader.list(&t::CATALOG) {
        Some(names) => names,
        None if catalog_path.is_some() => Vec::new(),
        None => vec![DEFAULT_CATALOG.into()],
    };
    let partitions = match reader.text(&t::PARTITIONS).map(partitions::parse).transpose() {
        Ok(partitions) => partitions,
        Err(wrong) => {
            reader.refuse(&t::PARTITIONS, wrong);
            None
        }
    };
    let session_timeout = millis(reader, &t::SESSION_TIMEOUT_MS);
    CountingConfig {
        session_timeout,
        heartbeat_interval: match reader.is_given(&t::HEARTBEAT_INTERVAL_MS) {
            true => millis(reader, &t::HEARTBEAT_INTERVAL_MS),
            false => HEARTBEAT_INTERVAL.min(session_timeout / 3),
        },
        catalogs,
        catalog_path,
        topics: reader.list(&t::TOPICS),
        partitions,
        max_replays: reader.number(&t::DLQ_MAX_REPLAYS),
        batch_size: reader.number(&t::BATCH_SIZE),
        batch_timeout: millis(reader, &t::BATCH_TIMEOUT),
        flush_interval: millis(reader, &t::FLUSH_INTERVAL_MS),
        counter_flush_interval: millis(reader, &t::COUNTER_FLUSH_INTERVAL),
        topics_auto_apply: reader.flag(&t::TOPICS_AUTO_APPLY).unwrap_or(true),
    }
}

fn http(reader: &mut Reader<'_>) -> HttpConfig {
    let listen = SocketAddr::new(reader.address(&t::HTTP_ADDR), reader.number(&t::PORT));
    let insecure = reader.flag(&t::HTTP_INSECURE).unwrap_or(false);
    if !listen.ip().is_loopback() && !insecure {
        reader.refuse(
            &t::HTTP_ADDR,
            "is reachable from other machines, and this version has no API keys; use 127.0.0.1, or set HTTP_INSECURE=true",
        );
    }
    HttpConfig {
        listen,
        cors_origins: reader.origins(&t::CORS_ORIGIN),
        metrics_listen: reader.endpoint(&t::METRICS_ADDR),
    }
}

fn running(reader: &mut Reader<'_>) -> RunningConfig {
    let log_level = reader.text(&t::LOG_LEVEL).unwrap_or_default().trim().to_owned();
    if EnvFilter::try_new(&log_level).is_err() {
        reader.refuse(&t::LOG_LEVEL, format!("must be {}", t::LOG_LEVEL.kind.expects()));
    }
    RunningConfig {
        log_level,
        log_format: reader.choice(&t::LOG_FORMAT, ("json", LogFormat::Json), &[("text", LogFormat::Text)]),
        shutdown_timeout: millis(reader, &t::SHUTDOWN_TIMEOUT),
    }
}

/// What must hold among settings.
fn relations(reader: &mut Reader<'_>, config: &Config) {
    let kafka = &config.kafka;
    if !reader.problems.is_empty() {
        return; // The values they would be judged by are stand-ins.
    }
    if kafka.group.is_empty() {
        reader.refuse(&t::KAFKA_CONSUMER_GROUP, "must name the group that the results belong to");
    }
    if config.counting.catalogs.is_empty() && config.counting.catalog_path.is_none() {
        reader.refuse(&t::CATALOG, "names no catalogue, and CATALOG_PATH is not set; video would be right");
    }
    if i64::from(kafka.fetch_max_partition_bytes) > i64::try_from(kafka.fetch_max_bytes).unwrap_or(i64::MAX) {
        reader.refuse(&t::KAFKA_FETCH_MAX_PARTITION_BYTES, "must not exceed KAFKA_FETCH_MAX_BYTES");
    }
    if kafka.fetch_min_bytes > kafka.fetch_max_partition_bytes {
        reader.refuse(&t::KAFKA_FETCH_MIN_BYTES, "must not exceed KAFKA_FETCH_MAX_PARTITION_BYTES");
    }
    if config.counting.batch_timeout >= kafka.request_timeout {
        reader.refuse(&t::BATCH_TIMEOUT, "must be below KAFKA_REQUEST_TIMEOUT_MS, or every quiet fetch would time out");
    }
    if config.counting.flush_interval >= config.running.shutdown_timeout {
        reader.refuse(&t::FLUSH_INTERVAL_MS, "must be below SHUTDOWN_TIMEOUT");
    }
    if config.counting.heartbeat_interval >= config.counting.session_timeout {
        let message = "must be below SESSION_TIMEOUT_MS, better a third of it, or members would be taken for dead";
        reader.refuse(&t::HEARTBEAT_INTERVAL_MS, message);
    }
    if let (Some(topics), Some(partitions)) = (&config.counting.topics, &config.counting.partitions)
        && let Some(topic) = partitions.keys().find(|topic| !topics.contains(topic))
    {
        reader.refuse(&t::PARTITIONS, format!("names {topic}, which TOPICS leaves out"));
    }
    if config.http.metrics_listen.is_some_and(|metrics| collide(metrics, config.http.listen)) {
        reader.refuse(&t::METRICS_ADDR, "is where the API listens (HTTP_ADDR, PORT); take another port");
    }
    if let LogChoice::Embedded { listen } = config.log {
        let taken = [Some(config.http.listen), config.http.metrics_listen];
        if taken.into_iter().flatten().any(|other| collide(other, listen)) {
            reader.refuse(&t::KAFKA_LISTEN, "is where the API or METRICS_ADDR listens; take another port");
        }
    }
}
