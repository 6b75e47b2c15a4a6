//! Schemas beside catalogues: files that are wrong are told with place and remedy, good ones are part of the rules' name.

use std::path::Path;

use streamgauge::catalog::{self, Finding, Source, plan::Catalog};

const EVENT: &str = "[[topic.event]]\ntype = \"e\"\nschema = \"e.json\"\n";

/// A catalogue in this folder with one topic and these events.
fn beside(folder: &Path, events: &str) -> Source {
    let file = folder.join("c.toml");
    std::fs::write(&file, format!("name = \"c\"\n[[topic]]\nname = \"t\"\n{events}")).unwrap();
    catalog::read_path(&file).unwrap().remove(0)
}

fn with_schema(schema: &str) -> Result<Catalog, Vec<Finding>> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("e.json"), schema).unwrap();
    catalog::compile(&[beside(folder.path(), EVENT)])
}

#[test]
fn a_schema_that_is_wrong_is_told_with_its_place() {
    for (schema, line, column, message, help) in [
        ("{\n  \"type\": \"object\"\n  \"a\": 1\n}", 3, 3, "not JSON", "one JSON object"),
        ("[]", 1, 1, "no JSON object", "one JSON object"),
        ("{\n  \"properties\": {\n    \"a\": {\"type\": \"strin\"}}}", 3, 19, "cannot be used", "json-schema.org"),
        ("{\n  \"items\": {\"$ref\": \"http://127.0.0.1:1/x\"}}", 2, 21, "lies outside of this file", "$defs"),
        ("{\n  \"$schema\": \"http://json-schema.org/schema#\"}", 2, 14, "is of", "2020-12"),
        ("{\n  \"pattern\": \"(?<!a)b\"}", 2, 14, "cannot be used", "look around"),
    ] {
        let findings = with_schema(schema).unwrap_err();
        let fits = findings.len() == 1
            && findings[0].file.ends_with("e.json")
            && (findings[0].line, findings[0].column) == (line, column)
            && findings[0].message.contains(message)
            && findings[0].help.contains(help);
        assert!(fits, "wanted e.json:{line}:{column} {message} / {help} for\n{schema}\n{findings:#?}");
    }
}

#[test]
fn a_schema_that_cannot_be_read_is_told_where_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large.json"), format!("{{\"title\": {:?}}}", "x".repeat(200_000))).unwrap();
    for (name, message) in [
        ("none.json", "none.json cannot be read"),
        ("../e.json", "is not beside the catalogue"),
        ("/etc/hostname", "is not beside the catalogue"),
        ("large.json", "is larger than 131072 bytes"),
    ] {
        let findings = catalog::lint(&[beside(folder.path(), &EVENT.replace("e.json", name))]);
        let fits = findings.len() == 1 && findings[0].file.ends_with("c.toml") && findings[0].message.contains(message);
        assert!(fits && (findings[0].line, findings[0].column) == (6, 10), "{name}: {findings:#?}");
    }
}

#[test]
fn a_topic_has_schemas_up_to_a_number_of_bytes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("e.json"), format!("{{\"title\": {:?}}}", "x".repeat(100_000))).unwrap();
    let versions = |count: usize| (1..=count).map(|v| format!("{EVENT}version = \"{v}\"\n")).collect::<String>();
    assert_eq!(catalog::lint(&[beside(folder.path(), &versions(3))]), []);
    let findings = catalog::lint(&[beside(folder.path(), &versions(4))]);
    assert!(findings.len() == 1 && findings[0].message.contains("more than 393216 bytes"), "{findings:#?}");
}

#[test]
fn a_schema_is_part_of_the_fingerprint_and_kept_with_the_rules() {
    let topic = |schema: &str| with_schema(schema).unwrap().topics.remove(0);
    let one = topic("{\"type\": \"object\", \"required\": [\"a\"]}");
    assert_eq!(one.fingerprint, topic("{\n\"required\":[\"a\"],\n\"type\":\"object\"}").fingerprint);
    assert_ne!(one.fingerprint, topic("{\"type\": \"object\", \"required\": [\"b\"]}").fingerprint);
    let folder = tempfile::tempdir().unwrap();
    let without = catalog::compile(&[beside(folder.path(), "[[topic.event]]\ntype = \"e\"\n")]).unwrap();
    assert_ne!(one.fingerprint, without.topics[0].fingerprint);
    assert!(!without.topics[0].text.contains("schema"), "rules of before keep their text");

    let kept = without.topics[0].under_kept_rules(one.fingerprint, &one.text).unwrap();
    let schema = kept.events[0].schema.as_ref().unwrap();
    assert_eq!(schema.check("{\"a\":1}"), Ok(()));
    assert_eq!(schema.check("{}").unwrap_err().expected, "\"a\" is a required property");
}

#[test]
fn an_event_is_of_the_version_that_it_names_or_of_the_newest_like_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("e.json"), "{}").unwrap();
    let versions = |event: &str| {
        let of = |version: &str| format!("{event}version = \"{version}\"\n");
        let text = ["2", "1.2", "1", "10"].map(of).concat();
        catalog::compile(&[beside(folder.path(), &text)]).unwrap().topics.remove(0)
    };
    let (with, without) = (versions(EVENT), versions("[[topic.event]]\ntype = \"e\"\n"));
    for (version, of, of_without) in [
        ("\"1.0\"", "1", "1"),
        ("1", "1", "1"),
        ("\"1.2.0\"", "1.2", "1.2"),
        ("\"1.3\"", "1.2", "10"),
        ("2.7", "2", "10"),
        ("\"3\"", "10", "10"),
        ("\"one\"", "10", "10"),
        ("", "10", "10"),
    ] {
        for (topic, expected) in [(&with, of), (&without, of_without)] {
            let index = topic.version_of("e", version).unwrap();
            assert_eq!(&*topic.events[index].version, expected, "{version}");
        }
    }
    assert_eq!(with.version_of("f", "1"), None);
}

#[test]
fn the_schemas_of_the_live_catalogue_are_built_in() {
    for (name, good, bad, path) in [
        (
            "live.user.schema.json",
            r#"{"userId":"u","userType":"viewer"}"#,
            r#"{"userId":"u","userType":"x"}"#,
            "/userType",
        ),
        (
            "live.stream.schema.json",
            r#"{"streamId":"s","channelId":7,"viewerCount":0,"quality":"720p"}"#,
            r#"{"streamId":"s","channelId":7,"viewerCount":-1}"#,
            "/viewerCount",
        ),
        (
            "live.chat.schema.json",
            r#"{"channelId":"c","userId":"u","action":"message_sent"}"#,
            r#"{"channelId":"c","userId":"u","action":"sent"}"#,
            "/action",
        ),
    ] {
        let text = format!("name = \"c\"\n[[topic]]\nname = \"t\"\n{}", EVENT.replace("e.json", name));
        let catalog = catalog::compile(&[Source { file: "builtin/live.toml".to_owned(), text }]).unwrap();
        let schema = catalog.topics[0].events[0].schema.as_ref().unwrap();
        assert_eq!(schema.check(good), Ok(()), "{name}");
        assert_eq!(schema.check(bad).unwrap_err().path, path, "{name}");
    }
}
