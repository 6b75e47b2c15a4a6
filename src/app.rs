//! The only place that chooses implementations and wires them.
//!
//! Longer than most files, since the wiring is read from the parts to the end of the process in one go.

mod engine;
pub mod kafka;
mod mirror;
mod shadow;

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::plan::Catalog,
    config::{Config, LogChoice, RedisConfig, StoreChoice},
    http::{self, AppState},
    log::{
        Log,
        broker::{Broker, BrokerConfig, BrokerError, DataDirLock, SEGMENT_BYTES},
        kafka::{Admin, KafkaLog},
    },
    runtime::{counting::CountingError, publish::Publisher, reads::Reads, recount::Side, sender::LogSender},
    store::{
        Inventory, Store, StoreError,
        embedded::EmbeddedStore,
        redis::{Password, RedisOptions, RedisStore},
    },
    telemetry::metrics::{Exporter, UPKEEP_INTERVAL_MS},
    tls::TlsError,
};

pub use engine::{Engine, producer_options};
pub use shadow::{Shadow, ShadowError};

/// Name of the embedded log's folder in `DATA_DIR`.
const LOG_FOLDER: &str = "log";
/// Name of the embedded store's file in `DATA_DIR`.
const STORE_FILE: &str = "store.redb";

/// Why the process cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The embedded log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The certificates for Kafka.
    #[error("TLS to Kafka (KAFKA_TLS_*): {0}")]
    Tls(#[from] TlsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Counting.
    #[error(transparent)]
    Counting(#[from] CountingError),
    /// An address that is taken, or not ours.
    #[error("cannot listen on {addr} ({setting}): {source}; choose another")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The setting that chooses it.
        setting: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A task has failed: a defect of ours.
    #[error("{0}")]
    Task(String),
}

/// The implementations that the configuration chooses.
pub struct Parts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// What lies in the store besides counters, by name.
    pub keys: Arc<dyn Inventory>,
    /// What is asked of the log's cluster beside records.
    pub admin: Admin,
    broker: Option<Broker>,
    _lock: Option<DataDirLock>,
}

impl Parts {
    /// Opens the embedded parts, and clients for the others. Neither Kafka nor Redis need be up.
    ///
    /// # Errors
    /// The data folder is in use, or embedded data cannot be opened.
    pub async fn open(config: &Config, catalog: &Catalog) -> Result<Self, AppError> {
        let is_embedded = matches!(config.log, LogChoice::Embedded { .. }) || config.store == StoreChoice::Embedded;
        let lock = if is_embedded { Some(DataDirLock::acquire(&config.data_dir)?) } else { None };
        let (log, broker) = open_log(config, catalog).await?;
        let admin = log.admin();
        let Side { store, keys } = open_store(config)?;
        Ok(Self { log: Arc::new(log), store, keys, admin, broker, _lock: lock })
    }

    /// Where the embedded broker listens, if there is one.
    pub fn broker_addr(&self) -> Option<SocketAddr> {
        self.broker.as_ref().map(Broker::local_addr)
    }

    /// Closes the embedded log: what it holds is synced.
    ///
    /// # Errors
    /// The sync failed.
    pub async fn close(self) -> Result<(), AppError> {
        match self.broker {
            Some(broker) => Ok(broker.shutdown().await?),
            None => Ok(()),
        }
    }
}

/// A running streamgauge.
pub struct App {
    /// Where HTTP listens.
    pub http_addr: SocketAddr,
    /// Where the embedded broker listens.
    pub broker_addr: Option<SocketAddr>,
    /// Reads results.
    pub reads: Arc<Reads>,
    /// Counting.
    pub engine: Engine,
    parts: Parts,
    serving: CancellationToken,
    counted: CancellationToken,
    abandon: CancellationToken,
    servers: JoinSet<std::io::Result<()>>,
    counter: JoinSet<Result<(), CountingError>>,
    mirror: Option<mirror::Mirroring>,
    shutdown_timeout: std::time::Duration,
}

impl App {
    /// Starts everything that the configuration says. Neither Kafka nor Redis need be up.
    ///
    /// # Errors
    /// The data folder is in use, an address is taken, or embedded data cannot be opened.
    pub async fn start(config: &Config, catalog: Arc<Catalog>, exporter: Exporter) -> Result<Self, AppError> {
        let http = listen(config.http.listen, "HTTP_ADDR, PORT").await?;
        let http_addr = local(&http, config.http.listen)?;
        let probes = match config.http.metrics_listen {
            Some(addr) => Some(listen(addr, "METRICS_ADDR").await?),
            None => None,
        };
        let parts = Parts::open(config, &catalog).await?;
        let engine = Engine::new(config, &parts);
        let pending = Arc::clone(&engine.counting.generations);
        let reads = Arc::new(Reads::new(Arc::clone(&catalog), Arc::clone(&parts.store), pending));
        let sender = LogSender { producer: Arc::clone(&engine.producer), routing: Arc::clone(&engine.routing) };
        let rendering = exporter.clone();
        let state = AppState::new(http::Parts {
            publisher: config.roles.publish.then(|| Publisher::new(Arc::clone(&catalog), Arc::new(sender))),
            reads: Arc::clone(&reads),
            catalog: Arc::clone(&catalog),
            health: Arc::clone(&engine.health),
            membership: Arc::clone(&engine.counting.membership),
            render_metrics: Arc::new(move || rendering.render()),
            cors_origin: Some(config.http.cors_origins.join(",")).filter(|origins| !origins.is_empty()),
        });

        let (serving, counted, abandon) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let mut servers = JoinSet::new();
        if let Some(probes) = probes {
            servers.spawn(http::serve_probes(probes, state.clone(), serving.clone()));
        }
        servers.spawn(http::serve(http, state, serving.clone()));
        servers.spawn(upkeep(exporter, serving.clone()));
        let mut counter = JoinSet::new();
        let counting = Arc::clone(&engine.counting);
        if config.roles.count {
            counter.spawn(counting.run(catalog, counted.clone(), abandon.clone()));
        } else {
            counter.spawn(counting.stand_aside(catalog, counted.clone()));
        }
        let mirror = (config.roles.count && config.kafka.mirror_offsets)
            .then(|| mirror::Mirroring::start(&engine, parts.admin.clone()));
        Ok(Self {
            http_addr,
            broker_addr: parts.broker_addr(),
            reads,
            engine,
            parts,
            serving,
            counted,
            abandon,
            servers,
            counter,
            mirror,
            shutdown_timeout: config.running.shutdown_timeout,
        })
    }

