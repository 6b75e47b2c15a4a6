//! The steps as a table. `tests/core/switches.rs` takes them amid faults.

use super::*;
use crate::model::RulesMark;

const A: Fingerprint = Fingerprint(0xa);
const B: Fingerprint = Fingerprint(0xb);

fn table(entries: &[(Fingerprint, i64)]) -> Switches {
    Switches(entries.iter().map(|(fingerprint, from)| Switch { fingerprint: *fingerprint, from: *from }).collect())
}

/// A shard at an offset, under an entry of a table; without a table where its rules have never changed.
fn shard(offset: i64, entries: &[(Fingerprint, i64)], in_force: usize) -> ShardRules {
    let table = table(entries);
    let fingerprint = table.0[in_force].fingerprint;
    let has_table = entries.len() > 1;
    let rules = if has_table { table.mark(in_force) } else { RulesMark::default() };
    let checkpoint = Checkpoint { offset, fingerprint, rules, ..Checkpoint::default() };
    ShardRules { checkpoint: Some(checkpoint), from: offset, table: has_table.then_some(table) }
}

const FRESH: ShardRules = ShardRules { checkpoint: None, from: 5, table: None };

fn seen(own: Fingerprint, shards: &[ShardRules], outside: &[(Fingerprint, i64)]) -> Seen {
    let outside = (!outside.is_empty()).then(|| table(outside));
    Seen { shards: shards.to_vec(), outside, recounted: 0, own, log_end: 100 }
}

fn sets(shard: ShardId, offset: i64, entries: &[(Fingerprint, i64)], in_force: usize, with_table: bool) -> Step {
    let table = table(entries);
    let fingerprint = table.0[in_force].fingerprint;
    let next = Checkpoint { offset, fingerprint, rules: table.mark(in_force), ..Checkpoint::default() };
    Step::Set { shard, next, table: with_table.then_some(table) }
}

fn keep(entries: &[(Fingerprint, i64)]) -> Step {
    Step::Keep(table(entries))
}

fn count(entries: &[(Fingerprint, i64)], entry: usize) -> Step {
    Step::Count(in_force(&table(entries), entry))
}

#[test]
fn one_shard_changes_its_rules_where_it_stands() {
    for (own, found, expected) in [
        (A, FRESH, count(&[(A, 0)], 0)),
        (A, shard(7, &[(A, 0)], 0), count(&[(A, 0)], 0)),
        (B, shard(7, &[(A, 0)], 0), sets(0, 7, &[(A, 0), (B, 7)], 1, true)),
        (B, shard(9, &[(A, 0), (B, 7)], 1), count(&[(A, 0), (B, 7)], 1)),
        (A, shard(9, &[(A, 0), (B, 7)], 1), sets(0, 9, &[(A, 0), (B, 7), (A, 9)], 2, true)),
    ] {
        assert_eq!(next(&seen(own, std::slice::from_ref(&found), &[])), Ok(expected), "{found:?}");
    }
}

