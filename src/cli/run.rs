//! `run`: everything that the configuration says, until SIGTERM or Ctrl-C.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::App,
    catalog::{CatalogChoice, nearest, plan::Catalog},
    config::{Config, Loaded, LogFormat},
    telemetry::{logging, metrics},
};

/// The catalogues that the configuration names.
pub(super) fn catalog(config: &Config) -> anyhow::Result<Arc<Catalog>> {
    let catalog = Catalog::load(&choice(config))?;
    let by_hand =
        config.counting.partitions.iter().flat_map(|partitions| partitions.keys()).map(|name| ("PARTITIONS", name));
    let chosen = config.counting.topics.iter().flatten().map(|name| ("TOPICS", name)).chain(by_hand);
    for (setting, name) in chosen {
        if catalog.topic(name).is_none() {
            let known: Vec<&str> = catalog.topics.iter().map(|topic| &*topic.name).collect();
            let hint =
                nearest(name, known.iter().copied()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            anyhow::bail!(
                "{setting} names the topic {name:?}, which no catalogue has{hint} (there are {})",
                known.join(", ")
            );
        }
    }
    Ok(Arc::new(catalog))
}

/// The choice of catalogues, as the configuration makes it.
pub(super) fn choice(config: &Config) -> CatalogChoice {
    CatalogChoice { names: config.counting.catalogs.clone(), path: config.counting.catalog_path.clone() }
}

pub(super) async fn run(loaded: Loaded) -> anyhow::Result<u8> {
    let config = loaded.config;
    let format = match config.running.log_format {
        LogFormat::Json => logging::Format::Json,
        LogFormat::Text => logging::Format::Text,
    };
    logging::install(&config.running.log_level, format)?;
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
    let mut app = App::start(&config, catalog, render).await?;
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

/// Waits for SIGTERM or SIGINT and says which came.
pub(super) async fn stop_signal() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
