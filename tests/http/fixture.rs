//! A served API over a small catalogue, with log and results in memory.
//!
//! Longer than most files, since it stands in for log, results and catalogue in one place.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::Value;
use streamgauge::{
    catalog::plan::{
        Action, Amount, Catalog, DedupeWindow, EventType, Part, Priority, Rule, Shape, Template, Topic, Window,
    },
    http::{AppState, Parts},
    log::OutRecord,
    model::{
        Answer, Beat, Beaten, Fingerprint, Outcome, Query, RecentItem, Roster, ScanPage, Section, ShardId,
        StoredPosition, Swap, SwapOutcome, TopItem, TopicPartition,
    },
    runtime::{
        health::Health,
        membership::Membership,
        publish::{Publisher, SendError, Sender},
        reads::{PendingCounters, PendingValue, Reads},
    },
    store::{Store, StoreError},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub struct App {
    pub address: SocketAddr,
    pub sender: Arc<MemorySender>,
    pub results: Arc<MemoryResults>,
    pub health: Arc<Health>,
    pub membership: Arc<Membership>,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<std::io::Result<()>>,
    client: reqwest::Client,
}

impl App {
    pub async fn start() -> Self {
        Self::serve(None, true).await
    }

    pub async fn serve(cors_origin: Option<String>, publishes: bool) -> Self {
        let (sender, results) = (Arc::new(MemorySender::default()), Arc::new(MemoryResults::default()));
        let (catalog, health) = (Arc::new(catalog()), Arc::new(Health::new(Instant::now())));
        let membership = Arc::new(Membership::new("g".to_owned(), "m-1".into(), "here".to_owned()));
        let state = AppState::new(Parts {
            publisher: publishes.then(|| Publisher::new(catalog.clone(), sender.clone())),
            reads: Arc::new(Reads::new(catalog.clone(), results.clone(), results.clone())),
            catalog,
            health: health.clone(),
            membership: membership.clone(),
            render_metrics: Arc::new(|| "metrics here\n".to_owned()),
            cors_origin,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let served = tokio::spawn(streamgauge::http::serve(listener, state, shutdown.clone()));
        streamgauge::tls::install_provider();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(20)).build().unwrap();
        Self { address, sender, results, health, membership, shutdown, served, client }
    }

    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), format!("http://{}{path}", self.address))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.request("GET", path).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.request("POST", path).json(body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub fn sent(&self) -> Vec<Sent> {
        self.sender.sent.lock().unwrap().iter().cloned().map(Sent).collect()
    }
}

/// A record as it was sent.
pub struct Sent(OutRecord);

impl Sent {
    pub fn key(&self) -> Option<String> {
        self.0.key.clone().map(|key| String::from_utf8(key).unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.value.clone().unwrap()).unwrap()
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    pub fn header(&self, name: &str) -> String {
        let (_, value) = self.0.headers.iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8(value.clone()).unwrap()
    }
}

/// Checks a problem's members.
pub fn problem(answer: &Value, status: u16, kind: &str, detail: &str, instance: &str) {
    assert_eq!(answer["status"], status, "{answer}");
    assert!(answer["type"].as_str().unwrap().ends_with(kind), "{answer}");
    assert!(!answer["title"].as_str().unwrap().is_empty(), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains(detail), "{answer} lacks {detail:?}");
    assert_eq!(answer["instance"], instance, "{answer}");
}

/// Waits until a condition holds, 10 s at most.
pub async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "the condition never held");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Takes records: partition 3, offsets from 0.
#[derive(Default)]
pub struct MemorySender {
    sent: Mutex<Vec<OutRecord>>,
    failure: Mutex<Option<SendError>>,
    gate: Arc<tokio::sync::RwLock<()>>,
    waiting: AtomicUsize,
}

impl MemorySender {
    pub fn fail_with(&self, error: Option<SendError>) {
        *self.failure.lock().unwrap() = error;
    }

    /// Keeps everything waiting until the guard is dropped.
    pub fn hold(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.gate.clone().try_write_owned().unwrap()
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Sender for MemorySender {
    async fn send(&self, _: &str, record: OutRecord) -> Result<(i32, i64), SendError> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.read().await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if let Some(error) = self.failure.lock().unwrap().clone() {
            return Err(error);
        }
        let mut sent = self.sent.lock().unwrap();
        sent.push(record);
        Ok((3, sent.len() as i64 - 1))
    }

    async fn send_all(&self, topic: &str, records: Vec<OutRecord>) -> Vec<Result<(i32, i64), SendError>> {
        futures::future::join_all(records.into_iter().map(|record| self.send(topic, record))).await
    }
}

/// Results, stored and pending, and flushes that happen while they are read.
#[derive(Default)]
pub struct MemoryResults {
    stored: Mutex<BTreeMap<String, i64>>,
    pending: Mutex<HashMap<String, PendingValue>>,
    number: AtomicU64,
    flushes: AtomicUsize,
    broken: AtomicUsize,
}

impl MemoryResults {
    pub fn store_counter(&self, name: &str, value: i64) {
        self.stored.lock().unwrap().insert(name.to_owned(), value);
    }

    pub fn hold(&self, name: &str, value: PendingValue) {
        self.pending.lock().unwrap().insert(name.to_owned(), value);
    }

    pub fn flush_during_reads(&self, times: usize) {
        self.flushes.store(times, Ordering::SeqCst);
    }

    pub fn break_store(&self) {
        self.broken.store(1, Ordering::SeqCst);
    }

    fn maybe_flush(&self) {
        if self.flushes.load(Ordering::SeqCst) == 0 {
            return;
        }
        self.flushes.fetch_sub(1, Ordering::SeqCst);
        self.number.fetch_add(1, Ordering::SeqCst);
        for (name, value) in self.pending.lock().unwrap().drain() {
            if let PendingValue::Sum(sum) = value {
                *self.stored.lock().unwrap().entry(name).or_insert(0) += sum;
            }
        }
    }

    fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Counter(name) => Answer::Counter(self.stored.lock().unwrap().get(name).copied()),
            Query::Unique(name) => Answer::Unique(match name.as_str() {
                "video:1:viewers:2020-01-05" => Some(3),
                "all:users" => Some(9),
                _ => None,
            }),
            Query::Recent { key, limit } => {
                let item = RecentItem { element: "v1".into(), time_ms: 1_000 };
                Answer::Recent(if key == "user:1:history" { vec![item; *limit] } else { vec![] })
            }
            Query::Top { key, .. } => {
                let item = TopItem { element: "v1".into(), sum: 4 };
                Answer::Top(if key == "trending:videos:1h:2026-11-21T10" { vec![item] } else { vec![] })
            }
            Query::IsMember { key, .. } => Answer::IsMember { exists: key == "s", member: key == "s" },
            Query::Members { .. } => {
                Answer::Members { elements: vec!["a".into(), "b".into()], cursor: Some("next".into()) }
            }
        }
    }
}

