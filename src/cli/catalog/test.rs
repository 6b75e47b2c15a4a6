//! `catalog test`: example events through the rules, and what they come to held against what the file expects.

mod trial;

use std::{collections::BTreeMap, fs, io::Write, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use comfy_table::{Table, presets};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::counted;
use crate::catalog::{nearest, plan::Catalog};

/// Largest file of examples, bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Arguments of `catalog test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// A JSON file: {"events": [{"topic", "value", "key"?, "headers"?, "deadLetter"?}], "expect"?: {"counters": {"user:1:orders": 2}}}.
    /// `expect` may name counters, uniques, histories, rankings, sets and forwards.
    pub file: PathBuf,
    /// Writes JSON, as it is written anyway where the output is no terminal.
    #[arg(long)]
    pub json: bool,
}

/// A file of examples.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File<'f> {
    /// For whoever reads it.
    #[serde(rename = "catalog")]
    _catalog: Option<String>,
    #[serde(borrow)]
    events: Vec<Example<'f>>,
    #[serde(default)]
    expect: Results,
}

/// A record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Example<'f> {
    topic: String,
    /// As it lies in the record: numbers keep their digits.
    #[serde(borrow)]
    value: &'f RawValue,
    key: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The code of the reason why it must be a dead letter; default: it must be none.
    dead_letter: Option<String>,
}

/// What keys hold, by their names.
type Keys = BTreeMap<String, Value>;

/// What events come to.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Results {
    /// Whole numbers.
    counters: Keys,
    /// How many distinct elements: exactly, where a store estimates.
    uniques: Keys,
    /// Elements, the newest first.
    histories: Keys,
    /// Sums by element.
    rankings: Keys,
    /// Elements in the order of their bytes.
    sets: Keys,
    /// Records by the topic that they are sent to.
    forwards: Keys,
}

impl Results {
    fn kinds(&self) -> [(&'static str, &Keys); 6] {
        [
            ("counters", &self.counters),
            ("uniques", &self.uniques),
            ("histories", &self.histories),
            ("rankings", &self.rankings),
            ("sets", &self.sets),
            ("forwards", &self.forwards),
        ]
    }
}

/// Something that is not as the file expects it.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    /// A kind of results, or `event`.
    kind: &'static str,
    /// The key, or the event's number and topic.
    name: String,
    found: Value,
    expected: Value,
}