#[test]
fn one_shard_goes_by_the_table_outside_where_it_has_fallen_back() {
    const ONLY: &[(Fingerprint, i64)] = &[(A, 0)];
    const BOTH: &[(Fingerprint, i64)] = &[(A, 0), (B, 70)];
    const BACK: &[(Fingerprint, i64)] = &[(A, 0), (B, 70), (A, 90)];
    type Case = (Fingerprint, ShardRules, &'static [(Fingerprint, i64)], usize, Step);
    let steps: Vec<Case> = vec![
        // Before anything was counted.
        (A, FRESH, &[], 0, keep(ONLY)),
        (A, FRESH, ONLY, 0, count(ONLY, 0)),
        (B, FRESH, ONLY, 0, keep(&[(A, 0), (B, 5)])),
        (B, FRESH, &[(A, 0), (B, 5)], 0, count(&[(A, 0), (B, 5)], 1)),
        // What it has itself is noted outside.
        (A, shard(7, ONLY, 0), &[], 0, keep(ONLY)),
        (B, shard(70, BOTH, 1), ONLY, 0, keep(BOTH)),
        (B, shard(70, BOTH, 1), BOTH, 0, count(BOTH, 1)),
        // It was emptied, fell back, comes to where the rules change, is behind it.
        (B, FRESH, BOTH, 0, count(BOTH, 0)),
        (B, shard(60, ONLY, 0), BOTH, 0, sets(0, 60, BOTH, 0, true)),
        (B, shard(60, BOTH, 0), BOTH, 0, count(BOTH, 0)),
        (B, shard(70, BOTH, 0), BOTH, 0, sets(0, 70, BOTH, 1, false)),
        (A, shard(80, BOTH, 1), BACK, 0, sets(0, 80, BACK, 1, true)),
        (A, shard(60, ONLY, 0), BACK, 0, sets(0, 60, BACK, 0, true)),
        // Everything was counted anew by the second rules.
        (B, FRESH, BOTH, 1, count(BOTH, 1)),
        (A, FRESH, BOTH, 1, keep(&[(A, 0), (B, 70), (A, 70)])),
        (B, shard(60, &[(B, 0)], 0), &[(A, 0), (B, 0)], 1, sets(0, 60, &[(A, 0), (B, 0)], 1, true)),
        (B, shard(60, &[(A, 0), (B, 0)], 1), &[(A, 0), (B, 0)], 1, count(&[(A, 0), (B, 0)], 1)),
        // It is further than X by the old rules, or has changed them elsewhere: its own table is right about what it holds.
        (A, shard(80, ONLY, 0), BOTH, 0, count(ONLY, 0)),
        (B, shard(80, ONLY, 0), BOTH, 0, sets(0, 80, &[(A, 0), (B, 80)], 1, true)),
        (B, shard(80, &[(A, 0), (B, 75)], 1), BOTH, 0, count(&[(A, 0), (B, 75)], 1)),
        // Nothing is announced by one shard; what was is no matter.
        (B, shard(60, ONLY, 0), &[(A, 0), (B, UNKNOWN)], 0, sets(0, 60, &[(A, 0), (B, 60)], 1, true)),
    ];
    for (own, found, outside, recounted, expected) in steps {
        let seen = Seen { outside: Some(table(outside)), recounted, ..seen(own, std::slice::from_ref(&found), &[]) };
        assert_eq!(next(&seen), Ok(expected), "{own}: {found:?} {outside:?}");
    }
}

#[test]
fn a_shard_that_is_emptied_after_a_recount_is_counted_by_its_rules() {
    const BOTH: &[(Fingerprint, i64)] = &[(A, 0), (B, 70)];
    let seen = Seen { recounted: 1, ..seen(B, &[shard(140, BOTH, 1), FRESH], BOTH) };
    assert_eq!(next(&seen), Ok(count(BOTH, 1)));
}

#[test]
fn several_shards_take_one_step_after_the_other() {
    const ONLY: &[(Fingerprint, i64)] = &[(A, 0)];
    const TOLD: &[(Fingerprint, i64)] = &[(A, 0), (B, UNKNOWN)];
    const BOTH: &[(Fingerprint, i64)] = &[(A, 0), (B, 100)];
    type Case = (Fingerprint, Vec<ShardRules>, &'static [(Fingerprint, i64)], Step);
    let steps: Vec<Case> = vec![
        // Before anything was counted.
        (A, vec![FRESH, FRESH], &[], keep(ONLY)),
        (A, vec![FRESH, FRESH], ONLY, count(ONLY, 0)),
        (B, vec![FRESH, FRESH], ONLY, keep(TOLD)),
        (B, vec![FRESH, FRESH], TOLD, keep(BOTH)),
        (B, vec![FRESH, FRESH], BOTH, count(BOTH, 0)),
        // Nothing has ever changed; a shard was emptied.
        (A, vec![shard(50, ONLY, 0), FRESH], &[], keep(ONLY)),
        (A, vec![shard(50, ONLY, 0), FRESH], ONLY, count(ONLY, 0)),
        // Announced; kept; copied.
        (B, vec![shard(50, ONLY, 0), shard(60, ONLY, 0)], ONLY, keep(TOLD)),
        (B, vec![shard(50, ONLY, 0), shard(60, ONLY, 0)], TOLD, keep(BOTH)),
        (B, vec![shard(50, ONLY, 0), shard(60, ONLY, 0)], BOTH, sets(0, 50, BOTH, 0, true)),
        (B, vec![shard(50, BOTH, 0), shard(60, ONLY, 0)], BOTH, sets(1, 60, BOTH, 0, true)),
        // A member of the old rules finishes what was begun.
        (A, vec![shard(50, ONLY, 0), shard(60, ONLY, 0)], TOLD, keep(BOTH)),
        (A, vec![shard(50, BOTH, 0), shard(60, BOTH, 0)], BOTH, count(BOTH, 0)),
        // To exactly X, then on.
        (B, vec![shard(50, BOTH, 0), shard(60, BOTH, 0)], BOTH, count(BOTH, 0)),
        (B, vec![shard(50, BOTH, 0), shard(100, BOTH, 0)], BOTH, sets(1, 100, BOTH, 1, false)),
        (B, vec![shard(50, BOTH, 0), shard(140, BOTH, 1)], BOTH, count(BOTH, 0)),
        (B, vec![shard(140, BOTH, 1), shard(100, BOTH, 1)], BOTH, count(BOTH, 1)),
        // One fell back to before the switch, one was emptied, the table outside was lost.
        (B, vec![shard(140, BOTH, 1), shard(30, ONLY, 0)], BOTH, sets(1, 30, BOTH, 0, true)),
        (B, vec![shard(140, BOTH, 1), shard(100, ONLY, 0)], BOTH, sets(1, 100, BOTH, 0, true)),
        (B, vec![shard(140, BOTH, 1), FRESH], BOTH, count(BOTH, 0)),
        (B, vec![shard(140, BOTH, 1), shard(30, ONLY, 0)], &[], keep(BOTH)),
        (B, vec![shard(50, BOTH, 0), shard(30, ONLY, 0)], &[], keep(BOTH)),
        (B, vec![shard(50, BOTH, 0), shard(30, ONLY, 0)], TOLD, keep(BOTH)),
    ];
    for (own, shards, outside, expected) in steps {
        assert_eq!(next(&seen(own, &shards, outside)), Ok(expected), "{own}: {shards:?} {outside:?}");
    }
}

#[test]
fn what_cannot_be_put_right_is_named() {
    let past = next(&seen(B, &[shard(140, &[(A, 0), (B, 100)], 1), shard(101, &[(A, 0)], 0)], &[(A, 0), (B, 100)]));
    assert_eq!(past, Err(SwitchError::Past { shard: 1, counted_to: 101, rules: A, end: 100 }));
    let text = past.unwrap_err().to_string();
    assert!(text.contains("101") && text.contains("REDIS_KEY_PREFIX") && text.contains("{1}:"), "{text}");
    let other = next(&seen(A, &[shard(50, &[(A, 0)], 0), shard(50, &[(B, 0)], 0)], &[(A, 0)]));
    assert_eq!(other, Err(SwitchError::Differs(1)));
    let mut torn = shard(50, &[(A, 0), (B, 40)], 1);
    torn.table = None;
    assert_eq!(next(&seen(B, &[torn.clone()], &[])), Err(SwitchError::Differs(0)));
    assert_eq!(next(&seen(B, &[torn, FRESH], &[])), Err(SwitchError::Differs(0)));
    let many: Vec<(Fingerprint, i64)> = (0..MAX_SWITCHES).map(|_| (A, 0)).collect();
    assert_eq!(next(&seen(B, &[shard(50, &many, MAX_SWITCHES - 1)], &[])), Err(SwitchError::TooMany));
}
