//! `schemas check`: what readers of one schema make of what writers of another wrote.

use std::{io::Write, path::PathBuf, sync::Arc};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use crate::catalog::schema::{self, Obstacle, Schema, Side};

/// Exit code: something that was written cannot be read.
const BREAKS: u8 = 1;
/// Exit code: that cannot be said.
const CANNOT_SAY: u8 = 2;

/// Compares the schemas of events.
#[derive(Args, Clone, Debug)]
pub struct SchemasArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: SchemasAction,
}

/// What to do with schemas.
#[derive(Subcommand, Clone, Debug)]
pub enum SchemasAction {
    /// Says whether a change of a JSON Schema can be lived with. Exit code 0 where it can, 1 where something breaks, 2 where
    /// that cannot be said.
    Check(CheckArgs),
}

/// Arguments of `schemas check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Schema files from the oldest to the newest.
    #[arg(required = true, num_args = 2.., value_names = ["OLD", "NEW"])]
    pub files: Vec<PathBuf>,
    /// Which way: what was written is read by the new schema (backward), what will be written by the old one (forward), or both.
    #[arg(long, value_enum, default_value_t = Ways::Full)]
    pub compatibility: Ways,
    /// Each file against all before it, not only against the one before.
    #[arg(long)]
    pub transitive: bool,
    /// Writes JSON, as it is written anyway where the output is no terminal.
    #[arg(long)]
    pub json: bool,
}

/// Which way two schemas are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ways {
    /// The newer one reads what the older one wrote.
    Backward,
    /// The older one reads what the newer one wrote.
    Forward,
    /// Both.
    Full,
}

/// Two files compared in one direction.
struct Compared<'a> {
    way: &'static str,
    old: &'a str,
    new: &'a str,
    obstacles: Vec<Obstacle>,
}

/// Runs the command and returns the exit code. `is_terminal` says that a person reads `out`.
///
/// # Errors
/// `out` cannot be written.
pub fn run(args: &SchemasArgs, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
    let SchemasAction::Check(args) = &args.action;
    let mut files: Vec<(String, Arc<Schema>)> = Vec::with_capacity(args.files.len());
    for path in &args.files {
        match schema::read_file(path) {
            Ok(schema) => files.push((path.display().to_string(), schema)),
            Err(why) => {
                writeln!(out, "{why}")?;
                return Ok(CANNOT_SAY);
            }
        }
    }
    let compared = compare(&files, args.compatibility, args.transitive);
    if args.json || !is_terminal {
        writeln!(out, "{}", serde_json::to_string_pretty(&as_json(&compared))?)?;
    } else {
        write_table(&compared, out)?;
    }
    Ok(code(compared.iter().flat_map(|compared| &compared.obstacles)))
}

fn code<'a>(obstacles: impl Iterator<Item = &'a Obstacle>) -> u8 {
    obstacles.map(|obstacle| if obstacle.breaks { BREAKS } else { CANNOT_SAY }).min().unwrap_or(0)
}

fn compare(files: &[(String, Arc<Schema>)], ways: Ways, transitive: bool) -> Vec<Compared<'_>> {
    let mut compared = Vec::new();
    for (index, (new, newer)) in files.iter().enumerate() {
        let before = &files[..index];
        for (old, older) in &before[if transitive { 0 } else { index.saturating_sub(1) }..] {
            let (newer, older) = (Side { name: "NEW", schema: newer }, Side { name: "OLD", schema: older });
            if ways != Ways::Forward {
                compared.push(Compared { way: "backward", old, new, obstacles: schema::obstacles(newer, older) });
            }
            if ways != Ways::Backward {
                compared.push(Compared { way: "forward", old, new, obstacles: schema::obstacles(older, newer) });
            }
        }
    }
    compared
}

