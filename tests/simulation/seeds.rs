//! Running seeds: one, one with its trace, many over all cores.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

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

/// Runs a seed.
///
/// # Errors
/// What went wrong.
pub fn run(seed: u64) -> Result<Counts, String> {
    go(&mut World::new(seed, planted()))
}

fn go(world: &mut World) -> Result<Counts, String> {
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
pub fn traced(seed: u64, is_whole: bool) -> (Result<Counts, String>, Vec<String>) {
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
    let done = AtomicU64::new(0);
    let (sums, failure) = (Mutex::new([0; Fault::ALL.len()]), Mutex::new(None));
    let time = setting("SECONDS_AT_MOST").map(Duration::from_secs);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = time.is_some_and(|time| began.elapsed() > time);
            if seed >= from.saturating_add(count) || is_late || has_failed.load(Ordering::Relaxed) {
                return;
            }
            match run(seed) {
                Ok(counts) => {
                    let mut sums = sums.lock().unwrap();
                    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                    done.fetch_add(1, Ordering::Relaxed);
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
    let done = done.into_inner();
    report(done, began.elapsed(), &sums.into_inner().unwrap());
}

fn report(seeds: u64, took: Duration, sums: &Counts) {
    let each_ms = took.as_secs_f64() * 1000.0 / seeds.max(1) as f64;
    eprintln!("{seeds} seeds in {:.1} s, {each_ms:.2} ms each over all cores", took.as_secs_f64());
    for fault in Fault::ALL {
        eprintln!("{:>12}  {fault:?}", sums[*fault as usize]);
    }
    // Few seeds cannot have all of them.
    if seeds >= 1_000 {
        let never: Vec<_> = Fault::ALL.iter().filter(|fault| sums[**fault as usize] < seeds / 500).collect();
        assert!(never.is_empty(), "hardly ever happened: {never:?}");
    }
}
