//! What a reader may rely on: files are short, or say in their first comment why they are not.

#![allow(clippy::expect_used, reason = "the helpers of a test may end it, as the test itself may")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file above this must give its reason in its first comment, with the word "Longer".
const LONG_LINES: usize = 300;
/// No file may have more.
const MOST_LINES: usize = 400;
const FOLDERS: &[&str] = &["src", "tests", "integration", "benches"];

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
