//! Pairs of schemas in a table, and every verdict tried against the validator itself.

use serde_json::json;

use super::*;
use crate::catalog::schema::Schema;

fn schema(value: &Value) -> std::sync::Arc<Schema> {
    Schema::parse(&value.to_string()).unwrap_or_else(|why| panic!("{value}: {why}"))
}

/// `yes`, `no: /path message` or `unsure: /path message` of the first obstacle, those that break before the others.
fn verdict(reader: (&str, &Value), writer: (&str, &Value)) -> String {
    let (read, written) = (schema(reader.1), schema(writer.1));
    let mut found = obstacles(Side { name: reader.0, schema: &read }, Side { name: writer.0, schema: &written });
    found.sort_by_key(|obstacle| !obstacle.breaks);
    found.first().map_or("yes".to_owned(), |first| {
        format!("{}: {} {}", if first.breaks { "no" } else { "unsure" }, first.path, first.message)
    })
}

#[track_caller]
fn expect(old: Value, new: Value, backward: &str, forward: &str) {
    let found = (verdict(("NEW", &new), ("OLD", &old)), verdict(("OLD", &old), ("NEW", &new)));
    let fits =
        |found: &str, expected: &str| if expected == "yes" { found == "yes" } else { found.starts_with(expected) };
    assert!(fits(&found.0, backward) && fits(&found.1, forward), "OLD {old}\nNEW {new}\nfound {found:#?}");
    assert_eq!(verdict(("OLD", &old), ("OLD", &old)), "yes", "{old} with itself");
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[test]
fn properties() {
    let (a, ab) = (json!({"a": {"type": "string"}}), json!({"a": {"type": "string"}, "b": {"type": "integer"}}));
    let closed =
        |properties: &Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
    expect(object(a.clone(), &[]), object(ab.clone(), &[]), "yes", "yes");
    expect(object(a.clone(), &[]), object(ab.clone(), &["b"]), "no: /b NEW requires it, OLD may leave it out", "yes");
    expect(object(ab.clone(), &["b"]), object(a.clone(), &[]), "yes", "no: /b OLD requires it, NEW may leave it out");
    expect(object(a.clone(), &["a"]), object(a.clone(), &[]), "yes", "no: /a OLD requires it");
    expect(closed(&a), closed(&ab), "yes", "no: /b OLD does not know it, and refuses");
    expect(closed(&ab), closed(&a), "no: /b NEW does not know it", "yes");
    expect(object(a.clone(), &[]), closed(&a), "unsure:  NEW limits properties that it does not know", "yes");
    let beside = |kind: &str| json!({"type": "object", "properties": a, "additionalProperties": {"type": kind}});
    expect(beside("integer"), beside("number"), "yes", "no: /* OLD takes integer, NEW writes number");
    expect(beside("integer"), closed(&a), "no:  NEW refuses properties that it does not know", "yes");
    expect(beside("integer"), object(ab.clone(), &[]), "yes", "unsure:  OLD limits properties");
    expect(beside("string"), object(ab, &[]), "no: /b NEW takes integer, OLD writes string", "no: /b OLD takes string");
}

#[test]
fn types_and_values() {
    let of = |kind: Value| object(json!({"a": {"type": kind}}), &[]);
    let values = |values: Value| object(json!({"a": {"enum": values}}), &[]);
    expect(of(json!("integer")), of(json!("number")), "yes", "no: /a OLD takes integer, NEW writes number");
    expect(
        of(json!("string")),
        of(json!(["string", "null"])),
        "yes",
        "no: /a OLD takes string, NEW writes null or string",
    );
    expect(
        of(json!("string")),
        of(json!("integer")),
        "no: /a NEW takes integer, OLD writes string",
        "no: /a OLD takes",
    );
    expect(of(json!("string")), object(json!({"a": true}), &[]), "yes", "no: /a OLD takes string, NEW writes any type");
    expect(of(json!("string")), object(json!({"a": false}), &[]), "no: /a NEW takes nothing here", "yes");
    expect(values(json!(["x", "y"])), values(json!(["x", "y", "z"])), "yes", "no: /a OLD does not take \"z\"");
    expect(
        values(json!(["x", 1])),
        of(json!("string")),
        "no: /a NEW does not take 1",
        "no: /a OLD takes only \"x\", 1, NEW writes more",
    );
    expect(values(json!([true, false])), of(json!("boolean")), "yes", "yes");
    expect(values(json!([true])), of(json!("boolean")), "yes", "no: /a OLD does not take false");
    expect(
        object(json!({"a": {"const": 5}}), &[]),
        object(json!({"a": {"minimum": 6}}), &[]),
        "no: /a NEW does not take 5",
        "no: /a OLD takes only 5",
    );
}

#[test]
fn limits() {
    let of = |kind: &str, more: Value| {
        let mut schema = json!({"type": kind});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    for (kind, old, new, backward, forward) in [
        ("integer", json!({"minimum": 0}), json!({"minimum": 1}), "no:  `minimum` is 1 in NEW, 0 in OLD", "yes"),
        ("integer", json!({"minimum": 1}), json!({"exclusiveMinimum": 0}), "yes", "yes"),
        ("number", json!({"minimum": 1}), json!({"exclusiveMinimum": 1}), "no:  `exclusiveMinimum` is 1 in NEW", "yes"),
        ("number", json!({}), json!({"maximum": 9}), "no:  `maximum` is 9 in NEW, OLD has none", "yes"),
        (
            "number",
            json!({"maximum": 9, "exclusiveMaximum": 5}),
            json!({"maximum": 5}),
            "yes",
            "no:  `exclusiveMaximum`",
        ),
        (
            "integer",
            json!({"multipleOf": 6}),
            json!({"multipleOf": 3}),
            "yes",
            "no:  `multipleOf` is 6 in OLD, 3 in NEW",
        ),
        ("integer", json!({}), json!({"multipleOf": 1}), "yes", "yes"),
        ("number", json!({"multipleOf": 0.1}), json!({"multipleOf": 0.01}), "unsure:  `multipleOf`", "unsure:"),
        ("string", json!({"minLength": 0}), json!({}), "yes", "yes"),
        ("string", json!({"maxLength": 5}), json!({"maxLength": 4}), "no:  `maxLength` is 4 in NEW, 5 in OLD", "yes"),
        ("string", json!({}), json!({"pattern": "a"}), "no:  `pattern` is \"a\" in NEW, OLD has none", "yes"),
        ("string", json!({"pattern": "b"}), json!({"pattern": "a"}), "unsure:  `pattern`", "unsure:  `pattern`"),
        ("array", json!({"minItems": 1}), json!({"minItems": 2}), "no:  `minItems`", "yes"),
        ("array", json!({}), json!({"uniqueItems": true}), "no:  `uniqueItems` is true in NEW, OLD has none", "yes"),
        (
            "array",
            json!({"items": {"type": "integer"}}),
            json!({"items": {"type": "number"}}),
            "yes",
            "no: /* OLD takes",
        ),
        (
            "array",
            json!({}),
            json!({"items": {"type": "number"}}),
            "no: /* NEW takes number, OLD writes any type",
            "yes",
        ),
        ("object", json!({"maxProperties": 3}), json!({}), "yes", "no:  `maxProperties` is 3 in OLD, NEW has none"),
        ("boolean", json!({}), json!({"minimum": 7, "minLength": 3}), "yes", "yes"),
    ] {
        expect(of(kind, old), of(kind, new), backward, forward);
    }
}

#[test]
fn references_and_what_is_beyond() {
    let node = |kind: &str| {
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
            "value": {"type": kind}, "next": {"$ref": "#/$defs/node"}}}}})
    };
    expect(node("integer"), node("number"), "yes", "no: /value OLD takes integer, NEW writes number");
    let plain = object(json!({"value": {"type": "string"}}), &[]);
    expect(node("string"), plain, "yes", "yes");
    let any = |keyword: &str, of: Value| json!({"type": "object", keyword: of});
    let (one, other) = (json!([{"required": ["a"]}]), json!([{"required": ["b"]}]));
    expect(any("anyOf", one.clone()), any("anyOf", other), "unsure:  NEW has `anyOf`", "unsure:  OLD has `anyOf`");
    expect(any("anyOf", one.clone()), json!({"type": "object"}), "yes", "unsure:  OLD has `anyOf`");
    expect(
        any("allOf", one),
        object(json!({}), &["a"]),
        "unsure: /a NEW requires it, OLD may leave it out, unless",
        "unsure:",
    );
    let beside = json!({"$ref": "#/$defs/a", "minimum": 1, "$defs": {"a": {"type": "integer"}}});
    let (read, written) = (schema(&beside), schema(&json!({"type": "integer"})));
    let found = obstacles(Side { name: "NEW", schema: &read }, Side { name: "OLD", schema: &written });
    assert!(!found[0].breaks && found[0].message == "`minimum` stands beside `$ref`", "{found:?}");
}

