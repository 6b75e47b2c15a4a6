//! A service that events are delivered to: it notes what it gets, and answers as it is told to.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// An event as it came.
#[derive(Clone, Debug)]
pub struct Got {
    /// `ce-id`.
    pub id: String,
    /// `ce-attempt`.
    pub attempt: u32,
    /// `ce-origin`: topic, partition and offset.
    pub origin: (String, i32, i64),
    /// All headers, of the first requests.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// When it came.
    pub at: Instant,
    /// How many requests with this id came before.
    pub before: usize,
    /// Answered with 2xx.
    pub is_taken: bool,
}

/// What it answers.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status; 0 is 200.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// The body.
    pub body: String,
    /// It answers after so long.
    pub after: Duration,
}

impl Reply {
    /// An answer with this status.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// 200 with this body.
    pub fn says(body: &str) -> Self {
        Self { body: body.to_owned(), ..Self::default() }
    }
}

/// Requests whose headers are kept.
const KEPT_HEADERS: usize = 1_000;

type Behaviour = Box<dyn Fn(&Got) -> Reply + Send + Sync>;

struct Shared {
    got: Mutex<Vec<Got>>,
    seen: Mutex<BTreeMap<String, usize>>,
    /// How often each event was answered with 2xx.
    taken: Mutex<BTreeMap<String, usize>>,
    behaviour: Mutex<Behaviour>,
}

/// The service. It ends when it is dropped.
pub struct Target {
    shared: Arc<Shared>,
    addr: SocketAddr,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Target {
    /// A service that takes everything.
    pub async fn start() -> Self {
        let behaviour: Behaviour = Box::new(|_| Reply::default());
        let shared = Shared {
            got: Mutex::default(),
            seen: Mutex::default(),
            taken: Mutex::default(),
            behaviour: Mutex::new(behaviour),
        };
        let mut target = Self { shared: Arc::new(shared), addr: ([127, 0, 0, 1], 0).into(), serving: None };
        target.come_back().await;
        target
    }

    /// Answers so from now on.
    pub fn behave(&self, behaviour: impl Fn(&Got) -> Reply + Send + Sync + 'static) {
        *self.shared.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// Where events are posted to.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.addr)
    }

    /// Goes away: connections are refused, and those that are open break.
    pub async fn go_away(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }

    /// Listens where it did before.
    pub async fn come_back(&mut self) {
        let listener = loop {
            match TcpListener::bind(self.addr).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        self.addr = listener.local_addr().unwrap();
        let routes = Router::new().fallback(take).with_state(Arc::clone(&self.shared));
        // Each connection is a task of this one, so that all of them end with it.
        let serving = async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                let service = hyper_util::service::TowerToHyperService::new(routes.clone());
                connections.spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
                while connections.try_join_next().is_some() {}
            }
        };
        self.serving = Some(AbortOnDropHandle::new(tokio::spawn(serving)));
    }

    /// Everything that came.
    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    /// How many events it took.
    pub fn taken(&self) -> usize {
        self.shared.got.lock().unwrap().iter().filter(|got| got.is_taken).count()
    }

    /// How often each event was answered with 2xx, by its id.
    pub fn taken_by_id(&self) -> BTreeMap<String, usize> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// How many different events were answered with 2xx.
    pub fn different(&self) -> usize {
        self.shared.taken.lock().unwrap().len()
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.shared.got.lock().unwrap().len()
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: BTreeMap<String, String> =
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let id = header("ce-id");
    let mut origin = header("ce-origin");
    let mut last = || {
        let (rest, number) = origin.rsplit_once(':').unwrap_or_default();
        let number = number.parse::<i64>().unwrap_or(-1);
        origin = rest.to_owned();
        number
    };
    let (offset, partition) = (last(), last());
    let before = {
        let mut seen = shared.seen.lock().unwrap();
        let seen = seen.entry(id.clone()).or_default();
        *seen += 1;
        *seen - 1
    };
    let attempt = header("ce-attempt").parse().unwrap_or(0);
    let mut got = Got {
        id,
        attempt,
        origin: (origin, i32::try_from(partition).unwrap_or(-1), offset),
        body: body.to_vec(),
        at: Instant::now(),
        before,
        is_taken: false,
        headers,
    };
    let reply = (shared.behaviour.lock().unwrap())(&got);
    let status = if reply.status == 0 { 200 } else { reply.status };
    got.is_taken = (200..300).contains(&status) && !reply.body.contains("RETRY");
    let wait = reply.after;
    if got.is_taken {
        *shared.taken.lock().unwrap().entry(got.id.clone()).or_default() += 1;
    }
    {
        let mut all = shared.got.lock().unwrap();
        if all.len() >= KEPT_HEADERS {
            got.headers.clear();
        }
        all.push(got);
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let mut answer = (StatusCode::from_u16(status).unwrap(), reply.body).into_response();
    if let Some(after) = reply.retry_after {
        answer.headers_mut().insert("retry-after", after.parse().unwrap());
    }
    answer
}
