//! `publish`: events from the command line or standard input to the running process.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value, value::RawValue};

use super::endpoint::Endpoint;

/// Events of one call when they come from standard input.
const BATCH_EVENTS: usize = 500;
/// Bytes after which a batch is sent although it has fewer events.
const BATCH_BYTES: usize = 1024 * 1024;

/// Publishes events through the running process and prints where each is.
#[derive(Args, Clone, Debug)]
pub struct PublishArgs {
    /// Topic of the catalogue, such as video.views
    topic: String,
    /// The event's data; without it each line of standard input is the data of an event
    #[arg(value_name = "JSON")]
    data: Option<String>,
    /// The record's key [default: the topic's key fields]
    #[arg(long)]
    key: Option<String>,
    /// The event's type [default: the topic's only one, else the data's type]
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// The event's id; only for a single event [default: a new one]
    #[arg(long, requires = "data")]
    event_id: Option<String>,
    /// critical, high, normal or low
    #[arg(long)]
    priority: Option<String>,
    /// The service that the event comes from
    #[arg(long)]
    source: Option<String>,
    /// What joins the event to others
    #[arg(long)]
    correlation_id: Option<String>,
    /// The user that the event is about
    #[arg(long)]
    user_id: Option<String>,
    /// Receipts as JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Runs the command. Exit code 1 where an event was not published; standard error says which and why.
///
/// # Errors
/// The process does not answer or refuses; reading input or writing to `out` failed.
pub async fn run(args: PublishArgs, endpoint: &Endpoint, out: &mut dyn Write) -> anyhow::Result<u8> {
    let json = args.json || !stdout().is_terminal();
    match &args.data {
        Some(data) => {
            let line = args.event_line(data)?;
            let request = endpoint.post(&["api", "events", "publish"]).header("content-type", "application/json");
            write_receipt(out, &endpoint.json(request.body(line)).await?, json)?;
            Ok(0)
        }
        None => publish_lines(&args, endpoint, &mut stdin().lock(), out, json).await,
    }
}

impl PublishArgs {
    /// A publish request around the data. The data is copied as it is.
    fn event_line(&self, data: &str) -> anyhow::Result<String> {
        let data: Box<RawValue> = serde_json::from_str(data.trim()).context("the data is no JSON")?;
        let given = [
            ("topic", Some(&self.topic)),
            ("key", self.key.as_ref()),
            ("eventType", self.event_type.as_ref()),
            ("eventId", self.event_id.as_ref()),
            ("priority", self.priority.as_ref()),
            ("source", self.source.as_ref()),
            ("correlationId", self.correlation_id.as_ref()),
            ("userId", self.user_id.as_ref()),
        ];
        let beside =
            given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?.as_str()))));
        let beside = Value::Object(beside.collect::<Map<_, _>>()).to_string();
        // The topic is always there, so the object is never empty. A JSON text may span lines; a line of a batch may not.
        Ok(format!("{},\"data\":{}}}", beside.trim_end_matches('}'), data.get().replace(['\n', '\r'], " ")))
    }
}

async fn publish_lines(
    args: &PublishArgs,
    endpoint: &Endpoint,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
    json: bool,
) -> anyhow::Result<u8> {
    let shows_progress = stderr().is_terminal();
    let mut tally = Tally::default();
    let mut batch = Batch::default();
    for (number, line) in input.lines().enumerate() {
        let line = line.context("reading standard input")?;
        if line.trim().is_empty() {
            continue;
        }
        match args.event_line(&line) {
            Ok(event) => batch.push(number + 1, &event),
            Err(error) => tally.fail(number + 1, &format!("{error:#}"))?,
        }
        if batch.is_full() {
            batch.send(endpoint, out, json, &mut tally).await?;
            if shows_progress {
                write!(stderr(), "\r{} published, {} failed", tally.published, tally.failed)?;
            }
        }
    }
    batch.send(endpoint, out, json, &mut tally).await?;
    writeln!(
        stderr(),
        "{}{} published, {} failed",
        if shows_progress { "\r" } else { "" },
        tally.published,
        tally.failed
    )?;
    Ok(u8::from(tally.failed > 0))
}

#[derive(Default)]
struct Tally {
    published: u64,
    failed: u64,
}

impl Tally {
    fn fail(&mut self, line: usize, reason: &str) -> anyhow::Result<()> {
        self.failed += 1;
        writeln!(stderr(), "line {line} is not published: {reason}")?;
        Ok(())
    }
}

/// Events that wait to be sent together, and the lines that they come from.
#[derive(Default)]
struct Batch {
    body: String,
    lines: Vec<usize>,
}

impl Batch {
    fn push(&mut self, line: usize, event: &str) {
        self.body.push_str(event);
        self.body.push('\n');
        self.lines.push(line);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_EVENTS || self.body.len() >= BATCH_BYTES
    }

    async fn send(
        &mut self,
        endpoint: &Endpoint,
        out: &mut dyn Write,
        json: bool,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let Self { body, lines } = std::mem::take(self);
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(()) };
        let request = endpoint.post(&["api", "events", "publish-batch"]).header("content-type", "application/x-ndjson");
        let answer = endpoint.json(request.body(body)).await.with_context(|| {
            format!("it is not known whether lines {first} to {last} were published ({} before them were): send these again", tally.published)
        })?;
        let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if results.len() != lines.len() {
            bail!("the answer to lines {first} to {last} has {} results: is this streamgauge?", results.len());
        }
        for (line, result) in lines.into_iter().zip(results) {
            if result.get("success") == Some(&Value::Bool(true)) {
                tally.published += 1;
                write_receipt(out, result, json)?;
            } else {
                let detail = result.pointer("/error/detail").and_then(Value::as_str);
                tally.fail(line, detail.unwrap_or("no reason was given"))?;
            }
        }
        Ok(())
    }
}

/// Where an event is: a line of JSON, or `topic:partition:offset` and the event's id.
fn write_receipt(out: &mut dyn Write, receipt: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        writeln!(out, "{receipt}")?;
        return Ok(());
    }
    let text = |name: &str| receipt.get(name).map(|value| value.to_string().trim_matches('"').to_owned());
    let part = |name: &str| text(name).unwrap_or_default();
    let before = if receipt.get("duplicate") == Some(&Value::Bool(true)) { "  (published before)" } else { "" };
    writeln!(out, "{}:{}:{}  {}{before}", part("topic"), part("partition"), part("offset"), part("eventId"))?;
    Ok(())
}
