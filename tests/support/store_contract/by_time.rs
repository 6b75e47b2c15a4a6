//! Sets whose latest event decides.

use std::time::{Duration, Instant};

use super::*;

const LONG_MS: i64 = 7 * 86_400_000;

/// Time and origin of an event, in or out, its counter; what is in afterwards, and two counters.
type Case<'c> = (i64, Origin, bool, &'c str, &'c [&'c str], [i64; 2]);

async fn members(f: &Fixture, key: &str) -> Vec<String> {
    let asked = f.ask(Query::Members { key: key.to_owned(), cursor: String::new(), limit: 99 }).await;
    let Answer::Members { mut elements, cursor: None } = asked else { panic!("{asked:?}") };
    elements.sort();
    elements
}

/// Events of one element, one section each, from partitions in turn.
pub async fn the_latest_event_decides_whoever_says_it(f: &Fixture) {
    let cases: [Case<'_>; 11] = [
        (100, origin(0, 5), false, "n", &[], [0, 0]),
        (99, origin(1, 9), true, "n", &[], [0, 0]),
        (100, origin(0, 4), true, "n", &[], [0, 0]),
        (100, origin(1, 1), true, "n", &["x"], [1, 0]),
        (100, origin(1, 1), false, "n", &["x"], [1, 0]),
        // It stays in, and counts where the latest event says.
        (101, origin(0, 7), true, "m", &["x"], [0, 1]),
        (102, origin(0, 8), true, "", &["x"], [0, 0]),
        (103, origin(0, 8), true, "n", &["x"], [1, 0]),
        // Out by an event of another counter: what the winner of before added is taken back.
        (104, origin(2, 0), false, "m", &[], [0, 0]),
        (-5, origin(9, 9), true, "m", &[], [0, 0]),
        (105, origin(0, 0), true, "m", &["x"], [0, 1]),
    ];
    let mut next = [0_i64; 3];
    for (at, (time_ms, origin, is_in, counter, present, numbers)) in cases.into_iter().enumerate() {
        let number = at % 3;
        let to = next[number] + 1;
        let delta = by_time("s", LONG_MS, &[("x", time_ms, origin, is_in, counter)]);
        let from = if next[number] == 0 { -1 } else { next[number] };
        assert_eq!(f.apply_one(section(number as i32, from, to, vec![delta])).await, Outcome::Applied);
        next[number] = to;
        assert_eq!(members(f, "s").await, present, "case {at}");
        let found = [f.counter("n").await.unwrap_or(0), f.counter("m").await.unwrap_or(0)];
        assert_eq!(found, numbers, "case {at}");
    }
    // Many at once, in and out, with and without a counter.
    let names: Vec<String> = (0..9_000).map(|i| format!("e{i:04}")).collect();
    let event = |i: usize, time_ms, is_in| (&*names[i], time_ms, origin(0, i as i64), is_in, "many");
    let all: Vec<_> = (0..9_000).map(|i| event(i, 10, true)).collect();
    let late: Vec<_> = (0..9_000).map(|i| event(i, if i % 3 == 0 { 9 } else { 11 }, false)).collect();
    for (offset, events) in [all, late].iter().enumerate() {
        let offset = offset as i64;
        let outcome = f.apply_one(section(4, offset - 1, offset, vec![by_time("big", LONG_MS, events)])).await;
        assert_eq!(outcome, Outcome::Applied);
    }
    assert_eq!(f.counter("many").await, Some(3_000));
    let asked = f.ask(Query::IsMember { key: "big".into(), element: "e0003".into() }).await;
    assert_eq!(asked, Answer::IsMember { exists: true, member: true });
    let asked = f.ask(Query::IsMember { key: "big".into(), element: "e0004".into() }).await;
    assert_eq!(asked, Answer::IsMember { exists: true, member: false });
}

/// The time goes by the store's clock from when it was stored: these events are of 1970.
pub async fn what_was_taken_out_is_remembered_for_its_time(f: &Fixture) {
    let out = |name: &str, tombstones_ms| by_time(name, tombstones_ms, &[("x", 10, origin(0, 1), false, "n")]);
    let late = |name: &str, tombstones_ms| by_time(name, tombstones_ms, &[("x", 5, origin(1, 1), true, "n")]);
    f.apply_one(section(0, -1, 1, vec![out("long", LONG_MS), out("short", 30)])).await;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut to = 0;
    while members(f, "short").await.is_empty() {
        assert!(Instant::now() < deadline, "it is never forgotten");
        let from = if to == 0 { -1 } else { to };
        to += 1;
        f.apply_one(section(1, from, to, vec![late("long", LONG_MS), late("short", 30)])).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(members(f, "long").await, [""; 0]);
    assert_eq!(f.counter("n").await, Some(1));
    if f.raw.is_some() {
        assert_eq!(f.raw("SMEMBERS @short").await, ["x"]);
        assert!(f.raw("HGET @sg:in:short x").await[0].ends_with(":n"));
        assert_eq!(f.raw("HKEYS @sg:out:long").await, ["x"]);
        assert_eq!(f.raw("EXISTS @sg:out:short @sg:gone:short").await, ["0"]);
    }
}

/// The order of a rule was changed in the catalogue: what is in stays in and is counted once.
pub async fn a_set_that_the_log_ordered_goes_on_by_time(f: &Fixture) {
    let before = [("x", true), ("y", true), ("z", true)];
    f.apply_one(section(0, -1, 1, vec![member("s", "n", &before)])).await;
    let events =
        [("x", 10, origin(1, 1), true, "n"), ("y", 10, origin(1, 2), false, "n"), ("w", 1, origin(1, 3), true, "n")];
    f.apply_one(section(1, -1, 1, vec![by_time("s", LONG_MS, &events)])).await;
    assert_eq!(members(f, "s").await, ["w", "x", "z"]);
    assert_eq!(f.counter("n").await, Some(3));
    f.apply_one(section(1, 1, 2, vec![by_time("s", LONG_MS, &[("x", 9, origin(1, 4), false, "n")])])).await;
    assert_eq!(members(f, "s").await, ["w", "x", "z"]);
}
