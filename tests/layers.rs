//! Which room may import which: an import points inward only (ARCHITECTURE.md has the map).
//!
//! Read from the sources themselves: every `crate::…` path, also out of braces, outside comments and inline tests.

#![allow(clippy::expect_used, reason = "the helpers of a test may end it, as the test itself may")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room, what it may name, and what of that it may not.
struct Room {
    name: &'static str,
    may: &'static [&'static str],
    but_not: &'static [&'static str],
}

/// What is inward of `runtime` and `http`: seams and plain values, never one implementation of a seam.
const IMPLEMENTATIONS: &[&str] = &["log::kafka", "log::broker", "store::redis", "store::embedded", "store::postgres"];

const ROOMS: &[Room] = &[
    Room { name: "model", may: &[], but_not: &[] },
    Room { name: "catalog", may: &["model"], but_not: &[] },
    // Of the log, core knows blocks and records only: values that lie in memory.
    Room {
        name: "core",
        may: &["catalog", "model", "log::Block", "log::Records", "log::RecordRef", "log::OutRecord", "log::LogError"],
        but_not: &[],
    },
    Room { name: "tls", may: &[], but_not: &[] },
    Room { name: "log", may: &["catalog", "model", "tls"], but_not: &[] },
    // Of the core, the store knows what a heartbeat means and where a key lies, so that every implementation means the same.
    Room { name: "store", may: &["model", "tls", "core::roster", "core::shards"], but_not: &[] },
    // Of the core, the registry knows what it makes JSON for; it is asked, and never asks.
    Room { name: "registry", may: &["core::translate", "model", "tls"], but_not: &[] },
    Room { name: "config", may: &["catalog", "model"], but_not: &[] },
    Room { name: "telemetry", may: &["catalog", "model"], but_not: &[] },
    Room { name: "runtime", may: &["core", "log", "store", "telemetry", "catalog", "model"], but_not: IMPLEMENTATIONS },
    Room {
        name: "http",
        may: &["runtime", "core", "log", "store", "telemetry", "catalog", "model", "tls"],
        but_not: IMPLEMENTATIONS,
    },
    Room {
        name: "app",
        may: &["http", "runtime", "registry", "core", "log", "store", "config", "telemetry", "catalog", "model", "tls"],
        but_not: &[],
    },
    Room {
        name: "handlers",
        may: &["app", "runtime", "core", "config", "telemetry", "catalog", "model", "tls"],
        but_not: &[],
    },
    Room {
        name: "cli",
        may: &["app", "http", "runtime", "core", "log", "store", "config", "telemetry", "catalog", "model", "tls"],
        but_not: &[],
    },
];

/// What the core must not name: it neither waits, nor looks at a clock, nor throws dice, nor does IO (invariant 7).
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "fred",
    "redb",
    "rskafka",
    "SystemTime",
    "Instant",
    "Utc::now",
    "Local::now",
    "rand::",
    "new_v4",
    "now_v7",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    ".await",
    "async fn",
];

