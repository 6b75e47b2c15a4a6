//! What is the whole process's: its log lines, and the signals that end it.

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    config::{LogFormat, RunningConfig},
    telemetry::logging::{self, Format, LoggingError},
};

/// Begins logging to stdout as `LOG_LEVEL` and `LOG_FORMAT` say.
///
/// # Errors
/// The level cannot be read, or something in this process logs already.
pub fn begin_logging(running: &RunningConfig) -> Result<(), LoggingError> {
    let format = match running.log_format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    logging::install(&running.log_level, format)
}

/// Waits for SIGTERM or SIGINT and says which came.
///
/// # Errors
/// The system lets nobody wait for them.
pub async fn stop_signal() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
