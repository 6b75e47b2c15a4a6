//! `dlq list` and `dlq show`.

use std::io::Write;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{Endpoint, Which};
use crate::cli::offsets::write_table;

/// Most dead letters of one call.
const PAGE: u64 = 500;
/// Most characters of a message in a table.
const MESSAGE_CHARS: usize = 60;

pub(super) async fn topics(process: &Endpoint, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let answer = process.json(process.get(&["api", "dlq"])).await?;
    let topics =
        answer.get("data").and_then(Value::as_array).context("the answer holds no topics: is this streamgauge?")?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "topics": topics }))?)?;
        return Ok(0);
    }
    let row = |topic: &Value| {
        let reasons = topic.get("reasons").and_then(Value::as_object);
        let reasons = reasons.into_iter().flatten().map(|(reason, count)| format!("{reason} {count}"));
        let mut reasons = reasons.collect::<Vec<_>>().join(", ");
        if topic.get("complete") == Some(&Value::Bool(false)) {
            reasons.push_str(", …");
        }
        [text(topic, "topic"), text(topic, "waiting"), reasons]
    };
    write_table(["topic", "dead letters", "reasons"], topics.iter().map(row), 1..2, out)?;
    Ok(0)
}

pub(super) async fn list(
    process: &Endpoint,
    topic: &str,
    which: &Which,
    limit: u64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let (mut letters, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    loop {
        let left = (limit - letters.len() as u64).min(PAGE).to_string();
        let mut params = which.named();
        params.push(("limit", &left));
        params.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut answer = process.json(process.get_with(&["api", "dlq", topic], &params)).await?;
        if let Some(Value::Array(page)) = answer.get_mut("data").map(Value::take) {
            letters.extend(page);
        }
        cursor = answer.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || letters.len() as u64 >= limit {
            break;
        }
    }
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "letters": letters, "all": cursor.is_none() }))?)?;
        return Ok(0);
    }
    let header = ["letter", "written", "type", "reason", "message", "group", "key", "replays", "state"];
    let row = |letter: &Value| {
        let place = text(letter, "letter");
        // The topic's name is known: what is left is what the other commands take.
        let place = place.rsplitn(3, ':').take(2).collect::<Vec<_>>();
        let message: String = text(letter, "message").chars().take(MESSAGE_CHARS).collect();
        [
            place.into_iter().rev().collect::<Vec<_>>().join(":"),
            text(letter, "writtenAt"),
            text(letter, "eventType"),
            text(letter, "reason"),
            message,
            text(letter, "group"),
            text(letter, "key"),
            text(letter, "replays"),
            text(letter, "state"),
        ]
    };
    write_table(header, letters.iter().map(row), 7..8, out)?;
    if cursor.is_some() {
        writeln!(out, "There are more: --limit shows them, and filters find them.")?;
    }
    Ok(0)
}

pub(super) async fn letters(
    process: &Endpoint,
    topic: &str,
    places: &[String],
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<u8> {
    let mut found = Vec::new();
    for place in places {
        let params = [("letter", place.as_str()), ("full", "true"), ("limit", "1")];
        let mut answer = process.json(process.get_with(&["api", "dlq", topic], &params)).await?;
        match answer.get_mut("data").and_then(Value::as_array_mut).and_then(Vec::pop) {
            Some(letter) => found.push(letter),
            None => bail!(
                "{topic} has no dead letter at {place}, or it was replayed or purged; `dlq list {topic}` says which there are"
            ),
        }
    }
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "letters": found }))?)?;
        return Ok(0);
    }
    for letter in &found {
        let members =
            ["letter", "state", "why", "origin", "originalAt", "key", "eventType", "reason", "message", "group"];
        let more = ["attempts", "firstAttemptAt", "writtenAt", "status", "replays"];
        for name in members.into_iter().chain(more) {
            let value = text(letter, name);
            if !value.is_empty() {
                writeln!(out, "{name:<15} {value}")?;
            }
        }
        for header in letter.get("headers").and_then(Value::as_array).into_iter().flatten() {
            writeln!(out, "{:<15} {}: {}", "header", text(header, "name"), text(header, "value"))?;
        }
        writeln!(out, "{:<15} {}\n", "value", text(letter, "value"))?;
    }
    Ok(0)
}

/// A member as plain text, empty where it is missing or null.
fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}
