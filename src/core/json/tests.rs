//! The scanner against serde_json.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn accepts(text: &str) -> bool {
    let mut scanner = Scanner::new(text.as_bytes());
    scanner.space();
    scanner.value().is_ok() && scanner.end().is_ok()
}

fn serde_accepts(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[test]
fn accepts_what_serde_json_accepts() {
    let deep = "[".repeat(500) + &"]".repeat(500);
    let texts = [
        "",
        " ",
        "{}",
        "[]",
        " { } ",
        "[ ]",
        "{\"a\":1}",
        "{\"a\" : [ 1 , {} , [] , \"x\" ] , \"b\":null}",
        "{\"a\":1,}",
        "[1,]",
        "{,}",
        "[,]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "{]",
        "[}",
        "{\"a\":[}",
        "nul",
        "null",
        "nullx",
        "true",
        "truth",
        "false",
        "-",
        "-0",
        "-01",
        "01",
        "1.",
        "1.5",
        ".5",
        "1e",
        "1e+",
        "1E-5",
        "1e400",
        "12345678",
        "123456789012345678901234567890",
        "1234567x",
        "\"\"",
        "\"",
        "\"a",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"a\u{1}b\"",
        "\"12345678\u{1f}\"",
        "\"12345678\u{7f}é€😀\"",
        "1 1",
        "{}{}",
        "\u{feff}1",
        "\u{a0}1",
        "[\"12345678\\n12345678\",1]",
        &deep,
        &deep[1..],
    ];
    for text in texts {
        assert_eq!(accepts(text), serde_accepts(text), "{text:?}");
    }
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_anything(pieces in proptest::collection::vec(prop_oneof![
        Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"a\""), Just("\""), Just("\\"), Just("\\u00e9"),
        Just("0"), Just("1"), Just("-"), Just("."), Just("e"), Just("12345678"), Just("null"), Just("true"), Just(" "), Just("é"),
        Just("\u{1f}"), Just("abcdefgh"),
    ], 0..24)) {
        let text: String = pieces.concat();
        prop_assert_eq!(accepts(&text), serde_accepts(&text), "{:?}", text);
    }

    #[test]
    fn agrees_with_serde_json_on_spoilt_json(keys in proptest::collection::vec(".{0,12}", 1..5), at in any::<prop::sample::Index>(), with in any::<char>()) {
        let object: serde_json::Map<String, serde_json::Value> =
            keys.iter().enumerate().map(|(i, key)| (key.clone(), serde_json::json!([key, i, {"n": i as f64 / 3.0}]))).collect();
        let text = serde_json::Value::Object(object).to_string();
        prop_assert!(accepts(&text));
        let mut spoilt: Vec<char> = text.chars().collect();
        let at = at.index(spoilt.len());
        spoilt[at] = with;
        let spoilt: String = spoilt.into_iter().collect();
        prop_assert_eq!(accepts(&spoilt), serde_accepts(&spoilt), "{:?}", spoilt);
    }
}
