//! Kafka's own client, in a JVM beside the test: it writes what ours cannot, and says what a log really holds.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::support::{oracle::Record, results::Partitions};

/// A record to write.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub time_ms: Option<i64>,
    pub headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

/// What becomes of the records of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// No transaction.
    Plain,
    /// In the transaction of this producer, which goes on.
    Open(&'static str),
    Commit(&'static str),
    Abort(&'static str),
}

/// The client. It ends with the value.
pub struct Java {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

/// Where Kafka's jars are, as a class path.
pub fn jars() -> String {
    let folder = std::env::var("STREAMGAUGE_TEST_KAFKA_JARS")
        .expect("STREAMGAUGE_TEST_KAFKA_JARS names the folder of Kafka's jars; integration/services sets it");
    format!("{folder}/*")
}

/// Where the compiled client is; compiled once in a process.
fn classes() -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("log-client");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/java/LogClient.java");
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "-proc:none", "-cp", &jars(), "-d"]).arg(&folder).arg(source);
        assert!(javac.status().expect("a JDK is installed").success(), "LogClient.java does not compile");
        folder
    })
}

impl Java {
    pub fn start(brokers: &str) -> Self {
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
        java.arg(format!("{}:{}", classes().display(), jars())).args(["LogClient", brokers]);
        // The client says a lot about brokers that are away, which is what some tests are about.
        java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = java.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output, folder: tempfile::tempdir().unwrap() }
    }

    /// Carries a command out and gives the answer; fails with the client's error.
    pub fn ask(&mut self, command: &Value) -> Value {
        let answer = self.try_ask(command);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer
    }

    /// The same where an error is an answer too.
    pub fn try_ask(&mut self, command: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the Java client has ended at {command}");
            // Not all that a library prints is ours.
            if let Ok(answer @ Value::Object(_)) = serde_json::from_str(&line) {
                return answer;
            }
        }
    }

    pub fn create(&mut self, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
        let configs: BTreeMap<_, _> = configs.iter().copied().collect();
        self.ask(&json!({ "do": "create", "topic": topic, "partitions": partitions, "configs": configs }));
    }

    pub fn delete(&mut self, topic: &str) {
        self.ask(&json!({ "do": "delete", "topic": topic }));
    }

    /// Writes records, a batch of their own, and gives their offsets.
    pub fn write(&mut self, topic: &str, partition: i32, codec: &str, end: End, records: &[Written]) -> Vec<i64> {
        let record = |record: &Written| {
            let header = |(name, value): &(&str, Option<Vec<u8>>)| json!([name, value.as_deref().map(hex)]);
            let headers: Vec<_> = record.headers.iter().map(header).collect();
            let (key, value) = (record.key.as_deref().map(hex), record.value.as_deref().map(hex));
            json!({ "key": key, "value": value, "time": record.time_ms, "headers": headers })
        };
        let (end, id) = match end {
            End::Plain => ("none", None),
            End::Open(id) => ("open", Some(format!("{topic}/{id}"))),
            End::Commit(id) => ("commit", Some(format!("{topic}/{id}"))),
            End::Abort(id) => ("abort", Some(format!("{topic}/{id}"))),
        };
        let records: Vec<_> = records.iter().map(record).collect();
        let answer = self.ask(&json!({ "do": "write", "topic": topic, "partition": partition, "compression": codec,
            "end": end, "id": id, "records": records }));
        answer["offsets"].as_array().into_iter().flatten().map(|offset| offset.as_i64().unwrap()).collect()
    }

    /// The end of each partition: what a position is when its reader has caught up.
    pub fn ends(&mut self, topic: &str) -> BTreeMap<i32, i64> {
        numbers(&self.ask(&json!({ "do": "ends", "topic": topic }))["ends"])
    }

    pub fn delete_records(&mut self, topic: &str, partition: i32, before: i64) {
        self.ask(&json!({ "do": "delete-records", "topic": topic, "partition": partition, "before": before }));
    }

    /// The committed records of a topic, as Kafka's own consumer reads them.
    pub fn dump(&mut self, topic: &str) -> Partitions {
        let file = self.folder.path().join("dump");
        let answer = self.ask(&json!({ "do": "dump", "topic": topic, "file": file.to_str().unwrap() }));
        let empty = |number: &i32| ((topic.to_owned(), *number), Vec::new());
        let mut read: Partitions = numbers(&answer["ends"]).keys().map(empty).collect();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let words: Vec<_> = line.split(' ').collect();
            // A header without a value says nothing to whoever folds.
            let header = |word: &&str| {
                let (name, value) = word.split_once('=').unwrap();
                Some((String::from_utf8(unhex(name).unwrap()).unwrap(), unhex(value)?))
            };
            let record = Record {
                offset: words[1].parse().unwrap(),
                timestamp_ms: words[2].parse().unwrap(),
                key: unhex(words[3]),
                value: unhex(words[4]),
                headers: words[5..].iter().filter_map(header).collect(),
            };
            read.get_mut(&(topic.to_owned(), words[0].parse().unwrap())).unwrap().push(record);
        }
        read
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn numbers(object: &Value) -> BTreeMap<i32, i64> {
    let entries = object.as_object().into_iter().flatten();
    entries.map(|(number, value)| (number.parse().unwrap(), value.as_i64().unwrap())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (text != "-").then(|| (0..text.len()).step_by(2).map(byte).collect())
}
