//! Redis and Kafka that come late, go away and come back.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{
    place::{Place, kafka, ready},
    store_faults::{Server, free_port},
    support::{events::events_of_these_days, process::Process, results},
};

/// How health says a part is.
async fn part(process: &Process, name: &str) -> String {
    let (_, health) = process.get("/api/health").await;
    health["parts"][name]["status"].as_str().unwrap_or_default().to_owned()
}

async fn is(process: &mut Process, name: &str, level: &str) {
    let what = format!("{name} {level}");
    process.until(&what, async |process| (part(process, name).await == level).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_may_come_late_and_go_away() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let place = Place { redis_url: format!("redis://127.0.0.1:{port}"), ..Place::own_topics() };
    let log = place.log();
    let events = events_of_these_days(21, 2_000, 20);
    let mut process = place.start(&[]);
    process.url().await;
    is(&mut process, "store", "down").await;
    process.says("the store is not there yet").await;
    // Publishing needs no store.
    ready(&mut process).await;
    let topic = format!("{}video.views", place.topic_prefix);
    let event = json!({ "topic": topic, "data": { "type": "video.view", "videoId": "v", "userId": "u" } });
    assert_eq!(process.post("/api/events/publish", &event).await.0, 200);
    results::publish(&log, &place.topic_prefix, &events[..500]).await;

    let server = Server::start(port, folder.path(), &["--appendfsync", "always"]);
    place.caught_up(&mut process).await;
    is(&mut process, "store", "ok").await;
    // Killed while it is written to, and back with what it had answered.
    results::publish(&log, &place.topic_prefix, &events[500..1_000]).await;
    drop(server);
    results::publish(&log, &place.topic_prefix, &events[1_000..1_500]).await;
    is(&mut process, "store", "down").await;
    let server = Server::start(port, folder.path(), &["--appendfsync", "always"]);
    results::publish(&log, &place.topic_prefix, &events[1_500..]).await;
    place.caught_up(&mut process).await;
    is(&mut process, "store", "ok").await;
    assert_eq!(place.assert_complete().await, 2_001);
    assert_eq!(process.terminate().await.code(), Some(0));
    drop(server);
}

/// A way to Kafka that can be cut. It ends with the value.
struct Bridge(JoinSet<()>);

impl Bridge {
    async fn open(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(kafka()).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self(tasks)
    }

    async fn cut(mut self) {
        self.0.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_may_come_late() {
    let port = free_port();
    let place = Place { brokers: format!("127.0.0.1:{port}"), ..Place::own_topics() };
    let mut process = place.start(&[]);
    process.url().await;
    process.says("the log is not there yet").await;
    assert_eq!(process.get("/readyz").await.0, 503);
    assert_eq!(part(&process, "log").await, "down");
    let bridge = Bridge::open(port).await;
    ready(&mut process).await;
    results::publish(&place.log(), &place.topic_prefix, &events_of_these_days(22, 500, 5)).await;
    place.caught_up(&mut process).await;
    assert_eq!(place.assert_complete().await, 500);
    bridge.cut().await;
}
