//! Members of several versions take over one partition after each other and at once, amid shards and whole stores that fall back
//! or are emptied, late and doubled sections and notes, and members that die anywhere. After all of it every offset was counted
//! once in each shard, by the rules that the table outside says, and no entry of that has ever changed.
//!
//! A store of one shard goes by the table beside its checkpoint, which nobody compares with the one outside before a flush; where
//! no process sleeps through a change of rules, both say the same.
//!
//! `SWITCH_SEED=n cargo test --test core switches` tries one seed again, `SWITCH_SEEDS=n` tries so many.

#[path = "switches/world.rs"]
mod world;

use streamgauge::core::switches::SwitchError;

use self::world::{Harm, Weather, World};

const SEEDS: u64 = 400;
const SHARDS: usize = 3;

/// What was wrong after a seed's faults; how often rules changed and shards fell back.
fn run(seed: u64, shards: usize, weather: Weather, harm: Harm) -> Result<(usize, usize), String> {
    let mut world = World::new(seed, shards, weather, harm);
    let mut members = [world.member(), world.member()];
    let stuck = |error: SwitchError| error.to_string();
    for _ in 0..120 {
        let chosen = world.random.below(2);
        // Long runs of one of them, so that the other one wakes up late.
        for _ in 0..1 + world.random.below(30) {
            world.step(&mut members[chosen]).map_err(stuck)?;
        }
        world.disturb();
        if world.random.below(8) == 0 {
            members[chosen] = world.member();
        }
        if weather == Weather::Calm {
            // A store that fell back is noticed before the next flush, and nobody sleeps.
            members.iter_mut().for_each(|(_, doing)| *doing = world.look());
        }
    }
    let mut last = world.member();
    for _ in 0..600 {
        while let Some(late) = world.in_flight.pop() {
            world.shards[late.shard].apply(&late);
        }
        while let Some(late) = world.notes_in_flight.pop() {
            world.take_in(&late);
        }
        world.step(&mut last).map_err(stuck)?;
    }
    if world.settled() != world.noted {
        return Err(format!("{:?} became {:?}", world.noted, world.settled()));
    }
    for (shard, held) in world.shards.iter().enumerate() {
        let table = world.table_of(held);
        let mut counted_to = 0;
        for (run, by) in &held.counted {
            let rules = table.0.iter().rposition(|rules| rules.from <= run.start).unwrap_or(0);
            let ends_in_time = table.end_of(rules).is_none_or(|end| run.end <= end);
            if run.start != counted_to || table.0[rules].fingerprint != *by || !ends_in_time {
                return Err(format!("shard {shard}: {run:?} by {by} behind {counted_to}, {table}"));
            }
            counted_to = run.end;
        }
        if counted_to != world.log_end {
            return Err(format!("shard {shard}: {counted_to} of {}, {table}", world.log_end));
        }
    }
    Ok((world.switched, world.fell_back))
}

fn seeds() -> std::ops::Range<u64> {
    let given = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    given("SWITCH_SEED").map_or_else(|| 0..given("SWITCH_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1)
}

fn all_seeds(shards: usize, weather: Weather) {
    let (mut switched, mut fell_back) = (0, 0);
    for seed in seeds() {
        match run(seed, shards, weather, Harm::None) {
            Ok(run) => (switched, fell_back) = (switched + run.0, fell_back + run.1),
            Err(why) => panic!("SWITCH_SEED={seed}, {shards} shards, {weather:?}: {why}"),
        }
    }
    assert!(switched >= seeds().count() && fell_back > 0, "{switched} switches, {fell_back} fell back");
}

#[test]
fn whatever_happens_all_shards_change_their_rules_at_one_offset() {
    all_seeds(SHARDS, Weather::Any);
}

#[test]
fn whatever_happens_one_shard_is_counted_by_the_table_beside_its_checkpoint() {
    all_seeds(1, Weather::Any);
}

#[test]
fn one_shard_that_falls_back_as_a_store_does_changes_its_rules_where_it_did_before() {
    all_seeds(1, Weather::Calm);
}

#[test]
fn the_model_finds_what_is_left_out() {
    for harm in [Harm::Unchecked, Harm::HighestCheckpoint, Harm::EarlierEnd] {
        assert!((0..SEEDS).any(|seed| run(seed, SHARDS, Weather::Any, harm).is_err()), "{harm:?} is not found");
    }
    let is_wrong = |seed| run(seed, 1, Weather::Calm, Harm::OutsideInside).is_err();
    assert!((0..SEEDS).any(is_wrong), "a table outside that falls back with the store is not found");
}