/// `yes`, `no` or `cannot tell`.
fn verdict(compared: &Compared<'_>) -> &'static str {
    match code(compared.obstacles.iter()) {
        0 => "yes",
        BREAKS => "no",
        _ => "cannot tell",
    }
}

fn as_json(compared: &[Compared<'_>]) -> Value {
    let obstacle = |found: &Obstacle| json!({ "path": found.path, "breaks": found.breaks, "message": found.message });
    let entry = |compared: &Compared<'_>| {
        json!({
            "old": compared.old,
            "new": compared.new,
            "way": compared.way,
            "compatible": verdict(compared),
            "obstacles": compared.obstacles.iter().map(obstacle).collect::<Vec<_>>(),
        })
    };
    json!({ "compared": compared.iter().map(entry).collect::<Vec<_>>() })
}

fn write_table(compared: &[Compared<'_>], out: &mut dyn Write) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["old", "new", "way", "compatible", "at", "why"]);
    for pair in compared {
        let head = [pair.old, pair.new, pair.way, verdict(pair)];
        if pair.obstacles.is_empty() {
            table.add_row(head);
        }
        for (index, found) in pair.obstacles.iter().enumerate() {
            let [old, new, way, verdict] = if index == 0 { head } else { [""; 4] };
            let at = if found.path.is_empty() { "the whole" } else { &*found.path };
            let why = if found.breaks { found.message.clone() } else { format!("cannot tell: {}", found.message) };
            table.add_row([old, new, way, verdict, at, &why]);
        }
    }
    writeln!(out, "{table}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(texts: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (index, text) in texts.iter().enumerate() {
                std::fs::write(folder.path().join(format!("{index}.json")), text).unwrap();
            }
            Self(folder)
        }

        /// Exit code and output of a check of these files.
        fn check(&self, files: &[usize], compatibility: Ways, transitive: bool, is_terminal: bool) -> (u8, String) {
            let files = files.iter().map(|index| self.0.path().join(format!("{index}.json"))).collect();
            let action = SchemasAction::Check(CheckArgs { files, compatibility, transitive, json: false });
            let mut out = Vec::new();
            let code = run(&SchemasArgs { action }, is_terminal, &mut out).unwrap();
            (code, String::from_utf8(out).unwrap())
        }
    }

    const A: &str = r#"{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}"#;
    const WIDER: &str = r#"{"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}"#;
    const OTHER: &str = r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#;
    const VAGUE: &str = r#"{"anyOf": [{"type": "object"}]}"#;

    #[test]
    fn exit_codes_say_what_can_be_lived_with() {
        let files = Files::new(&[A, WIDER, OTHER, VAGUE, "{"]);
        let both = Ways::Full;
        for (pair, ways, code) in [
            ([0, 0], both, 0),
            ([0, 1], Ways::Backward, 0),
            ([0, 1], Ways::Forward, 1),
            ([0, 1], both, 1),
            ([0, 3], Ways::Backward, 2),
            ([0, 4], both, 2),
            ([0, 9], both, 2),
        ] {
            let (found, text) = files.check(&pair, ways, false, true);
            assert_eq!(found, code, "{pair:?} {ways:?}\n{text}");
        }
        assert!(files.check(&[0, 4], both, false, true).1.contains("4.json:1:1: the schema is not JSON"));
    }

    #[test]
    fn transitive_looks_at_all_before() {
        let files = Files::new(&[OTHER, "{}", A]);
        let pairs = |transitive| {
            let (_, text) = files.check(&[0, 1, 2], Ways::Backward, transitive, false);
            let json: Value = serde_json::from_str(&text).unwrap();
            let pair = |entry: &Value| {
                let name = |of: &str| entry[of].as_str().unwrap().rsplit('/').next().unwrap()[..1].to_owned();
                format!("{}{} {}", name("old"), name("new"), entry["compatible"].as_str().unwrap())
            };
            json["compared"].as_array().unwrap().iter().map(pair).collect::<Vec<_>>()
        };
        assert_eq!(pairs(false), ["01 yes", "12 no"]);
        assert_eq!(pairs(true), ["01 yes", "02 no", "12 no"]);
    }

    #[test]
    fn people_get_a_table_with_the_reason() {
        let (code, text) = Files::new(&[A, OTHER]).check(&[0, 1], Ways::Full, false, true);
        assert_eq!(code, 1);
        for words in [
            "backward",
            "forward",
            "/a",
            "NEW takes string, OLD writes integer",
            "OLD requires it, NEW may leave it out",
        ] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
    }
}
