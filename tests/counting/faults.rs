//! One fault at a time, and what exactly must and must not happen.

use std::sync::atomic::Ordering;

use streamgauge::{
    model::{Checkpoint, Gap, TopicPartition},
    runtime::OffsetReset,
};

use crate::{
    fixture::{World, until},
    view, views,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_section_stops_its_partition_only_and_goes_on_once_mended() {
    let world = World::video(2);
    world.store.inner.meddle(|held| {
        held.counters.insert("video:full:views".to_owned(), i64::MAX);
    });
    let member = world.member();
    world.append(&views(0), &view("full", 1));
    until("the partition stops", || member.stopped(&views(0)).is_some()).await;
    let why = member.stopped(&views(0)).unwrap();
    assert!(why.contains("video:full:views") && why.contains("64 bits"), "{why}");
    world.append(&views(1), &view("other", 1));
    until("the other partition goes on", || world.counter("video:other:views") == 1).await;
    assert_eq!(world.checkpoint(&views(0)), None);
    world.store.inner.meddle(|held| {
        held.counters.remove("video:full:views");
    });
    world.until_counted().await;
    until("nothing is stopped any more", || member.stopped(&views(0)).is_none()).await;
    member.stop().await;
    world.held().assert_equals(&world.expected(), "mended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_2_no_checkpoint_passes_a_dead_letter_that_is_not_acknowledged() {
    let mut world = World::video(1);
    world.options.batch_events = 1;
    world.log.refuse("video.views.dlq", true);
    let member = world.member();
    world.append(&views(0), &view("v", 1));
    let bad = world.append(&views(0), "nonsense");
    world.append(&views(0), &view("v", 2));
    until("the letter is tried", || world.log.refused.load(Ordering::SeqCst) > 1).await;
    assert!(world.checkpoint(&views(0)).is_none_or(|offset| offset <= bad), "{:?}", world.checkpoint(&views(0)));
    // Nor when the member ends in order meanwhile.
    member.stop().await;
    assert!(world.checkpoint(&views(0)).is_none_or(|offset| offset <= bad), "{:?}", world.checkpoint(&views(0)));
    world.log.refuse("video.views.dlq", false);
    let member = world.member();
    world.until_counted().await;
    assert_eq!(world.counter("video:v:views"), 2);
    assert_eq!(world.log.ends()[&TopicPartition::new("video.views.dlq", 0)], 1);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_noted_and_counting_goes_on_behind_it() {
    let world = World::video(1);
    let member = world.member();
    for user in 0..3 {
        world.append(&views(0), &view("v", user));
    }
    world.until_counted().await;
    member.stop().await;
    for user in 3..10 {
        world.append(&views(0), &view("v", user));
    }
    world.log.retain_from(&views(0), 8);
    let member = world.member();
    world.until_counted().await;
    assert_eq!(world.counter("video:v:views"), 3 + 2);
    assert_eq!(world.held().gaps, [(views(0), Gap { from: 3, to: 8 })]);
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_beyond_the_logs_end_stops_that_partition_loudly() {
    let world = World::video(2);
    let fingerprint = world.catalog.topic("video.views").unwrap().fingerprint;
    world.store.inner.meddle(|held| {
        held.checkpoints.insert(views(0), Checkpoint { offset: 100, fingerprint, ..Checkpoint::default() });
    });
    world.append(&views(0), &view("lost", 1));
    world.append(&views(1), &view("v", 1));
    let member = world.member();
    until("the other partition counts", || world.counter("video:v:views") == 1).await;
    until("the partition stops", || member.stopped(&views(0)).is_some()).await;
    let why = member.stopped(&views(0)).unwrap();
    assert!(why.contains("100") && why.contains("the log ends at 1") && why.contains("REDIS_KEY_PREFIX"), "{why}");
    member.stop().await;
    assert_eq!((world.checkpoint(&views(0)), world.counter("video:lost:views")), (Some(100), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_offset_is_resolved_once_and_never_again() {
    let mut world = World::video(1);
    world.options.offset_reset = OffsetReset::Latest;
    for user in 0..5 {
        world.append(&views(0), &view("v", user));
    }
    world.store.is_down.store(true, Ordering::SeqCst);
    let member = world.member();
    until("the origin is fixed", || world.held().origins.get(&views(0)) == Some(&5)).await;
    for user in 5..8 {
        world.append(&views(0), &view("v", user));
    }
    until("a flush is tried", || world.store.flushes.load(Ordering::SeqCst) > 0).await;
    member.kill().await;
    assert_eq!(world.checkpoint(&views(0)), None);
    world.append(&views(0), &view("v", 8));
    world.store.is_down.store(false, Ordering::SeqCst);
    let member = world.member();
    until("all behind the origin is counted", || world.checkpoint(&views(0)) == Some(9)).await;
    assert_eq!(world.counter("video:v:views"), 4);
    member.stop().await;
}
