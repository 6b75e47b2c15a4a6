//! `catalog lint` and `catalog show`.

use std::{io::Write, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::catalog::{
    self, CatalogChoice, Source, format_ms, nearest,
    plan::{Catalog, Topic},
};

/// Looks at catalogues: which topics and events there are, and what each does.
#[derive(Args, Clone, Debug)]
pub struct CatalogArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: CatalogAction,
}

/// What to do with catalogues.
#[derive(Subcommand, Clone, Debug)]
pub enum CatalogAction {
    /// Says everything that is wrong with catalogues, and what would be right. Exit code 1 where there is something.
    Lint(LintArgs),
    /// Shows the topics, event types and rules in force.
    Show(ShowArgs),
}

/// Arguments of `catalog lint`.
#[derive(Args, Clone, Debug)]
pub struct LintArgs {
    /// Files, or folders whose *.toml are taken, all checked together. Default: what CATALOG and CATALOG_PATH choose.
    pub paths: Vec<PathBuf>,
    /// Writes the findings as a JSON list.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `catalog show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Only the catalogue or the topic of this name. Default: all.
    pub name: Option<String>,
    /// Writes JSON, as it is written anyway where the output is no terminal.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command and returns the exit code. `choice` is what the configuration chooses; `is_terminal` says that a person
/// reads `out`.
///
/// # Errors
/// A catalogue cannot be read, `show` meets one with findings or an unknown name, or `out` cannot be written.
pub fn run(args: &CatalogArgs, choice: &CatalogChoice, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
    match &args.action {
        CatalogAction::Lint(args) => lint(args, choice, out),
        CatalogAction::Show(args) => show(args, choice, is_terminal, out),
    }
}

fn lint(args: &LintArgs, choice: &CatalogChoice, out: &mut dyn Write) -> Result<u8> {
    let sources: Vec<Source> = if args.paths.is_empty() {
        catalog::sources(choice)?
    } else {
        let read: Result<Vec<_>, _> = args.paths.iter().map(|path| catalog::read_path(path)).collect();
        read?.concat()
    };
    let findings = catalog::lint(&sources);
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
        let files = counted(sources.len(), "catalogue file");
        match findings.len() {
            0 => writeln!(out, "{files}, nothing is wrong")?,
            count => writeln!(out, "{files}, {}", counted(count, "finding"))?,
        }
    }
    Ok(u8::from(!findings.is_empty()))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn show(args: &ShowArgs, choice: &CatalogChoice, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
    let catalog = Catalog::load(choice).context("loading the catalogue")?;
    let topics: Vec<&Topic> = catalog
        .topics
        .iter()
        .map(|topic| &**topic)
        .filter(|topic| args.name.as_ref().is_none_or(|name| *name == topic.catalog || **name == *topic.name))
        .collect();
    if let (true, Some(name)) = (topics.is_empty(), &args.name) {
        let known = catalog.names.iter().map(|name| &**name).chain(catalog.topics.iter().map(|topic| &*topic.name));
        match nearest(name, known) {
            Some(near) => bail!("no catalogue or topic in force is called `{name}`; did you mean `{near}`?"),
            None => bail!("no catalogue or topic in force is called `{name}`; `catalog show` shows all"),
        }
    }
    if args.json || !is_terminal {
        let topics: Result<Vec<Value>, _> = topics.into_iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "catalogs": catalog.names, "topics": topics? }))?)?;
    } else {
        writeln!(out, "{}", as_table(&topics))?;
    }
    Ok(0)
}

fn as_json(topic: &Topic) -> Result<Value, serde_json::Error> {
    let names = |slots: &[u16]| slots.iter().map(|slot| topic.field(*slot).to_owned()).collect::<Vec<_>>();
    Ok(json!({
        "name": &*topic.name,
        "catalog": topic.catalog,
        "key": names(&topic.key),
        "partitions": topic.partitions,
        "retention": format_ms(topic.retention_ms),
        "publishShape": topic.publish_shape.name(),
        "maxRetries": topic.max_retries,
        "sensitive": names(&topic.sensitive),
        "deadLetterTopic": topic.dead_letter_topic(),
        "fingerprint": topic.fingerprint.to_string(),
        "counted": serde_json::from_str::<Value>(&topic.text)?,
    }))
}

fn as_table(topics: &[&Topic]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["topic", "key", "identity", "event type", "rules"]);
    for topic in topics {
        let key: Vec<&str> = topic.key.iter().map(|slot| topic.field(*slot)).collect();
        let mut first = [topic.name.to_string(), key.join(", "), topic.identity_names().join(", ")];
        for event in &topic.events {
            let rules: Vec<String> = event.rules.iter().map(|rule| topic.describe(&rule.action)).collect();
            let [name, key, identity] = std::mem::take(&mut first);
            table.add_row([name, key, identity, event.name.to_string(), rules.join("\n")]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(action: CatalogAction, is_terminal: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(&CatalogArgs { action }, &CatalogChoice::default(), is_terminal, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn lint_says_where_and_ends_with_1() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, "name = \"c\"\n[[topic]]\nname = \"t\"\npartition = 3\n[[topic.event]]\ntype = \"e\"\n")
            .unwrap();
        let lint = |json| output(CatalogAction::Lint(LintArgs { paths: vec![file.clone()], json }), false);
        let (code, text) = lint(false);
        assert_eq!(code, 1);
        assert!(
            text.starts_with(&format!(
                "{}:4:1: a topic has no field `partition`\n  help: did you mean `partitions`?",
                file.display()
            )),
            "{text}"
        );
        let findings: Value = serde_json::from_str(&lint(true).1).unwrap();
        assert_eq!((&findings[0]["line"], &findings[0]["column"]), (&json!(4), &json!(1)));
        let (code, text) = output(CatalogAction::Lint(LintArgs { paths: Vec::new(), json: false }), false);
        assert_eq!((code, &*text), (0, "1 catalogue file, nothing is wrong\n"));
    }

    #[test]
    fn show_is_a_table_for_people_and_json_for_scripts() {
        let show = |name: Option<&str>, terminal| {
            output(CatalogAction::Show(ShowArgs { name: name.map(str::to_owned), json: false }), terminal).1
        };
        assert!(show(None, true).contains("count video:{videoId}:views by +1"));
        let json: Value = serde_json::from_str(&show(Some("video.views"), false)).unwrap();
        assert_eq!(json["topics"][0]["counted"]["events"][0]["type"], "video.view");
        assert_eq!(json["topics"].as_array().map(Vec::len), Some(1));
        let action = CatalogAction::Show(ShowArgs { name: Some("video.veiws".to_owned()), json: false });
        let error = run(&CatalogArgs { action }, &CatalogChoice::default(), true, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("did you mean `video.views`?"), "{error}");
    }
}
