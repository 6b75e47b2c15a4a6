//! The only place that chooses implementations and wires them.

mod catalog;
mod courier;
mod dead_letters;
mod delivery;
mod engine;
mod groups;
pub mod kafka;
mod listening;
mod mirror;
mod parts;
mod process;
mod publishing;
mod registry;
mod shadow;
mod topics;

use std::{net::SocketAddr, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    catalog::plan::Catalog,
    config::Config,
    http::{self, AppState},
    log::broker::BrokerError,
    registry::RegistryError,
    runtime::{changes::Changes, counting::CountingError, delivery::DeliveryError, publish::Publisher, reads::Reads},
    store::StoreError,
    telemetry::metrics::Exporter,
    tls::TlsError,
};

use listening::{listen, local, upkeep};

pub use catalog::{ChosenError, catalog, choice};
pub use delivery::{Handlers, delivery, topics_of};
pub use engine::{Engine, producer_options};
pub use parts::{Parts, redis_options};
pub use process::{begin_logging, stop_signal};
pub use shadow::{Shadow, ShadowError, broken_off};
pub use topics::{BrokerTopics, LogAlone};

/// Why the process cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The embedded log.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The certificates for Kafka.
    #[error("TLS to Kafka (KAFKA_TLS_*): {0}")]
    Tls(#[from] TlsError),
    /// The certificates for Redis.
    #[error("TLS to Redis (REDIS_TLS_*): {0}")]
    RedisTls(TlsError),
    /// The schema registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Counting.
    #[error(transparent)]
    Counting(#[from] CountingError),
    /// Deliveries.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// Subscriptions that cannot run, each with what would be right.
    #[error("{}", .0.join("; "))]
    Subscriptions(Vec<String>),
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
    deliverer: JoinSet<Result<(), DeliveryError>>,
    mirror: Option<mirror::Mirroring>,
    /// What is published under ids and outlives its request.
    publishing: Option<TaskTracker>,
    shutdown_timeout: std::time::Duration,
}

impl App {
    /// Starts everything that the configuration says, with the handlers of the subscriptions that are not posted. Neither Kafka
    /// nor Redis need be up.
    ///
    /// # Errors
    /// The data folder is in use, an address is taken, or embedded data cannot be opened.
    pub async fn start(
        config: &Config,
        catalog: Arc<Catalog>,
        exporter: Exporter,
        handlers: Handlers,
    ) -> Result<Self, AppError> {
        let http = listen(config.http.listen, "HTTP_ADDR, PORT").await?;
        let http_addr = local(&http, config.http.listen)?;
        let probes = match config.http.metrics_listen {
            Some(addr) => Some(listen(addr, "METRICS_ADDR").await?),
            None => None,
        };
        let parts = Parts::open(config, &catalog).await?;
        let engine = Engine::new(config, &parts);
        engine.look_outside(config, &catalog, &parts);
        let pending = Arc::clone(&engine.counting.generations);
        let reads = Arc::new(Reads::new(Arc::clone(&catalog), Arc::clone(&parts.store), pending));
        let delivery = delivery(config, &catalog, &parts, &engine, handlers)?;
        let dead_letters = dead_letters::of(config, &catalog, &parts);
        let rendering = exporter.clone();
        let publisher = publishing::publisher(config, &catalog, &engine, &parts);
        let publishing = publisher.as_ref().map(Publisher::under_way);
        let (serving, counted, abandon) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let state = AppState::new(http::Parts {
            publisher,
            reads: Arc::clone(&reads),
            counted: engine.counted(&parts),
            changes: Changes::new(Arc::clone(&reads), Arc::clone(&engine.counting.generations)),
            ending: serving.clone(),
            tracking: publishing::tracking(config, &catalog, &parts),
            dead_letters: Arc::clone(&dead_letters),
            catalog: Arc::clone(&catalog),
            health: Arc::clone(&engine.health),
            membership: Arc::clone(&engine.counting.membership),
            groups: groups::groups(config, &catalog, &parts),
            delivery: delivery.clone(),
            render_metrics: Arc::new(move || rendering.render()),
            cors_origin: Some(config.http.cors_origins.join(",")).filter(|origins| !origins.is_empty()),
        });

        let mut servers = JoinSet::new();
        if let Some(probes) = probes {
            servers.spawn(http::serve_probes(probes, state.clone(), serving.clone()));
        }
        servers.spawn(http::serve(http, state, serving.clone()));
        servers.spawn(dead_letters.watch(serving.clone()));
        servers.spawn(upkeep(exporter, serving.clone()));
        let mut counter = JoinSet::new();
        let counting = Arc::clone(&engine.counting);
        if config.roles.count {
            counter.spawn(counting.run(catalog, counted.clone(), abandon.clone()));
        } else {
            counter.spawn(counting.stand_aside(catalog, counted.clone()));
        }
        let mut deliverer = JoinSet::new();
        if let Some(delivery) = delivery {
            deliverer.spawn(delivery.run(counted.clone()));
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
            deliverer,
            mirror,
            publishing,
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
            Some(ended) = self.deliverer.join_next() => match ended {
                Ok(Err(error)) => error.into(),
                Ok(Ok(())) => AppError::Task("delivery has ended by itself".to_owned()),
                Err(error) => AppError::Task(format!("delivery has failed: {error}")),
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
            if let Some(publishing) = self.publishing.take() {
                publishing.close();
                publishing.wait().await;
            }
            self.counted.cancel();
            let mut counted = Ok(());
            while let Some(ended) = self.counter.join_next().await {
                counted = match ended {
                    Ok(result) => result.map_err(AppError::from),
                    Err(error) => Err(AppError::Task(error.to_string())),
                };
            }
            while let Some(ended) = self.deliverer.join_next().await {
                let ended = ended.map_err(|error| AppError::Task(error.to_string()));
                counted = counted.and(ended.and_then(|result| result.map_err(AppError::from)));
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
            if let (first, Some(last)) = (tenure.begin, tenure.counted_to()) {
                tracing::info!(topic = %tenure.partition.topic, partition = tenure.partition.partition, offset = last,
                    "counted from offset {first} to {last}");
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
