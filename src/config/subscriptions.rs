//! `[[subscription]]` of the file, those whose events handlers in code take, and how deliveries are tried again where neither a
//! subscription nor its topic says.

mod fields;

use std::{path::Path, time::Duration};

use serde_json::{Map, Value};

use self::fields::Table;
use super::{
    error::{ConfigError, Problem},
    reader::Reader,
    sources::read_secret,
    table::{self as t},
    types::{Config, DeliveryMode, OffsetReset, PostConfig, RetryConfig, SubscriptionConfig},
};
use crate::{
    catalog::{
        plan::Priority,
        retry::{FACTORS, MAX_RETRIES, MAX_WAIT_MS},
    },
    model::Secret,
};

/// Most subscriptions of one process.
const MAX_SUBSCRIPTIONS: usize = 100;
/// Most unfinished events of a partition that a subscription may ask for.
const MAX_UNFINISHED: u64 = 100_000;
/// What every subscription may have.
const FIELDS: &[&str] =
    &["group", "topics", "types", "filter", "concurrency", "timeout_ms", "unfinished", "start", "retry"];
/// What one has whose events are posted.
const POST_FIELDS: &[&str] = &["url", "mode", "batch_size", "secret", "secret_file"];

/// `MAX_RETRIES` and `RETRY_*`.
pub(super) fn retry(reader: &mut Reader<'_>) -> RetryConfig {
    let factor = reader.text(&t::RETRY_FACTOR).and_then(|text| text.trim().parse().ok()).filter(is_factor);
    if factor.is_none() {
        reader.refuse(&t::RETRY_FACTOR, FACTOR);
    }
    RetryConfig {
        max: Some(reader.number(&t::MAX_RETRIES)),
        initial_ms: Some(reader.number(&t::RETRY_INITIAL_MS)),
        factor,
        max_delay_ms: Some(reader.number(&t::RETRY_MAX_DELAY_MS)),
    }
}

const FACTOR: &str = "must be a number from 1 to 100, such as 2.0";

fn is_factor(factor: &f64) -> bool {
    FACTORS.contains(factor)
}

/// The subscriptions of the file.
pub(super) fn read(reader: &mut Reader<'_>, counting_group: &str) -> Vec<SubscriptionConfig> {
    let Some(given) = reader.tables(&t::SUBSCRIPTION) else { return Vec::new() };
    let tables = match given {
        Value::Array(tables) if tables.iter().all(Value::is_object) => tables,
        _ => {
            reader.problems.push(Problem::new("subscription", "must be tables, each begun with [[subscription]]"));
            return Vec::new();
        }
    };
    if tables.len() > MAX_SUBSCRIPTIONS {
        let message = format!("there are {}, at most {MAX_SUBSCRIPTIONS} in one process", tables.len());
        reader.problems.push(Problem::new("subscription", message));
    }
    let mut read: Vec<SubscriptionConfig> = Vec::new();
    for (number, values) in tables.iter().filter_map(Value::as_object).enumerate().take(MAX_SUBSCRIPTIONS) {
        let name = format!("subscription {}", name(values, number));
        let mut table = Table { name, values, problems: &mut reader.problems };
        table.refuse_unknown(&[FIELDS, POST_FIELDS].concat(), "");
        let mut subscription = subscription(&mut table);
        subscription.post = Some(post(&mut table));
        refuse_known(&mut table, &subscription.group, &read, counting_group);
        read.push(subscription);
    }
    read
}

/// Adds subscriptions whose events handlers of this process take: tables with the fields of `[[subscription]]`, but for those that
/// say how events are posted.
///
/// # Errors
/// Every problem of every one of them; a group that the file or another one has already is such.
pub fn add_handled(config: &mut Config, tables: &[Map<String, Value>]) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    let count = config.subscriptions.len() + tables.len();
    if count > MAX_SUBSCRIPTIONS {
        let message = format!("there are {count} with those of the file, at most {MAX_SUBSCRIPTIONS} in one process");
        problems.push(Problem::new("handlers", message));
    }
    for (number, values) in tables.iter().enumerate().take(MAX_SUBSCRIPTIONS) {
        let name = format!("handlers of {}", name(values, number));
        let mut table = Table { name, values, problems: &mut problems };
        table.refuse_unknown(FIELDS, "");
        let subscription = subscription(&mut table);
        refuse_known(&mut table, &subscription.group, &config.subscriptions, &config.kafka.group);
        config.subscriptions.push(subscription);
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems, warnings: Vec::new() }) }
}

/// What a table is called in its problems.
fn name(values: &Map<String, Value>, number: usize) -> String {
    values.get("group").and_then(Value::as_str).map_or_else(|| format!("{}", number + 1), str::to_owned)
}

fn refuse_known(table: &mut Table<'_>, group: &str, read: &[SubscriptionConfig], counting_group: &str) {
    if group == counting_group {
        table.refuse("group", "is the counting group (KAFKA_CONSUMER_GROUP); take another name");
    }
    if read.iter().any(|other| other.group == group) {
        table.refuse("group", "has a subscription already: a group has one, with all its topics");
    }
}

