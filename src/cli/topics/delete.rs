//! `topics delete`: topics go with all their records, when the user says so.

use std::io::{IsTerminal, Write};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::{DIFFERS, Which, Work, confirmed};
use crate::{
    catalog::nearest,
    log::LogError,
    runtime::{
        outside,
        topics::{Role, Wanted},
    },
};

#[derive(Args, Clone, Debug)]
pub(super) struct DeleteArgs {
    /// Topics of the broker by their exact names; those that no catalogue in force has too
    #[arg(value_name = "TOPIC", required_unless_present = "all", conflicts_with = "all")]
    topics: Vec<String>,
    /// All topics of the catalogue and their dead letter topics that are there; not those that rules only forward to
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

/// A topic that is to go.
struct Doomed {
    name: String,
    wanted: Option<Wanted>,
    partitions: usize,
}

pub(super) async fn run(work: &Work<'_>, args: &DeleteArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let doomed = find(work, args).await?;
    let can_ask = work.is_terminal && std::io::stdin().is_terminal();
    if !args.yes {
        if !can_ask {
            bail!("nothing was deleted: give --yes where nobody can be asked");
        }
        if !doomed.is_empty() && !asked(&doomed, out)? {
            writeln!(out, "Nothing was deleted.")?;
            return Ok(DIFFERS);
        }
    }
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for Doomed { name, .. } in doomed {
        match work.log.admin.delete_topic(&name).await {
            // Where the answer to a first try was lost, it is gone by that.
            Ok(()) | Err(LogError::Unknown { .. }) => deleted.push(name),
            Err(error) => failed.push((name, error.to_string())),
        }
    }
    if args.json || !work.is_terminal {
        let failed: Vec<_> = failed.iter().map(|(topic, reason)| json!({ "topic": topic, "reason": reason })).collect();
        let shown = json!({ "deleted": deleted, "failed": failed });
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    } else {
        for name in &deleted {
            writeln!(out, "{name} is deleted.")?;
        }
        for (name, reason) in &failed {
            writeln!(out, "{name} is not deleted: {reason}")?;
        }
        if deleted.is_empty() && failed.is_empty() {
            writeln!(out, "There is nothing to delete.")?;
        }
    }
    Ok(if failed.is_empty() { 0 } else { DIFFERS })
}

/// The topics that are meant, all of which are there.
async fn find(work: &Work<'_>, args: &DeleteArgs) -> anyhow::Result<Vec<Doomed>> {
    const ASKING: &str = "asking the broker for its topics";
    let mut wanted = work.wanted(&Which { topics: Vec::new() })?;
    let names: Vec<String> = match args.all {
        true => wanted.iter().filter(|(_, one)| one.role != Role::Forwards).map(|(name, _)| name.clone()).collect(),
        false => args.topics.clone(),
    };
    let mut doomed = Vec::new();
    for (name, told) in work.log.admin.describe_topics(Some(&names)).await.context(ASKING)? {
        match told {
            Ok(topic) if topic.is_internal => bail!("nothing was deleted: {name} is Kafka's own"),
            Ok(_) if name == outside::TOPIC => bail!(
                "nothing was deleted: {name} holds which rules count from where on and where groups began, without which a store that \
                 falls back is not counted right"
            ),
            Ok(topic) => doomed.push(Doomed { wanted: wanted.remove(&name), partitions: topic.partitions.len(), name }),
            Err(LogError::Unknown { .. }) if args.all => {}
            Err(LogError::Unknown { .. }) => {
                // Only whole names are taken: what looks like a part of one, or like a pattern, is told as what it is.
                let all = work.log.admin.describe_topics(None).await.unwrap_or_default();
                let near = nearest(&name, all.iter().map(|(name, _)| name.as_str()));
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                bail!("nothing was deleted: the broker has no topic {name:?}{hint}")
            }
            Err(error) => return Err(error).context("nothing was deleted"),
        }
    }
    Ok(doomed)
}

/// Topics of the catalogue go by a yes. What is in no catalogue belongs to somebody else: its name is to be typed once more.
fn asked(doomed: &[Doomed], out: &mut dyn Write) -> anyhow::Result<bool> {
    for Doomed { name, wanted, partitions } in doomed {
        let what =
            wanted.as_ref().map_or_else(|| "in no catalogue in force".to_owned(), |wanted| wanted.role.to_string());
        writeln!(out, "{name} ({what}), {partitions} partitions")?;
    }
    writeln!(
        out,
        "Their records are gone then for everybody, those that nobody has counted too. Counters stay as they are; a process that \
         counts such a topic stops there, and a topic of the same name that is made later is counted after `streamgauge offsets \
         reset`."
    )?;
    for Doomed { name, .. } in doomed.iter().filter(|doomed| doomed.wanted.is_none()) {
        if !confirmed(&format!("No catalogue has {name}. Type its name to delete it: "), name, out)? {
            return Ok(false);
        }
    }
    if doomed.iter().all(|doomed| doomed.wanted.is_none()) {
        return Ok(true);
    }
    confirmed(&format!("Delete {} topics now? Type yes: ", doomed.len()), "yes", out)
}
