//! `counters import`: totals that were counted elsewhere, added to the counters, each file once.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{super::run, open, wants_json};
use crate::{
    catalog::Feeds,
    config::Config,
    model::Kind,
    runtime::imports::{Import, Total},
};

/// Largest file, bytes: it is held in memory, so that it is judged whole before anything is added.
const MAX_FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// Longest name of a counter, bytes.
const MAX_NAME_BYTES: usize = 4096;

#[derive(clap::Args, Clone, Debug)]
pub(super) struct ImportArgs {
    /// NDJSON: {"name": "video:1:views", "value": 12} a line; an export's lines will do
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Add the totals; without it, only what would be done is told
    #[arg(long)]
    execute: bool,
    /// JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    value: i64,
    kind: Option<String>,
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) totals: Vec<Total>,
    /// Names whose value is the latest one: what is added to that later would be wrong.
    left_out: Vec<String>,
    /// Names that no rule makes.
    unknown: Vec<String>,
}

pub(super) async fn run(args: &ImportArgs, config: &Config, out: &mut dyn Write) -> anyhow::Result<u8> {
    let catalog = run::catalog(config)?;
    let text = text_of(&args.file)?;
    let doing = || format!("reading {}", args.file.display());
    let content = read(&text, &Feeds::of(&catalog.topics)).with_context(doing)?;
    let (import, file_parts) = Import::of(text.as_bytes(), &content.totals);
    let parts = open(config, &catalog).await?;
    let added = async {
        let before = import.added(&*parts.store).await?;
        let now = if args.execute { import.add(&*parts.store, &file_parts).await? } else { 0 };
        anyhow::Ok((before, now))
    };
    let added = added.await;
    parts.close().await?;
    let (before, now) = added?;
    tell(args, &content, &import, (before, now), out)?;
    Ok(0)
}

/// A file of totals, whole.
pub(super) fn text_of(path: &Path) -> anyhow::Result<String> {
    let doing = || format!("reading {}", path.display());
    let size = std::fs::metadata(path).with_context(doing)?.len();
    ensure!(
        size <= MAX_FILE_BYTES,
        "{} has {size} bytes, at most {MAX_FILE_BYTES} are taken: split it",
        path.display()
    );
    std::fs::read_to_string(path).with_context(doing)
}

/// Reads and judges a file. Nothing of a file with a mistake is taken.
pub(super) fn read(text: &str, feeds: &Feeds) -> anyhow::Result<Content> {
    let mut content = Content::default();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut announced = None;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        if number == 1
            && let Some(header) = header(line)?
        {
            announced = Some(header);
            continue;
        }
        let line: Line = serde_json::from_str(line)
            .with_context(|| format!("line {number}: expected {{\"name\": text, \"value\": whole number}}"))?;
        ensure!(
            !line.name.is_empty() && line.name.len() <= MAX_NAME_BYTES,
            "line {number}: a name has 1 to {MAX_NAME_BYTES} bytes"
        );
        if let Some(earlier) = seen.insert(line.name.clone(), number) {
            bail!("line {number}: {:?} stands on line {earlier} already: add them up to one", line.name);
        }
        take(line, feeds, &mut content).with_context(|| format!("line {number}"))?;
    }
    if let Some(announced) = announced {
        let there = seen.len() as u64;
        ensure!(
            there == announced,
            "the first line says {announced} counters, and there are {there}: the file is cut off or was changed"
        );
    }
    Ok(content)
}

/// How many counters the first line of an export announces; `None` where the line is none.
fn header(line: &str) -> anyhow::Result<Option<u64>> {
    let Ok(Value::Object(header)) = serde_json::from_str(line) else { return Ok(None) };
    if header.get("streamgauge") != Some(&json!("counters")) {
        return Ok(None);
    }
    ensure!(header.get("version") == Some(&json!(1)), "line 1: this export is of a later version of streamgauge");
    Ok(header.get("counters").and_then(Value::as_u64))
}