fn subscription(table: &mut Table<'_>) -> SubscriptionConfig {
    let group = table.text("group").unwrap_or_default();
    let is_named = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if group.is_empty() || group.len() > 200 || !group.chars().all(is_named) {
        table.refuse("group", "must name the group, in up to 200 characters of A-Z, a-z, 0-9, '.', '_' and '-'");
    }
    let (topics, types) = (table.list("topics"), table.list("types"));
    if topics.is_empty() && types.is_empty() {
        table.refuse("topics", "and types are both empty; name the topics, or the types, that it gets");
    }
    let (priorities, data) = filter(table);
    SubscriptionConfig {
        group,
        topics,
        types,
        priorities,
        data,
        concurrency: table.number("concurrency", 1..=256, 16) as usize,
        timeout: Duration::from_millis(table.number("timeout_ms", 1..=600_000, 10_000)),
        unfinished: table.number("unfinished", 1..=MAX_UNFINISHED, 10_000) as usize,
        start: match table.choice("start", &["latest", "earliest"]) {
            "earliest" => OffsetReset::Earliest,
            _ => OffsetReset::Latest,
        },
        retry: own_retry(table),
        post: None,
    }
}

fn post(table: &mut Table<'_>) -> PostConfig {
    let url = table.text("url").unwrap_or_default();
    if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        table.refuse("url", "must be where events are posted to, such as http://127.0.0.1:9000/events");
    }
    let batch_size = table.number("batch_size", 1..=1_000, 100);
    let mode = match table.choice("mode", &["binary", "structured", "batch"]) {
        "structured" => DeliveryMode::Structured,
        "batch" => DeliveryMode::Batch(batch_size as usize),
        _ => DeliveryMode::Binary,
    };
    if !matches!(mode, DeliveryMode::Batch(_)) && table.values.contains_key("batch_size") {
        table.refuse("batch_size", "needs mode = \"batch\"");
    }
    PostConfig { url: Secret::new(url), mode, secret: secret(table) }
}

fn filter(table: &mut Table<'_>) -> (Vec<Priority>, Vec<(String, Vec<Value>)>) {
    let Some(mut filter) = table.inner("filter") else { return Default::default() };
    filter.refuse_unknown(&["priority", "data"], "filter.");
    let mut priorities = Vec::new();
    for name in filter.list("priority") {
        match Priority::of(&name) {
            Some(priority) => priorities.push(priority),
            None => filter.refuse("priority", "must be some of critical, high, normal, low"),
        }
    }
    let Some(data) = filter.inner("data") else { return (priorities, Vec::new()) };
    let mut fields = Vec::new();
    for (name, value) in data.values {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        if values.is_empty() || values.iter().any(|value| value.is_object() || value.is_array() || value.is_null()) {
            data.problems.push(Problem::new(&data.name, format!("{name} must be a value, or a list of values")));
        }
        fields.push((name.clone(), values));
    }
    (priorities, fields)
}

fn secret(table: &mut Table<'_>) -> Option<Secret> {
    let given = table.text("secret").filter(|secret| !secret.is_empty());
    let secret = match (given, table.text("secret_file").filter(|path| !path.is_empty())) {
        (Some(_), Some(_)) => {
            table.refuse("secret_file", "is given together with secret; give one of them");
            None
        }
        (None, Some(path)) => match read_secret(Path::new(&path)) {
            Ok(secret) => Some(secret),
            Err(error) => {
                table.refuse("secret_file", &format!("cannot be read: {error}"));
                None
            }
        },
        (given, None) => given,
    }?;
    if secret.strip_prefix("whsec_").is_some_and(|encoded| !is_base64(encoded)) {
        table.refuse("secret", "begins with whsec_, and what follows is no base64");
    }
    Some(Secret::new(secret))
}

fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    !body.is_empty() && text.len().is_multiple_of(4) && text.len() - body.len() <= 2 && body.bytes().all(is_letter)
}

fn own_retry(table: &mut Table<'_>) -> RetryConfig {
    let Some(mut retry) = table.inner("retry") else { return RetryConfig::default() };
    retry.refuse_unknown(&["max", "initial_ms", "factor", "max_delay_ms"], "retry.");
    let factor = retry.values.get("factor").map(|value| value.as_f64().filter(is_factor));
    if factor == Some(None) {
        retry.refuse("factor", FACTOR);
    }
    RetryConfig {
        max: retry.given("max", 0..=u64::from(MAX_RETRIES)).and_then(|max| u32::try_from(max).ok()),
        initial_ms: retry.given("initial_ms", 1..=MAX_WAIT_MS),
        factor: factor.flatten(),
        max_delay_ms: retry.given("max_delay_ms", 1..=MAX_WAIT_MS),
    }
}

#[cfg(test)]
mod tests;
