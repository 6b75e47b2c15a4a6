//! Checkpoints that are moved, by an operator (`offsets set|reset`) or to other rules: late sections of the former life conflict.

use super::*;
use streamgauge::model::{Switch, Switches};

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

pub async fn a_table_of_rules_stands_beside_the_checkpoint(f: &Fixture) {
    let tables = async || {
        let positions = f.store.positions(&[partition(0), partition(1)]).await.unwrap();
        positions.into_iter().flatten().map(|shard| shard.switches).collect::<Vec<_>>()
    };
    let all = |table: Option<&Switches>, shards: usize| [vec![table.cloned(); shards], vec![None; shards]].concat();
    let shards = usize::from(f.shards().await);
    assert_eq!(f.apply_one(section(0, -1, 10, vec![count("c", 1)])).await, Outcome::Applied);
    assert_eq!(tables().await, all(None, shards));
    let table = Switches::only(Fingerprint(7)).with(Switch { fingerprint: Fingerprint(8), from: 10 });
    let noted = Checkpoint { rules: table.mark(0), ..checkpoint(10) };
    let note = Section { next: noted, switches: Some(table.clone()), ..section(0, 10, 10, Vec::new()) };
    assert_eq!(f.apply_one(note.clone()).await, Outcome::Applied);
    assert_eq!(f.apply_one(note).await, Outcome::AlreadyApplied);
    assert_eq!((f.checkpoint(&partition(0)).await, tables().await), (Some(noted), all(Some(&table), shards)));
    // Who does not know of it, and who would bring another one, changes nothing.
    let other = Section { switches: Some(Switches::only(Fingerprint(9))), ..section(0, 10, 20, vec![count("c", 5)]) };
    for late in [section(0, 10, 20, vec![count("c", 5)]), other] {
        assert_eq!(f.apply_one(late).await, Outcome::Conflict { stored: Some(noted) });
    }
    // The next rules come into force; the table stays.
    let entered = Checkpoint { fingerprint: Fingerprint(8), rules: table.mark(1), ..noted };
    let enter = Section { expect: Some(noted), next: entered, ..section(0, 10, 10, Vec::new()) };
    assert_eq!(f.apply_one(enter).await, Outcome::Applied);
    let on = Checkpoint { offset: 20, ..entered };
    let on = Section { expect: Some(entered), next: on, ..section(0, 10, 20, vec![count("c", 2)]) };
    assert_eq!(f.apply_one(on).await, Outcome::Applied);
    assert_eq!((f.counter("c").await, tables().await), (Some(3), all(Some(&table), shards)));
}
