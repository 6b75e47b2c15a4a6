//! The command line: one file per command.

pub mod bench;
pub mod catalog;
pub mod config;
pub mod counters;
pub mod demo;
pub mod dlq;
pub mod endpoint;
pub mod groups;
pub mod healthcheck;
pub mod offsets;
pub mod publish;
mod run;
pub mod schemas;
pub mod topics;

use std::{io::IsTerminal, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::config::{Config, Loaded, load, process_environment};

/// Counts Kafka events exactly once into Redis. Without a command it runs, with what the environment says.
#[derive(Debug, Parser)]
#[command(name = "streamgauge", version, arg_required_else_help = false)]
pub struct Cli {
    /// TOML file with settings (the environment wins); else CONFIG_FILE
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run: read, count, serve HTTP (also what happens without a command)
    Run,
    /// Run embedded with generated traffic, and prove at the end that every event was counted once
    Demo(demo::Args),
    /// Publish events to the running process
    Publish(publish::PublishArgs),
    /// Read counters and rankings, verify them against the log, move totals in and out
    Counters(counters::CountersArgs),
    /// Show how far each partition is counted, and move that
    Offsets(offsets::OffsetsArgs),
    /// Show who holds what, and how far each group is behind
    Groups(groups::GroupsArgs),
    /// Look at dead letters, replay and purge them
    Dlq(dlq::DlqArgs),
    /// Compare the broker's topics with the catalogue, make them so, describe and delete them
    Topics(topics::TopicsArgs),
    /// Begin, check and show catalogues, put changed rules in force
    Catalog(catalog::CatalogArgs),
    /// Compare the schemas of events: whether a change can be lived with
    Schemas(schemas::SchemasArgs),
    /// Check and show the configuration
    Config(config::ConfigArgs),
    /// Ask the running process whether it is ready; exit code 0 if it is
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Measure the whole path from a loaded topic to counters in the store, or to a service
    Bench(bench::Args),
}

impl Cli {
    /// Runs the command; the number is the exit code.
    ///
    /// # Errors
    /// What went wrong, for the user.
    pub async fn run(self) -> anyhow::Result<u8> {
        let environment = process_environment();
        let load = || -> anyhow::Result<Loaded> { Ok(load(&environment, self.config.as_deref())?) };
        let mut out = std::io::stdout();
        let is_terminal = out.is_terminal();
        match self.command {
            None | Some(Command::Run) => run::run(load()?).await,
            Some(Command::Demo(_)) if self.config.is_some() => {
                anyhow::bail!("demo takes no --config: it always runs embedded, with the video catalogue")
            }
            Some(Command::Demo(args)) => demo::run(args, &environment).await,
            Some(Command::Bench(args)) => bench::run(args, load()?.config, &mut out).await,
            Some(Command::Publish(args)) => publish::run(args, &local(&load()?.config)?, &mut out).await,
            Some(Command::Counters(args)) => counters::run(args, &load()?.config, &mut out).await,
            Some(Command::Dlq(args)) => dlq::run(args, &local(&load()?.config)?, is_terminal, &mut out).await,
            Some(Command::Groups(args)) => groups::run(args, &local(&load()?.config)?, is_terminal, &mut out).await,
            Some(Command::Offsets(args)) => {
                let config = load()?.config;
                offsets::run(args, &config, &*run::catalog(&config)?, is_terminal, &mut out).await
            }
            Some(Command::Topics(args)) => {
                let config = load()?.config;
                topics::run(args, &config, &*run::catalog(&config)?, is_terminal, &mut out).await
            }
            Some(Command::Healthcheck(args)) => healthcheck::run(args, &local(&load()?.config)?, &mut out).await,
            Some(Command::Catalog(args)) => catalog::run(&args, &load()?.config, is_terminal, &mut out).await,
            Some(Command::Schemas(args)) => schemas::run(&args, is_terminal, &mut out),
            Some(Command::Config(args)) => {
                config::run(&args, &environment, self.config.as_deref(), windows, is_terminal, &mut out)
            }
        }
    }
}

/// The error and its causes as one text. A cause that the text before it tells already is left out.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether the reason is that nobody reads standard output any more.
pub fn has_lost_its_reader(error: &anyhow::Error) -> bool {
    let kind = match (error.downcast_ref::<std::io::Error>(), error.downcast_ref::<serde_json::Error>()) {
        (Some(error), _) => Some(error.kind()),
        (_, Some(error)) => error.io_error_kind(),
        _ => None,
    };
    kind == Some(std::io::ErrorKind::BrokenPipe)
}

/// The process that this machine runs, by the configuration that both share.
fn local(config: &Config) -> anyhow::Result<endpoint::Endpoint> {
    let mut addr = config.http.listen;
    if addr.ip().is_unspecified() {
        addr.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    endpoint::Endpoint::new(&format!("http://{addr}"))
}

/// The duplicate windows of the configured catalogues.
fn windows(config: &Config) -> anyhow::Result<Vec<config::DedupeWindow>> {
    let catalog = run::catalog(config)?;
    let window = |topic: &std::sync::Arc<crate::catalog::plan::Topic>| config::DedupeWindow {
        topic: topic.name.to_string(),
        partitions: u64::from(topic.partitions.unsigned_abs()),
        offsets: topic.dedupe.offsets.unsigned_abs(),
        bytes_each: crate::core::dedupe::Window::bytes(&topic.dedupe),
    };
    Ok(catalog.topics.iter().map(window).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cases: &[(&[&str], &str)] = &[
            (&["it failed"], "it failed"),
            (&["gone", "reading a.toml: gone"], "reading a.toml: gone"),
            (&["gone", "reading a.toml"], "reading a.toml: gone"),
            (&["gone", "reading a.toml", "the catalogue"], "the catalogue: reading a.toml: gone"),
        ];
        for (causes, told) in cases {
            let mut causes = causes.iter();
            let mut error = anyhow::anyhow!(*causes.next().unwrap());
            for cause in causes {
                error = error.context(*cause);
            }
            assert_eq!(explain(&error), *told);
        }
    }
}
