//! Checkpoints that an operator moves (`offsets set|reset`): late sections of the former life conflict.

use super::*;

/// What moves a checkpoint: nothing is counted, and the incarnation is another one.
fn moving(expect: Option<Checkpoint>, offset: i64) -> Section {
    let incarnation = expect.map_or(0, |expect| expect.incarnation) + 1;
    Section { expect, next: Checkpoint { incarnation, ..checkpoint(offset) }, ..section(0, 0, 0, Vec::new()) }
}

pub async fn a_moved_checkpoint_voids_late_sections(f: &Fixture) {
    assert_eq!(f.apply_one(section(0, -1, 10, vec![count("c", 1)])).await, Outcome::Applied);
    let late = || section(0, 10, 20, vec![count("c", 100)]);
    let back = moving(Some(checkpoint(10)), 0);
    assert_eq!(f.apply_one(back.clone()).await, Outcome::Applied);
    let conflict = Outcome::Conflict { stored: Some(back.next) };
    assert_eq!(f.apply_one(late()).await, conflict);
    // Sent again it has moved nothing twice.
    assert_eq!(f.apply_one(back.clone()).await, Outcome::AlreadyApplied);
    // Counted up to the same offset in the new life, the old section still does not fit.
    let again = Section {
        expect: Some(back.next),
        next: Checkpoint { incarnation: 1, ..checkpoint(10) },
        ..section(0, 0, 0, vec![count("c", 1)])
    };
    assert_eq!(f.apply_one(again.clone()).await, Outcome::Applied);
    assert_eq!(f.apply_one(late()).await, Outcome::Conflict { stored: Some(again.next) });
    // Whoever moves by what stood before meets a conflict, too.
    assert_eq!(f.apply_one(moving(Some(checkpoint(10)), 5)).await, Outcome::Conflict { stored: Some(again.next) });
    assert_eq!(f.counter("c").await, Some(2));
}

pub async fn a_first_checkpoint_set_by_hand_voids_late_sections(f: &Fixture) {
    let first = moving(None, 7);
    assert_eq!(f.apply_one(first.clone()).await, Outcome::Applied);
    for to in [7, 20] {
        let late = section(0, -1, to, vec![count("c", 100)]);
        assert_eq!(f.apply_one(late).await, Outcome::Conflict { stored: Some(first.next) }, "{to}");
    }
    assert_eq!(f.counter("c").await, None);
}
