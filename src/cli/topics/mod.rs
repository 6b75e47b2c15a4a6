//! `topics plan|apply|list|describe|delete`: the broker's topics held against the catalogue, and made as it says.
//!
//! They talk to the log themselves. With the embedded log that is the broker of the running process, where one runs.

mod delete;
mod describe;
mod list;
mod show;

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal, Write},
};

use anyhow::Context;
use clap::{Args, Subcommand};

use self::show::Shown;
use super::{counters::say, explain, offsets::standing};
use crate::{
    app::{BrokerTopics, LogAlone},
    catalog::plan::Catalog,
    config::Config,
    runtime::topics::{self, Consent, Difference, Need, Outcome, TopicAdmin, Wanted},
};

/// Something differs from the catalogue, or was not done.
const DIFFERS: u8 = 1;
/// Nothing can be said.
const CANNOT_SAY: u8 = 2;

/// Compares the broker's topics with the catalogue, and makes them so.
#[derive(Args, Clone, Debug)]
pub struct TopicsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Show how the broker differs from the catalogue; exit code 0 not at all, 1 it does, 2 that cannot be said
    Plan {
        #[command(flatten)]
        which: Which,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Make the broker as the catalogue says; exit code 0 it is so, 1 something was left or refused, 2 that cannot be said
    Apply {
        #[command(flatten)]
        which: Which,
        /// Raise numbers of partitions: keys move to other partitions then, `topics plan` says what that breaks
        #[arg(long)]
        allow_repartition: bool,
        /// Do not ask, where records would be deleted or keys would move
        #[arg(long)]
        yes: bool,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// The catalogue's topics, and how they are on the broker
    List {
        /// Those that no catalogue in force names too
        #[arg(long)]
        all: bool,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Settings, partitions, leaders, offsets and disk use
    Describe {
        /// Topics of the broker [default: those of the catalogue that are there]
        #[arg(value_name = "TOPIC")]
        topics: Vec<String>,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Delete topics with all their records; exit code 0 they are gone, 1 something was left
    Delete(delete::DeleteArgs),
}

#[derive(Args, Clone, Debug)]
struct Which {
    /// Only this topic of the catalogue, its dead letter topic and those that it forwards to; can be given again [default: all]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
}

/// What the commands share.
struct Work<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    log: &'a LogAlone,
    /// A person reads what is written.
    is_terminal: bool,
}

/// Runs the command: text on a terminal, else JSON.
///
/// # Errors
/// The log cannot be used, a name is not known, or `out` cannot be written.
pub async fn run(
    args: TopicsArgs,
    config: &Config,
    catalog: &Catalog,
    is_terminal: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let tells_apart = matches!(args.command, Command::Plan { .. } | Command::Apply { .. });
    match opened(args.command, config, catalog, is_terminal, out).await {
        Err(error) if tells_apart && !super::has_lost_its_reader(&error) => {
            say(&format!("streamgauge: {}", explain(&error)));
            Ok(CANNOT_SAY)
        }
        answer => answer,
    }
}

async fn opened(
    command: Command,
    config: &Config,
    catalog: &Catalog,
    is_terminal: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let log = LogAlone::open(config, catalog).await?;
    let work = Work { config, catalog, log: &log, is_terminal };
    let done = match command {
        Command::Plan { which, json } => work.plan(&which, json, out).await,
        Command::Apply { which, allow_repartition, yes, json } => {
            work.apply(&which, allow_repartition, yes, json, out).await
        }
        Command::List { all, json } => list::run(&work, all, json, out).await,
        Command::Describe { topics, json } => describe::run(&work, &topics, json, out).await,
        Command::Delete(args) => delete::run(&work, &args, out).await,
    };
    let closed = log.close().await;
    let code = done?;
    closed?;
    Ok(code)
}

impl Work<'_> {
    fn broker(&self) -> BrokerTopics {
        BrokerTopics(self.log.admin.clone())
    }

    /// The topics of the catalogue, by name; or of some of its topics.
    fn wanted(&self, which: &Which) -> anyhow::Result<BTreeMap<String, Wanted>> {
        let mut wanted = topics::wanted(&self.catalog.topics);
        if !which.topics.is_empty() {
            let chosen = topics::wanted(&standing::chosen(self.config, self.catalog, &which.topics)?);
            // What a topic is there for is said by the whole catalogue.
            wanted.retain(|name, _| chosen.contains_key(name));
        }
        Ok(wanted)
    }

    async fn compare(&self, wanted: &BTreeMap<String, Wanted>) -> anyhow::Result<Shown> {
        let names: Vec<String> = wanted.keys().cloned().collect();
        let observed = self.broker().observe(&names).await.context("asking the broker for its topics")?;
        let outcomes = topics::plan(wanted, &observed).into_iter().map(|difference| (difference, None)).collect();
        Ok(Shown { topics: wanted.len(), outcomes, unseen: observed.unseen })
    }

    async fn plan(&self, which: &Which, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
        let shown = self.compare(&self.wanted(which)?).await?;
        shown.write(json || !self.is_terminal, self.is_terminal, out)?;
        Ok(shown.code())
    }

    async fn apply(
        &self,
        which: &Which,
        allow_repartition: bool,
        yes: bool,
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        let wanted = self.wanted(which)?;
        let mut shown = self.compare(&wanted).await?;
        let consent = Consent { deletion: true, repartition: allow_repartition };
        let risks = |(difference, _): &&(Difference, Option<Outcome>)| {
            difference.need != Need::Nothing && difference.need.lacks(consent).is_none()
        };
        let asks = self.is_terminal && !yes && std::io::stdin().is_terminal();
        let risky = shown.outcomes.iter().filter(risks).count();
        if asks && risky > 0 {
            shown.write(json, true, out)?;
            if !confirmed(&format!("{risky} of these cannot be taken back. Go on? Type yes: "), "yes", out)? {
                writeln!(out, "Nothing was changed.")?;
                return Ok(DIFFERS);
            }
        }
        let differences = shown.outcomes.drain(..).map(|(difference, _)| difference).collect();
        let outcomes = topics::apply(self.log.log.as_ref(), &self.broker(), &wanted, differences, consent).await;
        shown.outcomes = outcomes.into_iter().map(|(difference, outcome)| (difference, Some(outcome))).collect();
        shown.write(json || !self.is_terminal, self.is_terminal, out)?;
        Ok(shown.code())
    }
}

/// Whether the user types `word`.
pub(super) fn confirmed(question: &str, word: &str, out: &mut dyn Write) -> anyhow::Result<bool> {
    write!(out, "{question}")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the answer")?;
    Ok(line.trim() == word)
}
