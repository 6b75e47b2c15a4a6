//! What is read in place is what `serde_json` reads, and a validator says the same of both.

use jsonschema::{
    Draft,
    json::{Node, Object},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn value_of(text: &str, instance: &mut Instance) -> Result<Value, String> {
    instance.with(text, |at| at.to_value().into_owned()).map_err(|error| error.to_string())
}

#[test]
fn a_text_is_the_value_that_the_library_reads() {
    let mut instance = Instance::default();
    for text in [
        "null",
        "true",
        "0",
        "-0",
        "-1",
        "18446744073709551615",
        "-9223372036854775808",
        "18446744073709551616",
        "1.5",
        "1e300",
        "1e999",
        "\"\"",
        "\"\\u0041\\n\\\"\"",
        "\"\\ud800\"",
        "\"é\u{1f980}\"",
        "[]",
        "[[],{},[1,[2]]]",
        "{}",
        r#"{"a":1,"b":{"a":[2,{"c":"x\ty"}]}}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"x":1},"b":0,"a":[1,2],"\u0061":3}"#,
        " { \"a\" : 1 } ",
        "",
        "{",
        "[1,]",
        "{\"a\"}",
        "1 2",
        "nul",
        "\"\u{1}\"",
    ] {
        let expected = serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
        assert_eq!(value_of(text, &mut instance), expected, "{text}");
    }
    let many =
        |count: usize| (0..count).map(|number| format!("\"n{}\":{number}", number % 40)).collect::<Vec<_>>().join(",");
    for text in [format!("{{{}}}", many(16)), format!("{{{}}}", many(39)), format!("{{{}}}", many(400))] {
        assert_eq!(value_of(&text, &mut instance), Ok(serde_json::from_str(&text).unwrap()), "{text}");
        let members = serde_json::from_str::<serde_json::Map<_, _>>(&text).unwrap().len();
        assert_eq!(instance.with(&text, |at| at.as_object().unwrap().len()).ok(), Some(members));
    }
    for (depth, fits) in [(127, true), (128, false), (100_000, false)] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(value_of(&deep, &mut instance).is_ok(), fits, "{depth}");
        assert_eq!(serde_json::from_str::<Value>(&deep).is_ok(), fits, "{depth}");
    }
}

#[test]
fn memory_of_one_large_event_is_given_back() {
    let mut instance = Instance::default();
    let elements = vec!["\"\\n\""; 3 * MAX_KEPT_BYTES / 2].join(",");
    assert!(value_of(&format!("[{elements}]"), &mut instance).is_ok());
    assert!(value_of("1", &mut instance).is_ok());
    assert!(instance.parts.capacity() <= MAX_KEPT_VALUES && instance.unescaped.capacity() <= MAX_KEPT_BYTES);
}

/// Schemas of every keyword that looks at values, each with `{}` for what is tried within.
const SCHEMAS: [&str; 30] = [
    r#"{"type":"object"}"#,
    r#"{"type":["integer","null"]}"#,
    r#"{"type":"number"}"#,
    r#"{"type":"string"}"#,
    r#"{"type":"array"}"#,
    r#"{"required":["a","b"]}"#,
    r#"{"properties":{"a":{"type":"integer"},"b":{"minLength":2}}}"#,
    r#"{"minimum":1.5}"#,
    r#"{"exclusiveMaximum":3}"#,
    r#"{"multipleOf":0.5}"#,
    r#"{"maxLength":1}"#,
    r#"{"pattern":"^a"}"#,
    r#"{"enum":[1,"a",null,[1],{"a":1}]}"#,
    r#"{"const":{"a":[1,2.0]}}"#,
    r#"{"items":{"type":"integer"}}"#,
    r#"{"prefixItems":[true,false]}"#,
    r#"{"contains":{"const":1},"maxContains":1}"#,
    r#"{"uniqueItems":true}"#,
    r#"{"minItems":2}"#,
    r#"{"additionalProperties":false,"properties":{"a":true}}"#,
    r#"{"patternProperties":{"^a":{"type":"string"}},"additionalProperties":{"type":"number"}}"#,
    r#"{"propertyNames":{"maxLength":1}}"#,
    r#"{"minProperties":2}"#,
    r#"{"maxProperties":1}"#,
    r#"{"dependentRequired":{"a":["b"]}}"#,
    r#"{"anyOf":[{"type":"string"},{"required":["a"]}]}"#,
    r#"{"oneOf":[{"minimum":1},{"maximum":2}]}"#,
    r#"{"not":{"type":"object"}}"#,
    r#"{"if":{"required":["a"]},"then":{"required":["b"]}}"#,
    r##"{"$defs":{"n":{"type":["integer","object","array"],"items":{"$ref":"#/$defs/n"},"additionalProperties":{"$ref":"#/$defs/n"}}},"$ref":"#/$defs/n","unevaluatedProperties":false}"##,
];

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "1",
            "1.0",
            "1.5",
            "2",
            "3",
            "-7",
            "1e2",
            "\"\"",
            "\"a\"",
            "\"ab\"",
            "\"\\u0061\"",
            "\"é\"",
            "18446744073709551615"
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        "[a-c]{0,3}".prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let names = prop::sample::select(vec!["\"a\"", "\"b\"", "\"ab\"", "\"\\u0061\"", "\"c\""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec((names, inner), 0..6).prop_map(|members| {
                let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", members.join(" , "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_validator_says_the_same_of_the_text_and_of_the_value(text in any_json()) {
        thread_local! {
            static VALIDATORS: Vec<(&'static str, jsonschema::Validator<InPlace>, jsonschema::Validator)> = SCHEMAS
                .into_iter()
                .map(|text| {
                    let schema: Value = serde_json::from_str(text).unwrap();
                    let options = jsonschema::options_for::<InPlace>().with_draft(Draft::Draft202012).offline().build(&schema).unwrap();
                    (text, options, jsonschema::options().with_draft(Draft::Draft202012).offline().build(&schema).unwrap())
                })
                .collect();
        }
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut instance = Instance::default();
        prop_assert_eq!(value_of(&text, &mut instance), Ok(value.clone()));
        VALIDATORS.with(|validators| {
            for (schema, in_place, of_value) in validators {
                let expected = of_value.is_valid(&value);
                let (fits, errs) = instance.with(&text, |at| (in_place.is_valid(at), in_place.validate(at).is_err())).unwrap();
                prop_assert_eq!((fits, errs), (expected, !expected), "{} of {}", schema, text);
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_whole_number_is_one_however_it_is_written() {
    let schema = json!({"type": "integer"});
    let validator = jsonschema::options_for::<InPlace>().build(&schema).unwrap();
    for (text, fits) in [("1", true), ("1.0", true), ("1e3", true), ("1.5", false), ("-0.0", true), ("1e300", true)] {
        assert_eq!(Instance::default().with(text, |at| validator.is_valid(at)).ok(), Some(fits), "{text}");
    }
}
