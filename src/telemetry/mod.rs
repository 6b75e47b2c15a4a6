//! What the program says of itself: log lines and metrics.

pub mod logging;
pub mod metrics;
