//! The runtime of counting, in one process, with a store and a log that fail on purpose: after all faults, every key is
//! what a naive fold of the log says.
//!
//! `COUNTING_SEED=n cargo test --test counting` tries one seed again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

#[path = "counting/emptied.rs"]
mod emptied;
#[path = "counting/faults.rs"]
mod faults;
#[allow(dead_code, reason = "the target `members` uses the rest of it")]
#[path = "counting/fixture.rs"]
mod fixture;
#[path = "counting/identity.rs"]
mod identity;
#[path = "counting/limits.rs"]
mod limits;
#[path = "counting/outside.rs"]
mod outside;
#[path = "counting/schemas.rs"]
mod schemas;
#[path = "counting/shards.rs"]
mod shards;
#[path = "counting/switch.rs"]
mod switch;

use std::{sync::atomic::Ordering, time::Duration};

use fixture::{World, until};
use streamgauge::model::{ShardId, TopicPartition};
use support::{
    events::{Random, events},
    memory_store::Held,
};

const SEEDS: u64 = 6;

/// Two members at a time count the same partitions, one of them always a zombie; members are killed; answers are lost;
/// calls fail; the store falls back to older copies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_every_event_changes_every_key_once() {
    for seed in seeds() {
        any_faults(seed, World::video(2)).await;
    }
}

/// The same, where single shards of the store fall back or are emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_shard_every_event_changes_every_key_once() {
    for seed in seeds() {
        any_faults(seed, World::video(2).in_shards(4)).await;
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("COUNTING_SEED") {
        Ok(seed) => vec![seed.parse().expect("COUNTING_SEED is a number")],
        Err(_) => (0..SEEDS).collect(),
    }
}

/// Counts events amid faults; of a store in several shards one at a time falls back to an older copy, or is emptied.
async fn any_faults(seed: u64, world: World) {
    let mut random = Random::new(seed ^ 0xfa17);
    let shards = world.store.inner.shards();
    let mut members = vec![world.loner(), world.loner()];
    let mut older = copies(&world);
    for (number, event) in events(seed, 800, 12).into_iter().enumerate() {
        world.log.publish(&event, 2);
        if number % 10 > 0 {
            continue;
        }
        tokio::time::sleep(Duration::from_millis(random.below(15) as u64)).await;
        match random.below(16) {
            0 | 1 => world.store.lost_replies.store(1, Ordering::SeqCst),
            2 | 3 => world.store.failures.store(1, Ordering::SeqCst),
            4 | 5 => older = copies(&world),
            6 | 7 if shards > 1 => {
                let shard = random.below(usize::from(shards));
                let copy = if random.below(4) == 0 { Held::default() } else { older[shard].clone() };
                world.store.inner.put_back_shard(shard as ShardId, copy);
            }
            6 => (0..).zip(&older).for_each(|(shard, copy)| world.store.inner.put_back_shard(shard, copy.clone())),
            8 => {
                let killed = members.remove(random.below(2));
                killed.kill().await;
                members.push(world.loner());
            }
            _ => {}
        }
    }
    world.until_counted().await;
    let survivor = members.remove(0);
    survivor.stop().await;
    let context = format!("COUNTING_SEED={seed}, {shards} shards");
    let expected = world.expected();
    world.held().assert_equals(&expected, &context);
    // Dead letters are there at least once each.
    let letters = world.log.records_of(["video.views.dlq"].into_iter());
    let mut offsets: Vec<(Vec<u8>, Vec<u8>)> = letters
        .values()
        .flatten()
        .map(|letter| (header(letter, "dlq-partition"), header(letter, "dlq-offset")))
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), expected.dead.len(), "dead letters, {context}");
    members.remove(0).stop().await;
}

/// What each shard holds. The first is copied last: it has what belongs to no shard, which must not be older than the others.
fn copies(world: &World) -> Vec<Held> {
    let mut copies: Vec<Held> =
        (0..world.store.inner.shards()).rev().map(|shard| world.store.inner.shard(shard)).collect();
    copies.reverse();
    copies
}

fn header(record: &support::oracle::Record, name: &str) -> Vec<u8> {
    record.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.clone()).expect(name)
}

fn view(video: &str, user: u32) -> String {
    format!("{{\"type\":\"video.view\",\"videoId\":\"{video}\",\"userId\":{user},\"timestamp\":1700000000000}}")
}

fn views(partition: i32) -> TopicPartition {
    TopicPartition::new("video.views", partition)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_not_counted_twice() {
    let world = World::video(1);
    for user in 0..10 {
        world.append(&views(0), &view("v", user));
    }
    world.store.lost_replies.store(2, Ordering::SeqCst);
    let member = world.member();
    world.until_counted().await;
    until("the lost flush is sent again", || world.store.lost_replies.load(Ordering::SeqCst) == 0).await;
    for user in 10..20 {
        world.append(&views(0), &view("v", user));
    }
    world.until_counted().await;
    assert_eq!(world.counter("video:v:views"), 20);
    member.stop().await;
    assert_eq!(world.counter("video:v:views"), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fell_back_is_noticed_also_while_the_topic_is_idle() {
    let world = World::video(1);
    let member = world.member();
    world.append(&views(0), &view("v", 1));
    world.until_counted().await;
    let older = world.held();
    world.append(&views(0), &view("v", 2));
    // The same event again: still a duplicate, whichever copy of the store decides.
    world.append(&views(0), &view("v", 1));
    world.until_counted().await;
    world.store.inner.put_back(older);
    assert_eq!(world.counter("video:v:views"), 1);
    world.until_counted().await;
    assert_eq!(world.counter("video:v:views"), 2);
    member.stop().await;
    world.held().assert_equals(&world.expected(), "after the older copy");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_known_after_a_restart() {
    let world = World::video(1);
    let member = world.member();
    world.append(&views(0), &view("v", 1));
    world.until_counted().await;
    member.stop().await;
    world.append(&views(0), &view("v", 1));
    world.append(&views(0), &view("v", 2));
    let member = world.member();
    world.until_counted().await;
    assert_eq!(world.counter("video:v:views"), 2);
    assert_eq!(member.counting.tally.total().duplicates, 1);
    member.stop().await;
}
