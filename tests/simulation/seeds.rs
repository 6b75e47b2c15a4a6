//! Running seeds: one, one with its trace, many over all cores.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use streamgauge::model::ShardId;

use crate::{
    faults::{Counts, Fault},
    store::Planted,
    world::World,
};

/// A number from the environment.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The defect of the store that `PLANTED` names.
fn planted() -> Option<Planted> {
    match std::env::var("PLANTED").ok()?.as_str() {
        "compare-dropped" => Some(Planted::CompareDropped),
        "recent-pushed" => Some(Planted::RecentPushed),
        other => panic!("nobody knows how to plant {other}"),
    }
}

/// Most shards of a seed's store.
const MOST_SHARDS: usize = 4;
/// A long run says every so many seeds that it goes on.
const TOLD_EVERY: u64 = 50_000;

/// How many shards a seed had, and what happened.
type Happened = (ShardId, Counts);

/// Runs a seed.
///
/// # Errors
/// What went wrong.
pub fn run(seed: u64) -> Result<Happened, String> {
    go(&mut World::new(seed, planted()))
}

fn go(world: &mut World) -> Result<Happened, String> {
    let whole = || {
        world.live()?;
        world.settle()?;
        world.check();
        Ok(world.counts())
    };
    catch_unwind(AssertUnwindSafe(whole)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// Runs a seed and tells what happened: the last of it, or all.
pub fn traced(seed: u64, is_whole: bool) -> (Result<Happened, String>, Vec<String>) {
    let mut world = World::new(seed, planted());
    world.keep_trace(is_whole);
    let outcome = go(&mut world);
    let records = if is_whole { world.records() } else { Vec::new() };
    (outcome, world.trace().into_iter().chain(records).collect())
}

/// Runs seeds over all cores, until one fails; then tells how to run that one again and what happened in it.
#[track_caller]
pub fn run_many(from: u64, count: u64) {
    let began = Instant::now();
    let next = AtomicU64::new(from);
    let has_failed = AtomicBool::new(false);
    let (sums, failure) = (Mutex::new(Sums([(0, [0; Fault::ALL.len()]); MOST_SHARDS])), Mutex::new(None));
    let time = setting("SECONDS_AT_MOST").map(Duration::from_secs);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = time.is_some_and(|time| began.elapsed() > time);
            if seed >= from.saturating_add(count) || is_late || has_failed.load(Ordering::Relaxed) {
                return;
            }
            match run(seed) {
                Ok(happened) => {
                    let done = sums.lock().unwrap().add(happened);
                    if done.is_multiple_of(TOLD_EVERY) {
                        eprintln!("{done} seeds in {:.0} s", began.elapsed().as_secs_f64());
                    }
                }
                Err(_) => {
                    has_failed.store(true, Ordering::Relaxed);
                    failure.lock().unwrap().get_or_insert(seed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(seed) = failure.into_inner().unwrap() {
        let (outcome, trace) = traced(seed, false);
        eprintln!("{}\nSEED={seed} cargo test --test simulation one_seed -- --nocapture", trace.join("\n"));
        panic!("seed {seed}: {}", outcome.expect_err("the same seed fails again"));
    }
    report(began.elapsed(), &sums.into_inner().unwrap());
}

/// What happened in many seeds, by the number of shards, the fewest first.
struct Sums([(u64, Counts); MOST_SHARDS]);

impl Sums {
    /// Adds a seed, and returns how many there are by now.
    fn add(&mut self, (shards, counts): Happened) -> u64 {
        let (seeds, sums) = &mut self.0[usize::from(shards) - 1];
        *seeds += 1;
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        self.seeds()
    }

    fn seeds(&self) -> u64 {
        self.0.iter().map(|(seeds, _)| seeds).sum()
    }
}

fn report(took: Duration, all: &Sums) {
    let (seeds, Sums(sums)) = (all.seeds(), all);
    let each_ms = took.as_secs_f64() * 1000.0 / seeds.max(1) as f64;
    eprintln!("{seeds} seeds in {:.1} s, {each_ms:.2} ms each over all cores", took.as_secs_f64());
    let line =
        |of: &dyn Fn(&(u64, Counts)) -> u64| sums.iter().map(|sum| format!("{:>10}", of(sum))).collect::<String>();
    eprintln!("{}  seeds, by shards of the store: 1, 2, 3, 4", line(&|(seeds, _)| *seeds));
    let mut never = Vec::new();
    for fault in Fault::ALL {
        let count = |(_, counts): &(u64, Counts)| counts[*fault as usize];
        eprintln!("{}  {fault:?}", line(&count));
        let can_happen = |shards: usize| shards > 1 || !fault.is_of_shards();
        let columns = (1..).zip(sums).filter(|(shards, _)| can_happen(*shards));
        never.extend(columns.filter(|(_, sum)| count(sum) < least(sum.0)).map(|(shards, _)| (*fault, shards)));
    }
    assert!(never.is_empty(), "hardly ever happened, with so many shards: {never:?}");
}

/// How often each kind must have happened in so many seeds. Few seeds cannot have all of them.
fn least(seeds: u64) -> u64 {
    if seeds < 300 { 0 } else { (seeds / 500).max(1) }
}
