//! Generations by themselves: what is sealed, what is seen while it is pending, and how the flush number moves.

use std::sync::Arc;

use super::*;
use crate::{
    model::{Checkpoint, Fingerprint, Kind, TopicPartition},
    runtime::{
        reads::{PendingCounters, PendingValue},
        tenure::Verdict,
    },
};

fn tenure(partition: i32) -> Arc<Tenure> {
    let stored = Checkpoint { offset: 10, incarnation: 3, fingerprint: Fingerprint(1) };
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
    sealed.sections.sort_by_key(|sealed| sealed.section.partition.partition);
    let found: Vec<_> = sealed
        .sections
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
    assert_eq!(sealed.sections.len(), 1);
    assert_eq!(sealed.sections[0].tenure.id, living.id);
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
    assert_eq!((generations.flush_number(), sealed.sections.len()), (1, 1));
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
    let section = generations.seal().unwrap().sections.remove(0).section;
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
    assert!(generations.seal().unwrap().sections.is_empty());
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
    let elements = (0..SEAL_WEIGHT).map(|n| (n.to_string().into_boxed_str(), 1)).collect();
    let mut large = Batch { next_offset: 13, ..Batch::default() };
    let key = Key::new(Kind::Top, "ranking");
    large.deltas.push((key, Delta::Top { expire_at_ms: None, sums: elements }));
    generations.merge(&tenure, large).await.unwrap();
    generations.due().await;
    assert!(!generations.seal().unwrap().sections.is_empty() && !generations.is_critical());
}
