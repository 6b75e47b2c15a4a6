//! A recount that begins at an export, where the log no longer holds the group's beginning.

use std::path::Path;

use serde_json::{Value, json};
use streamgauge::{
    log::{
        At, Log,
        kafka::{KafkaLog, KafkaOptions},
    },
    model::TopicPartition,
};

use crate::{
    commands::{json_of, run},
    support::{
        events::{Published, events_of_these_days, fresh_seed},
        process::Process,
        results,
    },
};

const EVENTS: usize = 2_000;
/// Of the first line of an export.
type Change = fn(&mut Value);

/// Publishes to the process of a folder, which is stopped when all is counted. Returns how many records were deleted before.
async fn count(folder: &Path, events: &[Published], keeps: Option<i64>) -> i64 {
    let mut process = Process::start(&[("DATA_DIR", folder.to_str().unwrap())]);
    process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let log = KafkaLog::connect(KafkaOptions::new(vec![process.broker().await]));
    let mut deleted = 0;
    if let Some(keeps) = keeps {
        for partition in 0..6 {
            let views = TopicPartition::new("video.views", partition);
            let start = (log.offset_at(&views, At::End).await.unwrap() - keeps).max(0);
            assert_eq!(log.admin().delete_records(&views, start).await.unwrap(), start);
            deleted += start;
        }
    }
    results::publish(&log, "", events).await;
    let counted = async |process: &Process| {
        (process.metric("streamgauge_records_total", "").await >= events.len() as f64).then_some(())
    };
    process.until("all are counted", counted).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    deleted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_verified_from_an_export_on_where_the_log_has_lost_the_beginning() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = folder.path();
    let (file, extra) = (other.path().join("totals.ndjson"), other.path().join("extra.ndjson"));
    let [file, extra] = [&file, &extra].map(|path| path.to_str().unwrap());
    // None of the later ones repeats one of the first.
    let seed = fresh_seed();
    let [first, later] = [seed, seed.wrapping_add(1)].map(|seed| events_of_these_days(seed, EVENTS, 20));
    count(folder, &first, None).await;
    let import = |name: &str| {
        std::fs::write(extra, json!({ "name": name, "value": 1_000 }).to_string()).unwrap();
        let (code, _, said) = run(folder, &["counters", "import", extra, "--execute"]);
        assert_eq!(code, 0, "{said}");
    };
    import("video:before:views");
    let (code, _, said) = run(folder, &["counters", "export", "--file", file]);
    assert_eq!(code, 0, "{said}");
    import("video:after:views");
    let deleted = count(folder, &later, Some(50)).await;
    assert!(deleted > 0, "nothing is lost: the test tries nothing");

    let (code, _, said) = run(folder, &["counters", "verify"]);
    assert!(code == 2 && said.contains("and the group began at 0"), "{said}");
    let (code, out, said) = run(folder, &["counters", "verify", "--from", file]);
    let told = json_of(&out);
    assert_eq!((code, &told["differences"], &told["uncompared"]), (0, &json!([]), &json!([])), "{said}");
    assert_eq!(told["recounted"], json!(2 * EVENTS as i64 - deleted), "with the duplicate windows, where they are");
    let cut = told["cutWindows"].as_array().unwrap();
    assert!(!cut.is_empty() && cut.iter().all(|name| name.as_str().unwrap().starts_with("video.views:")), "{told}");
    // The subscribers of a channel are moved by a set, which an export does not have.
    assert!(told["leftAside"].as_u64() > Some(0), "{told}");
    assert!(told["compared"].as_u64() > Some(500), "{told}");

    // What differs since is found: here it is the export that says something else.
    let written = std::fs::read_to_string(file).unwrap();
    let line = written.lines().find(|line| line.contains(":views") && !line.contains("before")).unwrap();
    let mut changed: Value = serde_json::from_str(line).unwrap();
    let name = changed["name"].as_str().unwrap().to_owned();
    changed["value"] = json!(changed["value"].as_i64().unwrap() + 1);
    std::fs::write(file, written.replace(line, &changed.to_string())).unwrap();
    let (code, out, said) = run(folder, &["counters", "verify", "--from", file]);
    let told = json_of(&out);
    assert_eq!((code, told["differences"].as_array().unwrap().len()), (1, 1), "{said}");
    assert_eq!(told["differences"][0]["key"], json!(name));

    let header = |change: Change| {
        let (first, rest) = written.split_once('\n').unwrap();
        let mut header: Value = serde_json::from_str(first).unwrap();
        change(&mut header);
        std::fs::write(file, format!("{header}\n{rest}")).unwrap();
    };
    let cases: [(Change, &str); 5] = [
        (|header| header["group"] = json!("others"), "it is of the group \"others\""),
        (|header| header["consistent"] = json!(false), "are not of one moment"),
        (|header| header["counters"] = json!(1), "the file is cut off or was changed"),
        (|header| drop(header.as_object_mut().unwrap().remove("incarnations")), "export again"),
        (
            |header| header["incarnations"]["video.likes:0"] = json!([7]),
            "its results were rebuilt, restored or moved since the snapshot was made",
        ),
    ];
    for (change, says) in cases {
        header(change);
        let (code, out, said) = run(folder, &["counters", "verify", "--from", file]);
        assert_eq!((code, out.as_str()), (2, ""), "{says}: {said}");
        assert!(said.contains(says), "{says}: {said}");
    }
    std::fs::write(file, "{}").unwrap();
    let (code, _, said) = run(folder, &["counters", "verify", "--from", file]);
    assert!(code == 2 && said.contains("make one with `counters export --file FILE`"), "{said}");
}