/// Runs the command; exit code 1 where something is not as the file expects it.
///
/// # Errors
/// The file cannot be read, or names a topic that the catalogue does not have.
pub(super) fn run(args: &TestArgs, catalog: &Catalog, is_terminal: bool, out: &mut dyn Write) -> Result<u8> {
    let shown = args.file.display();
    let size = fs::metadata(&args.file).with_context(|| format!("reading {shown}"))?.len();
    if size > MAX_FILE_BYTES {
        bail!("{shown} is larger than {MAX_FILE_BYTES} bytes: split it");
    }
    let text = fs::read_to_string(&args.file).with_context(|| format!("reading {shown}"))?;
    let file: File<'_> = serde_json::from_str(&text).with_context(|| format!("reading {shown}"))?;
    for (number, example) in (1..).zip(&file.events) {
        if catalog.topic(&example.topic).is_none() {
            let known = catalog.topics.iter().map(|topic| &*topic.name);
            let help = nearest(&example.topic, known).map_or_else(
                || "CATALOG and CATALOG_PATH choose the catalogue".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            bail!("event {number} of {shown}: no topic of the catalogue is called `{}`; {help}", example.topic);
        }
    }
    let outcome = trial::run(catalog, &file.events)?;
    let differences = differences(&file, &outcome);
    if args.json || !is_terminal {
        let answer = json!({
            "events": file.events.len(),
            "counted": outcome.counted,
            "duplicates": outcome.duplicates,
            "deadLetters": outcome.dead_letters,
            "results": outcome.results,
            "differences": differences,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        people(&file, &outcome, &differences, out)?;
    }
    Ok(u8::from(!differences.is_empty()))
}

fn differences(file: &File<'_>, outcome: &trial::Outcome) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (number, example) in (1..).zip(&file.events) {
        let dead = outcome.dead_letters.iter().find(|dead| dead.event == number);
        let (found, expected) = (dead.map(|dead| dead.reason), example.dead_letter.as_deref());
        if found != expected {
            let name = format!("{number} on {}", example.topic);
            differences.push(Difference { kind: "event", name, found: json!(found), expected: json!(expected) });
        }
    }
    for ((kind, found), (_, expected)) in outcome.results.kinds().into_iter().zip(file.expect.kinds()) {
        for (name, expected) in expected {
            let found = found.get(name).unwrap_or(&Value::Null);
            if found != expected {
                let (name, found, expected) = (name.clone(), found.clone(), expected.clone());
                differences.push(Difference { kind, name, found, expected });
            }
        }
    }
    differences
}

fn people(
    file: &File<'_>,
    outcome: &trial::Outcome,
    differences: &[Difference],
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(["kind", "key", "value"]);
    for (kind, keys) in outcome.results.kinds() {
        for (name, value) in keys {
            table.add_row([kind, name, &value.to_string()]);
        }
    }
    writeln!(out, "{table}")?;
    for dead in &outcome.dead_letters {
        writeln!(out, "event {} on {} is a dead letter: {} ({})", dead.event, dead.topic, dead.message, dead.reason)?;
    }
    for Difference { kind, name, found, expected } in differences {
        let what = if *kind == "event" { "the dead letter of event" } else { kind };
        writeln!(out, "differs: {what} {name}: {found}, expected {expected}")?;
    }
    let events = counted(file.events.len(), "event");
    let (duplicates, dead) =
        (counted(outcome.duplicates, "duplicate"), counted(outcome.dead_letters.len(), "dead letter"));
    let differences = counted(differences.len(), "difference");
    writeln!(out, "{events}, {} counted, {duplicates}, {dead}; {differences}", outcome.counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogChoice, Source, compile};

    fn try_test(catalog: &Catalog, text: &str, is_terminal: bool) -> Result<(u8, String)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("examples.json");
        fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let code = run(&TestArgs { file, json: false }, catalog, is_terminal, &mut out)?;
        Ok((code, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn the_examples_of_the_built_in_catalogues_come_to_what_they_say() {
        for name in ["video", "commerce", "social", "creator", "live"] {
            let catalog = Catalog::load(&CatalogChoice { names: vec![name.to_owned()], path: None }).unwrap();
            let text = fs::read_to_string(format!("src/catalog/builtin/examples/{name}.json")).unwrap();
            let (code, out) = try_test(&catalog, &text, false).unwrap();
            assert_eq!(code, 0, "{name}: {out}");
            // Nothing that the file does not name.
            let answer: Value = serde_json::from_str(&out).unwrap();
            let file: Value = serde_json::from_str(&text).unwrap();
            for (kind, keys) in answer["results"].as_object().unwrap() {
                let expected = file["expect"].get(kind).cloned().unwrap_or_else(|| json!({}));
                assert_eq!(*keys, expected, "{name}, {kind}");
            }
        }
    }

    const SHOP: &str = r#"
name = "shop"
[[topic]]
name = "shop.orders"
key = ["orderId"]
shape = ["flat"]
identity = ["orderId"]
[[topic.event]]
type = "paid"
rules = [{ count = "paid:{country}" }, { forward = "shop.copies" }]
[[topic]]
name = "shop.copies"
identity = []
[[topic.event]]
type = "paid"
rules = [{ count = "copies" }, { member = "who", of = "{country}", op = "add", moves = "countries", order = "time" }]
"#;

    #[test]
    fn what_differs_is_told_and_ends_with_1() {
        let catalog = compile(&[Source { file: "shop.toml".to_owned(), text: SHOP.to_owned() }]).unwrap();
        let events = r#""events": [
            {"topic": "shop.orders", "key": "1", "value": {"type": "paid", "orderId": 1, "country": "BR"}},
            {"topic": "shop.orders", "key": "1", "value": {"type": "paid", "orderId": 1, "country": "BR"}},
            {"topic": "shop.orders", "key": "2", "value": {"type": "paid", "orderId": 2}, "deadLetter": "missing-field"},
            {"topic": "shop.orders", "key": "3", "value": {"type": "paid", "orderId": 3, "country": true}}]"#;
        let (code, out) = try_test(&catalog, &format!("{{{events}}}"), true).unwrap();
        assert_eq!(code, 1, "{out}");
        assert!(
            out.contains("differs: the dead letter of event 4 on shop.orders: \"bad-field\", expected null"),
            "{out}"
        );
        assert!(out.ends_with("4 events, 1 counted, 1 duplicate, 2 dead letters; 1 difference\n"), "{out}");
        let events = events.replace(r#""country": true}"#, r#""country": "AR"}"#);
        let expect = r#""expect": {"counters": {"paid:BR": 1, "copies": 2, "countries": 3, "paid:FR": 1}, "forwards": {"shop.copies": 2}}"#;
        let (code, out) = try_test(&catalog, &format!("{{{events}, {expect}}}"), false).unwrap();
        let answer: Value = serde_json::from_str(&out).unwrap();
        let differences = json!([
            {"kind": "counters", "name": "countries", "found": 2, "expected": 3},
            {"kind": "counters", "name": "paid:FR", "found": null, "expected": 1},
        ]);
        assert_eq!((code, &answer["differences"]), (1, &differences));
        assert_eq!(answer["results"]["sets"], json!({"who": ["AR", "BR"]}));
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused() {
        let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
        for (text, told) in [
            (r#"{"events": [{"topic": "video.veiws", "value": {}}]}"#, "event 1 of"),
            (r#"{"events": [{"topic": "video.veiws", "value": {}}]}"#, "did you mean `video.views`?"),
            (r#"{"events": [], "expects": {}}"#, "unknown field `expects`"),
            (r#"{"events": [], "expect": {"counter": {}}}"#, "unknown field `counter`"),
            ("{", "EOF"),
        ] {
            let error = format!("{:#}", try_test(&catalog, text, false).unwrap_err());
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
