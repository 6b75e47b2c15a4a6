//! `healthcheck`: whether the running process can accept events; for an image's HEALTHCHECK.

use std::io::Write;

use clap::Args;

use super::{endpoint::Endpoint, explain};

/// Asks the running process whether it can accept events. Exit code 0 where it can, else 1.
#[derive(Args, Clone, Debug)]
pub struct HealthcheckArgs {}

/// Runs the command.
///
/// # Errors
/// Writing to `out` failed.
pub async fn run(HealthcheckArgs {}: HealthcheckArgs, endpoint: &Endpoint, out: &mut dyn Write) -> anyhow::Result<u8> {
    match endpoint.json(endpoint.get(&["readyz"])).await {
        Ok(_) => {
            writeln!(out, "ready")?;
            Ok(0)
        }
        Err(error) => {
            writeln!(out, "not ready: {}", explain(&error))?;
            Ok(1)
        }
    }
}