    /// Returns when something has ended that should go on: always with the reason.
    pub async fn failed(&mut self) -> AppError {
        tokio::select! {
            Some(ended) = self.counter.join_next() => match ended {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) => AppError::Task("counting has ended by itself".to_owned()),
                Err(error) => AppError::Task(format!("counting has failed: {error}")),
            },
            Some(ended) = self.servers.join_next() => AppError::Task(format!("HTTP has ended: {ended:?}")),
            else => AppError::Task("nothing runs any more".to_owned()),
        }
    }

    /// Stops intake, finishes, flushes, and says from which to which offset this process counted. What does not end within
    /// `SHUTDOWN_TIMEOUT` is given up; it is counted again from the log after the next start.
    ///
    /// # Errors
    /// The counting or the embedded log did not end well.
    pub async fn stop(mut self) -> Result<(), AppError> {
        let abandon = self.abandon.clone();
        let orderly = async {
            self.engine.health.drain();
            self.serving.cancel();
            while self.servers.join_next().await.is_some() {}
            self.counted.cancel();
            let mut counted = Ok(());
            while let Some(ended) = self.counter.join_next().await {
                counted = match ended {
                    Ok(result) => result.map_err(AppError::from),
                    Err(error) => Err(AppError::Task(error.to_string())),
                };
            }
            if let Some(mirror) = self.mirror.take() {
                mirror.finish().await;
            }
            self.engine.producer.drain(self.shutdown_timeout).await;
            counted
        };
        let result = match tokio::time::timeout(self.shutdown_timeout, orderly).await {
            Ok(result) => result,
            Err(_) => {
                abandon.cancel();
                tracing::error!(
                    "not finished within SHUTDOWN_TIMEOUT: what is not flushed is counted again after the next start"
                );
                Ok(())
            }
        };
        self.last_words();
        self.parts.close().await?;
        result
    }

    fn last_words(&self) {
        let tally = self.engine.counting.tally.total();
        for tenure in self.engine.counting.tenures.alive() {
            if let (first, Some(last)) = (tenure.begin, tenure.stored()) {
                tracing::info!(topic = %tenure.partition.topic, partition = tenure.partition.partition, offset = last.offset,
                    "counted from offset {first} to {}", last.offset);
            }
        }
        tracing::info!(
            records = tally.records,
            events = tally.events,
            duplicates = tally.duplicates,
            dead_letters = tally.dead_letters,
            "stopped"
        );
    }
}

/// Folds samples into their buckets also where nobody scrapes.
async fn upkeep(exporter: Exporter, stop: CancellationToken) -> std::io::Result<()> {
    let interval = std::time::Duration::from_millis(UPKEEP_INTERVAL_MS);
    while tokio::time::timeout(interval, stop.cancelled()).await.is_err() {
        exporter.upkeep();
    }
    Ok(())
}

async fn listen(addr: SocketAddr, setting: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(addr).await.map_err(|source| AppError::Listen { addr, setting, source })
}

fn local(listener: &TcpListener, addr: SocketAddr) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|source| AppError::Listen { addr, setting: "HTTP_ADDR, PORT", source })
}

async fn open_log(config: &Config, catalog: &Catalog) -> Result<(KafkaLog, Option<Broker>), AppError> {
    let (brokers, broker) = match &config.log {
        LogChoice::Kafka { brokers } => (brokers.clone(), None),
        LogChoice::Embedded { listen } => {
            let broker = Broker::start(BrokerConfig {
                data_dir: config.data_dir.join(LOG_FOLDER),
                listen: *listen,
                fall_back_to_free_port: true,
                segment_bytes: SEGMENT_BYTES,
            })
            .await?;
            (vec![broker.local_addr().to_string()], Some(broker))
        }
    };
    let log = KafkaLog::connect(kafka::kafka_options(config, catalog, brokers)?);
    Ok((log, broker))
}

fn open_store(config: &Config) -> Result<Side, AppError> {
    Ok(match &config.store {
        StoreChoice::Embedded => Side::new(Arc::new(EmbeddedStore::open(config.data_dir.join(STORE_FILE))?)),
        StoreChoice::Redis(redis) => Side::new(Arc::new(RedisStore::connect(&redis_options(redis)))),
    })
}

/// How the store reaches the Redis that the configuration names.
pub fn redis_options(redis: &RedisConfig) -> RedisOptions {
    RedisOptions {
        host: redis.host.clone(),
        port: redis.port,
        username: redis.username.clone(),
        password: redis.password.as_ref().map(|password| Password::new(password.reveal())),
        db: redis.database,
        key_prefix: redis.key_prefix.clone(),
        allow_eviction: redis.allow_eviction,
    }
}