#[async_trait]
impl PendingCounters for MemoryResults {
    async fn settled(&self) -> u64 {
        self.flush_number()
    }

    fn flush_number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    fn pending(&self, name: &str) -> Option<PendingValue> {
        self.pending.lock().unwrap().get(name).copied()
    }
}

#[async_trait]
impl Store for MemoryResults {
    async fn open(&self, _: &str, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn positions(&self, _: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        unreachable!("the API reads results only")
    }

    async fn fix_origins(&self, _: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        unreachable!("the API reads results only")
    }

    async fn apply(&self, _: ShardId, _: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        unreachable!("the API reads results only")
    }

    async fn beat(&self, _: &Beat, _: &[TopicPartition]) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        unreachable!("the API reads results only")
    }
    async fn roster(&self, _: &str) -> Result<Roster, StoreError> {
        unreachable!("the API reads results only")
    }
    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        if self.broken.load(Ordering::SeqCst) > 0 {
            return Err(StoreError::Unavailable { doing: "reading".into(), reason: "gone".into() });
        }
        self.maybe_flush();
        Ok(queries.iter().map(|query| self.answer(query)).collect())
    }

    async fn scan(&self, prefix: &str, _: &str, limit: usize) -> Result<ScanPage, StoreError> {
        let stored = self.stored.lock().unwrap();
        let found = stored.iter().filter(|(name, _)| name.starts_with(prefix)).take(limit);
        let counters: Vec<_> = found.map(|(name, value)| (name.clone(), *value)).collect();
        Ok(ScanPage { cursor: Some(counters.len().to_string()), counters })
    }

    async fn swap(&self, _: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        unreachable!("the API reads results only")
    }
}

