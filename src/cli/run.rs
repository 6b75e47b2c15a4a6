//! `run`: everything that the configuration says, until SIGTERM or Ctrl-C.

use std::sync::Arc;

use crate::{
    app::{self, App, Handlers},
    catalog::plan::Catalog,
    config::{Config, Loaded},
    telemetry::metrics,
};

pub(super) use crate::app::stop_signal;

/// The catalogues that the configuration names.
pub(super) fn catalog(config: &Config) -> anyhow::Result<Arc<Catalog>> {
    Ok(app::catalog(config)?)
}

pub(super) async fn run(loaded: Loaded) -> anyhow::Result<u8> {
    let config = loaded.config;
    app::begin_logging(&config.running)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let catalog = catalog(&config)?;
    let render = metrics::install()?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        catalogs = catalog.names.join(","),
        "starting: {}",
        config.mode()
    );
    let mut app = App::start(&config, catalog, render, Handlers::new()).await?;
    tracing::info!("HTTP on http://{}", app.http_addr);
    if let Some(addr) = app.broker_addr {
        tracing::info!("the embedded log speaks the Kafka protocol on {addr}");
    }
    let failure = tokio::select! {
        name = stop_signal() => {
            tracing::info!("{} received: finishing, flushing, stopping", name?);
            None
        }
        failure = app.failed() => Some(failure),
    };
    let stopped = app.stop().await;
    match failure {
        Some(failure) => Err(failure.into()),
        None => stopped.map(|()| 0).map_err(Into::into),
    }
}
