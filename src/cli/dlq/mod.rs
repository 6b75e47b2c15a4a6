//! `dlq list|show|replay|purge`: dead letters, through the running process.
//!
//! The process has log, store and catalogue, and writes the audit lines. A call does a bounded part there, so these commands call
//! until there is no cursor any more.

mod act;
mod calls;
mod show;

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use crate::core::letter::moment_ms;

/// Looks at dead letters, replays and purges them.
#[derive(Args, Clone, Debug)]
pub struct DlqArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// How many dead letters wait in each topic; or those of one topic
    List {
        /// The topic that they come from [default: all topics, without their letters]
        topic: Option<String>,
        #[command(flatten)]
        which: Which,
        /// Most dead letters that are listed
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        limit: u64,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// All of single dead letters: error, headers, value; sensitive fields are masked
    Show {
        /// The topic that they come from
        topic: String,
        /// Where each lies: PARTITION:OFFSET, as `list` says it
        #[arg(required = true)]
        letters: Vec<String>,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Send the records to their topic again, for the group that failed, each once; exit code 1 where the topic did not take some
    Replay {
        /// The topic that they come from
        topic: String,
        #[command(flatten)]
        which: Which,
        /// Most records a second [default: as fast as the broker takes them]
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
        /// Most records altogether
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
        /// Say only what would be replayed
        #[arg(long)]
        dry_run: bool,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Delete dead letters; those behind others that stay are hidden until these go. Exit code 1: the answer was not yes
    Purge {
        /// The topic that they come from
        topic: String,
        #[command(flatten)]
        which: Which,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Those before an offset of a partition
        #[arg(long, value_name = "PARTITION:OFFSET")]
        before: Option<String>,
        /// Say only what would be purged
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
}

/// Which dead letters: all that is named must fit.
#[derive(Args, Clone, Debug, Default)]
struct Which {
    /// Written then or later: 2026-11-21T13:00:00Z, or how long ago: 90s, 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Written before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// The reason's code, or a part of its text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// The original's key
    #[arg(long)]
    key: Option<String>,
    /// The group that failed
    #[arg(long)]
    group: Option<String>,
    /// Where the original lies
    #[arg(long, value_name = "PARTITION:OFFSET")]
    origin: Option<String>,
    /// Where the dead letter lies
    #[arg(long, value_name = "PARTITION:OFFSET")]
    letter: Option<String>,
    /// Only those that were replayed as often as DLQ_MAX_REPLAYS says
    #[arg(long)]
    parked: bool,
}

impl Which {
    /// How long ago means so long before the command began, also in its later calls.
    fn begun(mut self) -> Self {
        let now_ms = chrono::Utc::now().timestamp_millis();
        for time in [&mut self.since, &mut self.until].into_iter().flatten() {
            // What cannot be read is told by the process.
            if let Some(ms) = moment_ms(time, now_ms) {
                *time = ms.to_string();
            }
        }
        self
    }

    /// What is named, as the API names it.
    fn named(&self) -> Vec<(&'static str, &str)> {
        let named = [
            ("since", &self.since),
            ("until", &self.until),
            ("type", &self.event_type),
            ("error", &self.error),
            ("key", &self.key),
            ("group", &self.group),
            ("origin", &self.origin),
            ("letter", &self.letter),
        ];
        let mut named: Vec<_> = named.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
        named.extend(self.parked.then_some(("parked", "true")));
        named
    }

    /// The same as the body of a call has it.
    fn filter(&self) -> Map<String, Value> {
        let value =
            |(name, value): (&str, &str)| (name.to_owned(), if name == "parked" { json!(true) } else { json!(value) });
        self.named().into_iter().map(value).collect()
    }
}

/// Runs the command: tables on a terminal, else JSON.
///
/// # Errors
/// The process does not answer or refuses; `out` cannot be written.
pub async fn run(args: DlqArgs, process: &Endpoint, is_terminal: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    match args.command {
        Command::List { topic: None, json, .. } => show::topics(process, json || !is_terminal, out).await,
        Command::List { topic: Some(topic), which, limit, json } => {
            show::list(process, &topic, &which.begun(), limit, json || !is_terminal, out).await
        }
        Command::Show { topic, letters, json } => {
            show::letters(process, &topic, &letters, json || !is_terminal, out).await
        }
        Command::Replay { topic, which, rate, limit, dry_run, json } => {
            let replay = act::Replay { which: which.begun(), rate, limit, is_dry_run: dry_run };
            replay.run(process, &topic, json || !is_terminal, out).await
        }
        Command::Purge { topic, which, all, before, dry_run, yes, json } => {
            let purge = act::Purge { which: which.begun(), all, before, is_dry_run: dry_run };
            if !(yes || dry_run || purge.is_confirmed(&topic, is_terminal, out)?) {
                return Ok(1);
            }
            purge.run(process, &topic, json || !is_terminal, out).await
        }
    }
}
