//! Services with handlers over the embedded log and store, in the test's own process, and what they are asked over HTTP.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use streamgauge::handlers::{Event, Running, Service, ServiceError, Subscription};

/// Far above what anything takes here: tests run on busy machines.
const DEADLINE: Duration = Duration::from_secs(60);

/// A topic with events of these types; each is of one of some keys.
fn catalog() -> String {
    let mut text =
        "name = \"c\"\n[[topic]]\nname = \"jobs\"\nkey = [\"k\"]\nidentity = []\nshape = [\"flat\"]\npartitions = 3\n"
            .to_owned();
    for name in ["job", "done", "drop", "again", "error", "refuse", "panic", "hang", "unfit"] {
        text += &format!("[[topic.event]]\ntype = \"{name}\"\nrules = []\n");
    }
    text
}

/// A folder with the data and the catalogue of a service.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("catalog.toml"), catalog()).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> String {
        let path: &Path = self.0.path();
        path.join(name).to_str().unwrap().to_owned()
    }

    /// The settings of a service in this folder, and these.
    pub fn settings(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut settings = vec![
            ("DATA_DIR".to_owned(), self.path("data")),
            ("CATALOG_PATH".to_owned(), self.path("catalog.toml")),
            ("PORT".to_owned(), "0".to_owned()),
            ("KAFKA_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("SESSION_TIMEOUT_MS".to_owned(), "1000".to_owned()),
            ("RETRY_INITIAL_MS".to_owned(), "5".to_owned()),
        ];
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        settings
    }

    /// A service with these groups; it begins with what the log holds.
    pub async fn start(&self, more: &[(&str, &str)], groups: Vec<Subscription>) -> Result<Client, ServiceError> {
        let mut service = Service::from_settings(self.settings(more))?;
        for group in groups {
            service = service.subscribe(group.from_earliest());
        }
        let running = service.start().await?;
        let client = Client { http: reqwest::Client::builder().tls_certs_only([]).build().unwrap(), running };
        until("ready", async || client.get("/readyz").await.0 == 200).await;
        Ok(client)
    }
}

/// A service that runs, and whoever talks to it.
pub struct Client {
    http: reqwest::Client,
    pub running: Running,
}

impl Client {
    pub async fn get_text(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.running.http_addr());
        match self.http.get(url).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let (status, text) = self.get_text(path).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Publishes an event of a key.
    pub async fn publish(&self, event_type: &str, key: &str, n: impl Into<Value>) {
        let event = json!({ "topic": "jobs", "eventType": event_type,
            "data": { "type": event_type, "k": key, "n": n.into() } });
        let url = format!("http://{}/api/events/publish", self.running.http_addr());
        let answer = self.http.post(url).json(&event).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    /// The dead letters of the topic.
    pub async fn letters(&self) -> Vec<Value> {
        let (_, answer) = self.get("/api/dlq/jobs").await;
        answer["data"].as_array().cloned().unwrap_or_default()
    }

    /// How a group is.
    pub async fn group(&self, group: &str) -> Value {
        let (_, answer) = self.get("/api/deliveries").await;
        let found = answer["data"].as_array().and_then(|all| all.iter().find(|one| one["group"] == group));
        found.cloned().unwrap_or_default()
    }

    /// Sum of a metric where the line holds all of these.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.get_text("/metrics").await;
        let mine =
            text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        mine.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// Starts a service in a folder that another one is about to leave.
pub async fn started_again(folder: &Folder, more: &[(&str, &str)], group: impl Fn() -> Subscription) -> Client {
    let ends_at = Instant::now() + DEADLINE;
    loop {
        match folder.start(more, vec![group()]).await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < ends_at, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Polls until the condition holds.
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let ends_at = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < ends_at, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An attempt as a handler saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub event_type: String,
    pub key: String,
    pub n: Value,
    pub attempt: u32,
    pub origin: String,
}

impl Seen {
    pub fn of(event: &Event) -> Self {
        assert_eq!(event.key.as_deref(), event.data["k"].as_str().map(str::as_bytes));
        Self {
            event_type: event.event_type.clone(),
            key: event.data["k"].as_str().unwrap().to_owned(),
            n: event.data["n"].clone(),
            attempt: event.attempt,
            origin: event.origin.to_string(),
        }
    }
}

/// What handlers saw, in order.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<Seen>>>);

impl Notes {
    pub fn note(&self, event: &Event) -> Seen {
        let seen = Seen::of(event);
        self.0.lock().unwrap().push(seen.clone());
        seen
    }

    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
