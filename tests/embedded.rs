//! The whole program with nothing installed: what was answered is kept, and every event counts once, through `kill -9`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

#[path = "embedded/examples.rs"]
mod examples;
mod support;

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    log::{
        broker::{Broker, BrokerConfig, SEGMENT_BYTES},
        kafka::{KafkaLog, KafkaOptions},
    },
    store::embedded::EmbeddedStore,
};
use support::{
    events::{Random, events_of_these_days, fresh_seed},
    oracle::fold,
    process::Process,
    results,
};

/// A data folder, looked into while no process has it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn start(&self, settings: &[(&str, &str)]) -> Process {
        let mut all = vec![("DATA_DIR", self.path().to_str().unwrap())];
        all.extend(settings);
        Process::start(&all)
    }

    /// Its log.
    async fn log(&self) -> (Broker, KafkaLog) {
        let config = BrokerConfig {
            data_dir: self.path().join("log"),
            listen: ([127, 0, 0, 1], 0).into(),
            fall_back_to_free_port: false,
            segment_bytes: SEGMENT_BYTES,
        };
        let broker = Broker::start(config).await.unwrap();
        let log = KafkaLog::connect(KafkaOptions::new(vec![broker.local_addr().to_string()]));
        (broker, log)
    }

    /// Its store.
    fn store(&self) -> EmbeddedStore {
        EmbeddedStore::open(self.path().join("store.redb")).unwrap()
    }
}

fn video() -> Catalog {
    Catalog::load(&CatalogChoice::default()).unwrap()
}

fn view(video: &str, user: usize) -> Value {
    json!({ "topic": "video.views", "data": { "type": "video.view", "videoId": video, "userId": user.to_string(), "timestamp": user } })
}

async fn ready(process: &mut Process) {
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
}