fn take(line: Line, feeds: &Feeds, content: &mut Content) -> anyhow::Result<()> {
    let made = feeds.kind(&line.name);
    let told = match line.kind.as_deref() {
        None => None,
        Some("count") => Some(Kind::Count),
        Some("max") => Some(Kind::Max),
        Some("last") => Some(Kind::Last),
        Some(other) => bail!("the kind {other:?} is none of count, max and last"),
    };
    if let (Some(made), Some(told)) = (made, told) {
        ensure!(made == told, "{:?} is a {told:?} in the file, but a {made:?} by the catalogue's rules", line.name);
    }
    match made.or(told).unwrap_or(Kind::Count) {
        Kind::Last => content.left_out.push(line.name),
        kind @ (Kind::Count | Kind::Max) => {
            if made.is_none() {
                content.unknown.push(line.name.clone());
            }
            let is_max = kind == Kind::Max;
            let expire_at_ms = feeds.expires_at_ms(&line.name).filter(|_| !is_max);
            content.totals.push(Total { name: line.name, value: line.value, is_max, expire_at_ms });
        }
        other => bail!("{:?} is no counter but a {other:?} by the catalogue's rules", line.name),
    }
    Ok(())
}

fn tell(
    args: &ImportArgs,
    content: &Content,
    import: &Import,
    (before, now): (usize, usize),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Content { totals, left_out, unknown } = content;
    let sum: i128 = totals.iter().filter(|total| !total.is_max).map(|total| i128::from(total.value)).sum();
    let parts = usize::try_from(import.parts).unwrap_or(0);
    if wants_json(args.json) {
        let told = json!({
            "import": format!("{:032x}", import.id), "executed": args.execute, "counters": totals.len(),
            "sum": sum.to_string(), "parts": parts, "addedBefore": before, "addedNow": now,
            "leftOut": left_out, "unknown": unknown,
        });
        writeln!(out, "{told}")?;
        return Ok(());
    }
    let what = format!("{} counters, together {sum}", totals.len());
    match (args.execute, before == parts && parts > 0) {
        (_, true) => writeln!(
            out,
            "this file was imported already: nothing {}",
            if args.execute { "was added" } else { "would be added" }
        )?,
        (true, false) if before > 0 => writeln!(out, "{what}: the rest of an import that was broken off was added")?,
        (true, false) => writeln!(out, "{what}: added")?,
        (false, false) => writeln!(out, "{what}, would be added; --execute adds them")?,
    }
    if !left_out.is_empty() {
        writeln!(out, "left out, since they hold the latest value and no total: {}", shown(left_out))?;
    }
    if !unknown.is_empty() {
        writeln!(out, "no rule makes these, are they written right? {}", shown(unknown))?;
    }
    Ok(())
}

fn shown(names: &[String]) -> String {
    const MOST: usize = 10;
    let shown = names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogChoice, plan::Catalog};

    fn read_lines(lines: &[&str]) -> Result<Content, String> {
        let feeds = Feeds::of(&Catalog::load(&CatalogChoice::default()).unwrap().topics);
        read(&lines.join("\n"), &feeds).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_file_is_taken_whole_or_not_at_all() {
        let header = r#"{"streamgauge":"counters","version":1,"counters":2}"#;
        let (views, likes) =
            (r#"{"name":"video:1:views","value":5}"#, r#"{"name":"video:1:likes","value":-1,"kind":"count"}"#);
        let total = |name: &str, value| Total { name: name.to_owned(), value, is_max: false, expire_at_ms: None };
        let both = vec![total("video:1:views", 5), total("video:1:likes", -1)];
        assert_eq!(read_lines(&[header, views, likes]).unwrap().totals, both);
        assert_eq!(read_lines(&[views, "", likes]).unwrap(), Content { totals: both, ..Content::default() });
        assert_eq!(read_lines(&[r#"{"name":"old:1","value":5}"#]).unwrap().unknown, ["old:1"]);
        assert_eq!(read_lines(&[r#"{"name":"old:1","value":5,"kind":"last"}"#]).unwrap().left_out, ["old:1"]);
        for (lines, wrong) in [
            (vec![header, views], "cut off"),
            (vec![views, views], "line 1 already"),
            (vec![views, r#"{"name":"x","value":1.5}"#], "line 2"),
            (vec![r#"{"name":"x","value":"1"}"#], "line 1"),
            (vec![r#"{"name":"","value":1}"#], "line 1"),
            (vec![r#"{"name":"x","value":1,"count":1}"#], "line 1"),
            (vec![r#"{"name":"x","value":1,"kind":"top"}"#], "none of count"),
            (vec![r#"{"name":"video:1:views","value":1,"kind":"max"}"#], "by the catalogue's rules"),
            (vec![r#"{"name":"user:1:history","value":1}"#], "no counter"),
            (vec![r#"{"streamgauge":"counters","version":2}"#], "later version"),
        ] {
            let error = read_lines(&lines).unwrap_err();
            assert!(error.contains(wrong), "{lines:?}: {error}");
        }
    }
}
