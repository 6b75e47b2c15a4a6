//! Members of a group in one process, over a log and a store in memory: they come, leave, die and come back, partitions move, and
//! every key is what a naive fold of the log says. When all is quiet, every partition is held by exactly one of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

#[path = "members/activation.rs"]
mod activation;
#[allow(dead_code, reason = "the target `counting` uses the rest of it")]
#[path = "counting/fixture.rs"]
mod fixture;
#[path = "members/moves.rs"]
mod moves;
#[path = "members/shares.rs"]
mod shares;

use std::collections::BTreeMap;

use fixture::{Member, World, until};
use streamgauge::model::TopicPartition;
use support::events::{Random, events};

const TOPIC: &str = "video.views";

fn views(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, partition)
}

fn view(video: &str, user: u32) -> String {
    format!("{{\"type\":\"video.view\",\"videoId\":\"{video}\",\"userId\":{user},\"timestamp\":1700000000000}}")
}

/// Which partitions of the catalogue each member counts, as its living tenures say.
fn counted_by(members: &[&Member]) -> BTreeMap<TopicPartition, Vec<usize>> {
    let mut counted: BTreeMap<TopicPartition, Vec<usize>> = BTreeMap::new();
    for (number, member) in members.iter().enumerate() {
        for tenure in member.counting.tenures.alive() {
            counted.entry(tenure.partition.clone()).or_default().push(number);
        }
    }
    counted
}

/// Whether each partition is counted by exactly one of the members, the one that holds its lease, and shares are level.
fn is_settled(world: &World, members: &[&Member]) -> bool {
    let partitions = world.partitions();
    let counted = counted_by(members);
    let Some(roster) = members.first().map(|member| member.counting.membership.roster()) else { return false };
    let mut shares = vec![0_usize; members.len()];
    for partition in &partitions {
        let Some([member]) = counted.get(partition).map(Vec::as_slice) else { return false };
        let holder = roster.leases.get(partition).map(|lease| lease.holder.clone());
        if holder != Some(members[*member].counting.membership.me.clone()) {
            return false;
        }
        shares[*member] += 1;
    }
    let (least, most) = (shares.iter().min(), shares.iter().max());
    counted.len() == partitions.len() && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
}

async fn until_settled(world: &World, members: &[&Member]) {
    until("every partition is counted by one member, in equal shares", || is_settled(world, members)).await;
}

/// Members join, leave in order, die, and are cut off, while events come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_and_goes_every_event_changes_every_key_once() {
    let seeds = match std::env::var("MEMBERS_SEED") {
        Ok(seed) => vec![seed.parse().expect("MEMBERS_SEED is a number")],
        Err(_) => (0..4).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        let context = format!("MEMBERS_SEED={seed}");
        let mut random = Random::new(seed ^ 0x3e3b);
        let world = World::video(4);
        let mut members = vec![world.member()];
        for (number, event) in events(seed, 600, 12).into_iter().enumerate() {
            world.log.publish(&event, 4);
            if number % 20 > 0 {
                continue;
            }
            tokio::time::sleep(std::time::Duration::from_millis(random.below(40) as u64)).await;
            let chosen = random.below(members.len());
            match random.below(5) {
                0 if members.len() < 4 => members.push(world.member()),
                1 if members.len() > 1 => members.remove(chosen).stop().await,
                2 => {
                    members.remove(chosen).kill().await;
                    members.push(world.member());
                }
                // The sessions of all but the next to be heard end.
                3 => world.store.inner.skip_ms(700),
                _ => {}
            }
        }
        world.until_counted().await;
        until_settled(&world, &members.iter().collect::<Vec<_>>()).await;
        for member in members {
            member.stop().await;
        }
        world.held().assert_equals(&world.expected(), &context);
    }
}
