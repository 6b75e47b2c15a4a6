//! Planned moves: warmed, so that counting goes on elsewhere and pauses hardly at all.

use streamgauge::model::TopicPartition;

use crate::{
    TOPIC, counted_by,
    fixture::{World, until},
    until_settled, view, views,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_known_after_a_warmed_move() {
    let mut world = World::video(2);
    world.options.topics = vec![TOPIC.to_owned()];
    let first = world.member();
    for user in 0..50 {
        world.append(&views(0), &view("v", user));
        world.append(&views(1), &view("w", user));
    }
    until("all is counted", || world.counter("video:v:views") == 50 && world.counter("video:w:views") == 50).await;
    let second = world.member();
    until("one partition has moved", || {
        let counted = counted_by(&[&first, &second]);
        counted.len() == 2 && counted[&views(0)] != counted[&views(1)]
    })
    .await;
    // All of them again, on either partition: whoever counts it has read the window.
    for user in 0..51 {
        world.append(&views(0), &view("v", user));
        world.append(&views(1), &view("w", user));
    }
    until("the ends are reached", || (0..2).all(|number| world.checkpoint(&views(number)) == Some(101))).await;
    assert_eq!((world.counter("video:v:views"), world.counter("video:w:views")), (51, 51));
    first.stop().await;
    second.stop().await;
    world.held().assert_equals(&world.expected(), "after a warmed move");
}

/// Nothing is taken from a member before another one stands by: what it counts goes on until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_counts_on_until_its_successor_is_warm() {
    let mut world = World::video(2);
    world.options.topics = vec![TOPIC.to_owned()];
    let first = world.member();
    for user in 0..20 {
        world.append(&views((user % 2) as i32), &view("v", user));
    }
    until("all is counted", || world.counter("video:v:views") == 20).await;
    // Nobody can read the window: the log says nothing of where partitions begin.
    world.log.keep_silent(true);
    let second = world.member();
    until("the second one is known", || first.counting.membership.roster().members.len() == 2).await;
    for user in 20..40 {
        world.append(&views((user % 2) as i32), &view("v", user));
    }
    until("the first one counts all", || world.counter("video:v:views") == 40).await;
    assert_eq!(second.counting.tally.total().records, 0);
    let holder = |partition: &TopicPartition| first.counting.membership.roster().leases[partition].holder.clone();
    assert!((0..2).all(|number| holder(&views(number)) == first.counting.membership.me));
    world.log.keep_silent(false);
    until("one partition has moved", || counted_by(&[&second]).len() == 1).await;
    first.stop().await;
    until("the other one, too", || counted_by(&[&second]).len() == 2).await;
    second.stop().await;
}

/// What does not move is one tenure from beginning to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_do_not_move_are_never_let_go() {
    let world = World::video(4);
    let first = world.member();
    until_settled(&world, &[&first]).await;
    let tenures = || -> Vec<(TopicPartition, u64)> {
        let alive = first.counting.tenures.alive();
        alive.iter().map(|tenure| (tenure.partition.clone(), tenure.id)).collect()
    };
    let before = tenures();
    let (second, third) = (world.member(), world.member());
    until_settled(&world, &[&first, &second, &third]).await;
    let after = tenures();
    assert!(!after.is_empty() && after.len() < before.len(), "{after:?}");
    assert!(after.iter().all(|tenure| before.contains(tenure)), "{before:?} {after:?}");
    for member in [first, second, third] {
        member.stop().await;
    }
}
