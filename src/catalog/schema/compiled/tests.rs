//! What schemas say of events, and what is no schema.

use super::*;

fn schema(text: &str) -> Schema {
    Schema::compile(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}

#[test]
fn what_does_not_fit_is_told_by_path_and_never_by_value() {
    let schema = schema(
        r##"{"type": "object", "required": ["id"], "additionalProperties": false,
            "properties": {"id": {"type": "string"}, "n": {"type": "integer", "minimum": 0},
                "list": {"items": {"$ref": "#/$defs/kind"}}},
            "$defs": {"kind": {"enum": ["a", "b"]}}}"##,
    );
    assert_eq!(schema.check(r#"{"id":"x","n":1,"list":["a","b"]}"#), Ok(()));
    for (data, path, expected) in [
        ("{}", "", "\"id\" is a required property"),
        (r#"{"id":"x","n":-7}"#, "/n", "value is less than the minimum of 0"),
        (r#"{"id":12345}"#, "/id", "value is not of type \"string\""),
        (r#"{"id":"x","list":["a","secret"]}"#, "/list/1", "value is not one of \"a\" or \"b\""),
        (r#"{"id":"x","more":1}"#, "", "Additional properties are not allowed ('more' was unexpected)"),
        (r#"{"id":"x","n":1e999}"#, "", "number out of range at line 1 column 19"),
    ] {
        assert_eq!(schema.check(data), Err(Violation { path: path.into(), expected: expected.into() }), "{data}");
    }
}

#[test]
fn texts_have_an_end() {
    let schema = schema(r#"{"additionalProperties": {"type": "string"}}"#);
    let violation = schema.check(&format!("{{{:?}: 1}}", "é".repeat(9_999))).unwrap_err();
    assert!(violation.path.len() <= MAX_PATH_BYTES + "…".len() && violation.path.ends_with('…'), "{violation:?}");
    let schema = super::tests::schema(r#"{"additionalProperties": false}"#);
    let names: Vec<String> = (0..9_999).map(|number| format!("\"n{number}\": 1")).collect();
    let violation = schema.check(&format!("{{{}}}", names.join(","))).unwrap_err();
    assert!(violation.expected.len() <= MAX_EXPECTED_BYTES + "…".len(), "{violation:?}");
}

#[test]
fn depth_that_cannot_be_held_does_not_fit() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(schema("{}").check(&deep).unwrap_err().expected.contains("recursion limit exceeded"));
}

#[test]
fn files_that_say_the_same_have_one_text() {
    let one = schema("{\n \"type\": \"object\", \"properties\": {\"b\": true, \"a\": {\"enum\": [2, 1]}}}");
    let other = schema(r#"{"properties":{"a":{"enum":[2,1]},"b":true},"type":"object"}"#);
    assert_eq!(one.text(), other.text());
    assert_eq!(one.text(), r#"{"properties":{"a":{"enum":[2,1]},"b":true},"type":"object"}"#);
    assert_ne!(one.text(), schema(r#"{"type":"object"}"#).text());
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let pointer = |text: &str| FaultAt::Pointer(text.to_owned());
    for (text, at, message) in [
        ("{\n\"type\" 3}", FaultAt::Line { line: 2, column: 8 }, "not JSON"),
        ("true", pointer(""), "no JSON object"),
        (r#"{"type": "strin"}"#, pointer("/type"), "cannot be used"),
        (r#"{"properties": {"a": {"minimum": "3"}}}"#, pointer("/properties/a/minimum"), "cannot be used"),
        (r#"{"properties": {"a": {"pattern": "(?=a)"}}}"#, pointer("/properties/a/pattern"), "cannot be used"),
        (r##"{"$ref": "#/$defs/none"}"##, pointer(""), "cannot be used"),
        (r#"{"items": {"$ref": "http://127.0.0.1/x.json"}}"#, pointer("/items/$ref"), "lies outside of this file"),
        (r#"{"items": {"$ref": "other.json"}}"#, pointer("/items/$ref"), "lies outside"),
        (r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#, pointer("/$schema"), "draft-07"),
    ] {
        let fault = Schema::compile(text).err().unwrap_or_else(|| panic!("{text} was taken"));
        assert_eq!(fault.at, at, "{text}: {fault:?}");
        assert!(fault.message.contains(message), "{text}: {fault:?}");
    }
    assert!(Schema::compile(r#"{"const": {"$ref": "elsewhere"}}"#).is_ok(), "data is no reference");
    assert!(Schema::compile(&format!("{{\"title\": {:?}}}", "x".repeat(MAX_SCHEMA_BYTES))).is_err());
}

/// A schema that leads to itself without end ends.
#[test]
fn a_schema_that_goes_round_ends() {
    for text in [
        r##"{"$ref": "#"}"##,
        r##"{"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##,
    ] {
        if let Ok(schema) = Schema::compile(text) {
            let _ = schema.check("{}");
        }
    }
}
