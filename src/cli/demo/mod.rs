//! `demo`: the whole thing from nothing, with generated traffic, and a proof at the end.

mod screen;
mod traffic;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{screen::Screen, traffic::Site};
use crate::{
    app::{App, Handlers},
    catalog::{
        CatalogChoice, parse_ms,
        plan::{Catalog, dead_letter_topic},
    },
    config::{Environment, load},
    log::{At, OutRecord},
    model::TopicPartition,
    runtime::{producer::Producer, routing::Routing},
    telemetry,
};

/// How often events are sent.
const TICK: Duration = Duration::from_millis(20);
/// How long the topics may take to appear.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long counting may take to catch up at the end.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);
/// Keys asked at once for the proof.
const KEYS_PER_READ: usize = 500;
/// Topics that the traffic goes to.
const TOPICS: [&str; 3] = ["video.views", "video.likes", "video.comments"];

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End by itself after this time (10s, 2m); else on Ctrl-C
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Events a second
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    rate: u64,
    /// Seed of the traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let ms = parse_ms(text).ok_or("expected a time like 500ms, 10s, 2m or 1h")?;
    Ok(Duration::from_millis(ms.unsigned_abs()))
}

/// Removes the demo's data when it ends, however it ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the demo. The exit code is 1 where a counter differs from what the traffic must come to.
pub(super) async fn run(args: Args, environment: &Environment) -> anyhow::Result<u8> {
    let folder = Folder(std::env::temp_dir().join(format!("streamgauge-demo-{}", uuid::Uuid::new_v4().simple())));
    let config = load(&settings(environment, &folder), None)?.config;
    telemetry::logging::install(&config.running.log_level, telemetry::logging::Format::Text)?;
    let catalog = Arc::new(Catalog::load(&CatalogChoice { names: vec!["video".to_owned()], path: None })?);
    let mut app = App::start(&config, catalog, telemetry::metrics::install()?, Handlers::new()).await?;
    let mut screen = Screen::new();
    screen.welcome(&app);
    wait_for_topics(&app).await?;

    let site = Arc::new(Mutex::new(Site::new(args.seed, chrono::Utc::now().timestamp_millis())));
    let enough = CancellationToken::new();
    let sending = tokio::spawn(send(
        Arc::clone(&site),
        (Arc::clone(&app.engine.producer), Arc::clone(&app.engine.routing)),
        args.rate,
        enough.clone(),
    ));
    let ends_at = args.duration.map(|duration| Instant::now() + duration);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let signal = super::run::stop_signal();
    tokio::pin!(signal);
    loop {
        tokio::select! {
            _ = seconds.tick() => {
                let published = lock(&site).published();
                screen.show(&app, published).await;
            }
            _ = &mut signal => break,
            () = sleep_until(ends_at) => break,
            failure = app.failed() => return Err(failure.into()),
        }
    }
    enough.cancel();
    sending.await??;
    let proof = prove(&app, &site).await?;
    app.stop().await?;
    screen.proof(&proof);
    Ok(u8::from(proof.difference != 0))
}

fn settings(environment: &Environment, folder: &Folder) -> Environment {
    let mut settings = Environment::new();
    // What a developer may want to watch the demo with; its data is the demo's own, whatever else is set.
    for name in ["LOG_LEVEL", "KAFKA_LISTEN", "PORT", "FLUSH_INTERVAL_MS"] {
        if let Some(value) = environment.get(name) {
            settings.insert(name.to_owned(), value.clone());
        }
    }
    settings.entry("LOG_LEVEL".to_owned()).or_insert_with(|| "error".to_owned());
    settings.entry("PORT".to_owned()).or_insert_with(|| "0".to_owned());
    settings.insert("DATA_DIR".to_owned(), folder.0.display().to_string());
    settings
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn wait_for_topics(app: &App) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    for topic in TOPICS {
        while let Err(error) = app.engine.routing.partition_for(topic, Some(b"")).await {
            anyhow::ensure!(Instant::now() < deadline, "the demo's topics did not appear: {error}");
            tokio::time::sleep(TICK).await;
        }
    }
    Ok(())
}

async fn send(
    site: Arc<Mutex<Site>>,
    (producer, routing): (Arc<Producer>, Arc<Routing>),
    rate: u64,
    enough: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    let began = Instant::now();
    let mut sent = 0;
    while !enough.is_cancelled() {
        ticks.tick().await;
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        let batch: Vec<_> = {
            let mut site = lock(&site);
            (sent..due).map(|_| site.next()).collect()
        };
        sent = due;
        let mut records = Vec::with_capacity(batch.len());
        for traffic in batch {
            let key = traffic.key.into_bytes();
            let partition = routing.partition_for(traffic.topic, Some(&key)).await?;
            records.push((partition, OutRecord { key: Some(key), value: Some(traffic.value), ..OutRecord::default() }));
        }
        for result in producer.send_all_waiting(records).await {
            result?;
        }
    }
    Ok(())
}

/// What the demo ends with.
pub(super) struct Proof {
    published: u64,
    counted: u64,
    dead: u64,
    keys: usize,
    difference: u64,
}

/// Waits until everything is counted, then reads every counter back from the store.
async fn prove(app: &App, site: &Mutex<Site>) -> anyhow::Result<Proof> {
    let (expected, good, bad) = {
        let site = lock(site);
        (site.expected.clone(), site.good, site.bad)
    };
    let deadline = Instant::now() + CAUGHT_UP_WITHIN;
    while app.engine.counting.tally.total().records < good + bad && Instant::now() < deadline {
        tokio::time::sleep(TICK).await;
    }
    let names: Vec<&String> = expected.keys().collect();
    let mut difference = 0;
    for names in names.chunks(KEYS_PER_READ) {
        for counter in app.reads.counters(names.iter().map(|name| (*name).clone()).collect()).await? {
            difference += counter.value.abs_diff(expected.get(&counter.key).copied().unwrap_or_default());
        }
    }
    let dead = dead_letters(app).await?;
    let counted = app.engine.counting.tally.total().events;
    difference += dead.abs_diff(bad) + counted.abs_diff(good);
    Ok(Proof { published: good + bad, counted, dead, keys: expected.len(), difference })
}

/// What lies in the dead letter topics, asked from the log itself.
async fn dead_letters(app: &App) -> anyhow::Result<u64> {
    let mut sum = 0;
    let topics = app.engine.counting.log.topics().await?;
    for topic in topics.iter().filter(|topic| TOPICS.iter().any(|name| dead_letter_topic(name) == topic.name)) {
        for partition in 0..topic.partitions {
            let partition = TopicPartition::new(topic.name.as_str(), partition);
            sum += app.engine.counting.log.offset_at(&partition, At::End).await?.unsigned_abs();
        }
    }
    Ok(sum)
}

fn lock(site: &Mutex<Site>) -> std::sync::MutexGuard<'_, Site> {
    site.lock().unwrap_or_else(PoisonError::into_inner)
}
