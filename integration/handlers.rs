//! Handlers in code on a real Kafka and Redis, in processes that are killed with -9: every event is handled, in order per key, and
//! little of it twice. What happens when is the seed's.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::Command,
    time::{Duration, Instant},
};

use streamgauge::handlers::{Event, Failure, Service, Subscription, stop_signal};

use crate::{
    orders::Orders,
    place::{Place, ready},
    support::{
        events::{Random, fresh_seed},
        process::Process,
    },
};

const MEMBERS: usize = 3;
const EVENTS: usize = 6_000;
const KEYS: usize = 500;
const KILLS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(300);
/// Names the file that handlers write to; where it is set, [`as_a_process`] is one of the members.
const NOTES: &str = "HANDLERS_TEST_NOTES";

/// Writes a line for each attempt, and one for each event that it has; each in one piece, so that processes share the file.
fn orders() -> Subscription {
    let path = std::env::var(NOTES).unwrap();
    let note = move |what: &str, event: &Event| {
        let mut notes = std::fs::File::options().append(true).open(&path).unwrap();
        notes.write_all(format!("{what} {}\n", event.id).as_bytes()).unwrap();
    };
    let group = Subscription::new("killed").from_earliest().on("order", move |event: Event| {
        note("begins", &event);
        // One of twenty fails at first.
        let fails = event.attempt == 1 && event.id.parse::<usize>().unwrap() % 20 == 7;
        if !fails {
            note("has", &event);
        }
        async move { if fails { Err(Failure::new("not yet")) } else { Ok(()) } }
    });
    group.retry_initial(Duration::from_millis(50))
}

/// Not a test: what the test below starts, as this program once more.
#[test]
fn as_a_process() {
    if std::env::var_os(NOTES).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Service::from_env().unwrap().with_log_lines().unwrap().subscribe(orders());
        service.run(stop_signal()).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_handle_every_event_in_order() {
    let seed = fresh_seed();
    let mut random = Random::new(seed);
    let mut place = Place::own_topics();
    let (orders, log) = (Orders::of(&mut place, KEYS), place.log());
    let notes = place.folder.path().join("notes");
    std::fs::write(&notes, "").unwrap();
    let start = || {
        let mut program = Command::new(std::env::current_exe().unwrap());
        let program = program.args(["--exact", "handlers::as_a_process", "--nocapture"]);
        place.start_program(program, &[(NOTES, notes.to_str().unwrap()), ("LOG_FORMAT", "json")])
    };
    let ids = |what: &str| -> Vec<usize> {
        let text = std::fs::read_to_string(&notes).unwrap();
        text.lines().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok()).collect()
    };
    let mut members: Vec<Process> = (0..MEMBERS).map(|_| start()).collect();
    for member in &mut members {
        ready(member).await;
    }
    let began = Instant::now();
    for round in 0..KILLS {
        let at = |round: usize| EVENTS / KILLS * round;
        orders.publish(&log, at(round)..at(round + 1)).await;
        let goal = at(round) + random.below(EVENTS / KILLS);
        let different = || ids("has ").into_iter().collect::<BTreeSet<_>>().len();
        while different() < goal {
            assert!(began.elapsed() < DEADLINE, "{} of {goal}, seed {seed}: {}", different(), members[0].said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let victim = random.below(MEMBERS);
        members[victim].kill();
        members[victim] = start();
    }
    let all = || ids("has ").into_iter().collect::<BTreeSet<_>>().len() == EVENTS;
    members[0].until("all are handled", async |_| all().then_some(())).await;
    let took = began.elapsed();
    for member in &mut members {
        // One that has just been started may not be listening for it yet.
        ready(member).await;
        assert!(member.terminate().await.success(), "{}", member.said());
    }
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for number in ids("begins ").into_iter().filter(|number| seen.insert(*number)) {
        let before = last.insert(orders.key(number), number);
        assert!(before.is_none_or(|before| before < number), "{number} after {before:?}, seed {seed}");
    }
    let twice = ids("has ").len() - EVENTS;
    eprintln!(
        "{EVENTS} events in {:.1} s, {KILLS} processes killed: all handled in order, {twice} twice ({:.2} %), seed {seed}",
        took.as_secs_f64(),
        100.0 * twice as f64 / EVENTS as f64
    );
    assert!(twice < EVENTS / 10, "{twice} of {EVENTS} came twice, seed {seed}");
}
