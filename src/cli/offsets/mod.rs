//! `offsets list|set|reset|import`: where the counting stands in each partition, and moving it.
//!
//! These talk to the store and the log themselves: what holds a partition must not run while it is moved. A move says first what it
//! would do ([`change`]), and does it with `--execute` only.

mod change;
mod goal;
mod show;
pub(super) mod standing;

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal, Write},
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

pub(super) use self::show::write_table;
use self::{
    change::Change,
    goal::{Goal, Target},
    show::Plan,
    standing::Standing,
};
use crate::{
    app::{AppError, Parts},
    catalog::plan::Catalog,
    config::Config,
    log::{At, broker::BrokerError},
    model::TopicPartition,
};

/// Shows how far each partition is counted, and moves that.
#[derive(Args, Clone, Debug)]
pub struct OffsetsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Checkpoint, first offset, log, lag and holder of each partition
    List {
        /// Only this topic; can be given again [default: all that are counted here]
        #[arg(long, value_name = "TOPIC")]
        topic: Vec<String>,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Move single partitions to an offset
    Set {
        /// The next offset to count, such as video.views:0=1200
        #[arg(required = true, value_name = "TOPIC:PARTITION=OFFSET")]
        targets: Vec<Target>,
        #[command(flatten)]
        how: How,
    },
    /// Move all partitions of topics
    Reset {
        /// The topic; can be given again
        #[arg(long, value_name = "TOPIC", required_unless_present = "all")]
        topic: Vec<String>,
        /// All topics that are counted here
        #[arg(long, conflicts_with = "topic")]
        all: bool,
        /// earliest, latest, offset:N, or time:2026-11-21T13:00:00Z (the first record from then on)
        #[arg(long, value_name = "GOAL")]
        to: Goal,
        #[command(flatten)]
        how: How,
    },
    /// Begin where another consumer group of this Kafka stands
    Import {
        /// The group, such as that of a KafkaJS consumer
        #[arg(long, value_name = "NAME")]
        from_group: String,
        /// Only this topic; can be given again [default: all that are counted here]
        #[arg(long, value_name = "TOPIC")]
        topic: Vec<String>,
        #[command(flatten)]
        how: How,
    },
}

#[derive(Args, Clone, Debug)]
struct How {
    /// Do it; else it is only said what would be done
    #[arg(long)]
    execute: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

/// What the commands share.
struct Work<'a> {
    config: &'a Config,
    catalog: &'a Catalog,
    parts: &'a Parts,
}

/// Runs the command: a table on a terminal, else JSON. Exit code 1 where a partition was not moved.
///
/// # Errors
/// The store or the log cannot be used, what is asked for cannot be, a member holds a partition that is to be moved, or `out`
/// cannot be written.
pub async fn run(
    args: OffsetsArgs,
    config: &Config,
    catalog: &Catalog,
    is_terminal: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let parts = Parts::open(config, catalog).await.map_err(explain_lock)?;
    let done = act(args.command, &Work { config, catalog, parts: &parts }, is_terminal, out).await;
    let closed = parts.close().await;
    let code = done?;
    closed?;
    Ok(code)
}

fn explain_lock(error: AppError) -> anyhow::Error {
    match error {
        AppError::Broker(BrokerError::Locked { dir, holder }) => anyhow::anyhow!(
            "{} is in use by a running streamgauge (pid {holder}), and embedded data belongs to one process: stop it, then run \
             this again",
            dir.display()
        ),
        error => error.into(),
    }
}

async fn act(command: Command, work: &Work<'_>, is_terminal: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    match command {
        Command::List { topic, json } => {
            let (standings, absent) = work.read(&topic).await?;
            show::list(&standings, &absent, json || !is_terminal, out)?;
            Ok(0)
        }
        Command::Set { targets, how } => {
            let plan = Plan { changes: work.set(&targets).await?, ..Plan::default() };
            work.carry_out(plan, &how, is_terminal, out).await
        }
        Command::Reset { topic, all: _, to, how } => {
            let plan = work.reset(&topic, to).await?;
            work.carry_out(plan, &how, is_terminal, out).await
        }
        Command::Import { from_group, topic, how } => {
            let plan = work.import(&from_group, &topic).await?;
            work.carry_out(plan, &how, is_terminal, out).await
        }
    }
}

