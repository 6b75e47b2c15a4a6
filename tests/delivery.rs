//! Delivery to subscriptions: in one process over a log and a store in memory, with targets that fail as they are told to, and
//! the whole program with a service that it posts to.
//!
//! `DELIVERY_SEED=n cargo test --test delivery` tries one seed again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

#[path = "delivery/beginnings.rs"]
mod beginnings;
#[path = "delivery/examples.rs"]
mod examples;
#[path = "delivery/faults.rs"]
mod faults;
#[path = "delivery/fixture.rs"]
mod fixture;
#[path = "delivery/post.rs"]
mod post;
#[path = "delivery/program.rs"]
mod program;
#[path = "delivery/statuses.rs"]
mod statuses;

use std::time::Duration;

use fixture::{World, until};
use post::Said;
use streamgauge::{
    core::delivery::{Answer, Filter, Mode, Retry, Trouble},
    runtime::OffsetReset,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_in_order_of_their_key_and_others_go_on_during_a_retry() {
    let world = World::new(2);
    world.publish_many(300, 7);
    // Every first attempt of one key fails.
    world.courier.behave(|said: &Said| match said.data["key"] == "k3" && said.attempt == 1 {
        true => Ok(Answer { status: 500, ..Answer::default() }),
        false => Ok(Answer { status: 204, ..Answer::default() }),
    });
    let member = world.member();
    until("all are taken", || world.courier.taken() == 300).await;
    world.courier.assert_order();
    let said = world.courier.said();
    assert_eq!(said.iter().filter(|said| said.data["key"] == "k3" && said.attempt == 2).count(), 43, "300 / 7");
    // The others did not wait for it.
    let last_other = said.iter().rposition(|said| said.data["key"] != "k3").unwrap();
    assert!(said[last_other..].len() > 20, "the others were done long before");
    member.stop().await;
    assert_eq!(world.courier.said().len(), said.len());
    assert!(world.letters().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_attempts_left_is_a_dead_letter_before_the_next_of_its_key_goes() {
    let world = World::new(1);
    world.publish_many(3, 1);
    world.courier.behave(|said: &Said| match said.data["n"] == 0 {
        true => Ok(Answer { status: 422, body: b"no such order".to_vec(), ..Answer::default() }),
        false => Ok(Answer { status: 200, ..Answer::default() }),
    });
    world.log.refuse("t.dlq", true);
    let member = world.member();
    until("it was tried four times", || world.courier.said().len() == 4).await;
    until("the dead letter was refused", || world.log.refused.load(std::sync::atomic::Ordering::SeqCst) > 0).await;
    // Invariant 2: neither the position nor the key passes it.
    assert_eq!((world.courier.said().len(), world.position(0).from()), (4, 0));
    world.log.refuse("t.dlq", false);
    until("the others are taken", || world.courier.taken() == 2).await;
    member.stop().await;
    assert_eq!(world.position(0).from(), 3);
    let [letter] = &world.letters()[..] else { panic!("{:?}", world.letters()) };
    let header = |name: &str| {
        let found = letter.headers.iter().find(|(known, _)| known == name);
        found.map_or(String::new(), |(_, value)| String::from_utf8(value.clone()).unwrap())
    };
    let value: serde_json::Value = serde_json::from_slice(letter.value.as_deref().unwrap()).unwrap();
    let error = &value["error"];
    assert_eq!(letter.key.as_deref(), Some(&b"k0"[..]));
    assert_eq!((&error["group"], &error["attempts"], &error["status"]), (&"g".into(), &4.into(), &422.into()));
    assert_eq!(error["message"], "the target answered 422: no such order");
    for (name, value) in [
        ("dlq-reason", "delivery-status"),
        ("dlq-group", "g"),
        ("dlq-attempts", "4"),
        ("dlq-status", "422"),
        ("dlq-topic", "t"),
        ("dlq-offset", "0"),
        ("dlq-first-attempt-at", error["firstAttemptAt"].as_str().unwrap()),
        ("dlq-last-attempt-at", error["lastAttemptAt"].as_str().unwrap()),
    ] {
        assert_eq!(header(name), value, "{name}");
    }
    assert!(header("dlq-first-attempt-at") < header("dlq-last-attempt-at"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_stood_with_the_attempts_that_were_made() {
    let mut world = World::new(1);
    world.retry = Retry { max: 3, initial_ms: 60_000, factor: 1.0, max_delay_ms: 60_000 };
    world.publish_many(40, 40);
    world.courier.behave(|said: &Said| match said.data["n"] == 5 {
        true => Err(Trouble::TimedOut { timeout_ms: 1 }),
        false => Ok(Answer { status: 200, ..Answer::default() }),
    });
    let member = world.member();
    until("all but one are taken", || world.courier.taken() == 39).await;
    until("it is kept", || world.position(0).unfinished.len() == 1 && world.position(0).to == 40).await;
    member.kill().await;
    let kept = world.position(0);
    assert_eq!((kept.from(), kept.unfinished[0].1.attempts), (5, 1));
    world.retry.initial_ms = 1;
    let member = world.member();
    until("it was tried again", || world.courier.said().len() >= 41).await;
    let said = world.courier.said();
    assert_eq!((&said[40].data["n"], said[40].attempt), (&5.into(), 2));
    until("it is a dead letter", || !world.letters().is_empty()).await;
    member.stop().await;
    let said: Vec<u32> = world.courier.said()[40..].iter().map(|said| said.attempt).collect();
    assert_eq!(said, [2, 3, 4], "and nothing else came again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_waits_at_its_cap_and_a_group_begins_where_it_is_told() {
    let mut world = World::new(1);
    world.publish_many(10, 10);
    (world.start, world.unfinished) = (OffsetReset::Latest, 5);
    world.courier.behave(|_| Err(Trouble::Unreachable("refused".into())));
    world.retry = Retry { max: 1_000, initial_ms: 20, factor: 1.0, max_delay_ms: 20 };
    let member = world.member();
    until("it has begun at the end", || world.has_position(0)).await;
    world.publish_many(20, 20);
    until("the partition waits", || member.shown().partitions.first().is_some_and(|shown| shown.is_waiting)).await;
    until("its lag is told all the same", || member.shown().partitions[0].lag == 20).await;
    assert_eq!(member.shown().partitions[0].unfinished, 5);
    world.courier.behave(|_| Ok(Answer { status: 200, ..Answer::default() }));
    until("all that came later is taken", || world.courier.taken() == 20).await;
    assert!(world.courier.said().iter().all(|said| said.offset >= 10));
    until("nothing is left", || member.shown().partitions.iter().all(|shown| shown.lag == 0)).await;
    // A partition that is added later came after the group did.
    world.log.grow(2);
    world.publish_to(1, 7);
    member.stop().await;
    let member = world.member();
    until("it is delivered from its start", || world.courier.taken() == 21).await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_wait_do_not_keep_others_from_being_read() {
    let mut world = World::new(3);
    // One block at a time, of all partitions together.
    (world.unfinished, world.fetch_max_bytes) = (5, 1);
    world.retry = Retry { max: 1_000, initial_ms: 60_000, factor: 1.0, max_delay_ms: 60_000 };
    world.courier.behave(|said: &Said| match said.partition {
        2 => Ok(Answer { status: 200, ..Answer::default() }),
        _ => Ok(Answer { status: 500, ..Answer::default() }),
    });
    (0..2).for_each(|partition| (0..200).for_each(|n| world.publish_to(partition, n)));
    let member = world.member();
    let waiting = || member.shown().partitions.iter().filter(|shown| shown.is_waiting).count();
    until("two partitions wait", || waiting() == 2).await;
    (0..200).for_each(|n| world.publish_to(2, n));
    until("the third is delivered", || world.courier.taken() == 200).await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_wanted_is_passed_over() {
    let mut world = World::new(1);
    let data = vec![("country".to_owned(), vec!["BR".into()])];
    world.filter = Filter { data, ..Filter::default() };
    for (country, replayed_for) in [("BR", None), ("PT", None), ("BR", Some("other")), ("BR", Some("g"))] {
        world.publish(0, Some("k"), &serde_json::json!({ "type": "e", "country": country }), replayed_for);
    }
    world.publish(0, Some("k"), &serde_json::json!(["nothing"]), None);
    let member = world.member();
    until("all is read", || world.has_position(0) && world.position(0).to == 5).await;
    member.stop().await;
    let offsets: Vec<i64> = world.courier.said().iter().map(|said| said.offset).collect();
    assert_eq!(offsets, [0, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_has_one_event_a_key_and_each_its_own_status() {
    let mut world = World::new(1);
    world.mode = Mode::Batch(8);
    world.publish_many(200, 20);
    world.courier.behave(|said: &Said| match said.data["n"].as_i64().unwrap() % 10 == 3 && said.attempt == 1 {
        true => Ok(Answer { status: 200, body: b"RETRY".to_vec(), ..Answer::default() }),
        false => Ok(Answer { status: 200, ..Answer::default() }),
    });
    let member = world.member();
    until("all are taken", || world.courier.taken() == 200).await;
    member.stop().await;
    world.courier.assert_order();
    let said = world.courier.said();
    assert_eq!(said.len(), 220);
    assert!(world.courier.requests() < 150, "{} requests", world.courier.requests());
    tokio::time::sleep(Duration::ZERO).await;
}
