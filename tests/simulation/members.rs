//! Members: each a whole `Counting` on a runtime and a clock of its own, which the world runs as far as it likes.
//!
//! A member that is not run is a process that stands still; one whose runtime is dropped has crashed, with every task where it
//! stood. What has left it by then still arrives.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use streamgauge::{
    catalog::plan::Catalog,
    core::{
        dedupe::{IdentitySecret, SECRET_BYTES},
        register::Scope,
    },
    log::{FetchLimits, Log},
    runtime::{
        COUNTING_PART, LOG_PART, OffsetReset, STORE_PART,
        counting::{Counting, CountingError, CountingOptions, CountingParts},
        health::Health,
        outside::LogOutside,
        producer::{Producer, ProducerOptions},
        routing::Routing,
        tenure::Tenures,
    },
};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{connection, leases::GROUP, log, support::events::Random, world::Shared};

/// What the members of a seed have in common.
#[derive(Clone)]
pub struct Setting {
    pub catalog: Arc<Catalog>,
    pub options: CountingOptions,
    pub max_wait: Duration,
    /// Members share the partitions by leases; else each is alone in a group of its own and counts all of them, as if leases
    /// were always wrong.
    pub has_leases: bool,
}

impl Setting {
    pub fn any(catalog: Arc<Catalog>, topics: Vec<String>, random: &mut Random) -> Self {
        let options = CountingOptions {
            group: GROUP.to_owned(),
            offset_reset: [OffsetReset::Earliest, OffsetReset::Earliest, OffsetReset::Latest][random.below(3)],
            batch_events: [1, 3, 50][random.below(3)],
            flush_interval: Duration::from_millis([30, 100, 700][random.below(3)]),
            topics,
            partitions: BTreeMap::new(),
            create_topics: true,
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_secs(2),
        };
        let max_wait = Duration::from_millis([100, 500][random.below(2)]);
        Self { catalog, options, max_wait, has_leases: random.below(2) == 0 }
    }
}

/// A member.
pub struct Member {
    pub number: u32,
    pub counting: Arc<Counting>,
    runtime: Runtime,
    running: JoinHandle<Result<(), CountingError>>,
    stop: CancellationToken,
    /// It stands still until this time of the world, milliseconds.
    pub paused_until_ms: u64,
    /// How far its clock is behind the world's.
    pub behind: Duration,
    pub is_stopping: bool,
}

impl Member {
    pub fn start(shared: &Arc<Shared>, number: u32, setting: &Setting) -> Self {
        let (prefix, shards) = shared.with(|state| (state.store.prefix, state.store.count()));
        let (secret, every_poll) = shared.with(|state| (state.random.next(), state.random.below(2) == 0));
        // With an interval of 1 the world is asked after each poll of a task whether it has seen enough.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .event_interval(if every_poll { 1 } else { 61 })
            .build()
            .unwrap();
        let entered = runtime.enter();
        let log: Arc<dyn Log> = Arc::new(log::Connection { shared: Arc::clone(shared), member: number });
        let now = Instant::now();
        let health = Arc::new(Health::new(now));
        [LOG_PART, STORE_PART, COUNTING_PART].into_iter().for_each(|part| health.add_part(part, false, now));
        let limits = FetchLimits {
            max_wait: setting.max_wait,
            min_bytes: 1,
            max_partition_bytes: 1_000_000,
            max_bytes: 8_000_000,
        };
        let tenures = Arc::<Tenures>::default();
        let mut options = setting.options.clone();
        if !setting.has_leases {
            options.group = format!("alone-{number}");
        }
        // Who is alone in a group of its own is still one of those that count this prefix.
        let scope = Scope { prefix: prefix.to_string(), group: GROUP.to_owned(), shards };
        let counting = Counting::new(CountingParts {
            outside: Arc::new(LogOutside::new(Arc::clone(&log), scope, true)),
            store: Arc::new(connection::Connection {
                shared: Arc::clone(shared),
                member: number,
                prefix,
                shards,
                tenures: Arc::clone(&tenures),
            }),
            producer: Arc::new(Producer::new(Arc::clone(&log), ProducerOptions::default())),
            routing: Arc::new(Routing::new(Arc::clone(&log))),
            log,
            health,
            tenures,
            limits,
            fetch_max_bytes: 1_000_000,
            secret: secret_of(secret),
            me: (format!("m{number}").into(), "here".to_owned()),
            options,
        });
        let stop = CancellationToken::new();
        let run = Arc::clone(&counting).run(Arc::clone(&setting.catalog), stop.clone(), CancellationToken::new());
        let running = runtime.spawn(run);
        drop(entered);
        shared.with(|state| state.trace.say(|| format!("m{number} starts")));
        Self {
            number,
            counting,
            runtime,
            running,
            stop,
            paused_until_ms: 0,
            behind: Duration::ZERO,
            is_stopping: false,
        }
    }

    /// Runs it for so long by its clock.
    pub fn run_for(&mut self, time: Duration) {
        let behind = std::mem::take(&mut self.behind);
        self.runtime.block_on(async {
            if !behind.is_zero() {
                // It wakes up, and the time has passed all at once.
                tokio::time::advance(behind).await;
            }
            tokio::time::sleep(time).await;
        });
    }

    /// Runs it for about so many polls of its tasks; no time passes.
    pub fn run_polls(&mut self, polls: usize) {
        self.runtime.block_on(async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Stops it as SIGTERM does: it ends when it has flushed.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        self.stop.cancel();
    }

    pub fn has_ended(&self) -> bool {
        self.running.is_finished()
    }

    /// How it ended.
    pub fn ended(mut self) -> Result<(), String> {
        match self.runtime.block_on(&mut self.running) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Partitions that it says have stopped, and why.
    pub fn stopped(&self) -> Vec<(String, String)> {
        let told = self.counting.stopped.iter().map(|entry| (entry.key().to_string(), entry.value().why.clone()));
        let mut told: Vec<_> = told.collect();
        told.sort();
        told
    }
}

fn secret_of(seed: u64) -> IdentitySecret {
    let mut random = Random::new(seed);
    let mut secret = [0; SECRET_BYTES];
    secret.fill_with(|| random.next() as u8);
    IdentitySecret(secret)
}
