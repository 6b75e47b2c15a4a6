//! Generations by themselves: what is sealed, what is seen while it is pending, and how the flush number moves.

use std::sync::Arc;

use super::*;
use crate::{
    core::shards::shard_of,
    model::{Checkpoint, Fingerprint, Kind, TopicPartition},
    runtime::{
        reads::{PendingCounters, PendingValue},
        tenure::{Standing, Verdict},
    },
};

fn tenure(partition: i32) -> Arc<Tenure> {
    let stored = Checkpoint { offset: 10, incarnation: 3, fingerprint: Fingerprint(1), ..Checkpoint::default() };
    Tenure::begin(TopicPartition::new("t", partition), Fingerprint(1), Some(stored), 10)
}

fn batch(next_offset: i64, deltas: &[(&str, Delta)]) -> Batch {
    let mut batch = Batch { next_offset, ..Batch::default() };
    for (name, delta) in deltas {
        let kind = if matches!(delta, Delta::Max(_)) { Kind::Max } else { Kind::Count };
        let key = Key::new(kind, *name);
        batch.deltas.push((key, delta.clone()));
    }
    batch
}

async fn merge(generations: &Generations, tenure: &Arc<Tenure>, next_offset: i64, deltas: &[(&str, Delta)]) {
    generations.merge(tenure, batch(next_offset, deltas)).await.unwrap();
}

/// A batch of one key with so many elements.
fn large(next_offset: i64, weight: usize) -> Batch {
    let elements = (0..weight).map(|n| (n.to_string().into_boxed_str(), 1)).collect();
    let mut batch = Batch { next_offset, ..Batch::default() };
    batch.deltas.push((Key::new(Kind::Top, "ranking"), Delta::Top { expire_at_ms: None, sums: elements }));
    batch
}

#[tokio::test]
async fn one_section_per_tenure_with_its_own_sums() {
    let generations = Generations::default();
    assert!(generations.seal().is_none(), "nothing has moved");
    let (a, b) = (tenure(0), tenure(1));
    merge(&generations, &a, 12, &[("k", Delta::Count(2)), ("only a", Delta::Count(1))]).await;
    merge(&generations, &b, 20, &[("k", Delta::Count(5))]).await;
    merge(&generations, &a, 15, &[("k", Delta::Count(-1))]).await;
    // Progress without a delta: duplicates and tombstones move the checkpoint too.
    merge(&generations, &b, 21, &[]).await;
    assert_eq!(generations.weight(), 3);
    let mut sealed = generations.seal().unwrap();
    assert_eq!((sealed.weight, generations.weight()), (3, 0));
    sealed.shards[0].sort_by_key(|sealed| sealed.section.partition.partition);
    let found: Vec<_> = sealed.shards[0]
        .iter()
        .map(|SealedSection { section, .. }| {
            let mut sums: Vec<_> = section.deltas.iter().map(|(key, delta)| (&*key.name, delta.clone())).collect();
            sums.sort_by_key(|(name, _)| *name);
            (section.expect.unwrap().offset, section.next.offset, section.next.incarnation, sums)
        })
        .collect();
    assert_eq!(found[0], (10, 15, 3, vec![("k", Delta::Count(1)), ("only a", Delta::Count(1))]));
    assert_eq!(found[1], (10, 21, 3, vec![("k", Delta::Count(5))]));
    generations.settle();
    assert!(generations.seal().is_none());
}

