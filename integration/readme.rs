//! The README's examples in other languages, as they stand there but for the addresses, against the program with nothing named.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::Path, process::Command};

use serde_json::json;

use crate::{
    clients::{fetched, run},
    support::process::Process,
};

const README: &str = include_str!("../README.md");

/// The only block of the README in this language.
fn block(language: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let blocks: Vec<&str> = README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 1, "blocks of {language} in README.md");
    blocks[0]
}

/// Runs a block with other addresses than those that it names, and returns what it printed.
async fn run_block(folder: &Path, language: &str, addresses: &[(&str, &str)], mut command: Command) -> String {
    let mut text = block(language).to_owned();
    for (named, of_this_test) in addresses {
        assert!(text.contains(named), "{named} is in {text}");
        text = text.replace(named, of_this_test);
    }
    let file = folder.join(format!("readme.{language}"));
    std::fs::write(&file, text).unwrap();
    command.arg(file);
    run(command).await.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_kafkajs_and_pythons_requests_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let mut process = Process::start(&[("DATA_DIR", data_dir.to_str().unwrap())]);
    let (broker, url) = (process.broker().await, process.url().await);
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;

    let mut node = Command::new("node");
    node.env("NODE_PATH", format!("{}/node_modules", fetched("kafkajs").await));
    run_block(folder.path(), "js", &[("127.0.0.1:9092", &broker)], node).await;
    let first_is_counted = async |process: &Process| {
        let (_, answer) = process.get("/api/counters/video:123:views").await;
        (answer["data"]["value"] == json!(1)).then_some(())
    };
    process.until("the event of KafkaJS is counted", first_is_counted).await;

    let python = Command::new(fetched("confluent").await);
    let printed = run_block(folder.path(), "python", &[("http://127.0.0.1:3007", &url)], python).await;
    assert_eq!(printed, "2", "published twice under one id, it counts once more");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
