//! Sockets that are listened on, and what is done beside serving.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::telemetry::metrics::{Exporter, UPKEEP_INTERVAL_MS};

/// Folds samples into their buckets also where nobody scrapes.
pub(super) async fn upkeep(exporter: Exporter, stop: CancellationToken) -> std::io::Result<()> {
    let interval = std::time::Duration::from_millis(UPKEEP_INTERVAL_MS);
    while tokio::time::timeout(interval, stop.cancelled()).await.is_err() {
        exporter.upkeep();
    }
    Ok(())
}

/// Listens on an address that a setting chooses.
pub(super) async fn listen(addr: SocketAddr, setting: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(addr).await.map_err(|source| AppError::Listen { addr, setting, source })
}

/// The address that a listener really has.
pub(super) fn local(listener: &TcpListener, addr: SocketAddr) -> Result<SocketAddr, AppError> {
    listener.local_addr().map_err(|source| AppError::Listen { addr, setting: "HTTP_ADDR, PORT", source })
}
