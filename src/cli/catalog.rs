//! `catalog init` ([`init`]), `catalog lint`, `catalog show`, `catalog schema`, `catalog test` ([`test`]) and `catalog activate` ([`activate`]).

mod activate;
mod init;
mod test;

use std::{io::Write, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::{
    catalog::{
        self, CatalogChoice, Source, format_ms, nearest,
        plan::{Catalog, Topic},
    },
    config::Config,
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
    /// Writes a commented file to begin with.
    Init(init::InitArgs),
    /// Says everything that is wrong with catalogues, and what would be right. Exit code 1 where there is something.
    Lint(LintArgs),
    /// Shows the topics, event types and rules in force.
    Show(ShowArgs),
    /// Writes a JSON Schema of the catalogue file, by which an editor checks and completes it.
    Schema,
    /// Runs example events through the rules and shows what they come to. Exit code 1 where the file expects otherwise.
    Test(test::TestArgs),
    /// Puts the rules of this catalogue in force while members of other rules run. Exit code 1 where they are not.
    Activate(activate::ActivateArgs),
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

/// Runs the command and returns the exit code. `is_terminal` says that a person reads `out`.
///
/// # Errors
/// A catalogue cannot be read or written, `show` meets one with findings or an unknown name, `activate` cannot do it, or `out` cannot be
/// written.
pub async fn run(args: &CatalogArgs, config: &Config, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
    let choice = crate::app::choice(config);
    match &args.action {
        CatalogAction::Init(args) => init::run(args, out),
        CatalogAction::Lint(args) => lint(args, &choice, out),
        CatalogAction::Schema => {
            out.write_all(catalog::FILE_SCHEMA.as_bytes())?;
            Ok(0)
        }
        CatalogAction::Show(args) => {
            let catalog = Catalog::load(&choice).context("loading the catalogue")?.for_shards(config.store.shards())?;
            show(args, &catalog, is_terminal, out)
        }
        CatalogAction::Test(args) => {
            test::run(args, &Catalog::load(&choice).context("loading the catalogue")?, is_terminal, out)
        }
        CatalogAction::Activate(args) => {
            activate::run(args, config, &*super::run::catalog(config)?, is_terminal, out).await
        }
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

fn show(args: &ShowArgs, catalog: &Catalog, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
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
        "maxRetries": topic.retry.max,
        "retry": {
            "initialMs": topic.retry.initial_ms,
            "factor": topic.retry.factor,
            "maxDelayMs": topic.retry.max_delay_ms,
        },
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

    fn try_run(action: CatalogAction, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
        let config = crate::config::load(&crate::config::Environment::default(), None).unwrap().config;
        futures::executor::block_on(run(&CatalogArgs { action }, &config, is_terminal, out))
    }

    fn output(action: CatalogAction, is_terminal: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = try_run(action, is_terminal, &mut out).unwrap();
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
        let error = try_run(action, true, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("did you mean `video.views`?"), "{error}");
    }

    #[test]
    fn show_gives_the_fingerprint_that_counting_uses() {
        let shown = |shards: &str| {
            let action = CatalogAction::Show(ShowArgs { name: Some("video.views".to_owned()), json: true });
            let environment = [("STORE_SHARDS", shards), ("REDIS_HOST", "127.0.0.1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            let config = crate::config::load(&environment.into(), None).unwrap().config;
            let mut out = Vec::new();
            futures::executor::block_on(run(&CatalogArgs { action }, &config, false, &mut out)).unwrap();
            serde_json::from_slice::<Value>(&out).unwrap()["topics"][0]["fingerprint"].clone()
        };
        let catalog = Catalog::load(&CatalogChoice::default()).unwrap().for_shards(3).unwrap();
        assert_eq!(shown("3"), json!(catalog.topic("video.views").unwrap().fingerprint.to_string()));
        assert_ne!(shown("3"), shown("1"));
    }
}
