//! Malformed and hostile events, each with what it must come to: known from how it was made, not computed.

use serde_json::{Value, json};

use super::events::Random;

/// A catalogue for them, of the topic `t`.
pub const CATALOG: &str = r#"
name = "c"
[[topic]]
name = "t"
identity = []
[[topic.event]]
type = "e"
rules = [{ count = "k:{a}:{b}:n", by = { field = "amount", scale = 2 } }]
[[topic.event]]
type = "f"
rules = [{ count = "never" }]
"#;

/// A record, and what it must come to.
pub struct Hostile {
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub expected: Expected,
}

pub enum Expected {
    /// It counts under these two ids.
    Counts(String, String),
    /// It is a dead letter for this reason.
    Dead(&'static str),
    /// One of both: it was spoilt at random.
    Either,
}

impl Hostile {
    fn new(value: impl Into<Vec<u8>>, expected: Expected) -> Self {
        Self { value: value.into(), headers: Vec::new(), expected }
    }
}

/// Texts that want to be more than an id.
fn id(random: &mut Random) -> String {
    let pieces = [
        ":",
        "%",
        "%3A",
        "{a}",
        "{",
        "}",
        "\n",
        "\r",
        "\t",
        "\0",
        " ",
        "\u{a0}",
        "\u{2028}",
        "\u{feff}",
        "é",
        "e\u{301}",
        "\u{202e}",
        "😀",
        "/",
        "\\",
        "\"",
        "*",
        "?",
        "[",
        "1",
        "2",
        "a",
        "b",
        "n",
        "k:",
        ":n",
        "counters:aggregated",
        "sg:",
        "$(x)",
        "';",
        "\u{7f}",
        "\u{85}",
    ];
    (0..=random.below(5)).map(|_| pieces[random.below(pieces.len())]).collect()
}

fn event(a: &Value, b: &Value, amount: &str, more: &str) -> String {
    format!(r#"{{"type":"e","a":{a},"b":{b},"amount":{amount}{more}}}"#)
}

fn counts(a: String, b: String, more: &str) -> Hostile {
    Hostile::new(event(&json!(a), &json!(b), "1", more), Expected::Counts(a, b))
}

fn dead(value: String, reason: &'static str) -> Hostile {
    Hostile::new(value, Expected::Dead(reason))
}

/// Another one each time.
pub fn hostile(random: &mut Random) -> Hostile {
    let (a, b) = (id(random), id(random));
    let (plain, one) = (json!("x"), json!(1));
    match random.below(18) {
        0..=3 => counts(a, b, ""),
        4 => nested_deep(a, b, random),
        // One megabyte, mostly where nobody asks for it.
        5 if random.below(20) == 0 => large(a, b, random),
        5 => counts(a, b, r#","a2":1e999999,"n":-123456789012345678901234567890123456789012345678901234567890.5e-400"#),
        // Of names that are there twice the last counts.
        6 => counts(a.clone(), b, &format!(r#","a":"first","a":{}"#, json!(a))),
        7 => {
            let digits = format!("{}{}", 1 + random.below(9), "7".repeat(random.below(400)));
            Hostile::new(
                format!(r#"{{"type":"e","a":{digits},"b":"x","amount":1}}"#),
                Expected::Counts(digits, "x".to_owned()),
            )
        }
        8 => {
            let wrong = [json!(true), json!([1]), json!({"a": "x"}), json!(1.5), json!(""), json!(1e300)];
            dead(event(&wrong[random.below(wrong.len())], &plain, "1", ""), "bad-field")
        }
        9 => {
            let missing = [
                event(&Value::Null, &plain, "1", ""),
                r#"{"type":"e","b":1,"amount":1}"#.to_owned(),
                event(&one, &one, "null", ""),
            ];
            dead(missing[random.below(3)].clone(), "missing-field")
        }
        10 => {
            let amounts = [
                "1e400",
                "0.001",
                "99999999999999999999",
                "\"NaN\"",
                "\"Infinity\"",
                "\"\"",
                "\"0x10\"",
                "true",
                "[]",
                "\"1,5\"",
                "1e-300",
            ];
            dead(event(&json!(a), &json!(b), amounts[random.below(amounts.len())], ""), "bad-amount")
        }
        11 => {
            let times = ["true", "\"soon\"", "1e12", "99999999999999999999", "{}", "\"2026-13-45T99:99:99Z\""];
            dead(
                event(&json!(a), &json!(b), "1", &format!(r#","timestamp":{}"#, times[random.below(times.len())])),
                "bad-time",
            )
        }
        12 => {
            let texts = [
                r#"{"type":"e""#,
                "",
                "{",
                "nul",
                r#"{"type":"e",}"#,
                r#"{"a":"\x"}"#,
                "{\"a\":\"\n\"}",
                "{'type':'e'}",
                "{} {}",
                "01",
                "\u{feff}{}",
            ];
            dead(texts[random.below(texts.len())].to_owned(), "not-json")
        }
        13 => {
            let mut value = event(&plain, &plain, "1", r#","t":"@""#).into_bytes();
            let at = value.iter().position(|byte| *byte == b'@').unwrap();
            value.splice(
                at..=at,
                [&[0xff][..], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[0xf5, 0x80, 0x80, 0x80]][random.below(4)]
                    .iter()
                    .copied(),
            );
            Hostile::new(value, Expected::Dead("not-json"))
        }
        14 => {
            let texts = ["[]", "1", "\"e\"", "null", "{}", r#"{"type":5}"#, r#"{"metadata":1,"data":{}}"#];
            dead(texts[random.below(texts.len())].to_owned(), "no-shape")
        }
        15 => {
            let types = [
                r#"{"type":"E"}"#,
                r#"{"type":""}"#,
                r#"{"metadata":{"eventType":["e"]},"data":{}}"#,
                r#"{"eventType":"e:f","data":{}}"#,
                r#"{"specversion":"1.0","data":{}}"#,
            ];
            dead(types[random.below(types.len())].to_owned(), "unknown-type")
        }
        16 => cloud_event(a, b, random),
        _ => spoilt(&a, &b, random),
    }
}

fn nested_deep(a: String, b: String, random: &mut Random) -> Hostile {
    let depth = 1 << random.below(15);
    let (open, close) = if random.below(2) == 0 { ("[", "]") } else { ("{\"a\":", "}") };
    let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
    if random.below(4) == 0 {
        return dead(event(&json!(a), &json!(b), "1", &format!(r#","d":{}"#, &deep[..deep.len() - 1])), "not-json");
    }
    counts(a, b, &format!(r#","d":{deep}"#))
}

fn large(a: String, b: String, random: &mut Random) -> Hostile {
    let text = "é".repeat(1 << 19);
    match random.below(2) {
        0 => counts(a, b, &format!(r#","text":"{text}""#)),
        _ => dead(event(&json!(text), &json!(b), "1", ""), "key-too-long"),
    }
}

/// Its attributes are headers, which may hold any bytes.
fn cloud_event(a: String, b: String, random: &mut Random) -> Hostile {
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    let value = json!({ "a": a, "amount": "1" }).to_string().into_bytes();
    let (kind, expected): (&[u8], _) = match random.below(3) {
        0 => (b"\xff\xfe", Expected::Dead("unknown-type")),
        1 => (b"e", Expected::Dead("bad-field")),
        _ => (b"e", Expected::Counts(a, b.clone())),
    };
    let b = if matches!(expected, Expected::Dead("bad-field")) { &b"\xff"[..] } else { b.as_bytes() };
    Hostile { value, headers: vec![header("ce_type", kind), header("ce_b", b)], expected }
}

/// A good event with some bytes that are others.
fn spoilt(a: &str, b: &str, random: &mut Random) -> Hostile {
    let mut value = event(&json!(a), &json!(b), "1", r#","timestamp":1700000000000"#).into_bytes();
    for _ in 0..=random.below(3) {
        let at = random.below(value.len());
        value[at] = random.below(256) as u8;
    }
    Hostile::new(value, Expected::Either)
}
