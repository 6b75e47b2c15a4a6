//! The core against the oracle: whatever the cut into blocks, batches and flushes, and wherever a worker is dropped, every
//! key of every rule is what a naive fold of the log says.
//!
//! `CORE_SEED=n cargo test --test core` tries one seed again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

#[path = "core/any_bytes.rs"]
mod any_bytes;
#[path = "core/assignment.rs"]
mod assignment;
#[path = "core/custom.rs"]
mod custom;
#[path = "core/hostile.rs"]
mod hostile;
#[path = "core/member.rs"]
mod member;
#[path = "core/replays.rs"]
mod replays;
#[path = "core/roster.rs"]
mod roster;
#[path = "core/schemas.rs"]
mod schemas;
#[path = "core/switches.rs"]
mod switches;
#[path = "core/trace.rs"]
mod trace;

use std::collections::BTreeMap;

use member::count_all;
use streamgauge::{
    catalog::{CatalogChoice, plan::Catalog},
    core::partitioner::partition_for_key,
};
use support::{
    events::{Random, events},
    oracle::{GROUP, Record},
};

/// Records by topic and partition, as the oracle takes them.
type Log = BTreeMap<(String, i32), Vec<Record>>;

const SEEDS: u64 = 25;
const PARTITIONS: i32 = 3;

fn seeds() -> Vec<u64> {
    match std::env::var("CORE_SEED") {
        Ok(seed) => vec![seed.parse().expect("CORE_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

/// Appends a record; at times offsets are left out before it, as transactions and compaction do.
fn append(log: &mut Log, topic: &str, key: Option<&[u8]>, value: Option<Vec<u8>>, random: &mut Random) {
    let partition =
        key.map_or_else(|| random.below(PARTITIONS as usize) as i32, |key| partition_for_key(key, PARTITIONS));
    let records = log.entry((topic.to_owned(), partition)).or_default();
    let hole = if random.below(12) == 0 { random.below(5) as i64 } else { 0 };
    let offset = records.last().map_or(random.below(3) as i64, |last| last.offset + 1) + hole;
    let timestamp_ms = 1_700_000_000_000 + random.below(1_000_000) as i64;
    let mut headers = match random.below(12) {
        0 => vec![("event-id".to_owned(), format!("h{}", random.below(50)).into_bytes())],
        _ => Vec::new(),
    };
    let value = match random.below(12) {
        0 => replayed(records, value, &mut headers, random),
        _ => value,
    };
    records.push(Record { offset, timestamp_ms, key: key.map(<[u8]>::to_vec), value, headers });
}

/// What lies there already, sent again as a dead letter's record is: for this group or another one, once or twice, at times with
/// headers that make no replay.
fn replayed(
    records: &[Record],
    value: Option<Vec<u8>>,
    headers: &mut Vec<(String, Vec<u8>)>,
    random: &mut Random,
) -> Option<Vec<u8>> {
    let back = random.below(20) + 1;
    let value = records.iter().rev().nth(back).map_or(value, |earlier| earlier.value.clone());
    let number = ["1", "1", "1", "2", "0", "many"][random.below(6)];
    let group = [GROUP, GROUP, GROUP, "another"][random.below(4)];
    let origin = format!("t.dlq:0:{}", random.below(9));
    for (name, value) in [("replay-group", group), ("replay-number", number), ("replay-origin", &origin)] {
        headers.push((name.to_owned(), value.as_bytes().to_vec()));
    }
    value
}

#[test]
fn any_cut_of_the_log_counts_the_video_catalogue_exactly() {
    let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
    for seed in seeds() {
        let mut random = Random::new(seed ^ 0x5eed);
        let mut log = Log::new();
        for event in events(seed, 1_200, 30) {
            if random.below(40) == 0 {
                append(&mut log, event.topic, event.key.as_deref(), None, &mut random);
            }
            append(&mut log, event.topic, event.key.as_deref(), Some(event.value), &mut random);
        }
        count_all(&catalog, &log, seed);
    }
}
