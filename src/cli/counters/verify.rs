//! `counters verify`: the store held against the log.

use std::{io::Write, path::PathBuf, sync::Arc};

use anyhow::Context;
use serde_json::{Map, Value as Json, json};

use super::{super::run, open, progress, snapshot, wants_json, write_table};
use crate::{
    app::{Parts, Shadow},
    catalog::{
        nearest,
        plan::{Catalog, Topic},
    },
    cli::explain,
    config::Config,
    model::Kind,
    runtime::recount::{Difference, Recount, Snapshot, Value, Verified},
};

/// Nothing can be said.
const CANNOT_SAY: u8 = 2;
/// Keys named on a terminal that could not be compared.
const SHOWN_UNCOMPARED: usize = 20;

#[derive(clap::Args, Clone, Debug)]
pub(super) struct VerifyArgs {
    /// Only this topic, and those that share counters with it; may be given more than once [default: all]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Begin at the totals of this export instead of where the group began, and compare counters only
    #[arg(long, value_name = "FILE", conflicts_with = "topics")]
    from: Option<PathBuf>,
    /// JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

/// The exit code is 0 where nothing differs, 1 where something does, 2 where that cannot be said.
pub(super) async fn run(args: &VerifyArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    let verified = match verify(args, config).await {
        Ok(verified) => verified,
        Err(error) => {
            say(&format!("streamgauge: {}", explain(&error)));
            return Ok(CANNOT_SAY);
        }
    };
    if wants_json(args.json) {
        writeln!(out, "{}", to_json(&verified))?;
    } else {
        show(&verified, out)?;
    }
    Ok(match (verified.differences.is_empty(), verified.uncompared.is_empty()) {
        (false, _) => 1,
        (true, false) => CANNOT_SAY,
        (true, true) => 0,
    })
}

#[expect(clippy::print_stderr, reason = "for people, beside what is written")]
pub(in crate::cli) fn say(text: &str) {
    eprintln!("{text}");
}

async fn verify(args: &VerifyArgs, config: &Config) -> anyhow::Result<Verified> {
    let catalog = run::catalog(config)?;
    let topics = chosen(&catalog, &args.topics)?;
    let is_part = topics.len() < catalog.topics.len();
    if !args.topics.is_empty() && topics.len() > args.topics.len() {
        let names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        say(&format!("with the topics that share counters: {}", names.join(", ")));
    }
    let from = args.from.as_deref().map(|path| snapshot::read(path, &config.kafka.group, &catalog)).transpose()?;
    let parts = open(config, &catalog).await?;
    let verified = with_shadow(config, &parts, topics, is_part, from).await;
    parts.close().await?;
    verified
}

pub(super) fn chosen(catalog: &Catalog, names: &[String]) -> anyhow::Result<Vec<Arc<Topic>>> {
    if names.is_empty() {
        return Ok(catalog.topics.clone());
    }
    for name in names {
        if catalog.topic(name).is_none() {
            let known = catalog.topics.iter().map(|topic| &*topic.name);
            let hint = nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            anyhow::bail!("no catalogue has the topic {name:?}{hint}");
        }
    }
    Ok(catalog.with_shared_keys(names))
}

/// The shadow is removed however this ends, but for a kill; then before the next one is opened.
async fn with_shadow(
    config: &Config,
    parts: &Parts,
    topics: Vec<Arc<Topic>>,
    is_part: bool,
    from: Option<Snapshot>,
) -> anyhow::Result<Verified> {
    let stopped = run::stop_signal();
    tokio::pin!(stopped);
    let opened = tokio::select! {
        opened = Shadow::open(config, parts) => opened,
        name = &mut stopped => anyhow::bail!("{} received", name?),
    };
    let shadow = opened.context("making room for the recount")?;
    let mut recount = shadow.recount(config, parts, topics, is_part);
    if let Some(snapshot) = from {
        recount = recount.from_snapshot(snapshot);
    }
    let verified = tokio::select! {
        verified = watched(&mut recount) => verified,
        name = &mut stopped => name.map_err(Into::into).and_then(|name| Err(anyhow::anyhow!("{name} received before it was done"))),
    };
    recount.end().await;
    let removed = shadow.remove().await;
    match (verified, removed) {
        (verified, Ok(())) => verified,
        (Ok(verified), Err(error)) => {
            say(&format!("the shadow could not be removed, which the next verification does: {error}"));
            Ok(verified)
        }
        (Err(error), Err(other)) => Err(error.context(format!("the shadow could not be removed ({other})"))),
    }
}

async fn watched(recount: &mut Recount) -> anyhow::Result<Verified> {
    let progress = recount.progress();
    tokio::select! {
        verified = recount.verify() => Ok(verified?),
        never = progress::show(progress) => match never {},
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Count => "count",
        Kind::Max => "max",
        Kind::Last => "last",
        Kind::Unique => "unique",
        Kind::Recent => "recent",
        Kind::Top => "top",
        Kind::Member => "member",
    }
}

fn value(value: &Value, beside: &Value) -> Json {
    match value {
        Value::Number(number) => json!(number),
        Value::Estimate(estimate) => json!(estimate),
        other => json!(other.told_beside(beside)),
    }
}

fn to_json(verified: &Verified) -> Json {
    let difference = |Difference { key, kind: of, stored, recounted }: &Difference| json!({ "key": key, "kind": kind(*of), "stored": value(stored, recounted), "recounted": value(recounted, stored) });
    let positions: Map<String, Json> =
        verified.positions.iter().map(|(partition, offset)| (partition.to_string(), json!(offset))).collect();
    json!({
        "differences": verified.differences.iter().map(difference).collect::<Vec<_>>(),
        "all": !verified.is_cut,
        "compared": verified.compared,
        "recounted": verified.recounted,
        "uncompared": verified.uncompared,
        "leftAside": verified.left_aside,
        "cutWindows": verified.cut_windows.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "positions": positions,
    })
}

fn show(verified: &Verified, out: &mut dyn Write) -> anyhow::Result<()> {
    if !verified.differences.is_empty() {
        let row = |Difference { key, kind: of, stored, recounted }: &Difference| {
            [key.clone(), kind(*of).to_owned(), stored.told_beside(recounted), recounted.told_beside(stored)]
        };
        let rows = verified.differences.iter().map(row).collect();
        write_table(out, ["key", "kind", "stored", "recounted"], rows)?;
    }
    let Verified { compared, recounted, .. } = verified;
    let differences = match (verified.differences.len(), verified.is_cut) {
        (0, _) => "no difference".to_owned(),
        (1, _) => "1 difference".to_owned(),
        (many, false) => format!("{many} differences"),
        (many, true) => format!("{many} differences, and no more were looked for"),
    };
    writeln!(out, "{differences}: {compared} keys compared, {recounted} offsets recounted")?;
    if verified.left_aside > 0 {
        writeln!(
            out,
            "{} counters were left aside: of the latest values, and of what the members of a set move, an export does not say enough",
            verified.left_aside
        )?;
    }
    if !verified.cut_windows.is_empty() {
        writeln!(
            out,
            "of {} partitions the log has lost a part of the duplicate window before the export: an event behind it that repeats one \
             from there counts once more here",
            verified.cut_windows.len()
        )?;
    }
    if !verified.uncompared.is_empty() {
        let names: Vec<&str> = verified.uncompared.iter().take(SHOWN_UNCOMPARED).map(String::as_str).collect();
        let many = verified.uncompared.len();
        writeln!(
            out,
            "{many} keys could not be compared, since they moved each time they were read or are very large: {}{}",
            names.join(", "),
            if many > names.len() { ", …" } else { "" }
        )?;
    }
    Ok(())
}