impl Work<'_> {
    /// How the partitions of these topics stand; none named is all. A topic that is named must be there.
    async fn read(&self, named: &[String]) -> anyhow::Result<(Vec<Standing>, Vec<String>)> {
        let topics = standing::chosen(self.config, self.catalog, named)?;
        let (standings, absent) = standing::read(self.config, self.parts, &topics).await?;
        if !named.is_empty() && !absent.is_empty() {
            bail!("the log has no topic {}", absent.join(", "));
        }
        Ok((standings, absent))
    }

    async fn set(&self, targets: &[Target]) -> anyhow::Result<Vec<Change>> {
        let mut wanted: BTreeMap<&TopicPartition, i64> = BTreeMap::new();
        for Target { partition, offset } in targets {
            if wanted.insert(partition, *offset).is_some() {
                bail!("{partition} is given twice");
            }
        }
        let mut topics: Vec<String> = wanted.keys().map(|partition| partition.topic.to_string()).collect();
        topics.dedup();
        let (standings, _) = self.read(&topics).await?;
        let changes = standings.into_iter().filter_map(|standing| {
            let to = wanted.remove(&standing.partition)?;
            Some(Change { standing, to })
        });
        let changes: Vec<Change> = changes.collect();
        if let Some(unknown) = wanted.keys().next() {
            bail!("there is no partition {unknown}, or PARTITIONS leaves it to others");
        }
        change::check_range(&changes, false)?;
        Ok(changes)
    }

    async fn reset(&self, topics: &[String], goal: Goal) -> anyhow::Result<Plan> {
        let (standings, absent) = self.read(topics).await?;
        let mut changes = Vec::with_capacity(standings.len());
        for standing in standings {
            let to = match goal {
                Goal::Earliest => standing.log_start,
                Goal::Latest => standing.log_end,
                Goal::Offset(offset) => offset,
                // Records that came since must not put it beyond what was looked at.
                Goal::Time(ms) => {
                    self.parts.log.offset_at(&standing.partition, At::Time(ms)).await?.min(standing.log_end)
                }
            };
            changes.push(Change { standing, to });
        }
        change::check_range(&changes, false)?;
        let notes = absent.iter().map(|topic| format!("the log has no topic {topic}")).collect();
        Ok(Plan { changes, notes, ..Plan::default() })
    }

    async fn import(&self, group: &str, topics: &[String]) -> anyhow::Result<Plan> {
        let (standings, _) = self.read(topics).await?;
        let asked: Vec<TopicPartition> = standings.iter().map(|standing| standing.partition.clone()).collect();
        let committed = self.parts.admin.committed_offsets(group, Some(&asked)).await?;
        let (mut changes, mut without) = (Vec::new(), Vec::new());
        for (standing, (partition, committed)) in standings.into_iter().zip(committed) {
            match committed.with_context(|| format!("reading the offset of group {group:?} for {partition}"))? {
                Some(committed) => changes.push(Change { standing, to: committed.offset }),
                None => without.push(partition.to_string()),
            }
        }
        if changes.is_empty() {
            bail!(
                "group {group:?} has committed no offset for what is counted here: is that its name, and this its Kafka? \
                 (kafka-consumer-groups --list shows all groups; offsets expire when a group is gone for a week)"
            );
        }
        change::check_range(&changes, true)?;
        let mut notes = Vec::new();
        if !without.is_empty() {
            notes.push(format!("without a committed offset, left as they are: {}", without.join(", ")));
        }
        let members = self.parts.admin.describe_group(group).await?.map_or(0, |state| state.members);
        if members > 0 {
            notes.push(format!(
                "group {group:?} has {members} running members: what they handle from now on is counted here too. Stop them first \
                 for a clean cut"
            ));
        }
        Ok(Plan { changes, notes, from_group: Some(group.to_owned()) })
    }

    /// Says what would be done; with `--execute` does it.
    async fn carry_out(&self, mut plan: Plan, how: &How, is_terminal: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
        let json = how.json || !is_terminal;
        let idle = plan.changes.iter().filter(|change| change.is_idle()).count();
        plan.changes.retain(|change| !change.is_idle());
        if idle > 0 {
            plan.notes.push(format!("{idle} partitions are there already"));
        }
        let obstacle = change::obstacle(&plan.changes, self.config.counting.session_timeout.as_millis());
        if how.execute
            && let Some(obstacle) = &obstacle
        {
            bail!("nothing was changed: {obstacle}");
        }
        let reset = self.config.kafka.offset_reset;
        if !how.execute {
            plan.notes.extend(obstacle.map(|obstacle| format!("it would be refused now: {obstacle}")));
            show::plan(&plan, reset, None, json, out)?;
            return Ok(0);
        }
        if is_terminal && !how.yes && std::io::stdin().is_terminal() && !plan.changes.is_empty() {
            show::plan(&plan, reset, None, json, out)?;
            if !confirmed(plan.changes.len(), out)? {
                writeln!(out, "Nothing was changed.")?;
                return Ok(1);
            }
        }
        let refused = match plan.changes.is_empty() {
            true => Vec::new(),
            false => change::apply(self.config, self.parts, &plan.changes).await?,
        };
        show::plan(&plan, reset, Some(&refused), json, out)?;
        Ok(u8::from(!refused.is_empty()))
    }
}

fn confirmed(count: usize, out: &mut dyn Write) -> anyhow::Result<bool> {
    write!(out, "Move {count} partitions now? Type yes: ")?;
    out.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the answer")?;
    Ok(line.trim() == "yes")
}
