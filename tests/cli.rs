//! The commands as a user runs them: the binary, embedded, in a folder of its own, and each command against it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it stands")]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// The binary with nothing of this machine's environment, in a folder where no data of others lies.
fn streamgauge(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command
}

/// Before a condition is looked at again.
#[allow(
    clippy::disallowed_methods,
    reason = "no runtime here that it could block: the test's own thread waits for a process"
)]
fn pause() {
    std::thread::sleep(LOOK);
}

/// A running process. Dropping it kills it.
struct Running {
    folder: tempfile::TempDir,
    process: Child,
    /// Its log as it comes; kept, so that its stdout never breaks.
    lines: mpsc::Receiver<String>,
    port: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Running {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = streamgauge(folder.path())
            .args(["run"])
            .envs([("PORT", "0"), ("KAFKA_LISTEN", "127.0.0.1:0"), ("DATA_DIR", "data")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read(process.stdout.take().unwrap());
        let port = loop {
            let line = lines.recv_timeout(DEADLINE).expect("a line that says where HTTP is");
            let line: Value = serde_json::from_str(&line).expect("a line of the log is JSON");
            if let Some(addr) = line["message"].as_str().unwrap_or_default().strip_prefix("HTTP on http://127.0.0.1:") {
                break addr.to_owned();
            }
        };
        Self { folder, process, lines, port }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = streamgauge(self.folder.path());
        command.args(args).env("PORT", &self.port);
        command
    }

    /// Exit code, standard output, standard error.
    fn ask(&self, args: &[&str]) -> (i32, String, String) {
        told(&self.command(args).output().unwrap())
    }

    fn ask_with(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.command(args);
        let mut asked = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        asked.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        told(&asked.wait_with_output().unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.ask(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).expect(&out)
    }

    /// Asks until the answer is as wanted.
    fn eventually(&self, args: &[&str], is_wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.json(args);
            if is_wanted(&answer) {
                return answer;
            }
            assert!(began.elapsed() < DEADLINE, "{args:?} still answers {answer}");
            pause();
        }
    }

    fn wait_until_ready(&self) {
        let began = Instant::now();
        while self.ask(&["healthcheck"]).0 != 0 {
            assert!(began.elapsed() < DEADLINE, "never ready");
            pause();
        }
    }
}

/// Reads a process's output in a thread of its own, so that the process never waits for us.
fn read(out: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // Nobody may be listening any more; the pipe is emptied all the same.
            let _ = sender.send(line);
        }
    });
    lines
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// One process for all commands, since starting it is the dear part.
#[test]
fn every_command_talks_to_the_running_process() {
    let mut running = Running::start();
    running.wait_until_ready();
    assert_eq!(running.ask(&["healthcheck"]), (0, "ready\n".to_owned(), String::new()));
    publishes_one_event(&running);
    publishes_lines(&running);
    reads_counters(&running);
    refuses_with_reasons(&running);
    ends_on_sigterm(&mut running);
    let (code, out, _) = running.ask(&["healthcheck"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("not ready: ") && out.contains("is streamgauge running there? PORT"), "{out}");
}

fn publishes_one_event(running: &Running) {
    let receipt = running.json(&["publish", "video.views", r#"{"videoId":"v1","userId":"u1"}"#, "--event-id", "e-1"]);
    assert_eq!(receipt["success"], true);
    assert_eq!(receipt["eventId"], "e-1");
    assert_eq!(receipt["topic"], "video.views");
    assert_eq!(receipt["offset"], 0);
    let like = r#"{"videoId":"v1","userId":"u1"}"#;
    assert_eq!(running.json(&["publish", "video.likes", like, "--type", "video.like"])["success"], true);
}

fn publishes_lines(running: &Running) {
    let lines = "{\"videoId\":\"v2\",\"userId\":\"u1\"}\n\n{\"videoId\":\"v2\"}\nno json\n{\"videoId\":\"v2\",\"userId\":\"u2\"}\n";
    let (code, out, err) = running.ask_with(&["publish", "video.views"], lines);
    assert_eq!(code, 1, "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
    for part in [
        "line 3 is not published: video.view needs the field userId",
        "line 4 is not published",
        "2 published, 2 failed",
    ] {
        assert!(err.contains(part), "{part} is missing in:\n{err}");
    }
    let (code, _, err) = running.ask_with(&["publish", "video.views"], "{\"videoId\":\"v1\",\"userId\":\"u3\"}\n");
    assert_eq!((code, &*err), (0, "1 published, 0 failed\n"));
}

fn reads_counters(running: &Running) {
    let keys = ["counters", "get", "video:v1:views", "video:v2:views", "video:v1:likes", "video:none:views"];
    let values = |answer: &Value| -> Vec<i64> {
        answer.as_array().unwrap().iter().map(|counter| counter["value"].as_i64().unwrap()).collect()
    };
    let counters = running.eventually(&keys, |answer| values(answer) == [2, 2, 1, 0]);
    assert_eq!(counters[0]["exists"], true);
    assert_eq!(counters[3]["exists"], false);
    // An hour may end while this runs, a day seldom does; the ranking of the day that has begun is then empty.
    let day = running.json(&["counters", "top", "trending:videos", "--window", "1d", "--limit", "1"]);
    assert_eq!(day["window"], "1d");
    assert!(day["items"].as_array().unwrap().len() <= 1, "{day}");
}

fn refuses_with_reasons(running: &Running) {
    let view = r#"{"videoId":"v1","userId":"u1"}"#;
    let cases: &[(&[&str], i32, &str)] = &[
        (&["publish", "video.viws", view], 1, "did you mean video.views?"),
        (&["publish", "video.views", r#"{"videoId":"v1"}"#], 1, "needs the field userId"),
        (&["publish", "video.views", "no json"], 1, "the data is no JSON"),
        (&["publish", "video.likes", view], 1, "give eventType"),
        (&["publish", "video.likes", view, "--type", "video.lik"], 1, "did you mean video.like?"),
        (&["publish", "video.views", view, "--priority", "urgent"], 1, "critical, high, normal, low"),
        (&["publish"], 2, "<TOPIC>"),
        (&["counters", "get"], 2, "<KEY>"),
        (&["counters", "top", "trending:vids"], 1, "did you mean trending:videos?"),
        (&["counters", "top", "trending:videos", "--window", "5m"], 1, "it has 1h, 1d"),
        (&["counters", "top", "trending:videos", "--limit", "5000"], 1, "1 to 1000"),
        (&["catalog", "lint", "no-such.toml"], 1, "no-such.toml"),
        (&["catalog", "show", "video.viws"], 1, "did you mean `video.views`?"),
        (&["--config", "no-such.toml", "config", "check"], 1, "no-such.toml"),
        (&["--config", "no-such.toml", "demo"], 1, "demo takes no --config"),
        (&["demo", "--for", "soon"], 2, "10s"),
        (&["frobnicate"], 2, "frobnicate"),
        // The port of the running process is not free.
        (&["run"], 1, "PORT"),
    ];
    for (args, code, reason) in cases {
        let (ended, out, err) = running.ask(args);
        assert_eq!(ended, *code, "{args:?}: {out}{err}");
        assert!(err.contains(reason), "{args:?}: {reason} is missing in:\n{err}");
        let doubled = err.matches("os error").count() > 1;
        assert!(!doubled, "{args:?} tells its cause twice: {err}");
    }
    // Its folder is taken too.
    let output = running.command(&["run"]).envs([("PORT", "0"), ("DATA_DIR", "data")]).output().unwrap();
    let (code, _, err) = told(&output);
    assert_eq!(code, 1);
    assert!(err.contains("is in use by another process") && err.contains("DATA_DIR"), "{err}");
}

fn ends_on_sigterm(running: &mut Running) {
    let pid = running.process.id().to_string();
    // The shell's own kill: a small system has no program of that name.
    assert!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap().success());
    let began = Instant::now();
    let status = loop {
        if let Some(status) = running.process.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < DEADLINE, "it does not end");
        pause();
    };
    assert_eq!(status.code(), Some(0));
    // The reader has all lines once the process has ended.
    let log: Vec<Value> = running.lines.iter().map(|line| serde_json::from_str(&line).expect(&line)).collect();
    let last = log.last().expect("last words");
    assert_eq!(last["message"], "stopped");
    assert_eq!(last["events"], 5, "{last}");
    assert!(log.iter().any(|line| line["message"] == "counted from offset 0 to 2" && line["topic"] == "video.views"));
}

#[test]
fn commands_that_need_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |args: &[&str], envs: &[(&str, &str)]| {
        told(&streamgauge(folder.path()).args(args).envs(envs.iter().copied()).output().unwrap())
    };
    let (code, out, err) = ask(&["config", "check"], &[("KAFKA_BROKRS", "x")]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("did you mean KAFKA_BROKERS?") && out.contains("embedded log"), "{out}");
    let (code, _, err) = ask(&["config", "check"], &[("PORT", "x"), ("KAFKA_LINGER_MS", "x")]);
    assert_eq!(code, 1);
    assert!(err.contains("2 problems") && err.contains("PORT") && err.contains("KAFKA_LINGER_MS"), "{err}");
    let (code, out, _) = ask(&["config", "show"], &[("REDIS_PASSWORD", "hunter2")]);
    assert_eq!(code, 0);
    let settings: Value = serde_json::from_str(&out).expect("piped: JSON");
    assert!(settings.as_array().unwrap().iter().any(|setting| setting["name"] == "REDIS_PASSWORD"), "{out}");
    assert!(!out.contains("hunter2"), "{out}");
    assert_eq!(ask(&["catalog", "lint"], &[]).0, 0);
    std::fs::write(folder.path().join("bad.toml"), "name = \"shop\"\n[[topic]]\nname = \"t\"\nshap = [\"flat\"]\n")
        .unwrap();
    let (code, out, _) = ask(&["catalog", "lint", "bad.toml"], &[]);
    assert_eq!(code, 1);
    assert!(out.contains("bad.toml:4:1") && out.contains("did you mean `shape`?"), "{out}");
    for refused in [&["run"][..], &["config", "check"]] {
        let (code, _, err) = ask(refused, &[("CATALOG_PATH", "bad.toml")]);
        assert_eq!(code, 1, "{refused:?}");
        assert!(err.contains("bad.toml:4:1"), "{err}");
    }
    let (code, out, _) = ask(&["demo", "--for", "500ms", "--rate", "200"], &[("KAFKA_LISTEN", "127.0.0.1:0")]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("difference 0"), "{out}");
}