/// No pair is called readable where the validator refuses a value that the writer's schema takes.
#[test]
fn what_is_called_readable_is_read() {
    let parts = [
        json!({"type": "integer"}),
        json!({"type": "number", "minimum": 1}),
        json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 3}),
        json!({"type": ["string", "null"], "maxLength": 2}),
        json!({"type": "string", "minLength": 1}),
        json!({"enum": ["x", 1, null]}),
        json!({"type": "boolean"}),
        json!({"const": true}),
        json!(true),
        json!({"type": "array", "items": {"type": "integer"}, "minItems": 1}),
        json!({"multipleOf": 2}),
    ];
    let values = [
        json!(0),
        json!(1),
        json!(2),
        json!(4),
        json!(1.5),
        json!("x"),
        json!(""),
        json!("xyz"),
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!([1]),
        json!(["x"]),
        json!({}),
    ];
    let wraps: [fn(&Value) -> Value; 3] = [
        |part| object(json!({"a": part}), &[]),
        |part| object(json!({"a": part}), &["a"]),
        |part| json!({"properties": {"a": part}, "additionalProperties": false}),
    ];
    let (mut readable, mut refused) = (0, 0);
    let schemas: Vec<Value> = parts.iter().flat_map(|part| wraps.iter().map(|wrap| wrap(part))).collect();
    for old in &schemas {
        for new in &schemas {
            let is_readable = verdict(("NEW", new), ("OLD", old)) == "yes";
            let (read, written) = (schema(new), schema(old));
            let events = values.iter().map(|value| json!({"a": value})).chain([json!({})]);
            let counter = events
                .map(|event| event.to_string())
                .find(|event| written.check(event).is_ok() && read.check(event).is_err());
            assert!(!is_readable || counter.is_none(), "OLD {old}\nNEW {new}\nis not read: {counter:?}");
            readable += usize::from(is_readable);
            refused += usize::from(counter.is_some());
        }
    }
    assert!(readable > 100 && refused > 300, "{readable} readable, {refused} refused");
}
