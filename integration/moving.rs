//! `docs/moving-over.md`, walked through: the guide's own files and commands, with a KafkaJS consumer that counts at least once as
//! the one that is left.

#![expect(clippy::disallowed_methods, reason = "a test waits for the commands that it runs")]
// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use streamgauge::{
    log::kafka::{KafkaLog, KafkaOptions},
    log::{At, Log, OutRecord},
    model::TopicPartition,
};

use crate::{
    clients::fetched,
    place::{kafka, ready, redis_url},
    support::{process::Process, results},
};

const GUIDE: &str = include_str!("../docs/moving-over.md");
/// The blocks of commands, in the order in which the guide has them and the test runs them.
const STEPS: [&str; 11] = [
    "check",
    "beside",
    "look",
    "dead-letters",
    "compare-beside",
    "dry-run",
    "take-over",
    "live",
    "compare-live",
    "read",
    "clean-up",
];
const PARTITIONS: i32 = 3;
const PAGES: i64 = 10;
/// The day of all events.
const DAY: &str = "2025-11-21";
const FIRST_MS: i64 = 1_763_700_000_000;
/// The database of this test, since the keys of the old consumer have no prefix.
const DATABASE: &str = "/7";

/// The guide's blocks that are written in a language, by the name behind it: `sh check`, `toml live.toml`.
fn blocks(language: &str) -> Vec<(&'static str, &'static str)> {
    let named = |block: &'static str| {
        let (head, body) = block.split_once('\n')?;
        Some((head.strip_prefix(language)?.strip_prefix(' ')?, body))
    };
    GUIDE.split("```").skip(1).step_by(2).filter_map(named).collect()
}

/// A team's folder: the files of the guide, with its names in the place of the guide's.
struct Team {
    folder: tempfile::TempDir,
    modules: String,
    topic: String,
    /// Stands behind `views` in the names of groups.
    mark: String,
    redis_url: String,
    log: KafkaLog,
}

