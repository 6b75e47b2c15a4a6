//! A seeded simulation of many members, each the whole runtime as it is shipped, over one log and one store that fail in every
//! way we know: after the faults, every key equals a naive fold of the log.
//!
//! ```sh
//! SEED=123 cargo test --test simulation one_seed -- --nocapture      # one seed again, with its trace
//! SEEDS=100000 FROM=10000 cargo test --test simulation every_seed    # many seeds
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

#[path = "simulation/applying.rs"]
mod applying;
#[path = "simulation/check.rs"]
mod check;
#[path = "simulation/connection.rs"]
mod connection;
#[path = "simulation/crowd.rs"]
mod crowd;
#[path = "simulation/events.rs"]
mod events;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/harm.rs"]
mod harm;
#[path = "simulation/leases.rs"]
mod leases;
#[path = "simulation/log.rs"]
mod log;
#[path = "simulation/members.rs"]
mod members;
#[path = "simulation/seeds.rs"]
mod seeds;
#[path = "simulation/store.rs"]
mod store;
#[path = "simulation/world.rs"]
mod world;

use seeds::{run, run_many, setting, traced};

/// Seeds of a run that says nothing else; `just simulation` runs ten times as many, optimised.
const SEEDS: u64 = 1_000;

#[test]
fn every_seed_counts_every_event_once() {
    let (from, count) = (setting("FROM").unwrap_or(0), setting("SEEDS").unwrap_or(SEEDS));
    run_many(from, count);
}

/// `SEED=n` runs that one and prints its trace.
#[test]
fn one_seed() {
    let seed = setting("SEED").unwrap_or(0);
    let (outcome, trace) = traced(seed, setting("WHOLE").is_some());
    if setting("SEED").is_some() || outcome.is_err() {
        eprintln!("{}", trace.join("\n"));
    }
    if let Err(why) = outcome {
        panic!("seed {seed}: {why}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let (_, first) = traced(seed, true);
        let (_, second) = traced(seed, true);
        let differs = first.iter().zip(&second).position(|(one, other)| one != other);
        assert_eq!(
            differs,
            None,
            "seed {seed}: {:?} {:?}",
            first.get(differs.unwrap_or(0)),
            second.get(differs.unwrap_or(0))
        );
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(run(seed).is_ok());
    }
}
