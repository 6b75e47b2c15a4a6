//! What a group finds when it begins, or goes on: a log that is not the one it left.

use std::collections::BTreeSet;

use streamgauge::{
    core::delivery::{Answer, Retry, Trouble},
    model::{LogIdentity, TopicPartition},
};

use super::fixture::{World, until};

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn identity(topic: u128, leader_epoch: Option<i32>) -> LogIdentity {
    LogIdentity { cluster_id: None, topic_id: Some(uuid::Uuid::from_u128(topic)), leader_epoch }
}

fn values(numbers: std::ops::Range<i32>) -> Vec<String> {
    numbers.map(|n| serde_json::json!({ "type": "e", "n": n }).to_string()).collect()
}

/// A log of the first epoch whose ten events are all delivered.
async fn delivered() -> World {
    let world = World::new(1);
    world.log.is(&partition(), identity(1, Some(1)));
    (0..10).for_each(|n| world.publish_to(0, n));
    let member = world.member();
    until("all are taken", || world.courier.taken() == 10).await;
    member.stop().await;
    assert_eq!((world.position(0).from(), world.position(0).epoch), (10, Some(1)));
    world
}

/// The events that came after the first ten attempts.
fn later(world: &World) -> BTreeSet<i64> {
    world.courier.said()[10..].iter().map(|said| said.data["n"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_was_lost_and_has_grown_past_the_position_is_delivered_from_where_it_differs() {
    let world = delivered().await;
    // Without the epoch nothing would tell: the log reaches beyond what was delivered, with other events.
    world.log.elect_with(&partition(), 2, 6, &values(100..108));
    let member = world.member();
    until("the new ones are taken", || later(&world).len() == 8).await;
    until("the position is at the end", || world.position(0).from() == 14).await;
    member.stop().await;
    assert_eq!(later(&world), (100..108).collect());
    assert_eq!(world.position(0).epoch, Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_that_is_lost_while_the_group_runs_is_noticed_by_the_next_leaders_records() {
    let world = delivered().await;
    let member = world.member();
    until("it has begun", || member.shown().partitions.len() == 1).await;
    world.log.elect_with(&partition(), 2, 6, &values(100..108));
    until("the new ones are taken", || later(&world).len() == 8).await;
    member.stop().await;
    assert_eq!(later(&world), (100..108).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leader_with_the_whole_log_changes_nothing() {
    let world = delivered().await;
    let member = world.member();
    until("it has begun", || member.shown().partitions.len() == 1).await;
    world.log.elect_with(&partition(), 2, 10, &values(100..103));
    until("the new ones are taken", || later(&world).len() == 3).await;
    member.stop().await;
    assert_eq!((world.courier.said().len(), later(&world)), (13, (100..103).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_knows_no_epochs_and_ends_before_the_position_is_delivered_from_its_end() {
    let world = World::new(1);
    (0..10).for_each(|n| world.publish_to(0, n));
    let member = world.member();
    until("all are taken", || world.courier.taken() == 10).await;
    member.stop().await;
    world.log.elect(&partition(), 1, 6);
    let member = world.member();
    until("the position is at the end of now", || world.position(0).from() == 6).await;
    (100..103).for_each(|n| world.publish_to(0, n));
    until("the new ones are taken", || later(&world).len() == 3).await;
    member.stop().await;
    assert_eq!((world.courier.said().len(), later(&world)), (13, (100..103).collect()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_is_delivered_from_its_start() {
    let world = delivered().await;
    world.log.make_again(&partition(), identity(2, Some(1)));
    (100..120).for_each(|n| world.publish_to(0, n));
    let member = world.member();
    until("the new ones are taken", || later(&world).len() == 20).await;
    member.stop().await;
    assert_eq!(later(&world), (100..120).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_before_it_was_delivered_is_left_and_the_rest_goes_on() {
    let mut world = World::new(1);
    world.unfinished = 5;
    world.retry = Retry { max: 1_000, initial_ms: 20, factor: 1.0, max_delay_ms: 20 };
    (0..20).for_each(|n| world.publish_to(0, n));
    world.courier.behave(|_| Err(Trouble::Unreachable("refused".to_owned())));
    let member = world.member();
    until("five are on their way", || world.has_position(0) && world.position(0).unfinished.len() == 5).await;
    member.kill().await;
    world.log.retain_from(&partition(), 12);
    world.courier.behave(|_| Ok(Answer { status: 200, ..Answer::default() }));
    let member = world.member();
    until("the rest is taken", || world.courier.taken() == 8).await;
    until("the position is at the end", || world.position(0).from() == 20).await;
    member.stop().await;
    let taken: BTreeSet<i64> =
        world.courier.said().iter().filter(|said| said.is_taken).map(|said| said.offset).collect();
    assert_eq!(taken, (12..20).collect());
}