impl Team {
    async fn new() -> Self {
        let mark = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let redis_url = format!("{}{DATABASE}", redis_url().rsplit_once('/').unwrap().0);
        let team = Self {
            folder: tempfile::tempdir().unwrap(),
            modules: fetched("kafkajs").await,
            topic: format!("t{mark}.page.viewed"),
            mark,
            redis_url,
            log: KafkaLog::connect(KafkaOptions::new(vec![kafka()])),
        };
        for (name, text) in blocks("toml").into_iter().chain(blocks("js")) {
            std::fs::write(team.path(name), team.own(text)).unwrap();
        }
        results::create(&team.log, std::slice::from_ref(&team.topic), PARTITIONS).await;
        team.redis(&["flushdb"]);
        team
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The guide's text with this team's names.
    fn own(&self, text: &str) -> String {
        let text = text.replace("page.viewed", &self.topic).replace("localhost:9092", &kafka());
        let text = text.replace("redis://localhost:6379/0", &self.redis_url);
        text.replace("views-", &format!("views{}-", self.mark))
    }

    /// Runs a block as a user does, in the folder with the guide's files: exit code, what it printed, what it complained about.
    async fn step(&self, name: &str) -> (i32, String, String) {
        let text = blocks("sh").into_iter().find(|(step, _)| *step == name).expect("the guide has the step").1;
        let bin = Path::new(env!("CARGO_BIN_EXE_streamgauge")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-e", "-c", &self.own(text)]).current_dir(self.folder.path()).env_clear().env("PATH", path);
        command.env("NODE_PATH", format!("{}/node_modules", self.modules));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// A step that must succeed; what it printed.
    async fn done(&self, name: &str) -> String {
        let (code, out, err) = self.step(name).await;
        assert_eq!(code, 0, "{name}: {out}{err}");
        out
    }

    /// Starts what the block says, which is one line.
    async fn start(&self, name: &str) -> Process {
        let line = self.own(blocks("sh").into_iter().find(|(step, _)| *step == name).unwrap().1);
        let (program, file) = line.trim().split_once(" --config ").expect("one command");
        assert_eq!(program, "streamgauge");
        let (file, catalog) = (self.path(file), self.path("views.toml"));
        let settings = [("CATALOG_PATH", catalog.to_str().unwrap()), ("SESSION_TIMEOUT_MS", "1000")];
        let mut process = Process::start_with(&["--config", file.to_str().unwrap()], &settings);
        ready(&mut process).await;
        process
    }

    /// The old consumer counts so many records and ends; `lost`: and none of its commits reaches the broker.
    async fn old_counts(&self, most: usize, commit: &str) {
        let mut node = Command::new("node");
        node.current_dir(env!("CARGO_MANIFEST_DIR")).args(["integration/clients/counting.js", &self.modules, &kafka()]);
        node.args([&*self.topic, &self.own("views-service"), &self.redis_url, &most.to_string(), commit]);
        let output = tokio::task::spawn_blocking(move || node.output().expect("node is installed")).await.unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains(&format!("counted {most}")), "{told}{error}");
    }

    /// Events of these numbers, to the partition of their page.
    async fn publish(&self, numbers: impl Iterator<Item = i64>) {
        let mut by_partition: BTreeMap<i32, Vec<OutRecord>> = BTreeMap::new();
        for n in numbers {
            let partition = i32::try_from(n % PAGES % i64::from(PARTITIONS)).unwrap();
            let event = json!({ "id": format!("e{n}"), "pageId": page(n), "timestamp": FIRST_MS + n });
            let record = OutRecord { value: Some(event.to_string().into_bytes()), ..OutRecord::default() };
            by_partition.entry(partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            for answer in self.log.produce(&TopicPartition::new(&*self.topic, partition), records).await {
                answer.unwrap();
            }
        }
    }

    /// What lies in the log now is taken by retention.
    async fn expire(&self) {
        for partition in (0..PARTITIONS).map(|number| TopicPartition::new(&*self.topic, number)) {
            let end = self.log.offset_at(&partition, At::End).await.unwrap();
            self.log.admin().delete_records(&partition, end).await.unwrap();
        }
    }

    fn redis(&self, words: &[&str]) -> Vec<String> {
        let output = Command::new("redis-cli").args(["-u", &self.redis_url]).args(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && !text.contains("ERR"), "{words:?}: {text}");
        text.lines().map(str::to_owned).collect()
    }

    /// Counters under a prefix.
    fn counters(&self, prefix: &str) -> BTreeMap<String, i64> {
        let pairs = self.redis(&["hgetall", &format!("{prefix}counters:aggregated")]);
        pairs.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect()
    }

    /// Waits until everything published is counted under a prefix, and each total is what these events come to.
    async fn counted(&self, process: &mut Process, prefix: &str, numbers: std::ops::Range<i64>) {
        let expected = totals(numbers);
        let is_there = async |_: &Process| (self.counters(prefix) == expected).then_some(());
        process.until(&format!("{expected:?} under {prefix}"), is_there).await;
    }
}

fn page(n: i64) -> String {
    // One with a character that names of counters do not have.
    if n % PAGES == 0 { "a:b".to_owned() } else { (40 + n % PAGES).to_string() }
}

/// What these events come to, each counted once.
fn totals(numbers: std::ops::Range<i64>) -> BTreeMap<String, i64> {
    let mut totals = BTreeMap::new();
    for n in numbers {
        for name in [format!("page:{}:views", page(n).replace(':', "%3A")), format!("site:views:{DAY}")] {
            *totals.entry(name).or_default() += 1;
        }
    }
    totals
}

/// The sides of what `diff` prints: name and value of each line.
fn sides(diff: &str) -> [BTreeMap<String, i64>; 2] {
    ["< ", "> "].map(|side| {
        let lines = diff.lines().filter_map(|line| line.strip_prefix(side));
        let values = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        values.map(|line| (line["name"].as_str().unwrap().to_owned(), line["value"].as_i64().unwrap())).collect()
    })
}

/// The JSON values that commands of one step printed, one after the other.
fn told(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_guide_has_the_steps_that_are_tried() {
    assert_eq!(blocks("sh").iter().map(|(name, _)| *name).collect::<Vec<_>>(), STEPS);
    let files: Vec<&str> = blocks("toml").into_iter().chain(blocks("js")).map(|(name, _)| name).collect();
    assert_eq!(files, ["views.toml", "beside.toml", "live.toml", "totals.js"]);
    let unnamed = GUIDE.lines().filter(|line| ["```sh", "```toml", "```js"].contains(line)).count();
    assert_eq!(unnamed, 0, "a block without a name is tried by nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafkajs_consumer_is_left_without_a_lost_or_doubled_event() {
    let team = Team::new().await;
    // 200 events that the log no longer holds, 200 that it does; the old consumer stops amid them.
    team.publish(0..200).await;
    team.old_counts(200, "kept").await;
    team.expire().await;
    team.publish(200..400).await;
    team.old_counts(100, "kept").await;

    // Beside it: what the log holds is counted.
    team.done("check").await;
    let mut beside = team.start("beside").await;
    team.counted(&mut beside, "beside:", 200..400).await;
    let look = told(&team.done("look").await);
    assert!(look[0]["partitions"].as_array().unwrap().iter().all(|row| row["lag"] == 0), "{look:?}");
    assert_eq!((&look[1]["differences"], &look[1]["recounted"]), (&json!([]), &json!(200)));
    assert_eq!(team.done("dead-letters").await, "");
    let (code, diff, err) = team.step("compare-beside").await;
    assert_eq!((code, &*err), (1, ""), "{diff}");
    let [old, _] = sides(&diff);
    assert_eq!(old[&format!("site:views:{DAY}")], 300);

    // Its totals and its place.
    let dry = told(&team.done("dry-run").await);
    assert_eq!((&dry[0]["executed"], &dry[0]["sum"], &dry[0]["unknown"]), (&json!(false), &json!("600"), &json!([])));
    let changes = dry[1]["changes"].as_array().unwrap();
    assert!(changes.len() == 3 && changes.iter().all(|change| change["from"] == Value::Null), "{dry:?}");
    assert_eq!((&dry[1]["executed"], &dry[1]["notes"]), (&json!(false), &json!([])));
    assert_eq!(team.redis(&["--scan", "--pattern", "live:*"]), Vec::<String>::new());
    let taken = told(&team.done("take-over").await);
    assert_eq!((&taken[0]["addedNow"], &taken[1]["refused"]), (&json!(1), &json!([])));
    // Once more before it starts: nothing is left to do.
    let again = told(&team.done("take-over").await);
    assert_eq!((&again[0]["addedNow"], &again[1]["changes"]), (&json!(0), &json!([])), "{again:?}");

    // Events go on; the first of each partition, of which the old consumer has counted some, come a second time.
    team.publish(200..203).await;
    team.publish(400..450).await;
    let mut live = team.start("live").await;
    team.counted(&mut live, "live:", 0..450).await;
    let (code, _, err) = team.step("take-over").await;
    assert!(code == 1 && err.contains("held now"), "{err}");

    // The old consumer goes on, loses its commits once, and counts these 30 and the repeated events twice.
    team.old_counts(30, "lost").await;
    team.old_counts(100 + 3 + 50, "kept").await;
    let (code, out, err) = team.step("compare-live").await;
    let (verified, diff) = out.split_at(out.find('\n').map_or(0, |at| at + 1));
    assert_eq!((code, &told(verified)[0]["differences"]), (1, &json!([])), "{out}{err}");
    let [old, new] = sides(diff);
    let site = format!("site:views:{DAY}");
    assert_eq!((old[&site], new[&site]), (450 + 33, 450));
    let more: i64 = old.keys().filter(|name| **name != site).map(|name| old[name] - new[name]).sum();
    assert_eq!(more, 33, "{diff}");

    // The readers move, and counting goes on.
    team.publish(450..500).await;
    team.counted(&mut live, "live:", 0..500).await;
    assert_eq!(team.done("read").await, "50\n");
    assert_eq!(beside.terminate().await.code(), Some(0), "{}", beside.said());
    team.done("clean-up").await;
    assert_eq!(team.redis(&["--scan", "--pattern", "beside:*"]), Vec::<String>::new());
    team.counted(&mut live, "live:", 0..500).await;

    // The way back: the old consumer counts what came since.
    team.old_counts(50, "kept").await;
    assert_eq!(team.redis(&["hget", "site:views", DAY]), [(500 + 33).to_string()]);
    assert_eq!(live.terminate().await.code(), Some(0), "{}", live.said());
    team.redis(&["flushdb"]);
}
