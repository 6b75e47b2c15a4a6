//! `dlq replay` and `dlq purge`.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::{Endpoint, Which, calls};
use crate::cli::topics::confirmed;

/// Most records of one call, so that the bar moves.
const PER_CALL: u64 = 2_000;

/// A replay.
pub(super) struct Replay {
    pub which: Which,
    pub rate: Option<u32>,
    pub limit: Option<u64>,
    pub is_dry_run: bool,
}

/// A purge.
pub(super) struct Purge {
    pub which: Which,
    pub all: bool,
    pub before: Option<String>,
    pub is_dry_run: bool,
}

/// Sums over the answers of several calls, with everything that is listed.
#[derive(Default)]
struct Sums(Map<String, Value>);

impl Sums {
    fn add(&mut self, data: &Value) {
        let Value::Object(data) = data else { return };
        for (name, value) in data.iter().filter(|(name, _)| *name != "cursor") {
            merge(self.0.entry(name.clone()).or_insert(Value::Null), value);
        }
    }

    fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    fn tell_json(&self, is_dry_run: bool, is_stopped: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut told = self.0.clone();
        told.insert("dryRun".to_owned(), json!(is_dry_run));
        told.insert("stopped".to_owned(), json!(is_stopped));
        writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
        Ok(())
    }
}

/// Numbers are added, lists joined, objects merged; of texts the last one stays.
fn merge(into: &mut Value, value: &Value) {
    match (&mut *into, value) {
        (Value::Object(into), Value::Object(value)) => {
            value.iter().for_each(|(name, value)| merge(into.entry(name.clone()).or_insert(Value::Null), value));
        }
        (Value::Array(into), Value::Array(value)) => into.extend(value.iter().cloned()),
        (Value::Number(one), Value::Number(other)) => {
            *into = json!(one.as_u64().unwrap_or_default() + other.as_u64().unwrap_or_default());
        }
        (into, value) => *into = value.clone(),
    }
}

impl Replay {
    pub(super) async fn run(
        &self,
        process: &Endpoint,
        topic: &str,
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        let mut body = Map::from_iter([
            ("filter".to_owned(), Value::Object(self.which.filter())),
            ("dryRun".to_owned(), json!(self.is_dry_run)),
            ("limit".to_owned(), json!(self.left(0))),
        ]);
        if let Some(rate) = self.rate {
            body.insert("rate".to_owned(), json!(rate));
        }
        let mut sums = Sums::default();
        let is_stopped = calls::until_done(process, (topic, "replay"), body, |data, body| {
            sums.add(data);
            let replayed = sums.number("replayed");
            body.insert("limit".to_owned(), json!(self.left(replayed)));
            (replayed, self.limit.is_some_and(|limit| replayed >= limit))
        })
        .await?;
        self.tell(&sums, is_stopped, json, out)?;
        Ok(u8::from(sums.number("refused") > 0))
    }

    fn left(&self, replayed: u64) -> u64 {
        self.limit.map_or(PER_CALL, |limit| limit.saturating_sub(replayed).clamp(1, PER_CALL))
    }

    fn tell(&self, sums: &Sums, is_stopped: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        if json {
            return sums.tell_json(self.is_dry_run, is_stopped, out);
        }
        let verb = if self.is_dry_run { "would be replayed" } else { "replayed" };
        writeln!(out, "{} {verb}, {} looked at", sums.number("replayed"), sums.number("lookedAt"))?;
        if sums.number("parked") > 0 {
            writeln!(
                out,
                "{} are parked: they failed again each time (DLQ_MAX_REPLAYS); `dlq list --parked` shows them",
                sums.number("parked")
            )?;
        }
        if let Some(Value::Object(reasons)) = sums.0.get("unreplayable") {
            for (why, count) in reasons {
                writeln!(out, "{count} cannot be replayed: {why}")?;
            }
        }
        if sums.number("refused") > 0 {
            writeln!(out, "{} were not taken by the topic, and wait on:", sums.number("refused"))?;
            let named = sums.0.get("refusals").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for one in named {
                let text = |name| one.get(name).and_then(Value::as_str).unwrap_or_default();
                writeln!(out, "  {}: {}", text("letter"), text("why"))?;
            }
        }
        if is_stopped {
            writeln!(out, "Stopped before the end: the same command goes on.")?;
        }
        Ok(())
    }
}

impl Purge {
    /// Whether the user means it.
    pub(super) fn is_confirmed(&self, topic: &str, is_terminal: bool, out: &mut dyn Write) -> anyhow::Result<bool> {
        if !(is_terminal && std::io::stdin().is_terminal()) {
            bail!("nothing was purged: give --yes where nobody can be asked");
        }
        let question = format!("Purge dead letters of {topic}? They cannot be brought back. Type yes: ");
        let is_meant = confirmed(&question, "yes", out)?;
        if !is_meant {
            writeln!(out, "Nothing was purged.")?;
        }
        Ok(is_meant)
    }

    pub(super) async fn run(
        &self,
        process: &Endpoint,
        topic: &str,
        json: bool,
        out: &mut dyn Write,
    ) -> anyhow::Result<u8> {
        let mut body = Map::from_iter([("dryRun".to_owned(), json!(self.is_dry_run))]);
        let filter = self.which.filter();
        if !filter.is_empty() {
            body.insert("filter".to_owned(), Value::Object(filter));
        }
        if self.all {
            body.insert("all".to_owned(), json!(true));
        }
        if let Some(before) = &self.before {
            body.insert("before".to_owned(), json!(before));
        }
        let mut sums = Sums::default();
        let is_stopped = calls::until_done(process, (topic, "purge"), body, |data, _| {
            sums.add(data);
            (sums.number("purged"), false)
        })
        .await?;
        if json {
            sums.tell_json(self.is_dry_run, is_stopped, out)?;
            return Ok(0);
        }
        if self.is_dry_run {
            writeln!(out, "{} would be purged", sums.number("purged"))?;
            return Ok(0);
        }
        writeln!(
            out,
            "{} purged: {} deleted, {} hidden",
            sums.number("purged"),
            sums.number("deleted"),
            sums.number("hidden")
        )?;
        if sums.number("hidden") > 0 {
            writeln!(
                out,
                "What is hidden lies behind dead letters that stay, and is deleted with the next purge after these have gone."
            )?;
        }
        if let Some(why) = sums.0.get("undeleted").and_then(Value::as_str) {
            writeln!(out, "The broker did not delete what it could have: {why}")?;
        }
        Ok(0)
    }
}
