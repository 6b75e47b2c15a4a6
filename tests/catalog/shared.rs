//! Which rules of two topics may make one key.

use streamgauge::catalog;

use crate::source;

#[test]
fn rules_of_two_topics_meet_in_one_key_only_where_both_say_so() {
    let topic = |name: &str, rule: &str| {
        format!(
            "name = \"{name}\"\n[[topic]]\nname = \"{name}\"\nkey = [\"x\"]\n[[topic.event]]\ntype = \"e\"\nrules = [{{ {rule} }}]\n"
        )
    };
    for (first, second, fault) in [
        ("count = \"k:{x}\"", "count = \"k:{y}\"", Some("not both say that they share it")),
        ("count = \"k:{x}\", shared = true", "count = \"k:{y}\"", Some("not both say")),
        ("count = \"k:{x}\", shared = true", "count = \"k:{y}\", shared = true", None),
        ("count = \"k:{x}\"", "count = \"k:{x}:{y}\"", None),
        ("count = \"k:{x}\", shared = true", "max = \"k:total\", of = { field = \"n\" }, shared = true", Some("a max")),
        ("unique = \"k\", of = \"{x}\"", "recent = \"k:2026-01-01\", of = \"{x}\"", Some("a recent")),
        (
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", shared = true",
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", shared = true",
            Some("race"),
        ),
        // The latest event decides, whatever partition of whatever topic has it.
        (
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\", moves = \"n\", shared = true",
            "member = \"s:{z}\", of = \"{y}\", op = \"remove\", order = \"time\", moves = \"n\", shared = true",
            None,
        ),
        (
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\", shared = true",
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\"",
            Some("not both say"),
        ),
        (
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\", shared = true",
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\", tombstones = \"8d\", shared = true",
            Some("has tombstones 8d"),
        ),
        (
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\", shared = true",
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", shared = true",
            Some("a member ordered by time"),
        ),
        (
            "member = \"s:{x}\", of = \"{y}\", op = \"add\", order = \"time\", moves = \"n\", shared = true",
            "member = \"t:{x}\", of = \"{y}\", op = \"add\", moves = \"n\", shared = true",
            Some("a counter that a member ordered by time moves"),
        ),
        (
            "top = \"s\", of = \"{y}\", shared = true",
            "top = \"s\", of = \"{y}\", shared = true, retention = \"1d\"",
            Some("has retention 1d"),
        ),
    ] {
        let findings = catalog::lint(&[source("1", &topic("a", first)), source("2", &topic("b", second))]);
        match fault {
            None => assert!(findings.is_empty(), "{first} | {second}: {findings:#?}"),
            Some(words) => {
                assert!(findings.iter().any(|f| f.message.contains(words)), "{first} | {second}: {findings:#?}")
            }
        }
    }
}
