//! A service with handlers: everything that the binary's `run` does, in the user's own process.

use std::{net::SocketAddr, sync::Arc};

use super::{
    courier::{HandlerCourier, Takers},
    subscription::Subscription,
};
use crate::{
    app::{self, App, AppError, ChosenError, Handlers},
    config::{self, ConfigError, Environment, Loaded, Problem},
    telemetry::{
        logging::LoggingError,
        metrics::{self, MetricsError},
    },
    tls,
};

/// Why a service cannot run, or ended. It says what to do.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ServiceError(Why);

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Catalog(#[from] ChosenError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    App(#[from] AppError),
}

impl<E: Into<Why>> From<E> for ServiceError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// A service with handlers, not yet started: all that `streamgauge run` does by its settings (HTTP, counting, publishing, the
/// deliveries of the configuration file; `ROLES` says which), and beside it events for handlers in this process.
#[must_use = "a service does nothing until it is started"]
pub struct Service {
    loaded: Loaded,
    subscriptions: Vec<Subscription>,
}

impl Service {
    /// A service with the settings of the environment, over those of the file that `CONFIG_FILE` names, over the defaults.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn from_env() -> Result<Self, ServiceError> {
        Self::of(&config::process_environment())
    }

    /// A service with these settings in place of the environment: `("KAFKA_BROKERS", "localhost:9092")`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn from_settings<N, V>(settings: impl IntoIterator<Item = (N, V)>) -> Result<Self, ServiceError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        Self::of(&settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn of(environment: &Environment) -> Result<Self, ServiceError> {
        Ok(Self { loaded: config::load(environment, None)?, subscriptions: Vec::new() })
    }

    /// Adds a group with its handlers.
    pub fn subscribe(mut self, subscription: Subscription) -> Self {
        self.subscriptions.push(subscription);
        self
    }

    /// Begins to write log lines to stdout as `LOG_LEVEL` and `LOG_FORMAT` say, for the whole process. Leave it out where your
    /// program has a subscriber of `tracing` already: that gets them then.
    ///
    /// # Errors
    /// The level cannot be read, or the process has such a subscriber.
    pub fn with_log_lines(self) -> Result<Self, ServiceError> {
        app::begin_logging(&self.loaded.config.running)?;
        Ok(self)
    }

    /// Starts it, on the runtime that it is called on. Neither Kafka nor Redis need be up.
    ///
    /// Metrics go to the recorder of the crate `metrics` that the process has; where it has none, to one of ours, which
    /// `/metrics` shows.
    ///
    /// # Errors
    /// What is wrong with the settings and the subscriptions, all of it; a topic or an event type that the catalogue does not
    /// have; an address that is taken; embedded data that cannot be opened.
    pub async fn start(self) -> Result<Running, ServiceError> {
        tls::install_provider();
        let Loaded { mut config, warnings } = self.loaded;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let (mut problems, mut tables, mut taking) = (Vec::<Problem>::new(), Vec::new(), Vec::new());
        for subscription in self.subscriptions {
            let (fields, group, takers) = subscription.into_parts(&mut problems);
            if let Some(takers) = takers {
                tables.push(fields);
                taking.push((group, takers));
            }
        }
        if let Err(error) = config::add_handled(&mut config, &tables) {
            problems.extend(error.problems);
        }
        if !problems.is_empty() {
            Err(ConfigError { problems, warnings })?;
        }
        if !config.roles.deliver && !taking.is_empty() {
            tracing::warn!("ROLES leaves deliver out: the handlers of this process get no events");
        }
        let handlers = couriers(&config, taking);
        let catalog = app::catalog(&config)?;
        let exporter = metrics::install_or_join()?;
        let catalogs = catalog.names.join(",");
        tracing::info!(version = env!("CARGO_PKG_VERSION"), catalogs, "starting: {}", config.mode());
        let app = Box::pin(App::start(&config, catalog, exporter, handlers)).await?;
        tracing::info!("HTTP on http://{}", app.http_addr);
        if let Some(addr) = app.broker_addr {
            tracing::info!("the embedded log speaks the Kafka protocol on {addr}");
        }
        Ok(Running { app })
    }

    /// Starts it, and stops it in order once `shutdown` is there, such as [`stop_signal`]. Returns early where it cannot go on.
    ///
    /// # Errors
    /// Those of [`Service::start`], [`Running::failed`] and [`Running::stop`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let mut running = self.start().await?;
        let failure = tokio::select! {
            () = shutdown => None,
            failure = running.failed() => Some(failure),
        };
        let stopped = running.stop().await;
        failure.map_or(stopped, Err)
    }
}

fn couriers(config: &config::Config, taking: Vec<(String, Takers)>) -> Handlers {
    let timeout_of = |group: &str| {
        let found = config.subscriptions.iter().find(|subscription| subscription.group == group);
        found.map(|subscription| subscription.timeout).unwrap_or_default()
    };
    let couriers = taking.into_iter().map(|(group, takers)| {
        let timeout = timeout_of(&group);
        (group, Arc::new(HandlerCourier { takers, timeout }) as _)
    });
    couriers.collect()
}

/// A service that runs. Dropping it ends it as a crash does: what was not finished comes again.
#[must_use = "dropping it ends the service as a crash does"]
pub struct Running {
    app: App,
}

impl Running {
    /// Where its HTTP listens.
    pub fn http_addr(&self) -> SocketAddr {
        self.app.http_addr
    }

    /// Where its embedded log speaks the Kafka protocol, if it has one.
    pub fn broker_addr(&self) -> Option<SocketAddr> {
        self.app.broker_addr
    }

    /// Returns when something has ended that should go on: always with the reason.
    pub async fn failed(&mut self) -> ServiceError {
        self.app.failed().await.into()
    }

    /// Stops it in order: no event is begun any more, those that are with handlers are waited for, results and positions are
    /// kept. What takes longer than `SHUTDOWN_TIMEOUT` is given up, and comes again after the next start.
    ///
    /// # Errors
    /// Counting, delivery or the embedded log did not end well.
    pub async fn stop(self) -> Result<(), ServiceError> {
        Ok(Box::pin(self.app.stop()).await?)
    }
}

/// Waits for SIGTERM or SIGINT (Ctrl-C). Where the system lets nobody wait for them it never returns, and says so in the log.
pub async fn stop_signal() {
    match app::stop_signal().await {
        Ok(name) => tracing::info!("{name} received: finishing, flushing, stopping"),
        Err(error) => {
            tracing::error!(%error, "signals cannot be waited for");
            std::future::pending().await
        }
    }
}
