//! `counters`: results of the running process (`get`, `top`), the store held against the log (`verify`) and made anew from it
//! (`rebuild`), and totals moved in and out (`export`, `import`).

mod export;
mod import;
mod progress;
mod rebuild;
mod snapshot;
mod verify;

use std::io::{IsTerminal, Write, stdout};

use anyhow::Context;
use clap::{Args, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

pub(super) use self::verify::say;
use super::local;
use crate::{
    app::Parts,
    catalog::plan::Catalog,
    config::{Config, StoreChoice},
};

/// Most counters of one call.
const MAX_KEYS_PER_CALL: usize = 1_000;

/// Shows what was counted.
#[derive(Args, Clone, Debug)]
pub struct CountersArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Values of counters
    Get {
        /// Names, such as video:1:views
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// The greatest sums of a ranking
    Top {
        /// The ranking, such as trending:videos
        key: String,
        /// The window's label, such as 1h [default: the ranking's first]
        #[arg(long)]
        window: Option<String>,
        /// Most elements to show, at most 1000
        #[arg(long, default_value_t = 10)]
        limit: usize,
        /// JSON, also on a terminal
        #[arg(long)]
        json: bool,
    },
    /// Recount from the log and print every key that differs; exit code 0 none, 1 some, 2 it cannot be said
    Verify(verify::VerifyArgs),
    /// Recount from the log and put the outcome in place of what is stored, while counting goes on
    Rebuild(rebuild::RebuildArgs),
    /// Write the totals of all counters as NDJSON
    Export(export::ExportArgs),
    /// Add totals that were counted elsewhere, each file once
    Import(import::ImportArgs),
}

/// Runs the command: a table on a terminal, else JSON.
///
/// # Errors
/// The process does not answer or refuses; writing to `out` failed.
pub async fn run(args: CountersArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    match args.command {
        Command::Get { keys, json } => get(&keys, json, config, out).await,
        Command::Top { key, window, limit, json } => top(&key, window.as_deref(), limit, json, config, out).await,
        Command::Verify(args) => verify::run(&args, config, out).await,
        Command::Rebuild(args) => rebuild::run(&args, config, out).await,
        Command::Export(args) => export::run(&args, config, out).await,
        Command::Import(args) => import::run(&args, config, out).await,
    }
}

async fn get(keys: &[String], json: bool, config: &Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    let endpoint = local(config)?;
    let mut counters = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_KEYS_PER_CALL) {
        let request = endpoint.post(&["api", "counters", "query"]).json(&json!({ "keys": keys }));
        let mut answer = endpoint.json(request).await?;
        match answer.get_mut("data").map(Value::take) {
            Some(Value::Array(part)) => counters.extend(part),
            _ => anyhow::bail!("the answer holds no counters: is this streamgauge?"),
        }
    }
    if wants_json(json) {
        writeln!(out, "{}", Value::Array(counters))?;
        return Ok(0);
    }
    let mut rows = rows(&counters, ["key", "value", "pending"]);
    for (row, counter) in rows.iter_mut().zip(&counters) {
        if counter.get("exists") == Some(&Value::Bool(false)) {
            row[1].push_str(" (never counted)");
        }
    }
    write_table(out, ["counter", "value", "pending"], rows)?;
    Ok(0)
}

async fn top(
    key: &str,
    window: Option<&str>,
    limit: usize,
    json: bool,
    config: &Config,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let endpoint = local(config)?;
    let limit = limit.to_string();
    let mut params = vec![("limit", limit.as_str())];
    params.extend(window.map(|window| ("window", window)));
    let answer = endpoint.json(endpoint.get_with(&["api", "trending", key], &params)).await?;
    let data = answer.get("data").context("the answer holds no ranking: is this streamgauge?")?;
    if wants_json(json) {
        writeln!(out, "{data}")?;
    } else {
        writeln!(out, "{key}, window {} from {}", text(data, "window"), text(data, "windowStart"))?;
        let items = data.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        write_table(out, ["element", "sum"], rows(items, ["element", "sum"]))?;
    }
    Ok(0)
}

/// The store and log of the configuration, for a command that works on them itself.
async fn open(config: &Config, catalog: &Catalog) -> anyhow::Result<Parts> {
    let doing = match config.store {
        StoreChoice::Embedded => "the embedded store belongs to one process: stop the one that runs first",
        StoreChoice::Redis(_) => "opening log and store",
    };
    Parts::open(config, catalog).await.context(doing)
}

fn wants_json(asked: bool) -> bool {
    asked || !stdout().is_terminal()
}

fn rows<const N: usize>(values: &[Value], names: [&str; N]) -> Vec<[String; N]> {
    values.iter().map(|value| names.map(|name| text(value, name))).collect()
}

/// A member of an object as plain text, empty where it is missing.
fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn write_table<const N: usize>(out: &mut dyn Write, header: [&str; N], rows: Vec<[String; N]>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "{table}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_names_left_and_numbers_right() {
        let mut out = Vec::new();
        let counters = [json!({"key": "video:1:views", "value": 12, "pending": 0}), json!({"key": "x", "value": -3})];
        write_table(&mut out, ["counter", "value", "pending"], rows(&counters, ["key", "value", "pending"])).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("video:1:views"), "{text}");
        assert!(text.lines().any(|line| line.contains("   -3 ")), "{text}");
    }
}
