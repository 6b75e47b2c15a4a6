//! What kcat (librdkafka) takes to read the same topic and do nothing with it, where it is installed.

use std::{process::Stdio, time::Instant};

use super::usage::Usage;

/// Reads the topic to its end with kcat; `None` where there is no kcat.
pub(super) async fn drain(brokers: &str, topic: &str, events: u64) -> anyhow::Result<Option<String>> {
    let arguments = ["-C", "-q", "-e", "-o", "beginning", "-f", "", "-b", brokers, "-t", topic].map(str::to_owned);
    let (began, before) = (Instant::now(), Usage::of_children());
    #[expect(clippy::disallowed_methods, reason = "the measurement waits for it and ends with it")]
    let ran = tokio::task::spawn_blocking(move || {
        std::process::Command::new("kcat").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status()
    });
    let status = match ran.await? {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        status => status?,
    };
    anyhow::ensure!(status.success(), "kcat ended with {status}");
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = Usage::of_children() - before;
    Ok(Some(format!(
        "kcat read the same topic in {seconds:.3} s: {:.0} events/s, CPU {:.0} ns an event",
        events as f64 / seconds,
        cpu_seconds * 1e9 / events as f64
    )))
}
