//! What a heartbeat means, whatever members do and whenever they fall silent.

use streamgauge::{
    core::roster::Group,
    model::{
        Beat,
        LeaseStep::{Claim, Release, Wait, Withdraw},
        MemberId, Roster, TopicPartition,
    },
};

use crate::{seeds, support::events::Random};

const ROUNDS: usize = 2_000;

fn beat(member: &str, session_timeout_ms: u64) -> Beat {
    Beat {
        group: "g".into(),
        member: member.into(),
        about: Some(b"x".to_vec()),
        session_timeout_ms,
        known_version: None,
        steps: Vec::new(),
    }
}

fn names(roster: &Roster) -> Vec<&str> {
    roster.members.keys().map(|member| &**member).collect()
}

#[test]
fn whatever_members_do_leases_are_of_the_living_and_versions_tell_every_change() {
    for seed in seeds() {
        let mut random = Random::new(seed);
        let (mut group, mut now_ms, mut ended) = (Group::default(), 1_000_000, 0);
        for round in 0..ROUNDS {
            let context = format!("CORE_SEED={seed}, round {round}");
            now_ms += [0, 1, 5, 20, 100][random.below(5)];
            let before = group.roster();
            let mut beat = beat(&format!("m{}", random.below(6)), [10, 60, 200][random.below(3)]);
            if random.below(12) == 0 {
                beat.about = None;
            }
            beat.known_version = (random.below(2) == 0).then_some(before.version);
            for _ in 0..random.below(4) {
                let step = [Claim, Wait, Withdraw, Release][random.below(4)];
                beat.steps.push((TopicPartition::new("t", random.below(5) as i32), step));
            }
            let beaten = group.beat(&beat, now_ms).unwrap();
            let after = group.roster();
            let same = (&before.members, &before.leases) == (&after.members, &after.leases);
            // What is done and undone within one beat may raise the version, too; a single change cannot be undone.
            let undone = beaten.is_new || beat.steps.len() > 1;
            assert!(after.version >= before.version, "{context}");
            assert!(
                if same { undone || after.version == before.version } else { after.version > before.version },
                "{context}"
            );
            assert_eq!(beaten.version, after.version, "{context}");
            assert_eq!(beaten.roster.is_some(), beat.known_version != Some(after.version), "{context}");
            assert_eq!(after.members.contains_key(&beat.member), beat.about.is_some(), "{context}");
            for lease in after.leases.values() {
                let lives = |member: &MemberId| after.members.contains_key(member);
                assert!(lives(&lease.holder) && lease.next.as_ref().is_none_or(lives), "{context}: {lease:?}");
                assert_ne!(Some(&lease.holder), lease.next.as_ref(), "{context}");
            }
            ended += before
                .members
                .keys()
                .filter(|member| **member != beat.member && !after.members.contains_key(*member))
                .count();
        }
        assert!(ended > ROUNDS / 50, "CORE_SEED={seed}: only {ended} sessions ended");
    }
}

#[test]
fn sessions_end_to_the_millisecond_by_each_members_own_time() {
    let mut group = Group::default();
    for (member, session_timeout_ms) in [("a", 10), ("b", 20), ("c", 30)] {
        group.beat(&beat(member, session_timeout_ms), 100).unwrap();
    }
    for (now_ms, expected) in
        [(110, vec!["a", "b", "c"]), (111, vec!["b", "c"]), (120, vec!["b", "c"]), (121, vec!["c"])]
    {
        let roster = group.beat(&beat("c", 30), now_ms).unwrap().roster.unwrap();
        assert_eq!(names(&roster), expected, "{now_ms}");
    }
}

#[test]
fn time_in_which_nobody_could_be_heard_is_nobodys_fault() {
    let mut group = Group::default();
    group.beat(&beat("a", 100), 1_000).unwrap();
    group.beat(&beat("b", 100), 1_040).unwrap();
    let after_ms = |group: &mut Group, member, now_ms| {
        let beaten = group.beat(&beat(member, 100), now_ms).unwrap();
        (beaten.is_new, names(&beaten.roster.unwrap()).join(" "))
    };
    // b was heard last at 1,040 and is heard again at 5,040: 4,000 ms do not count, so a has until 5,100.
    assert_eq!(after_ms(&mut group.clone(), "b", 5_040), (false, "a b".to_owned()));
    for (member, now_ms, expected) in [("b", 5_040, "a b"), ("b", 5_100, "a b"), ("b", 5_101, "b"), ("a", 5_101, "a b")]
    {
        assert_eq!(after_ms(&mut group, member, now_ms).1, expected, "{member} at {now_ms}");
    }
    // One that is still there is proof enough that the store was, too.
    assert_eq!(after_ms(&mut group.clone(), "a", 5_202), (false, "a b".to_owned()));
    group.beat(&beat("b", 100), 5_200).unwrap();
    assert_eq!(after_ms(&mut group, "a", 5_202), (true, "a b".to_owned()));
    // Who is not on the list waits for none of those who are.
    assert_eq!(after_ms(&mut group, "c", 9_000), (true, "c".to_owned()));
}

#[test]
fn no_version_of_an_earlier_life_comes_again() {
    let mut group = Group::default();
    group.beat(&beat("a", 100), 1_000).unwrap();
    let older = group.clone();
    let known =
        (0..5).map(|number| group.beat(&beat(&format!("b{number}"), 100), 1_001).unwrap().version).last().unwrap();
    // The last within the millisecond of what was lost.
    for (mut group, now_ms) in
        [(older.clone(), 1_050), (Group::default(), 1_050), (older, 1_001), (Group::default(), 1_001)]
    {
        let beaten = group.beat(&Beat { known_version: Some(known), ..beat("c", 100) }, now_ms).unwrap();
        assert!(beaten.version > known && beaten.roster.is_some(), "{beaten:?}");
    }
}
