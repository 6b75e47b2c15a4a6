//! `topics list`: which there are, and how each stands to the catalogue.

use std::{collections::BTreeSet, io::Write};

use anyhow::Context;
use serde_json::{Value, json};

use super::{Which, Work};
use crate::{
    cli::offsets::write_table,
    runtime::{
        outside,
        topics::{Found, TopicAdmin, plan, readable},
    },
};

/// A topic, and how it stands.
struct Row {
    topic: String,
    role: Option<String>,
    state: &'static str,
    found: Option<Found>,
}

impl Row {
    fn setting(&self, name: &str) -> Option<&str> {
        self.found.as_ref()?.settings.get(name).map(String::as_str)
    }
}

pub(super) async fn run(work: &Work<'_>, all: bool, json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    const ASKING: &str = "asking the broker for its topics";
    let wanted = work.wanted(&Which { topics: Vec::new() })?;
    let mut names: Vec<String> = wanted.keys().cloned().collect();
    let mut internal = BTreeSet::new();
    if all {
        for (name, told) in work.log.admin.describe_topics(None).await.context(ASKING)? {
            if told.is_ok_and(|topic| topic.is_internal) {
                internal.insert(name.clone());
            }
            if !wanted.contains_key(&name) {
                names.push(name);
            }
        }
    }
    let mut observed = work.broker().observe(&names).await.context(ASKING)?;
    let different: BTreeSet<String> = plan(&wanted, &observed).into_iter().map(|difference| difference.topic).collect();
    let row = |topic: String| {
        let role = wanted.get(&topic).map(|wanted| wanted.role.to_string());
        let found = observed.found.remove(&topic);
        let state = match (&role, &found) {
            _ if internal.contains(&topic) => "Kafka's own",
            (None, _) if topic == outside::TOPIC => "streamgauge's own",
            (None, _) => "not in the catalogue",
            _ if observed.unseen.contains_key(&topic) => "cannot be compared",
            (_, None) => "missing",
            _ if different.contains(&topic) => "differs",
            _ => "as the catalogue says",
        };
        Row { topic, role, state, found }
    };
    let rows: Vec<Row> = names.into_iter().map(row).collect();
    if json || !work.is_terminal {
        let rows: Vec<Value> = rows.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "topics": rows }))?)?;
        return Ok(0);
    }
    let header = ["topic", "for", "partitions", "replication", "retention", "compression", "state"];
    let cells = |row: &Row| {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let retention = |ms: &str| readable("retention.ms", ms);
        [
            row.topic.clone(),
            or_none(row.role.clone()),
            or_none(row.found.as_ref().map(|found| found.partitions.to_string())),
            or_none(row.found.as_ref().map(replication)),
            or_none(row.setting("retention.ms").map(retention)),
            or_none(row.setting("compression.type").map(str::to_owned)),
            row.state.to_owned(),
        ]
    };
    write_table(header, rows.iter().map(cells), 2..4, out)?;
    Ok(0)
}

fn replication(found: &Found) -> String {
    let factors: Vec<String> = found.replication.iter().map(i16::to_string).collect();
    factors.join(", ")
}

fn as_json(row: &Row) -> Value {
    json!({
        "topic": row.topic,
        "role": row.role,
        "state": row.state,
        "partitions": row.found.as_ref().map(|found| found.partitions),
        "replication": row.found.as_ref().map(|found| &found.replication),
        "retentionMs": row.setting("retention.ms").and_then(|ms| ms.parse::<i64>().ok()),
        "cleanupPolicy": row.setting("cleanup.policy"),
        "compressionType": row.setting("compression.type"),
    })
}
