//! The command line: one file per command.

<<<<<<< HEAD
pub mod bench;
pub mod catalog;
pub mod config;
pub mod counters;
pub mod demo;
mod endpoint;
pub mod healthcheck;
pub mod publish;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Loaded, load, process_environment};

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
    Publish(publish::Args),
    /// Read counters and rankings from the running process
    Counters(counters::Args),
    /// Check and show catalogues
    Catalog(catalog::Args),
    /// Check and show the configuration
    Config(config::Args),
    /// Ask the running process whether it is ready; exit code 0 if it is
    Healthcheck(healthcheck::Args),
    /// Measure the whole path from a loaded topic to counters in the store
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
        match self.command {
            None | Some(Command::Run) => run::run(load()?).await,
            Some(Command::Demo(args)) => demo::run(args, &environment).await,
            Some(Command::Bench(args)) => bench::run(args, load()?.config, &mut out).await,
            Some(Command::Publish(args)) => publish::run(args, &endpoint::of(&load()?.config)?, &mut out).await,
            Some(Command::Counters(args)) => counters::run(args, &endpoint::of(&load()?.config)?, &mut out).await,
            Some(Command::Healthcheck(args)) => healthcheck::run(args, &endpoint::of(&load()?.config)?, &mut out).await,
            Some(Command::Catalog(args)) => catalog::run(args, &mut out),
            Some(Command::Config(args)) => config::run(args, &environment, self.config.as_deref(), &mut out),
        }
    }
}
=======
pub mod catalog;
>>>>>>> catalog