#[tokio::test]
async fn each_shard_goes_from_what_it_has_to_where_the_tenure_is_and_never_back() {
    let generations = Generations::default();
    let at =
        |offset, incarnation| Checkpoint { offset, incarnation, fingerprint: Fingerprint(1), ..Checkpoint::default() };
    let standing = |checkpoint: Option<Checkpoint>, from| Standing { checkpoint, from };
    let found = vec![standing(Some(at(10, 3)), 10), standing(None, 4), standing(Some(at(20, 2)), 20)];
    let tenure = Tenure::over(TopicPartition::new("t", 0), Fingerprint(1), found, 4);
    let name_in = |shard| (0..).map(|n| format!("k{n}")).find(|name| shard_of(name, 3) == shard).unwrap();
    let names = [0, 1, 2].map(name_in);
    type Sent = (usize, Option<i64>, i64, u32, Vec<String>);
    let sent = |sealed: Sealed| -> Vec<Sent> {
        let sections = sealed
            .shards
            .into_iter()
            .enumerate()
            .flat_map(|(shard, sections)| sections.into_iter().map(move |sealed| (shard, sealed.section)));
        let told = |(shard, section): (usize, Section)| {
            let keys = section.deltas.iter().map(|(key, _)| key.name.to_string()).collect();
            let (expect, next) = (section.expect.map(|checkpoint| checkpoint.offset), section.next);
            (shard, expect, next.offset, next.incarnation, keys)
        };
        sections.map(told).collect()
    };
    // As the worker leaves it: records 4 to 12 change what lacks them only.
    merge(&generations, &tenure, 12, &[(&names[0], Delta::Count(1)), (&names[1], Delta::Count(8))]).await;
    let sections = sent(generations.seal().unwrap());
    let first = (0, Some(10), 12, 3, vec![names[0].clone()]);
    assert_eq!(sections, [first, (1, None, 12, 0, vec![names[1].clone()])]);
    tenure.advance(0, at(12, 3));
    tenure.advance(1, at(12, 0));
    generations.settle();
    assert_eq!(tenure.counted_to(), Some(12));
    // All of them get the checkpoint, with keys or without.
    merge(&generations, &tenure, 25, &[(&names[2], Delta::Count(5))]).await;
    let sections = sent(generations.seal().unwrap());
    let last = (2, Some(20), 25, 2, vec![names[2].clone()]);
    assert_eq!(sections, [(0, Some(12), 25, 3, vec![]), (1, Some(12), 25, 0, vec![]), last]);
}

#[tokio::test]
async fn invariant_4_a_void_tenure_is_neither_written_nor_read() {
    let generations = Generations::default();
    let (void, living) = (tenure(0), tenure(0));
    merge(&generations, &void, 12, &[("k", Delta::Count(100)), ("m", Delta::Max(9))]).await;
    merge(&generations, &living, 12, &[("k", Delta::Count(7)), ("m", Delta::Max(4))]).await;
    assert_eq!(generations.pending("k"), Some(PendingValue::Sum(107)));
    void.end(Verdict::Conflict("another stands there".to_owned()));
    assert_eq!(generations.pending("k"), Some(PendingValue::Sum(7)));
    assert_eq!(generations.pending("m"), Some(PendingValue::Highest(4)));
    assert_eq!(generations.pending("never"), None);
    let sealed = generations.seal().unwrap();
    assert_eq!(sealed.shards[0].len(), 1);
    assert_eq!(sealed.shards[0][0].tenure.id, living.id);
    assert_eq!(generations.pending("k"), None, "what is sealed is the store's to tell");
}

#[tokio::test]
async fn the_flush_number_is_odd_while_a_flush_is_applied() {
    let generations = Generations::default();
    let tenure = tenure(0);
    assert_eq!((generations.flush_number(), generations.settled().await), (0, 0));
    merge(&generations, &tenure, 12, &[("k", Delta::Count(1))]).await;
    assert_eq!(generations.flush_number(), 0, "merging moves nothing");
    let sealed = generations.seal().unwrap();
    assert_eq!((generations.flush_number(), sealed.shards[0].len()), (1, 1));
    let mut waiting = Box::pin(generations.settled());
    assert!(futures::poll!(&mut waiting).is_pending(), "a reader waits for the end of the flush");
    generations.settle();
    assert_eq!(waiting.await, 2);
}

