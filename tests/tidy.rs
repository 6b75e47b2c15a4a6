//! What a reader may rely on: files are short, or say in their first comment why they are not; pages show code that compiles.

#![allow(clippy::expect_used, reason = "the helpers of a test may end it, as the test itself may")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file above this must give its reason in its first comment, with the word "Longer".
const LONG_LINES: usize = 300;
/// No file may have more.
const MOST_LINES: usize = 400;
const FOLDERS: &[&str] = &["src", "tests", "integration", "benches", "examples"];

#[test]
fn files_are_short_or_say_why_not() {
    let mut wrong = Vec::new();
    for file in files("rs") {
        let text = fs::read_to_string(&file).expect("a source file");
        let lines = text.lines().count();
        let mut first_comment = text.lines().take_while(|line| line.starts_with("//"));
        if lines > MOST_LINES {
            wrong.push(format!("{}: {lines} lines, at most {MOST_LINES}", file.display()));
        } else if lines > LONG_LINES && !first_comment.any(|line| line.contains("Longer")) {
            wrong.push(format!("{}: {lines} lines and no \"Longer …, since …\" in its first comment", file.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> = files("rs")
        .into_iter()
        .filter(|file| !fs::read_to_string(file).expect("a source file").starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "no //! at the top of {}", silent.join(", "));
}

#[test]
fn main_is_short() {
    const MOST_MAIN_LINES: usize = 60;
    let main = fs::read_to_string(root().join("src/main.rs")).expect("main.rs");
    assert!(main.lines().count() < MOST_MAIN_LINES, "main.rs only hands over; move the rest into a room");
}

/// The API's document has a schema under the bare name of its type: of two with one name it would have one for both.
#[test]
fn schemas_of_the_api_have_names_of_their_own() {
    let mut names: Vec<String> = Vec::new();
    for file in files("rs").into_iter().filter(|file| file.starts_with(root().join("src"))) {
        let text = fs::read_to_string(file).expect("a source file");
        let derived = text
            .split("#[derive(")
            .skip(1)
            .filter(|rest| rest.split(')').next().unwrap_or_default().contains("ToSchema"));
        names.extend(derived.filter_map(|rest| {
            let (_, named) = rest.split_once("struct ").or_else(|| rest.split_once("enum "))?;
            Some(named.split(|character: char| !character.is_alphanumeric()).next()?.to_owned())
        }));
    }
    names.sort_unstable();
    let twice: Vec<&String> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
    assert!(names.len() > 20 && twice.is_empty(), "{} schemas, twice: {twice:?}", names.len());
}

/// Rust that users copy is what is compiled, and run by `tests/handlers`: each block of these pages stands in the example.
#[test]
fn rust_of_the_pages_stands_in_the_example() {
    let example = fs::read_to_string(root().join("examples/handlers.rs")).expect("the example");
    for (page, has_all) in [("README.md", false), ("docs/handlers.md", true)] {
        let text = fs::read_to_string(root().join(page)).expect("a page");
        let blocks: Vec<&str> = text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{page} has no Rust");
        for block in blocks {
            assert!(example.contains(block), "{page} has what examples/handlers.rs does not:\n{block}");
            assert!(!has_all || block == example, "{page} must have all of examples/handlers.rs");
        }
    }
}

/// A patch that no longer fits plants nothing, and whoever runs `just planted` would be told so only then.
#[test]
fn planted_defects_fit_the_sources() {
    let patches = files("patch");
    assert!(!patches.is_empty(), "no patches in {}", FOLDERS.join(", "));
    let mut wrong = Vec::new();
    for patch in patches {
        let text = fs::read_to_string(&patch).expect("a patch");
        for file in text.split("--- a/").skip(1) {
            let (name, hunks) = file.split_once('\n').expect("a name and what changes");
            let source = fs::read_to_string(root().join(name)).unwrap_or_default();
            for hunk in hunks.split("\n@@").skip(1) {
                let lines = hunk.lines().skip(1).filter_map(|line| line.strip_prefix([' ', '-']));
                let before: String = lines.map(|line| format!("{line}\n")).collect();
                if !source.contains(&before) {
                    wrong.push(format!("{}: {name} has changed where it plants its defect", patch.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        FOLDERS.iter().map(|folder| root().join(folder)).filter(|folder| folder.is_dir()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files
}
