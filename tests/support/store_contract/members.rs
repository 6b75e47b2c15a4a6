//! Heartbeats: who is a member, who holds what, and who is told.

use std::time::{Duration, Instant};

use super::*;
use streamgauge::{
    core::roster::Group,
    model::{
        Beat, Beaten, Lease,
        LeaseStep::{self, Claim, Release, Wait, Withdraw},
        Roster,
    },
};

use crate::support::events::Random;

/// A session that no test outlives.
const LONG_MS: u64 = 600_000;
/// One that ends soon.
const SHORT_MS: u64 = 100;
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn beat(member: &str) -> Beat {
    Beat {
        group: "g".into(),
        member: member.into(),
        about: Some(format!("about {member}").into_bytes()),
        session_timeout_ms: LONG_MS,
        known_version: None,
        steps: Vec::new(),
    }
}

pub(super) fn stepping(member: &str, steps: &[(i32, LeaseStep)]) -> Beat {
    let steps = steps.iter().map(|(number, step)| (partition(*number), *step)).collect();
    Beat { steps, ..beat(member) }
}

fn brief(member: &str, steps: &[(i32, LeaseStep)]) -> Beat {
    Beat { session_timeout_ms: SHORT_MS, ..stepping(member, steps) }
}

pub(super) async fn send(f: &Fixture, beat: Beat) -> Beaten {
    f.store.beat(&beat, &[]).await.unwrap().0
}

/// Leases as `partition: holder` or `partition: holder < next`.
pub(super) fn leases(roster: &Roster) -> Vec<String> {
    let shown = |(partition, lease): (&TopicPartition, &Lease)| match &lease.next {
        Some(next) => format!("{}: {} < {next}", partition.partition, lease.holder),
        None => format!("{}: {}", partition.partition, lease.holder),
    };
    roster.leases.iter().map(shown).collect()
}

pub(super) fn members(roster: &Roster) -> Vec<&str> {
    roster.members.keys().map(|member| &**member).collect()
}

