//! The commands as a user runs them.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::process::Process;

/// Runs a command on a data folder: exit code, standard output, standard error.
pub fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.env_clear().env("DATA_DIR", folder).env("KAFKA_LISTEN", "127.0.0.1:0").args(args);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

pub fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_export_and_import_from_the_command_line() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data_dir = folder.path().to_str().unwrap();
    let mut process = Process::start(&[("DATA_DIR", data_dir)]);
    process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
    let event = |n: usize| json!({ "data": { "type": "video.view", "videoId": format!("v{}", n % 3), "userId": n } });
    let batch = json!({ "topic": "video.views", "events": (0..90).map(event).collect::<Vec<_>>() });
    assert_eq!(process.post("/api/events/publish-batch", &batch).await.0, 200);
    process
        .until("all are counted", async |process| {
            let query = json!({ "keys": ["video:v0:views", "video:v1:views", "video:v2:views"] });
            let (_, answer) = process.post("/api/counters/query", &query).await;
            let stored = |at: usize| answer["data"][at]["stored"].as_i64().unwrap_or(0);
            (stored(0) + stored(1) + stored(2) == 90).then_some(())
        })
        .await;
    let (code, out, said) = run(folder.path(), &["counters", "verify"]);
    assert_eq!((code, out.as_str()), (2, ""), "{said}");
    assert!(said.contains("stop the one that runs first"), "{said}");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    let (code, out, said) = run(folder.path(), &["counters", "verify"]);
    let told = json_of(&out);
    assert_eq!(
        (code, &told["differences"], &told["recounted"], &told["all"]),
        (0, &json!([]), &json!(90), &json!(true)),
        "{said}"
    );
    let (code, _, said) = run(folder.path(), &["counters", "verify", "--topic", "video.veiws"]);
    assert_eq!(code, 2);
    assert!(said.contains("did you mean video.views?"), "{said}");

    let file = other.path().join("totals.ndjson");
    let file = file.to_str().unwrap();
    let (code, out, said) = run(folder.path(), &["counters", "export", "--file", file]);
    assert_eq!((code, out.as_str()), (0, ""), "{said}");
    let (_, shown, _) = run(folder.path(), &["counters", "export"]);
    let written = std::fs::read_to_string(file).unwrap();
    assert_eq!(shown.lines().skip(1).collect::<Vec<_>>(), written.lines().skip(1).collect::<Vec<_>>());
    let header = json_of(written.lines().next().unwrap());
    assert_eq!((&header["consistent"], &header["group"]), (&json!(true), &json!("streamgauge")));
    assert_eq!(header["checkpoints"].as_object().unwrap().values().map(|at| at.as_i64().unwrap()).sum::<i64>(), 90);
    assert!(written.contains(r#"{"name":"video:v0:views","value":30,"kind":"count"}"#), "{written}");

    // In another store, and not before it is said.
    let empty = other.path().join("data");
    let (code, out, said) = run(&empty, &["counters", "import", file]);
    let told = json_of(&out);
    assert_eq!((code, &told["executed"], &told["addedNow"]), (0, &json!(false), &json!(0)), "{said}");
    for (added_now, added_before) in [(1, 0), (0, 1)] {
        let (code, out, said) = run(&empty, &["counters", "import", file, "--execute"]);
        let told = json_of(&out);
        assert_eq!(
            (code, &told["addedNow"], &told["addedBefore"]),
            (0, &json!(added_now), &json!(added_before)),
            "{said}"
        );
        let (_, again, _) = run(&empty, &["counters", "export"]);
        assert_eq!(again.lines().skip(1).collect::<Vec<_>>(), written.lines().skip(1).collect::<Vec<_>>());
    }
    let (code, out, said) = run(&empty, &["counters", "verify"]);
    assert_eq!((code, &json_of(&out)["differences"]), (0, &json!([])), "{said}");
    std::fs::write(file, written.lines().next().unwrap()).unwrap();
    let (code, _, said) = run(&empty, &["counters", "import", file, "--execute"]);
    assert_eq!(code, 1);
    assert!(said.contains("cut off"), "{said}");
}