#[tokio::test]
async fn a_gap_moves_the_checkpoint_also_where_nothing_follows() {
    let generations = Generations::default();
    let tenure = tenure(0);
    generations.note_gap(&tenure, Gap { from: 10, to: 30 });
    let section = generations.seal().unwrap().shards[0].remove(0).section;
    assert_eq!((section.next.offset, section.gap, section.deltas.len()), (30, Some(Gap { from: 10, to: 30 }), 0));
}

#[tokio::test]
async fn an_overflow_ends_the_tenure_before_anything_can_be_sealed() {
    let generations = Generations::default();
    let (over, gathered) = (tenure(0), tenure(1));
    merge(&generations, &over, 12, &[("k", Delta::Count(i64::MAX))]).await;
    let error = generations.merge(&over, batch(13, &[("k", Delta::Count(1))])).await.unwrap_err();
    assert_eq!(&*error.key, "k");
    assert!(matches!(over.verdict(), Some(Verdict::Refused(why)) if why.contains("\"k\"")));
    // The same where the batch itself could not hold the sum.
    let batch = Batch { overflow: Some("k".into()), ..batch(13, &[("k", Delta::Count(1))]) };
    generations.merge(&gathered, batch).await.unwrap_err();
    assert!(!gathered.is_alive());
    assert!(generations.seal().unwrap().shards.is_empty());
}

#[tokio::test]
async fn critical_batches_and_large_ones_are_due_at_once() {
    let generations = Generations::default();
    let tenure = tenure(0);
    merge(&generations, &tenure, 11, &[("k", Delta::Count(1))]).await;
    assert!(futures::poll!(Box::pin(generations.due())).is_pending());
    let critical = Batch { is_critical: true, ..batch(12, &[]) };
    generations.merge(&tenure, critical).await.unwrap();
    assert!(generations.is_critical());
    generations.due().await;
    generations.merge(&tenure, large(13, SEAL_WEIGHT)).await.unwrap();
    generations.due().await;
    assert!(!generations.seal().unwrap().shards[0].is_empty() && !generations.is_critical());
}

#[tokio::test]
async fn invariant_5_intake_waits_at_the_cap_for_a_seal_and_not_for_its_flush() {
    let generations = Generations::default();
    let tenure = tenure(0);
    generations.merge(&tenure, large(11, MAX_OPEN_WEIGHT)).await.unwrap();
    for offset in [12, 13] {
        let mut waiting = Box::pin(generations.merge(&tenure, large(offset, MAX_OPEN_WEIGHT)));
        assert!(futures::poll!(&mut waiting).is_pending());
        generations.due().await;
        // Its flush never ends: what is sealed and what is open are the most that is ever held.
        assert_eq!(generations.seal().unwrap().weight, MAX_OPEN_WEIGHT);
        assert!(futures::poll!(&mut waiting).is_ready());
        assert_eq!(generations.weight(), MAX_OPEN_WEIGHT);
    }
}

#[tokio::test]
async fn what_lies_far_behind_is_not_awaited_until_something_comes_that_does_not() {
    let (generations, tenure) = (Generations::default(), tenure(0));
    assert!(!generations.is_far_behind(), "nothing is open");
    let far = |next_offset| Batch { is_far_behind: true, ..batch(next_offset, &[]) };
    generations.merge(&tenure, far(12)).await.unwrap();
    assert!(generations.is_far_behind());
    let mut awaited = std::pin::pin!(generations.awaited());
    assert!(futures::poll!(awaited.as_mut()).is_pending());
    generations.merge(&tenure, far(14)).await.unwrap();
    assert!(futures::poll!(awaited.as_mut()).is_pending());
    merge(&generations, &tenure, 15, &[]).await;
    assert!(futures::poll!(awaited.as_mut()).is_ready());
    assert!(!generations.is_far_behind());
    generations.seal();
    generations.merge(&tenure, far(20)).await.unwrap();
    assert!(generations.is_far_behind(), "of the next generation nothing is known");
    // A gap is told at once: somebody should see it.
    generations.note_gap(&tenure, Gap { from: 20, to: 30 });
    assert!(!generations.is_far_behind());
}