#[test]
fn imports_point_inward_only() {
    let mut wrong = Vec::new();
    for file in sources() {
        let modules = modules(&file);
        let Some(name) = modules.first() else { continue };
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            wrong.push(format!("{}: the room {name} is not in the table of this test", file.display()));
            continue;
        };
        let code = code(&fs::read_to_string(&file).expect("a source file"));
        for path in paths(&code) {
            let allowed = path_is_in(&path, room.name)
                || room.may.iter().any(|may| path_is_in(&path, may))
                    && !room.but_not.iter().any(|but_not| path_is_in(&path, but_not));
            if !allowed {
                wrong.push(format!("{}: {name} must not name crate::{path}", file.display()));
            }
        }
        if longest_run_of_super(&code) >= modules.len() {
            wrong.push(format!("{}: super:: leaves the room; name it as crate::", file.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn invariant_7_the_core_neither_awaits_nor_looks_at_the_world() {
    let mut wrong = Vec::new();
    for file in sources().into_iter().filter(|file| modules(file).first().is_some_and(|room| room == "core")) {
        let code = code(&fs::read_to_string(&file).expect("a source file"));
        for word in NOT_IN_CORE.iter().filter(|word| names(&code, word)) {
            wrong.push(format!("{}: core must not name {word}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn this_test_reads_rust_well_enough() {
    for (text, expected) in [
        ("use crate::model::Key;", vec!["model::Key"]),
        ("use crate::{model::{Key, Delta as D}, log};", vec!["model::Key", "model::Delta", "log"]),
        ("fn f() { crate::store::redis::open(x::y) }", vec!["store::redis::open"]),
        ("use crate::log::{self, RecordRef};", vec!["log::self", "log::RecordRef"]),
        ("// crate::store\nlet a = \"crate::http\"; /* crate::app */", vec![]),
        ("use crate::model::Key;\n#[cfg(test)]\nmod tests { use crate::store::Store; }", vec!["model::Key"]),
        ("pub(crate) fn f() {}", vec![]),
    ] {
        assert_eq!(paths(&code(text)), expected, "{text}");
    }
    assert_eq!(longest_run_of_super(&code("use super::super::a; use super::b;")), 2);
    assert!(names("use tokio::sync;", "tokio") && !names("let mytokio_x = 1;", "tokio"));
    assert!(path_is_in("log::RecordRef", "log") && !path_is_in("logs", "log"));
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_stem().is_some_and(|stem| stem != "tests")
            {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty());
    files
}

/// The modules that lead to a file, the room first; none for the crate's roots.
fn modules(file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
    let modules: Vec<String> =
        inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    match modules.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["lib" | "main"] => Vec::new(),
        [.., "mod"] => modules[..modules.len() - 1].to_vec(),
        _ => modules,
    }
}

/// The text without comments, string literals and the inline tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match rest.as_bytes() {
            [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
            [b'/', b'*', ..] => rest.find("*/").map_or(rest.len(), |end| end + 2),
            [b'\'', b'"', b'\'', ..] => 3,
            [b'\'', b'\\', _, b'\'', ..] => 4,
            [b'r', b'#', b'"', ..] => rest.find("\"#").map_or(rest.len(), |end| end + 2),
            [b'"', ..] => end_of_string(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            rest = &rest[skipped..];
        }
    }
    code
}

fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Every path behind `crate::`, braces opened.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        open(String::new(), &code[at + "crate::".len()..], &mut found);
    }
    found
}

/// Reads the path at the beginning of `text`, with `prefix` before it, and returns what is left.
fn open<'a>(mut prefix: String, text: &'a str, found: &mut Vec<String>) -> &'a str {
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            loop {
                rest = open(prefix.clone(), rest, found).trim_start();
                if let Some(alias) = rest.strip_prefix("as ") {
                    rest = alias
                        .trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ' ');
                }
                match rest.strip_prefix(',') {
                    Some(next) if next.trim_start().starts_with('}') => return &next.trim_start()[1..],
                    Some(next) => rest = next,
                    None => return rest.strip_prefix('}').unwrap_or(rest),
                }
            }
        }
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        if end > 0 {
            if !prefix.is_empty() {
                prefix.push_str("::");
            }
            prefix.push_str(&rest[..end]);
        }
        match rest[end..].strip_prefix("::") {
            Some(next) => rest = next,
            None => {
                found.push(prefix);
                return &rest[end..];
            }
        }
    }
}

fn longest_run_of_super(code: &str) -> usize {
    let mut longest = 0;
    for (at, _) in code.match_indices("super::") {
        let mut run = 0;
        let mut rest = &code[at..];
        while let Some(next) = rest.strip_prefix("super::") {
            run += 1;
            rest = next;
        }
        longest = longest.max(run);
    }
    longest
}

fn path_is_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether `word` stands in the code as a word of its own.
fn names(code: &str, word: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(inside) && word.starts_with(inside);
        let after = code[at + word.len()..].chars().next().is_some_and(inside) && word.ends_with(inside);
        !before && !after
    })
}
