//! What Confluent's own Python client writes with a schema registry is counted: Avro, Protobuf and JSON Schema.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![expect(clippy::disallowed_methods, reason = "a test waits for the commands that it starts")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::{
    clients::fetched,
    place::{Place, ready},
    support::results,
};

const FORMATS: [&str; 3] = ["avro", "protobuf", "json"];
const USER: &str = "me:hunter2";
/// Sales in each format.
const EACH: usize = 1_000;

/// A registry of its own. Dropping it kills it.
struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    async fn start() -> Self {
        let program = fetched("registry").await;
        let mut process = Command::new(program).arg(USER).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { process, address: address.trim().to_owned() }
    }

    /// Stops it where it stands (`STOP`), or lets it go on (`CONT`).
    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn produce(place: &Place, registry: &Registry) {
    let python = fetched("confluent").await;
    let url = format!("http://{}", registry.address);
    let mut command = Command::new(python);
    command.arg("integration/registry/produce.py").current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args([&place.brokers, &url, USER, &place.topic_prefix, &EACH.to_string()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn catalog(prefix: &str) -> String {
    let topic = |format: &&str| {
        format!(
            r#"
[[topic]]
name = "{prefix}{format}"
partitions = 2
shape = ["flat"]
key = ["item"]
identity = []
[[topic.event]]
type = "sale"
required = ["item", "timestamp"]
rules = [
  {{ count = "{format}:{{item}}:sales" }},
  {{ count = "{format}:{{item}}:revenue", by = {{ field = "price", scale = 2 }} }},
  {{ max = "{format}:latest", of = {{ field = "timestamp" }} }},
]
"#
        )
    };
    format!("name = \"sales\"\n{}", FORMATS.iter().map(topic).collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_confluents_client_writes_is_counted_and_a_registry_that_is_silent_is_waited_for() {
    let mut place = Place::own_topics();
    place.write_catalog(&catalog(&place.topic_prefix));
    let registry = Registry::start().await;
    let mut process = place.start(&[]);
    ready(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    produce(&place, &registry).await;

    registry.signal("STOP");
    let url = format!("http://{USER}@{}", registry.address);
    let mut process = place.start(&[("SCHEMA_REGISTRY_URL", &url)]);
    process.until("it waits", async |process| process.has_said("is waited for").then_some(())).await;
    let health = process.get("/api/health").await.1.to_string();
    assert!(health.contains("\"schemas\"") && health.contains("cannot be reached"), "{health}");
    let counted = place.redis_cli(&["hgetall", "@counters:aggregated"]);
    assert_eq!(counted.concat(), "", "nothing is counted before the schemas are known");

    registry.signal("CONT");
    let all = place.caught_up(&mut process).await;
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for format in FORMATS {
        for number in 0..EACH {
            let item = number % 3;
            *expected.entry(format!("{format}:i{item}:sales")).or_default() += 1;
            *expected.entry(format!("{format}:i{item}:revenue")).or_default() += (number * 7 % 100) as i64 * 100 + 50;
        }
        expected.insert(format!("{format}:latest"), EACH as i64 - 1);
    }
    let lines = place.redis_cli(&["hgetall", "@counters:aggregated"]);
    let shown: BTreeMap<_, i64> = lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect();
    results::assert_same("fields", &shown, &expected);
    let letters = results::dead_letters(&place.log(), &all).await;
    assert_eq!(letters.len(), FORMATS.len(), "{letters:?}");
    assert!(format!("{letters:?}").contains("unknown-schema"), "{letters:?}");
    assert!(!process.said().contains("hunter2"), "{}", process.said());
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