/// Waits until the API says that a counter has this value, all of it stored.
async fn counted(process: &mut Process, key: &str, value: u64) {
    process
        .until(&format!("{key} = {value}"), async |process| {
            let (_, answer) = process.get(&format!("/api/counters/{key}")).await;
            (answer["data"]["stored"] == value && answer["data"]["pending"] == 0).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_200_is_there_after_kill_9() {
    const EVENTS: usize = 300;
    let folder = Folder::new();
    let mut process = folder.start(&[]);
    process.url().await;
    let ready = async |process: &Process| (process.get("/readyz").await.0 == 200).then_some(());
    process.until("ready", ready).await;
    for user in 0..EVENTS {
        let (status, answer) = process.post("/api/events/publish", &view("v", user)).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    }
    process.kill();
    let mut process = folder.start(&[]);
    process.url().await;
    counted(&mut process, "video:v:views", EVENTS as u64).await;
    process.kill();
    let (_broker, log) = folder.log().await;
    let events = results::read_events(&log, &video()).await;
    assert_eq!(results::count(&events), EVENTS);
    let expected = fold(&video(), &events);
    assert_eq!((expected.counted, expected.counters["video:v:views"]), (EVENTS as u64, EVENTS as i64));
    results::assert_stored(&folder.store(), &Folder::new().store(), &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_publishing_takes_nothing_that_was_answered() {
    let seed = fresh_seed();
    let mut random = Random::new(seed);
    let folder = Folder::new();
    let mut answered: BTreeMap<(i64, i64), String> = BTreeMap::new();
    let mut user = 0;
    for _ in 0..6 {
        let mut process = folder.start(&[]);
        process.url().await;
        process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
        let (until, moment_us) = (user + random.below(60), random.below(3_000) as u64);
        while user < until {
            let (status, answer) = process.post("/api/events/publish", &view("v", user)).await;
            assert_eq!(status, 200, "{answer}");
            let place = (answer["partition"].as_i64().unwrap(), answer["offset"].as_i64().unwrap());
            assert_eq!(answered.insert(place, user.to_string()), None, "an offset was given twice: {place:?}");
            user += 1;
        }
        // Killed with a request under way: it may have been stored or not, and it was not answered.
        let last = view("v", user);
        tokio::select! {
            (status, answer) = process.post("/api/events/publish", &last) => if status == 200 {
                let place = (answer["partition"].as_i64().unwrap(), answer["offset"].as_i64().unwrap());
                answered.insert(place, user.to_string());
            },
            () = tokio::time::sleep(Duration::from_micros(moment_us)) => {}
        }
        user += 1;
        process.kill();
    }
    let (_broker, log) = folder.log().await;
    let events = results::read_events(&log, &video()).await;
    for ((partition, offset), user) in answered {
        let record = &events[&("video.views".to_owned(), partition as i32)][offset as usize];
        let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        assert_eq!((record.offset, &value["userId"]), (offset, &json!(user)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_equals_the_fold_after_each_of_20_kills_while_counting() {
    const KILLS: usize = 20;
    const EVENTS: usize = 6_000;
    let seed = fresh_seed();
    let (folder, reference) = (Folder::new(), Folder::new());
    let (reference, catalog, mut random) = (reference.store(), video(), Random::new(seed));
    let events = events_of_these_days(seed, EVENTS, 200);
    let (broker, log) = folder.log().await;
    results::create(&log, &results::topics_of(&catalog), 6).await;
    results::publish(&log, "", &events[..EVENTS / 2]).await;
    broker.shutdown().await.unwrap();
    // Small bites, so that there is much to interrupt.
    let bites = [("FLUSH_INTERVAL_MS", "2"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096"), ("BATCH_SIZE", "20")];
    let (mut before, mut amid) = (0, 0);
    for round in 0..KILLS {
        let mut process = folder.start(&bites);
        process.url().await;
        // Not further than what is left: where a round has caught up, only the events of one round are.
        let left = EVENTS / 2 + EVENTS / 2 / KILLS * round - before;
        let moment = random.below(EVENTS / KILLS).min(left);
        // Every other time amid reading, else amid flushing: a slow disk may not have a flush done when all of that is read.
        let flushes = round % 2;
        let far = async |process: &Process| {
            let (read, flushed) = ("streamgauge_records_total", "streamgauge_flush_keys_count");
            let is_read = process.metric(read, "").await >= moment as f64;
            (is_read && process.metric(flushed, "").await >= flushes as f64).then_some(())
        };
        process.until("progress", far).await;
        tokio::time::sleep(Duration::from_micros(random.below(10_000) as u64)).await;
        process.kill();
        let (broker, log) = folder.log().await;
        let (counted, of) = results::assert_whole(&log, &folder.store(), &reference, &catalog).await;
        eprintln!("kill {round}: {counted} of {of}");
        assert!(counted >= before, "counting went back from {before} to {counted}");
        amid += usize::from(counted > before && counted < of);
        before = counted;
        let next = &events[EVENTS / 2..][EVENTS / 2 / KILLS * round..][..EVENTS / 2 / KILLS];
        results::publish(&log, "", next).await;
        broker.shutdown().await.unwrap();
    }
    assert!(amid >= KILLS / 5, "only {amid} of {KILLS} kills came amid counting");
    let mut process = folder.start(&[]);
    process.url().await;
    let is_done = async |process: &Process| {
        let read = process.metric("streamgauge_records_total", "").await;
        (read >= (EVENTS - before) as f64 && process.metric("streamgauge_pending_keys", "").await == 0.0).then_some(())
    };
    process.until("the end of the log", is_done).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let (_broker, log) = folder.log().await;
    let (counted, of) = results::assert_whole(&log, &folder.store(), &reference, &catalog).await;
    assert_eq!((counted, of), (EVENTS, EVENTS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_it_with_0_and_a_restart_counts_nothing_twice() {
    const EVENTS: u64 = 100;
    let folder = Folder::new();
    for round in 1..=3 {
        let mut process = folder.start(&[]);
        process.url().await;
        process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
        // Without a time no event is a duplicate of another: what is counted twice shows.
        let event = json!({ "data": { "type": "video.view", "videoId": "v", "userId": "u" } });
        let batch = json!({ "topic": "video.views", "events": vec![event; EVENTS as usize] });
        let (status, answer) = process.post("/api/events/publish-batch", &batch).await;
        assert_eq!(status, 200, "{answer}");
        if round == 2 {
            counted(&mut process, "video:v:views", round * EVENTS).await;
        }
        assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
        let words = if round == 2 { "counted from offset" } else { "stopped" };
        assert!(process.last_words().contains(words), "it says what it did\n{}", process.said());
    }
    let mut process = folder.start(&[]);
    process.url().await;
    counted(&mut process, "video:v:views", 3 * EVENTS).await;
    assert_eq!(process.terminate().await.code(), Some(0));
    let (_broker, log) = folder.log().await;
    let all = 3 * EVENTS as usize;
    let whole = results::assert_whole(&log, &folder.store(), &Folder::new().store(), &video()).await;
    assert_eq!(whole, (all, all));
}

/// Starts what cannot run, and returns what it says.
async fn refused(arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let mut process = Process::start_with(arguments, settings);
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{}", process.said());
    process.last_words()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_says_why_and_what_to_do() {
    let folder = Folder::new();
    let data_dir = folder.path().to_str().unwrap();
    let mut process = folder.start(&[]);
    let url = process.url().await;
    let said = refused(&["run"], &[("DATA_DIR", data_dir)]).await;
    assert!(said.contains(data_dir) && said.contains("DATA_DIR"), "{said}");

    let other = Folder::new();
    let port = url.rsplit_once(':').unwrap().1;
    let said = refused(&["run"], &[("DATA_DIR", other.path().to_str().unwrap()), ("PORT", port)]).await;
    assert!(said.contains(port) && said.contains("PORT"), "{said}");
    let told = said.lines().find(|line| line.contains("os error")).unwrap_or_default();
    assert_eq!(told.matches("os error").count(), 1, "a cause is told once: {told}");

    let file = other.path().join("settings.toml");
    std::fs::write(&file, "flush_intervall_ms = 5\n").unwrap();
    let file = file.to_str().unwrap();
    let said = refused(&["run", "--config", file], &[("DATA_DIR", data_dir)]).await;
    assert!(said.contains("flush_intervall_ms") && said.contains("the nearest is flush_interval_ms"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_under_an_id_is_known_after_a_kill() {
    let folder = Folder::new();
    let mut process = folder.start(&[]);
    ready(&mut process).await;
    let event = |id: &str| {
        let mut event = view("once", 1);
        event["eventId"] = id.into();
        event
    };
    let (status, mut first) = process.post("/api/events/publish", &event("e-1")).await;
    assert_eq!((status, &first["duplicate"]), (200, &json!(false)));
    process.kill();
    let mut process = folder.start(&[]);
    ready(&mut process).await;
    first["duplicate"] = json!(true);
    assert_eq!(process.post("/api/events/publish", &event("e-1")).await, (200, first.clone()));
    let (_, second) = process.post("/api/events/publish", &event("e-2")).await;
    assert_eq!(second["offset"].as_i64(), first["offset"].as_i64().map(|offset| offset + 1), "nothing lies in between");
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}
