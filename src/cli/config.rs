//! `streamgauge config check|show`.

use std::{io::Write, path::Path};

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::config::{self, Config, Environment, MASK, Source, Sources, State, table};

/// Looks at the configuration without running anything.
#[derive(Args, Debug)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Say what is wrong with the configuration, or what would run
    Check,
    /// List every setting with its value and where it came from; secrets are masked
    Show {
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
}

/// The duplicate window of a topic, as its catalogue has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupeWindow {
    /// Topic.
    pub topic: String,
    /// Partitions that are counted here.
    pub partitions: u64,
    /// Offsets that the window reaches back, per partition.
    pub offsets: u64,
    /// Memory that it takes at most, per partition.
    pub bytes_each: u64,
}

/// Runs the command; the answer goes to `out`, the exit code comes back. `windows` tells the duplicate windows of what the
/// configuration would run; on a terminal settings are shown as a table.
///
/// # Errors
/// Everything that is wrong with the configuration, or that `out` cannot be written.
pub fn run(
    args: &ConfigArgs,
    environment: &Environment,
    file: Option<&Path>,
    windows: impl FnOnce(&Config) -> anyhow::Result<Vec<DedupeWindow>>,
    is_terminal: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    match args.command {
        ConfigCommand::Check => check(environment, file, windows, out)?,
        ConfigCommand::Show { json } => show(environment, file, json || !is_terminal, out)?,
    }
    Ok(0)
}

fn check(
    environment: &Environment,
    file: Option<&Path>,
    windows: impl FnOnce(&Config) -> anyhow::Result<Vec<DedupeWindow>>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let loaded = config::load(environment, file)?;
    let config = &loaded.config;
    let windows = windows(config).context("the settings are fine, the catalogues are not")?;
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "runs        {}", config.mode())?;
    writeln!(out, "group       {}", config.kafka.group)?;
    writeln!(out, "catalogues  {}", catalogues(config))?;
    let topics = config.counting.topics.as_ref().map_or_else(|| "all".into(), |topics| topics.join(", "));
    writeln!(out, "topics      {topics}")?;
    writeln!(out, "API         http://{}", config.http.listen)?;
    if let Some(listen) = config.http.metrics_listen {
        writeln!(out, "metrics     http://{listen}/metrics")?;
    }
    for subscription in &config.subscriptions {
        let config::SubscriptionConfig { group, topics, types, .. } = subscription;
        let what = if topics.is_empty() { types } else { topics };
        writeln!(out, "delivers    {} to {group}", what.join(", "))?;
    }
    let total: u64 = windows.iter().map(DedupeWindow::bytes).sum();
    writeln!(out, "memory      {} for duplicate windows at most", mebibytes(total))?;
    for window in windows.iter().filter(|window| window.bytes() > 0) {
        let DedupeWindow { topic, partitions, offsets, .. } = window;
        let bytes = mebibytes(window.bytes());
        writeln!(out, "            {bytes} {topic}: {partitions} partitions of {offsets} offsets")?;
    }
    Ok(())
}

impl DedupeWindow {
    fn bytes(&self) -> u64 {
        self.partitions.saturating_mul(self.bytes_each)
    }
}

fn catalogues(config: &Config) -> String {
    let own = config.counting.catalog_path.as_ref().map(|path| path.display().to_string());
    config.counting.catalogs.iter().cloned().chain(own).collect::<Vec<_>>().join(", ")
}

fn mebibytes(bytes: u64) -> String {
    const MEBIBYTE: u64 = 1 << 20;
    format!("{} MiB", bytes.div_ceil(MEBIBYTE))
}

/// A setting as it is shown.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    value: Option<String>,
    source: String,
    meaning: &'static str,
}

fn show(environment: &Environment, file: Option<&Path>, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (sources, problems) = Sources::read(environment, file);
    let settings =
        table::ALL.iter().filter(|setting| setting.state == State::Works || sources.given(setting).is_some());
    let shown: Vec<Shown> = settings
        .map(|setting| Shown {
            name: setting.name,
            value: sources.text(setting).map(|text| if setting.secret { MASK.into() } else { text.to_owned() }),
            source: source(sources.given(setting).map(|given| &given.source), &sources),
            meaning: setting.meaning,
        })
        .collect();
    if json {
        serde_json::to_writer_pretty(&mut *out, &shown)?;
        writeln!(out)?;
    } else {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["setting", "value", "from"]);
        for setting in shown {
            table.add_row([setting.name, setting.value.as_deref().unwrap_or("-"), &setting.source]);
        }
        writeln!(out, "{table}")?;
    }
    if problems.is_empty() { Ok(()) } else { Err(config::ConfigError { problems, warnings: Vec::new() }.into()) }
}

fn source(source: Option<&Source>, sources: &Sources) -> String {
    match source {
        None => "default".into(),
        Some(Source::Environment) => "environment".into(),
        Some(Source::File) => sources.file.as_ref().map_or_else(|| "file".into(), |path| path.display().to_string()),
        Some(Source::SecretFile(path)) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(command: ConfigCommand, pairs: &[(&str, &str)]) -> anyhow::Result<String> {
        let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let window =
            DedupeWindow { topic: "video.views".into(), partitions: 8, offsets: 1 << 20, bytes_each: 50 << 20 };
        let windows = |_: &Config| Ok(vec![window]);
        let mut out = Vec::new();
        run(&ConfigArgs { command }, &environment, None, windows, true, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn check_says_what_would_run() {
        let text = printed(ConfigCommand::Check, &[("REDIS_URL", "redis://:hunter2@r"), ("KAFKA_BROKERZ", "x")])
            .expect("valid");
        for part in ["Redis at r:6379/0", "embedded log", "video", "400 MiB", "did you mean KAFKA_BROKERS"] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(printed(ConfigCommand::Check, &[("PORT", "x")]).is_err());
    }

    #[test]
    fn invariant_10_show_masks_secrets_and_names_sources() {
        let pairs = [("REDIS_URL", "redis://:hunter2@r"), ("PORT", "4000")];
        for json in [false, true] {
            let text = printed(ConfigCommand::Show { json }, &pairs).expect("shown");
            assert!(!text.contains("hunter2"), "{text}");
            for part in ["REDIS_URL", MASK, "4000", "environment", "default"] {
                assert!(text.contains(part), "{part} is missing in:\n{text}");
            }
        }
    }
}
