//! Who counts what, and what follows when somebody comes or goes.

use std::sync::atomic::Ordering;

use streamgauge::runtime::{OffsetReset, counting::CountingOptions};

use crate::{
    TOPIC, counted_by,
    fixture::{World, until},
    until_settled, view, views,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_and_who_leaves_is_replaced_at_once() {
    let mut world = World::video(3);
    // Who leaves in order is not waited for.
    world.options.session_timeout = std::time::Duration::from_secs(3_600);
    let first = world.member();
    until_settled(&world, &[&first]).await;
    let second = world.member();
    until_settled(&world, &[&first, &second]).await;
    let third = world.member();
    until_settled(&world, &[&first, &second, &third]).await;
    for user in 0..30 {
        world.append(&views(user % 3), &view("v", user as u32));
    }
    world.until_counted().await;
    first.stop().await;
    until_settled(&world, &[&second, &third]).await;
    third.stop().await;
    until_settled(&world, &[&second]).await;
    for user in 0..30 {
        world.append(&views(user % 3), &view("w", user as u32));
    }
    world.until_counted().await;
    second.stop().await;
    world.held().assert_equals(&world.expected(), "after all have left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_dies_is_replaced_when_his_session_ends() {
    let world = World::video(2);
    let (first, second) = (world.member(), world.member());
    until_settled(&world, &[&first, &second]).await;
    first.kill().await;
    for user in 0..20 {
        world.append(&views(user % 2), &view("v", user as u32));
    }
    world.until_counted().await;
    until_settled(&world, &[&second]).await;
    assert_eq!(world.counter("video:v:views"), 20);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_a_partition_is_a_spare() {
    let mut world = World::video(1);
    world.options.topics = vec![TOPIC.to_owned()];
    let (first, second) = (world.member(), world.member());
    until("both are known", || [&first, &second].iter().all(|one| one.counting.membership.roster().members.len() == 2))
        .await;
    world.append(&views(0), &view("v", 1));
    until("it is counted", || world.counter("video:v:views") == 1).await;
    let counted = counted_by(&[&first, &second]);
    assert_eq!(counted.len(), 1, "{counted:?}");
    let (counts, spare) = if counted[&views(0)] == [0] { (first, second) } else { (second, first) };
    counts.stop().await;
    world.append(&views(0), &view("v", 2));
    until("the spare counts", || world.counter("video:v:views") == 2).await;
    spare.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_hears_nobody_what_is_held_is_counted_on() {
    let world = World::video(2);
    let (first, second) = (world.member(), world.member());
    until_settled(&world, &[&first, &second]).await;
    world.store.is_deaf.store(true, Ordering::SeqCst);
    for user in 0..20 {
        world.append(&views(user % 2), &view("v", user as u32));
    }
    world.until_counted().await;
    // Everybody's session has ended, and that is nobody's fault.
    world.store.inner.skip_ms(10_000);
    world.store.is_deaf.store(false, Ordering::SeqCst);
    until_settled(&world, &[&first, &second]).await;
    first.stop().await;
    second.stop().await;
    world.held().assert_equals(&world.expected(), "after the silence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_given_by_hand_go_to_nobody_else() {
    let world = World::video(3);
    let only = |partitions: &[i32]| CountingOptions {
        topics: vec![TOPIC.to_owned()],
        partitions: [(TOPIC.to_owned(), partitions.to_vec())].into(),
        ..world.options.clone()
    };
    let (first, second) = (world.member_with(only(&[0])), world.member_with(only(&[1, 2, 7])));
    let expected = [(views(0), vec![0]), (views(1), vec![1]), (views(2), vec![1])].into();
    until("each counts its own", || counted_by(&[&first, &second]) == expected).await;
    second.stop().await;
    for partition in 0..3 {
        world.append(&views(partition), &view("v", 1));
    }
    until("the first one counts its own", || world.checkpoint(&views(0)) == Some(1)).await;
    first.stop().await;
    assert_eq!(world.counter("video:v:views"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_grows_is_counted_from_the_start_of_what_is_new_also_with_latest() {
    let mut world = World::video(2);
    world.options.offset_reset = OffsetReset::Latest;
    world.options.topics = vec![TOPIC.to_owned()];
    for partition in 0..2 {
        world.append(&views(partition), &view("before", partition as u32));
    }
    let first = world.member();
    until("the origins are fixed", || world.held().origins.len() == 2).await;
    assert!(world.held().origins.values().all(|origin| *origin == 1), "{:?}", world.held().origins);
    first.stop().await;
    world.log.grow(3);
    world.append(&views(2), &view("after", 7));
    let (second, third) = (world.member(), world.member());
    until("what is new is counted from its start", || world.counter("video:after:views") == 1).await;
    assert_eq!(world.held().origins.get(&views(2)), Some(&0));
    assert_eq!(world.counter("video:before:views"), 0);
    second.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_while_it_runs_are_counted() {
    let mut world = World::video(1);
    world.options.topics = vec![TOPIC.to_owned()];
    let (first, second) = (world.member(), world.member());
    world.append(&views(0), &view("v", 1));
    world.until_counted().await;
    world.log.grow(4);
    for partition in 1..4 {
        world.append(&views(partition), &view("v", 1));
    }
    // One of them is enough: the other one believes what it says.
    second.counting.topics_stale.notify_one();
    until_settled(&world, &[&first, &second]).await;
    world.until_counted().await;
    assert_eq!(world.counter("video:v:views"), 4);
    first.stop().await;
    second.stop().await;
}

/// Two versions of a catalogue run side by side while a service is rolled out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_stand_by_until_the_last_member_of_the_old_ones_has_gone() {
    let (old, new) = ("{ count = \"old:{id}\" }", "{ count = \"new:{id}\" }");
    let mut world = World::with_rules(old, 4);
    let first = world.member();
    until_settled(&world, &[&first]).await;
    let catalog = std::mem::replace(&mut world.catalog, World::with_rules(new, 4).catalog);
    let newer = world.member();
    world.catalog = catalog;
    let second = world.member();
    // It takes part in the group, and its share goes to those whose rules are in force.
    until("all three are known", || first.counting.membership.roster().members.len() == 3).await;
    until_settled(&world, &[&first, &second]).await;
    let append = |count: i32| {
        for number in 0..count {
            let partition = streamgauge::model::TopicPartition::new("t", number % 4);
            world.append(&partition, "{\"type\":\"e\",\"id\":\"x\"}");
        }
    };
    append(40);
    world.until_counted().await;
    assert_eq!((world.counter("old:x"), world.counter("new:x")), (40, 0));
    first.stop().await;
    until_settled(&world, &[&second]).await;
    assert_eq!(counted_by(&[&newer]).len(), 0);
    second.stop().await;
    until_settled(&world, &[&newer]).await;
    append(8);
    world.until_counted().await;
    assert_eq!((world.counter("old:x"), world.counter("new:x")), (40, 8));
    newer.stop().await;
}
