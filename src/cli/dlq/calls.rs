//! Calls that go on until all is done, with what is shown meanwhile.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Endpoint;
use crate::cli::{counters::say, run::stop_signal};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Rest before a call is made again that another replay was in the way of.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// How often that is done: longer than any claim is held.
const MAX_BUSY: usize = 900;

/// Posts until there is no cursor any more, or `take` says that it is enough, or somebody stops it: a call that is under way is finished. Each answer's
/// `data` is handed to `take`, which says how many were acted on altogether. `true` where it was
/// stopped before the end.
pub(super) async fn until_done(
    process: &Endpoint,
    (topic, verb): (&str, &str),
    mut body: Map<String, Value>,
    mut take: impl FnMut(&Value, &mut Map<String, Value>) -> (u64, bool),
) -> anyhow::Result<bool> {
    let total = waiting(process, topic).await;
    let mut shown = Shown::new(total, verb);
    body.insert("by".to_owned(), json!(whoever()));
    let stopped = stop_signal();
    tokio::pin!(stopped);
    let (mut looked_at, mut busy) = (0, 0);
    loop {
        let (answer, is_stopped) = {
            let call = post(process, topic, verb, &body);
            tokio::pin!(call);
            tokio::select! {
                answer = &mut call => (answer?, false),
                name = &mut stopped => {
                    name?;
                    (call.await?, true)
                }
            }
        };
        match answer {
            Answer::Busy(detail) => {
                busy += 1;
                if is_stopped || busy > MAX_BUSY {
                    anyhow::bail!("{detail}");
                }
                shown.waits(&detail);
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Answer::Done(data) => {
                looked_at += data.get("lookedAt").and_then(Value::as_u64).unwrap_or_default();
                let (acted, is_enough) = take(&data, &mut body);
                shown.moves(looked_at, acted);
                match data.get("cursor").filter(|_| !is_enough) {
                    None => return Ok(false),
                    Some(_) if is_stopped => return Ok(true),
                    Some(cursor) => drop(body.insert("cursor".to_owned(), cursor.clone())),
                }
            }
        }
    }
}

/// What a call came to.
enum Answer {
    Done(Value),
    /// Another replay is at work, or was broken off a moment ago.
    Busy(String),
}

async fn post(process: &Endpoint, topic: &str, verb: &str, body: &Map<String, Value>) -> anyhow::Result<Answer> {
    let response = process.send(process.post(&["api", "dlq", topic, verb]).json(body)).await?;
    let status = response.status();
    let mut answer: Value =
        response.json().await.with_context(|| format!("an answer of status {status} has no JSON"))?;
    let detail = || answer.get("detail").and_then(Value::as_str).map_or_else(|| answer.to_string(), str::to_owned);
    match status.as_u16() {
        409 => Ok(Answer::Busy(detail())),
        _ if !status.is_success() => anyhow::bail!("{} (status {status})", detail()),
        _ => Ok(Answer::Done(answer.get_mut("data").map(Value::take).unwrap_or_default())),
    }
}

/// How many wait, for the bar; what cannot be told does not matter.
async fn waiting(process: &Endpoint, topic: &str) -> u64 {
    let told = process.json(process.get(&["api", "dlq"])).await.unwrap_or_default();
    let topics = told.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_it = |told: &&Value| told.get("topic").and_then(Value::as_str) == Some(topic);
    topics.iter().find(is_it).and_then(|told| told.get("waiting")?.as_u64()).unwrap_or_default()
}

/// Who runs this, for the audit line.
fn whoever() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "somebody".to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = format!("{user}@{}", host.trim()).chars().filter(|c| !c.is_control()).take(100).collect();
    name
}

/// A bar on a terminal, else a line now and then; on standard error.
struct Shown {
    bar: Option<ProgressBar>,
    verb: &'static str,
    lined_at: Instant,
    has_waited: bool,
}

impl Shown {
    fn new(total: u64, verb: &str) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(total));
        if let Some(bar) = &bar
            && let Ok(style) =
                ProgressStyle::with_template("{bar:40} {pos}/{len} dead letters looked at, {msg}, {elapsed}")
        {
            bar.set_style(style);
        }
        let verb = if verb == "replay" { "replayed" } else { "purged" };
        if let Some(bar) = &bar {
            bar.set_message(format!("0 {verb}"));
        }
        Self { bar, verb, lined_at: Instant::now(), has_waited: false }
    }

    fn moves(&mut self, looked_at: u64, acted: u64) {
        let verb = self.verb;
        match &self.bar {
            Some(bar) => {
                bar.set_length(bar.length().unwrap_or_default().max(looked_at));
                bar.set_position(looked_at);
                bar.set_message(format!("{acted} {verb}"));
            }
            None if self.lined_at.elapsed() >= LINE_EVERY => {
                self.lined_at = Instant::now();
                say(&format!("{looked_at} dead letters looked at, {acted} {verb}"));
            }
            None => {}
        }
    }

    /// Says once what is waited for.
    fn waits(&mut self, detail: &str) {
        if !std::mem::replace(&mut self.has_waited, true) {
            match &self.bar {
                Some(bar) => bar.println(format!("waiting: {detail}")),
                None => say(&format!("waiting: {detail}")),
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