/// A flat topic of one type, a flat one of two, a nested and a bare one.
fn catalog() -> Catalog {
    let mut views = topic("video.views", Shape::Flat, &["videoId", "userId"], &[0], &["video.view"]);
    views.events[0].required = vec![0, 1];
    let of = || template(vec![field(0)]);
    let window = |label: &str, hours: i64| Window { label: label.into(), length_ms: hours * 3_600_000 };
    let actions = [
        Action::Count { key: template(vec![literal("video:"), field(0), literal(":views")]), by: Amount::Constant(1) },
        Action::Unique {
            key: template(vec![literal("video:"), field(0), literal(":viewers")]),
            of: of(),
            per_day: true,
            retention_ms: None,
        },
        Action::Unique { key: template(vec![literal("all:users")]), of: of(), per_day: false, retention_ms: None },
        Action::Top {
            key: template(vec![literal("trending:videos")]),
            of: of(),
            by: Amount::Constant(1),
            windows: vec![window("1h", 1), window("1d", 24)],
            retention_ms: 1,
        },
    ];
    views.events[0].rules = actions.into_iter().zip(0..).map(|(action, effect)| Rule { effect, action }).collect();
    let topics = [
        views,
        topic("video.likes", Shape::Flat, &["userId", "videoId"], &[0, 1], &["video.like", "video.unlike"]),
        topic("order.created", Shape::Nested, &["orderId"], &[0], &["order.created"]),
        topic("plain", Shape::Bare, &["id"], &[], &["plain"]),
    ];
    let by_name = topics.iter().enumerate().map(|(index, topic)| (topic.name.clone(), index)).collect();
    Catalog { names: vec!["test".into()], topics: topics.into_iter().map(Arc::new).collect(), by_name }
}

fn topic(name: &str, shape: Shape, fields: &[&str], key: &[u16], events: &[&str]) -> Topic {
    let event = |name: &&str| EventType { name: (*name).into(), version: "1".into(), required: vec![], rules: vec![] };
    Topic {
        name: name.into(),
        catalog: "test".into(),
        key: key.to_vec(),
        shapes: vec![shape],
        publish_shape: shape,
        partitions: 6,
        replication: None,
        retention_ms: 1,
        compression: None,
        identity: vec![],
        dedupe: DedupeWindow { window_ms: 1, offsets: 1 },
        max_retries: 0,
        priority: Priority::Normal,
        sensitive: vec![],
        fields: fields.iter().map(|field| (*field).into()).collect(),
        events: events.iter().map(event).collect(),
        fingerprint: Fingerprint(0),
        hash: 0,
        text: "".into(),
    }
}

fn template(parts: Vec<Part>) -> Template {
    let text: String = parts.iter().map(|part| if let Part::Literal(text) = part { text } else { "{f}" }).collect();
    Template { text: text.into(), parts }
}

fn literal(text: &str) -> Part {
    Part::Literal(text.into())
}

fn field(slot: u16) -> Part {
    Part::Field { slot, optional: false }
}

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A gzip member that holds `data` as it is, in one stored block (RFC 1951, 3.2.4; RFC 1952).
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let mut out = [&GZIP_HEADER[..], &[1], &length.to_le_bytes(), &(!length).to_le_bytes(), data].concat();
    let crc = data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// A gzip member of blanks that never ends properly: one literal, then `repeats` copies of 258 bytes at distance 1, each 13
/// bits (RFC 1951, 3.2.6: fixed codes, most significant bit first).
pub fn gzip_bomb(repeats: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let push =
        |bits: &mut Vec<bool>, code: u16, width: u32| bits.extend((0..width).rev().map(|bit| code >> bit & 1 == 1));
    push(&mut bits, 0x30 + u16::from(b' '), 8);
    for _ in 0..repeats {
        push(&mut bits, 0b1100_0101, 8);
        push(&mut bits, 0, 5);
    }
    let bytes = bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | u8::from(*bit)));
    GZIP_HEADER.into_iter().chain(bytes).collect()
}