/// Sends the beat until the answer is as wanted.
async fn until(f: &Fixture, what: &str, beat: impl Fn() -> Beat, wanted: impl Fn(&Beaten) -> bool) -> Beaten {
    let ends_at = Instant::now() + DEADLINE;
    loop {
        let beaten = send(f, beat()).await;
        if wanted(&beaten) {
            return beaten;
        }
        assert!(Instant::now() < ends_at, "waited in vain: {what}; {beaten:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn members_come_and_go_and_are_told_what_changed(f: &Fixture) {
    let first = send(f, beat("a")).await;
    assert!(first.is_new && first.version > 0, "{first:?}");
    let roster = first.roster.unwrap();
    assert_eq!((roster.version, members(&roster)), (first.version, vec!["a"]));
    let again = send(f, Beat { known_version: Some(first.version), ..beat("a") }).await;
    assert_eq!(again, Beaten { is_new: false, version: first.version, roster: None });
    // Any bytes, and none at all.
    let second = send(f, Beat { about: Some(b"\x00\xff\r\n\x80 b".to_vec()), ..beat("b-2._B") }).await;
    let third = send(f, Beat { about: Some(Vec::new()), ..beat("c") }).await;
    assert!(second.is_new && third.is_new && first.version < second.version && second.version < third.version);
    let told = send(f, Beat { known_version: Some(first.version), ..beat("a") }).await;
    let roster = told.roster.unwrap();
    assert_eq!((told.is_new, told.version, roster.version), (false, third.version, third.version));
    let about: Vec<_> = roster.members.iter().map(|(member, about)| (&**member, about.as_slice())).collect();
    assert_eq!(about, [("a", b"about a".as_slice()), ("b-2._B", b"\x00\xff\r\n\x80 b"), ("c", b"")]);
    // What a member says anew is a change; a version of the future is none that it knows.
    let anew = send(f, Beat { about: Some(b"new".to_vec()), known_version: Some(told.version), ..beat("c") }).await;
    assert!(!anew.is_new && anew.version > told.version);
    assert_eq!(anew.roster.unwrap().members["c"], b"new");
    let ahead = send(f, Beat { known_version: Some(anew.version + 5), ..beat("a") }).await;
    assert_eq!((ahead.version, ahead.roster.map(|roster| roster.version)), (anew.version, Some(anew.version)));
    // Another group is another list.
    let other = send(f, Beat { group: "other".into(), ..beat("a") }).await;
    assert_eq!((other.is_new, members(&other.roster.unwrap())), (true, vec!["a"]));
    // Goodbye, and goodbye again.
    let gone = send(f, Beat { about: None, ..beat("b-2._B") }).await;
    assert_eq!((gone.is_new, members(gone.roster.as_ref().unwrap())), (false, vec!["a", "c"]));
    let gone_again = send(f, Beat { about: None, ..stepping("b-2._B", &[(0, Claim)]) }).await;
    assert_eq!((gone_again.is_new, gone_again.version), (true, gone.version));
    assert_eq!(gone_again.roster, gone.roster);
    let back = send(f, beat("b-2._B")).await;
    assert!(back.is_new && back.version > gone.version);
}

pub async fn leases_are_claimed_waited_for_and_handed_over(f: &Fixture) {
    for member in ["a", "b", "c"] {
        send(f, beat(member)).await;
    }
    let mut version = send(f, beat("a")).await.version;
    type Row = (&'static str, &'static [(i32, LeaseStep)], &'static [&'static str]);
    let table: &[Row] = &[
        ("a", &[(0, Claim), (1, Claim)], &["0: a", "1: a"]),
        ("a", &[(0, Claim), (0, Wait), (0, Withdraw), (2, Wait), (2, Withdraw), (2, Release)], &["0: a", "1: a"]),
        ("b", &[(0, Claim), (0, Release), (0, Withdraw)], &["0: a", "1: a"]),
        ("b", &[(0, Wait), (2, Claim)], &["0: a < b", "1: a", "2: b"]),
        ("c", &[(0, Wait), (0, Claim), (0, Withdraw), (0, Release)], &["0: a < b", "1: a", "2: b"]),
        ("b", &[(0, Withdraw)], &["0: a", "1: a", "2: b"]),
        ("c", &[(0, Wait)], &["0: a < c", "1: a", "2: b"]),
        // In one step to the one that waits.
        ("a", &[(0, Release), (1, Release)], &["0: c", "2: b"]),
        ("a", &[(0, Release)], &["0: c", "2: b"]),
        // In order, in one beat.
        (
            "a",
            &[(0, Wait), (0, Withdraw), (1, Claim), (1, Release), (1, Claim), (2, Wait)],
            &["0: c", "1: a", "2: b < a"],
        ),
        ("c", &[(1, Wait)], &["0: c", "1: a < c", "2: b < a"]),
        // A member that is on no list takes no step; one that comes does.
        ("d", &[(0, Wait), (3, Claim)], &["0: c < d", "1: a < c", "2: b < a", "3: d"]),
    ];
    for (row, (member, steps, expected)) in table.iter().enumerate() {
        let before = send(f, beat("a")).await.roster.unwrap();
        let beaten = send(f, stepping(member, steps)).await;
        let roster = beaten.roster.unwrap();
        assert_eq!(leases(&roster), *expected, "row {row}");
        assert_eq!(beaten.version > version, roster.leases != before.leases, "row {row}");
        version = beaten.version;
    }
    // Goodbye lets go of everything: what it held, and where it waited.
    let gone = send(f, Beat { about: None, ..beat("a") }).await;
    assert_eq!(leases(&gone.roster.unwrap()), ["0: c < d", "1: c", "2: b", "3: d"]);
}

pub async fn the_dead_let_go_and_come_back_as_new(f: &Fixture) {
    // On a slow day the short session ends before all is in place, and it begins again.
    let placed = until(
        f,
        "the short session's leases",
        || brief("brief", &[(0, Claim), (1, Claim)]),
        |beaten| leases(beaten.roster.as_ref().unwrap()).len() == 2,
    );
    placed.await;
    let long = send(f, stepping("long", &[(0, Wait), (2, Claim)])).await;
    send(f, brief("brief", &[(2, Wait)])).await;
    let told = || Beat { known_version: Some(long.version), ..beat("long") };
    let alone = until(f, "the end of the short session", told, |beaten| {
        beaten.roster.as_ref().is_some_and(|roster| members(roster) == ["long"])
    });
    let alone = alone.await;
    assert!(!alone.is_new && alone.version > long.version);
    assert_eq!(leases(alone.roster.as_ref().unwrap()), ["0: long", "2: long"]);
    let back = send(f, stepping("brief", &[(0, Release), (2, Withdraw), (2, Claim)])).await;
    assert!(back.is_new && back.version > alone.version);
    assert_eq!(leases(back.roster.as_ref().unwrap()), ["0: long", "2: long"]);
}

pub async fn a_store_that_was_away_takes_nobody_for_dead(f: &Fixture) {
    let (mut tries, most_tries) = (0, 50);
    loop {
        send(f, brief("a", &[(0, Claim)])).await;
        let both = send(f, brief("b", &[(0, Wait), (1, Claim)])).await.roster.unwrap();
        // Nobody is heard until both sessions have ended.
        tokio::time::sleep(Duration::from_millis(2 * SHORT_MS)).await;
        let back = send(f, brief("a", &[])).await;
        if leases(&both) == ["0: a < b", "1: b"] {
            assert_eq!((back.is_new, back.version, back.roster), (false, both.version, Some(both)));
            break;
        }
        tries += 1;
        assert!(tries < most_tries, "two beats never came within {SHORT_MS} ms");
    }
    // From here on time counts again.
    let told = until(
        f,
        "the end of b's session",
        || brief("a", &[]),
        |beaten| members(beaten.roster.as_ref().unwrap()) == ["a"],
    );
    assert_eq!(leases(&told.await.roster.unwrap()), ["0: a"]);
    // A newcomer owes the dead no patience.
    tokio::time::sleep(Duration::from_millis(2 * SHORT_MS)).await;
    let new = send(f, stepping("c", &[(0, Claim)])).await.roster.unwrap();
    assert_eq!((members(&new), leases(&new)), (vec!["c"], vec!["0: c".to_owned()]));
}

pub async fn positions_come_with_a_beat(f: &Fixture) {
    f.apply_one(section(1, -1, 3, vec![])).await;
    f.store.fix_origins(&[(partition(0), 5)]).await.unwrap();
    let asked = [partition(1), partition(7), partition(0)];
    let expected = f.store.positions(&asked).await.unwrap();
    assert_eq!(expected[0][0].checkpoint, Some(checkpoint(3)));
    for _ in 0..2 {
        if f.raw.is_some() {
            f.raw("SCRIPT FLUSH").await;
        }
        let (beaten, positions) = f.store.beat(&stepping("a", &[(0, Claim)]), &asked).await.unwrap();
        assert_eq!((leases(&beaten.roster.unwrap()), positions), (vec!["0: a".to_owned()], expected.clone()));
    }
    let (beaten, positions) = f.store.beat(&Beat { about: None, ..beat("a") }, &asked).await.unwrap();
    assert_eq!((leases(&beaten.roster.unwrap()), positions), (vec![], expected));
}

/// The naive model is the pure rule itself, so that scripts cannot drift from it.
pub async fn any_beats_mean_what_the_rule_says(f: &Fixture) {
    let seed = seed();
    let mut random = Random::new(seed);
    let mut model = Group::default();
    let mut versions = [None; 5];
    for round in 0..400 {
        let number = random.below(versions.len());
        let mut beat = beat(&format!("m{number}"));
        if random.below(8) == 0 {
            beat.about = None;
        } else if random.below(4) == 0 {
            beat.about = Some(vec![random.below(3) as u8; random.below(3)]);
        }
        let steps = [Claim, Wait, Wait, Withdraw, Release];
        let step = |random: &mut Random| (partition(random.below(6) as i32), steps[random.below(steps.len())]);
        beat.steps = (0..random.below(6)).map(|_| step(&mut random)).collect();
        beat.known_version = versions[number];
        let expected = model.beat(&beat, 0).unwrap();
        let beaten = send(f, beat.clone()).await;
        let context = format!("STORE_CONTRACT_SEED={seed}, round {round}, {beat:?}");
        assert_eq!(beaten.is_new, expected.is_new, "{context}");
        assert_eq!(beaten.roster.is_some(), Some(beaten.version) != beat.known_version, "{context}");
        if let Some(roster) = beaten.roster {
            assert_eq!(
                (&roster.members, &roster.leases),
                (&model.roster().members, &model.roster().leases),
                "{context}"
            );
        }
        versions[number] = (random.below(5) > 0).then_some(beaten.version);
    }
}

pub async fn a_group_is_read_without_taking_part(f: &Fixture) {
    assert_eq!(f.store.roster("g").await.unwrap(), Roster::default());
    send(f, stepping("long", &[(0, Claim)])).await;
    // On a slow day the short session ends before it is looked at, and it begins again.
    let ends_at = Instant::now() + DEADLINE;
    loop {
        let beaten = send(f, brief("brief", &[(0, Wait), (1, Claim)])).await.roster.unwrap();
        let read = f.store.roster("g").await.unwrap();
        if leases(&beaten) == ["0: long < brief", "1: brief"] && read == beaten {
            break;
        }
        assert!(Instant::now() < ends_at, "never as the beat told: {read:?}");
    }
    // However often one looks, the session ends, and looking takes nobody off the list that beats are about.
    while members(&f.store.roster("g").await.unwrap()) != ["long"] {
        assert!(Instant::now() < ends_at, "looking keeps a member alive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(leases(&f.store.roster("g").await.unwrap()), ["0: long"]);
    assert_eq!(f.store.roster("other").await.unwrap(), Roster::default());
    let gone = send(f, Beat { about: None, ..stepping("long", &[]) }).await;
    let read = f.store.roster("g").await.unwrap();
    assert_eq!((read.version, read.members.len(), read.leases.len()), (gone.version, 0, 0));
}
