//! `counters verify --from`: an export, read as the beginning of a recount.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::import;
use crate::{
    catalog::{Feeds, plan::Catalog},
    model::TopicPartition,
    runtime::recount::Snapshot,
};

/// What the first line of an export says of its moment.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    group: String,
    consistent: bool,
    checkpoints: BTreeMap<String, i64>,
    #[serde(default)]
    incarnations: BTreeMap<String, Vec<u32>>,
    #[serde(default)]
    imports: BTreeSet<String>,
}

/// Reads an export of this group.
///
/// # Errors
/// It is none, is cut off, is of another group, or its totals are not of one moment.
pub(super) fn read(path: &Path, group: &str, catalog: &Catalog) -> anyhow::Result<Snapshot> {
    let text = import::text_of(path)?;
    snapshot(&text, group, catalog).with_context(|| format!("reading {}", path.display()))
}

fn snapshot(text: &str, group: &str, catalog: &Catalog) -> anyhow::Result<Snapshot> {
    let first = text.lines().next().unwrap_or_default();
    let Ok(header) = serde_json::from_str::<Header>(first) else {
        bail!("it does not begin as an export does: make one with `counters export --file FILE`")
    };
    ensure!(header.group == group, "it is of the group {:?}, and this is {group:?}", header.group);
    ensure!(
        header.consistent,
        "its totals are not of one moment: let counting catch up, then stop it, or try again when less is counted, and export again"
    );
    let mut positions = BTreeMap::new();
    for (name, offset) in header.checkpoints {
        let incarnations = header.incarnations.get(&name).cloned();
        let incarnations = incarnations.context("it was made by a version that could not be begun at: export again")?;
        let partition = name.rsplit_once(':').and_then(|(topic, number)| {
            let number = number.parse().ok()?;
            Some(TopicPartition::new(topic, number))
        });
        let partition = partition.with_context(|| format!("{name:?} is no partition"))?;
        if catalog.topic(&partition.topic).is_some() {
            positions.insert(partition, (offset, incarnations));
        }
    }
    let totals = import::read(text, &Feeds::of(&catalog.topics))?.totals;
    Ok(Snapshot { totals, positions, imports: header.imports })
}
