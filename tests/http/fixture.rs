//! A served API over a small catalogue, with log and results in memory.
//!
//! Longer than most files, since it stands in for log and results in one place.

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
    http::{AppState, Parts},
    log::OutRecord,
    model::{
        Answer, Beat, Beaten, Checkpoint, GroupStatus, Outcome, Query, RecentItem, Roster, ScanPage, Section, ShardId,
        StoredPosition, Swap, SwapOutcome, TopItem, TopicPartition,
    },
    runtime::{
        changes::Changes,
        counted::Counted,
        generation::Generations,
        health::Health,
        membership::Membership,
        publish::{Publisher, SendError, Sender},
        reads::{PendingCounters, PendingValue, Reads},
        tenure::Tenures,
        tracking::Tracking,
    },
    store::{Store, StoreError},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::memory_log::MemoryLog;

pub struct App {
    pub address: SocketAddr,
    pub sender: Arc<MemorySender>,
    pub results: Arc<MemoryResults>,
    /// What groups are held against.
    pub log: Arc<MemoryLog>,
    pub health: Arc<Health>,
    pub membership: Arc<Membership>,
    pub tenures: Arc<Tenures>,
    pub generations: Arc<Generations>,
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
        let (catalog, health) = (Arc::new(crate::catalog::catalog()), Arc::new(Health::new(Instant::now())));
        let membership = Arc::new(Membership::new("g".to_owned(), "m-1".into(), "here".to_owned()));
        let (tenures, generations) = <(Arc<Tenures>, Arc<Generations>)>::default();
        let shutdown = CancellationToken::new();
        let log = Arc::new(MemoryLog::new(2, 10));
        let reads = Arc::new(Reads::new(catalog.clone(), results.clone(), results.clone()));
        let mut tracking = Tracking::new(catalog.clone(), results.clone(), "g");
        ["mail", "stock"].into_iter().for_each(|group| tracking.deliver(group, &"order.paid".into()));
        let state = AppState::new(Parts {
            groups: crate::groups::of(log.clone(), results.clone()),
            delivery: None,
            publisher: publishes
                .then(|| Publisher::new(catalog.clone(), sender.clone(), results.clone(), Duration::from_secs(90))),
            changes: Changes::new(reads.clone(), generations.clone()),
            ending: shutdown.clone(),
            reads,
            counted: Arc::new(Counted::new(tenures.clone(), generations.clone(), results.clone())),
            tracking: Arc::new(tracking),
            dead_letters: crate::letters::none(&catalog, results.clone()),
            catalog,
            health: health.clone(),
            membership: membership.clone(),
            render_metrics: Arc::new(|| "metrics here\n".to_owned()),
            cors_origin,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(streamgauge::http::serve(listener, state, shutdown.clone()));
        streamgauge::tls::install_provider();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(20)).build().unwrap();
        Self { address, sender, results, log, health, membership, tenures, generations, shutdown, served, client }
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
    /// Documents, and how long they live, ms.
    pub documents: Mutex<HashMap<String, (Vec<u8>, u64)>>,
    swaps: AtomicUsize,
    lost_answers: AtomicUsize,
    positions: Mutex<HashMap<TopicPartition, Vec<StoredPosition>>>,
    looks: AtomicUsize,
    /// By event.
    pub statuses: Mutex<HashMap<String, Vec<GroupStatus>>>,
    /// By group.
    pub rosters: Mutex<HashMap<String, Roster>>,
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

    /// Carries out so many swaps without an answer.
    pub fn lose_answers(&self, calls: usize) {
        self.lost_answers.store(calls, Ordering::SeqCst);
    }

    /// Has a partition counted up to these offsets, by shard.
    pub fn count_to(&self, partition: &TopicPartition, shards: &[i64]) {
        let at = |offset: &i64| Some(Checkpoint { offset: *offset, ..Checkpoint::default() });
        let shards = shards.iter().map(|offset| StoredPosition { checkpoint: at(offset), ..Default::default() });
        self.positions.lock().unwrap().insert(partition.clone(), shards.collect());
    }

    /// How often checkpoints were read.
    pub fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// How often documents were swapped.
    pub fn swaps(&self) -> usize {
        self.swaps.load(Ordering::SeqCst)
    }

    /// A document, and how long it lives, ms.
    pub fn document(&self, name: &str) -> Option<(Value, u64)> {
        let documents = self.documents.lock().unwrap();
        documents.get(name).map(|(bytes, ttl_ms)| (serde_json::from_slice(bytes).unwrap(), *ttl_ms))
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
            Query::Status { event_id, mark } => {
                let documents = self.documents.lock().unwrap();
                let groups = self.statuses.lock().unwrap().get(event_id).cloned().unwrap_or_default();
                Answer::Status { groups, mark: documents.get(mark).map(|(bytes, _)| bytes.clone()) }
            }
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

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) > 0 {
            return Err(StoreError::Unavailable { doing: "reading".into(), reason: "gone".into() });
        }
        let positions = self.positions.lock().unwrap();
        let of = |partition| positions.get(partition).cloned().unwrap_or_else(|| vec![StoredPosition::default()]);
        Ok(partitions.iter().map(of).collect())
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

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        Ok(self.rosters.lock().unwrap().get(group).cloned().unwrap_or_default())
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        if self.broken.load(Ordering::SeqCst) > 0 {
            return Err(StoreError::Unavailable { doing: "reading".into(), reason: "gone".into() });
        }
        self.maybe_flush();
        Ok(queries.iter().map(|query| self.answer(query)).collect())
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        let (stored, from) = (self.stored.lock().unwrap(), cursor.parse().unwrap_or(0));
        let found = stored.iter().filter(|(name, _)| name.starts_with(prefix)).skip(from).take(limit);
        let counters: Vec<_> = found.map(|(name, value)| (name.clone(), *value)).collect();
        let end = from + counters.len();
        Ok(ScanPage { cursor: (counters.len() == limit).then(|| end.to_string()), counters })
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        let gone = || StoreError::Unavailable { doing: "swapping".into(), reason: "gone".into() };
        self.swaps.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) > 0 {
            return Err(gone());
        }
        let mut documents = self.documents.lock().unwrap();
        let swap = |swap: &Swap| {
            let stored = documents.get(&swap.name).map(|(bytes, _)| bytes.clone());
            if stored != swap.expect {
                return SwapOutcome::Differs(stored);
            }
            match &swap.next {
                Some(next) => drop(documents.insert(swap.name.clone(), (next.clone(), swap.ttl_ms.unwrap()))),
                None => drop(documents.remove(&swap.name)),
            }
            SwapOutcome::Swapped
        };
        let outcomes = swaps.iter().map(swap).collect();
        let lose = |calls: usize| calls.checked_sub(1);
        match self.lost_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose) {
            Ok(_) => Err(gone()),
            Err(_) => Ok(outcomes),
        }
    }
}
