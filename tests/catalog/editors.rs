//! The JSON Schema for editors: what it takes and refuses, held against the built-in catalogues, the file that `catalog init`
//! writes, and mistakes that the lint finds too.

use serde_json::Value;
use streamgauge::catalog::{CatalogChoice, FILE_SCHEMA, Source, lint, sources};

fn errors(validator: &jsonschema::Validator, text: &str) -> Vec<String> {
    let file: Value = toml::from_str(text).unwrap();
    validator.iter_errors(&file).map(|error| format!("{} {error}", error.instance_path())).collect()
}

#[test]
fn catalogues_fit_the_schema_for_editors_and_mistakes_do_not() {
    let schema: Value = serde_json::from_str(FILE_SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for name in ["video", "commerce", "social", "creator", "live"] {
        let choice = CatalogChoice { names: vec![name.to_owned()], path: None };
        for Source { file, text } in sources(&choice).unwrap() {
            assert_eq!(errors(&validator, &text), [""; 0], "{file}");
        }
    }
    let whole = include_str!("../../src/cli/catalog/init.toml").replace("%NAME%", "shop");
    assert_eq!(errors(&validator, &whole), [""; 0]);

    let with = |topic: &str, event: &str| {
        format!(
            "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = []\nshape = [\"flat\"]\n{topic}\n[[topic.event]]\ntype = \"e\"\n{event}\n"
        )
    };
    let good = with(
        "retention = \"7d\"\nretry = { factor = 2, initial_ms = 1 }",
        "rules = [{ count = \"all\" }, { top = \"t\", of = \"{a}\", windows = [\"1h\"] }]",
    );
    assert_eq!((errors(&validator, &good).len(), lint_of(&good)), (0, 0));
    for (topic, event) in [
        ("partitons = 3", ""),
        ("partitions = 0", ""),
        ("retention = \"7 days\"", ""),
        ("compression = \"brotli\"", ""),
        ("priority = \"urgent\"", ""),
        ("dedupe = { windows = \"1h\" }", ""),
        ("retry = { max = 3 }", ""),
        ("retry = { factor = 0.5 }", ""),
        ("retry = { max_delay_ms = 86400001 }", ""),
        ("", "version = \"one\""),
        ("", "rules = [{ count = \"all\", of = \"{a}\" }]"),
        ("", "rules = [{ sum = \"all\" }]"),
        ("", "rules = [{ count = \"all\", by = 0 }]"),
        ("", "rules = [{ unique = \"all\" }]"),
        ("", "rules = [{ max = \"all\", of = { field = \"a\", scale = 16 } }]"),
        ("", "rules = [{ member = \"s\", of = \"{a}\", op = \"put\" }]"),
        ("", "rules = [{ recent = \"s\", of = \"{a}\", cap = 0 }]"),
    ] {
        let bad = with(topic, event);
        assert!(!errors(&validator, &bad).is_empty(), "the schema lets pass: {topic}{event}");
        assert!(lint_of(&bad) > 0, "the lint lets pass: {topic}{event}");
    }
}

fn lint_of(text: &str) -> usize {
    lint(&[Source { file: "c.toml".to_owned(), text: text.to_owned() }]).len()
}
