//! The target of the members in memory: it notes what it is given, and answers as it is told to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use serde_json::{Value, json};
use streamgauge::{
    core::delivery::{Answer, Request, Told, Trouble},
    runtime::delivery::{Courier, Load},
};

/// An event as the courier got it.
#[derive(Clone, Debug)]
pub struct Said {
    pub data: Value,
    pub attempt: u32,
    pub partition: i32,
    pub offset: i64,
    pub is_taken: bool,
}

type Behaviour = Box<dyn Fn(&Said) -> Result<Answer, Trouble> + Send + Sync>;

/// Notes what it is given. In a batch, what it is told to answer to an event is that event's own status.
pub struct Post {
    said: Mutex<Vec<Said>>,
    requests: AtomicUsize,
    behaviour: Mutex<Behaviour>,
    gate: Arc<tokio::sync::RwLock<()>>,
}

impl Default for Post {
    /// It takes everything.
    fn default() -> Self {
        let behaviour: Behaviour = Box::new(|_| Ok(Answer { status: 200, ..Answer::default() }));
        let (said, requests, gate) = Default::default();
        Self { said, requests, behaviour: Mutex::new(behaviour), gate }
    }
}

impl Post {
    pub fn behave(&self, behaviour: impl Fn(&Said) -> Result<Answer, Trouble> + Send + Sync + 'static) {
        *self.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// Leaves everything unanswered until the guard is dropped.
    pub async fn hold(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).write_owned().await
    }

    pub fn said(&self) -> Vec<Said> {
        self.said.lock().unwrap().clone()
    }

    pub fn taken(&self) -> usize {
        self.said.lock().unwrap().iter().filter(|said| said.is_taken).count()
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// First deliveries of each key came in the log's order.
    pub fn assert_order(&self) {
        let mut last: BTreeMap<(i32, String), i64> = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for said in self.said.lock().unwrap().iter() {
            if seen.insert((said.partition, said.offset)) {
                let key = (said.partition, said.data["key"].as_str().unwrap_or_default().to_owned());
                let before = last.insert(key.clone(), said.offset);
                assert!(before.is_none_or(|before| before < said.offset), "{key:?}: {} after {before:?}", said.offset);
            }
        }
    }

    fn note(&self, mut said: Said) -> Result<Answer, Trouble> {
        let answer = (self.behaviour.lock().unwrap())(&said);
        said.is_taken =
            answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status) && answer.body != b"RETRY");
        self.said.lock().unwrap().push(said);
        answer
    }
}

fn place(origin: &str) -> (i32, i64) {
    let mut parts = origin.rsplit(':');
    let offset = parts.next().unwrap().parse().unwrap();
    (parts.next().unwrap().parse().unwrap(), offset)
}

#[async_trait]
impl Courier for Post {
    async fn carry(&self, load: Load<'_>) -> Told {
        let answer = self.answer(load.request()).await;
        Told::of(&answer, load.events.len(), chrono::Utc::now().timestamp_millis())
    }
}

impl Post {
    async fn answer(&self, request: Request) -> Result<Answer, Trouble> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        let _open = self.gate.read().await;
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let Some(events) = body.as_array() else {
            let header = |name: &str| &request.headers.iter().find(|(known, _)| *known == name).unwrap().1;
            let (partition, offset) = place(header("ce-origin"));
            let attempt = header("ce-attempt").parse().unwrap();
            return self.note(Said { data: body, attempt, partition, offset, is_taken: false });
        };
        let mut statuses = Vec::new();
        for event in events {
            let (partition, offset) = place(event["origin"].as_str().unwrap());
            let attempt = event["attempt"].as_u64().unwrap() as u32;
            let answer =
                self.note(Said { data: event["data"].clone(), attempt, partition, offset, is_taken: false })?;
            statuses.push(json!({ "status": if answer.body == b"RETRY" { "RETRY" } else { "SUCCESS" } }));
        }
        Ok(Answer { status: 200, retry_after: None, body: serde_json::to_vec(&statuses).unwrap() })
    }
}
