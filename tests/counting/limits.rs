//! Invariant 5 and the edge of 64 bits: what happens where something is full.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use streamgauge::{model::TopicPartition, runtime::generation::MAX_OPEN_WEIGHT};

use crate::fixture::{World, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invariant_5_intake_waits_at_the_cap_while_the_store_is_down_and_nothing_is_lost() {
    const RULES: usize = 60;
    /// Each partition may bring the one batch that it had room for.
    const MOST: usize = MAX_OPEN_WEIGHT + 2 * 50 * RULES;
    /// Enough for a generation that is sealed and one that is open, whenever the first one is sealed.
    const EVENTS: usize = 2 * MOST.div_ceil(RULES);
    let rules: Vec<String> = (0..RULES).map(|rule| format!("{{ count = \"k{rule}:{{a}}\" }}")).collect();
    let world = World::with_rules(&rules.join(", "), 2);
    world.store.is_down.store(true, Ordering::SeqCst);
    let partition = |event: usize| TopicPartition::new("t", (event % 2) as i32);
    for event in 0..EVENTS {
        world.append(&partition(event), &format!("{{\"type\":\"e\",\"a\":{event}}}"));
    }
    let member = world.member();
    let weight = || member.counting.generations.weight();
    // Behind a first one that was sealed and cannot be flushed.
    let is_sealed = || world.store.flushes.load(Ordering::SeqCst) > 0;
    until("the open generation is full", || is_sealed() && weight() >= MAX_OPEN_WEIGHT).await;
    let counted = member.counting.tally.total().records;
    let ends_at = Instant::now() + Duration::from_millis(300);
    while Instant::now() < ends_at {
        assert!(weight() <= MOST, "{} values are open", weight());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let records = member.counting.tally.total().records;
    assert!(records <= counted + 200, "intake goes on although nothing is flushed");
    assert!(records as usize * RULES <= 2 * MOST, "more is held than two full generations: {records} records");
    world.store.is_down.store(false, Ordering::SeqCst);
    world.until_counted().await;
    member.stop().await;
    let held = world.held();
    assert_eq!(held.counters.len(), RULES * EVENTS);
    assert!(held.counters.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_that_overflows_is_never_flushed() {
    let mut world = World::with_rules("{ count = \"sum\", by = { field = \"a\", scale = 0 } }, { count = \"n\" }", 1);
    world.options.flush_interval = Duration::from_secs(3_600);
    let partition = TopicPartition::new("t", 0);
    for _ in 0..i64::MAX / 1_000_000_000_000_000 + 5 {
        world.append(&partition, "{\"type\":\"e\",\"a\":1000000000000000}");
    }
    let member = world.member();
    until("the partition stops", || member.stopped(&partition).is_some()).await;
    assert!(member.stopped(&partition).unwrap().contains("\"sum\""));
    member.stop().await;
    let held = world.held();
    assert_eq!((held.counters.len(), held.checkpoints.get(&partition)), (0, None));
}
