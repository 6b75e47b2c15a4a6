//! `counters export`: the totals of all counters, a line each, behind a line that says of when they are.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Serialize;

use super::{super::run, open};
use crate::{
    catalog::{Feeds, plan::Catalog},
    config::Config,
    log::Log,
    model::{Kind, StoredPosition, TopicPartition},
    runtime::imports::{Import, imports},
    store::Store,
};

/// Most counters of one export: all are held in memory, so that each is written once.
const MAX_COUNTERS: usize = 10_000_000;
/// Names looked at in one call.
const PAGE: usize = 5_000;
/// How often all is read anew because counting went on meanwhile.
const MAX_TRIES: usize = 3;
/// What stands before the names of the parts of imports.
const IMPORT: &str = "import:";

#[derive(clap::Args, Clone, Debug)]
pub(super) struct ExportArgs {
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The first line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Header<'a> {
    streamgauge: &'static str,
    version: u32,
    group: &'a str,
    exported_at: String,
    /// Lines behind this one: fewer, and the file is cut off.
    counters: usize,
    /// All totals are of the moment that the checkpoints tell.
    consistent: bool,
    checkpoints: BTreeMap<String, i64>,
    /// The incarnation of each shard's results, by partition: another one, and they were made anew or moved since.
    incarnations: BTreeMap<String, Vec<u32>>,
    /// Parts of imports that are in the totals.
    imports: Vec<String>,
}

/// A further line.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    value: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
}

struct Totals {
    counters: BTreeMap<String, i64>,
    checkpoints: BTreeMap<String, i64>,
    incarnations: BTreeMap<String, Vec<u32>>,
    imports: Vec<String>,
    is_consistent: bool,
}

#[expect(clippy::print_stderr, reason = "for people, beside what is written")]
pub(super) async fn run(args: &ExportArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    let catalog = run::catalog(config)?;
    let parts = open(config, &catalog).await?;
    let totals = totals(&catalog, &*parts.log, &*parts.store).await;
    parts.close().await?;
    let totals = totals?;
    match &args.file {
        None => write(&totals, &catalog, config, out)?,
        Some(path) => {
            write_file(path, |file| write(&totals, &catalog, config, file))
                .with_context(|| format!("writing {}", path.display()))?;
            eprintln!("{} counters written to {}", totals.counters.len(), path.display());
        }
    }
    if !totals.is_consistent {
        eprintln!(
            "counting went on while the counters were read, or shards of the store stand apart, so they are not all of one \
             moment: let it catch up, then stop it first where that matters"
        );
    }
    Ok(0)
}

/// A file that was cut off by a crash never has the name of a whole one.
fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let mut file = BufWriter::new(File::create(&partial)?);
    write(&mut file)?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(std::fs::rename(&partial, path)?)
}

async fn totals(catalog: &Catalog, log: &dyn Log, store: &dyn Store) -> anyhow::Result<Totals> {
    let topics = log.topics().await.context("asking which partitions there are")?;
    let known = topics.iter().filter(|topic| catalog.topic(&topic.name).is_some());
    let partitions: Vec<TopicPartition> = known
        .flat_map(|topic| (0..topic.partitions).map(|number| TopicPartition::new(topic.name.as_str(), number)))
        .collect();
    for left in (0..MAX_TRIES).rev() {
        let known = imports(store).await?;
        let parts = known.iter().flat_map(Import::partitions);
        let all: Vec<TopicPartition> = partitions.iter().cloned().chain(parts).collect();
        let before = store.positions(&all).await?;
        let counters = counters(store).await?;
        let after = store.positions(&all).await?;
        let is_consistent = are_of_one_moment(&before, &after) && imports(store).await? == known;
        if is_consistent || left == 0 {
            let (parts, checkpoints): (BTreeMap<String, i64>, _) =
                lowest(&all, &after).into_iter().partition(|(name, _)| name.starts_with(IMPORT));
            return Ok(Totals {
                counters,
                checkpoints,
                incarnations: incarnations(&partitions, &after),
                imports: parts.into_keys().collect(),
                is_consistent,
            });
        }
    }
    anyhow::bail!("nothing was read")
}

/// No checkpoint of any shard has moved, and all shards stand at the same offset.
fn are_of_one_moment(before: &[Vec<StoredPosition>], after: &[Vec<StoredPosition>]) -> bool {
    let at = |shard: &StoredPosition| shard.checkpoint.map(|checkpoint| checkpoint.offset);
    let is_level = |shards: &Vec<StoredPosition>| shards.iter().all(|shard| at(shard) == at(&shards[0]));
    let checkpoints = |positions: &[Vec<StoredPosition>]| -> Vec<_> {
        positions.iter().flatten().map(|shard| shard.checkpoint).collect()
    };
    checkpoints(before) == checkpoints(after) && after.iter().all(is_level)
}

/// Up to where all shards have counted; not listed where one has not begun.
fn lowest(partitions: &[TopicPartition], positions: &[Vec<StoredPosition>]) -> BTreeMap<String, i64> {
    let lowest = |(partition, shards): (&TopicPartition, &Vec<StoredPosition>)| {
        let offsets: Option<Vec<i64>> = shards.iter().map(|shard| Some(shard.checkpoint?.offset)).collect();
        Some((partition.to_string(), offsets?.into_iter().min()?))
    };
    partitions.iter().zip(positions).filter_map(lowest).collect()
}

fn incarnations(partitions: &[TopicPartition], positions: &[Vec<StoredPosition>]) -> BTreeMap<String, Vec<u32>> {
    let incarnations = |(partition, shards): (&TopicPartition, &Vec<StoredPosition>)| {
        let each: Option<Vec<u32>> = shards.iter().map(|shard| Some(shard.checkpoint?.incarnation)).collect();
        Some((partition.to_string(), each?))
    };
    partitions.iter().zip(positions).filter_map(incarnations).collect()
}

async fn counters(store: &dyn Store) -> anyhow::Result<BTreeMap<String, i64>> {
    let (mut counters, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = store.scan("", &cursor, PAGE).await?;
        counters.extend(page.counters);
        anyhow::ensure!(
            counters.len() <= MAX_COUNTERS,
            "there are more than {MAX_COUNTERS} counters, the most of one export"
        );
        match page.cursor {
            Some(next) => cursor = next,
            None => return Ok(counters),
        }
    }
}

fn write(totals: &Totals, catalog: &Catalog, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let feeds = Feeds::of(&catalog.topics);
    let header = Header {
        streamgauge: "counters",
        version: 1,
        group: &config.kafka.group,
        exported_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        counters: totals.counters.len(),
        consistent: totals.is_consistent,
        checkpoints: totals.checkpoints.clone(),
        incarnations: totals.incarnations.clone(),
        imports: totals.imports.clone(),
    };
    writeln!(out, "{}", serde_json::to_string(&header)?)?;
    for (name, value) in &totals.counters {
        let kind = match feeds.kind(name) {
            Some(Kind::Count) => Some("count"),
            Some(Kind::Max) => Some("max"),
            Some(Kind::Last) => Some("last"),
            _ => None,
        };
        writeln!(out, "{}", serde_json::to_string(&Line { name, value: *value, kind })?)?;
    }
    out.flush()?;
    Ok(())
}
