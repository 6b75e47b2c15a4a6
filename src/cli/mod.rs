//! The command line: one file per command.

pub mod counters;
pub mod endpoint;
pub mod healthcheck;
pub mod publish;
