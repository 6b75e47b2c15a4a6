//! `groups list|lag`: who holds what, and how far each group is behind, as the running process says it.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{endpoint::Endpoint, offsets::write_table};

/// Shows the groups that read the log: counting's, and one for each subscription.
#[derive(Args, Clone, Debug)]
pub struct GroupsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Groups, their members, and how many partitions each holds
    List {
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Position, end of the log, lag in records and seconds, and holder of each partition
    Lag {
        /// The group [default: all of them]
        group: Option<String>,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command: tables on a terminal, else JSON.
///
/// # Errors
/// The process does not answer or knows no such group; `out` cannot be written.
pub async fn run(args: GroupsArgs, process: &Endpoint, is_terminal: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    match args.command {
        Command::List { json } => list(&groups(process).await?, json || !is_terminal, out)?,
        Command::Lag { group, json } => {
            let names = match group {
                Some(group) => vec![group],
                None => groups(process).await?.iter().map(|group| text(group, "group")).collect(),
            };
            let mut told = Vec::with_capacity(names.len());
            for name in &names {
                let answer = process.json(process.get(&["api", "groups", name, "lag"])).await?;
                told.push(answer.get("data").cloned().context("the answer holds no group: is this streamgauge?")?);
            }
            lag(&told, json || !is_terminal, out)?;
        }
    }
    Ok(0)
}

async fn groups(process: &Endpoint) -> anyhow::Result<Vec<Value>> {
    let answer = process.json(process.get(&["api", "groups"])).await?;
    Ok(answer
        .get("data")
        .and_then(Value::as_array)
        .context("the answer holds no groups: is this streamgauge?")?
        .clone())
}

fn list(groups: &[Value], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "groups": groups }))?)?;
        return Ok(());
    }
    let mut rows = Vec::new();
    for group in groups {
        let row = |member: &str, host: &str, holds: usize| {
            [text(group, "group"), text(group, "kind"), member.to_owned(), host.to_owned(), holds.to_string()]
        };
        let members = items(group, "members");
        if members.is_empty() {
            rows.push(row("-", "-", 0));
        }
        for member in members {
            rows.push(row(&text(member, "member"), &text(member, "host"), items(member, "partitions").len()));
        }
    }
    write_table(["group", "kind", "member", "host", "partitions"], rows.into_iter(), 4..5, out)
}

fn lag(groups: &[Value], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "groups": groups }))?)?;
        return Ok(());
    }
    for group in groups {
        let row = |partition: &Value| {
            ["topic", "partition", "position", "end", "lag", "lagSeconds", "host"].map(|name| text(partition, name))
        };
        let header = ["topic", "partition", "position", "end", "lag", "seconds", "holder"];
        let name = text(group, "group");
        writeln!(out, "{name}: {} records and {} s behind", text(group, "lag"), text(group, "lagSeconds"))?;
        write_table(header, items(group, "partitions").iter().map(row), 1..6, out)?;
        for topic in items(group, "absentTopics") {
            writeln!(out, "The log has no topic {}.", topic.as_str().unwrap_or_default())?;
        }
    }
    Ok(())
}

fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A member as plain text, a dash where it is missing or null.
fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}
