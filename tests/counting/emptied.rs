//! A store that was emptied: its totals come back from the persistent tier, the rest from the log, and nothing is begun at
//! `latest`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use streamgauge::{
    log::LogError,
    model::{Gap, ShardId, TopicPartition},
    runtime::{
        OffsetReset,
        mirror::{GroupOffsets, Mirrored, NOTE, Shown},
    },
    store::{Store, Tier},
};

use crate::{
    SEEDS,
    fixture::{World, until},
    support::{
        events::{Random, events},
        memory_store::Held,
    },
    view, views,
};

/// The store as a server that has lost its memory.
fn empty(world: &World, shards: impl IntoIterator<Item = ShardId>) {
    shards.into_iter().for_each(|shard| world.store.inner.put_back_shard(shard, Held::default()));
}

async fn copied(world: &World) {
    world.tier.as_ref().unwrap().copy(Duration::ZERO).await.unwrap();
}

/// Every rule, whenever the copy was made and the store was emptied, one shard or all, once or twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_emptied_whenever_it_was_copied_every_event_changes_every_key_once() {
    for seed in 0..2 * SEEDS {
        let mut random = Random::new(seed ^ 0xe317);
        let shards = if seed % 2 == 0 { 1 } else { 3 };
        let world = World::video(2).in_shards(shards).with_tier();
        let mut members = vec![world.member()];
        for (number, event) in events(seed, 900, 12).into_iter().enumerate() {
            world.log.publish(&event, 2);
            if number % 10 > 0 {
                continue;
            }
            tokio::time::sleep(Duration::from_millis(random.below(15) as u64)).await;
            match random.below(20) {
                0 => empty(&world, 0..shards),
                1 => empty(&world, [random.below(usize::from(shards)) as ShardId]),
                2 => {
                    members.remove(0).kill().await;
                    empty(&world, 0..shards);
                    members.push(world.member());
                }
                3 => world.store.lost_replies.store(1, Ordering::SeqCst),
                _ => {}
            }
        }
        world.until_counted().await;
        members.remove(0).stop().await;
        world.held().assert_equals(&world.expected(), &format!("seed {seed}, {shards} shards"));
    }
}

/// Sets whose latest event decides, of two partitions: after a copy one may be read sooner than the other, so a counter that was
/// put back would count what its set lacks for now a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_sets_by_time_are_made_again_with_these() {
    let rules = "{ member = \"s:{room}\", of = \"{in?}\", op = \"add\", moves = \"n:{how}\", order = \"time\" },
        { member = \"s:{room}\", of = \"{out?}\", op = \"remove\", moves = \"n:{how}\", order = \"time\" },
        { count = \"all\" }, { count = \"days:{day}\", retention = \"5d\" }";
    let rules = rules.replace('\n', " ");
    for seed in 0..2 * SEEDS {
        let mut random = Random::new(seed ^ 0x71e5);
        let shards = if seed % 2 == 0 { 1 } else { 3 };
        let world = World::with_rules(&rules, 2).in_shards(shards).with_tier();
        let member = world.member();
        for number in 0..600 {
            let (op, user, room) = (["in", "out"][random.below(2)], random.below(4), random.below(2));
            let (how, time) = (random.below(2), 1_700_000_000_000 + random.below(40));
            let event =
                format!("{{\"type\":\"e\",\"{op}\":\"u{user}\",\"room\":{room},\"how\":{how},\"timestamp\":{time}}}");
            world.append(&TopicPartition::new("t", random.below(2) as i32), &event);
            if number % 15 > 0 {
                continue;
            }
            tokio::time::sleep(Duration::from_millis(random.below(12) as u64)).await;
            match random.below(8) {
                0 => empty(&world, 0..shards),
                1 => empty(&world, [random.below(usize::from(shards)) as ShardId]),
                2 => drop(world.tier.as_ref().unwrap().copy(Duration::ZERO).await.unwrap()),
                _ => {}
            }
        }
        world.until_counted().await;
        member.stop().await;
        world.held().assert_equals(&world.expected(), &format!("seed {seed}, {shards} shards"));
    }
}

/// What the broker no longer holds is not lost for totals, and said to be for the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_outlive_the_records_that_they_were_counted_from() {
    for is_running in [true, false] {
        let world = World::video(1).with_tier();
        let mut member = Some(world.member());
        for user in 0..30 {
            world.append(&views(0), &view("v", user));
        }
        world.until_counted().await;
        copied(&world).await;
        if !is_running && let Some(member) = member.take() {
            member.stop().await;
        }
        world.log.retain_from(&views(0), 25);
        empty(&world, [0]);
        for user in 30..40 {
            world.append(&views(0), &view("v", user));
        }
        let member = member.unwrap_or_else(|| world.member());
        world.until_counted().await;
        member.stop().await;
        assert_eq!(world.counter("video:v:views"), 40);
        let held = world.held();
        assert_eq!(held.gaps, [(views(0), Gap { from: 0, to: 25 })]);
        assert_eq!((held.checkpoints[&views(0)].incarnation, held.origins[&views(0)]), (1, 0));
    }
}

/// Totals alone go on where the copy was made: nothing is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_nothing_but_totals_goes_on_from_the_copy() {
    let rules = "{ count = \"n\" }, { max = \"m\", of = { field = \"x\" } }, { last = \"l\", of = { field = \"x\" } }";
    let world = World::with_rules(rules, 1).with_tier();
    let t = TopicPartition::new("t", 0);
    let event = |x: i64, time: i64| format!("{{\"type\":\"e\",\"x\":{x},\"timestamp\":{time}}}");
    let member = world.member();
    world.append(&t, &event(7, 2_000));
    world.append(&t, &event(3, 3_000));
    world.until_counted().await;
    copied(&world).await;
    // Whoever would begin at the log's start would count nothing.
    world.log.retain_from(&t, 2);
    empty(&world, [0]);
    // Older than the latest: that it is must have been restored as well.
    world.append(&t, &event(5, 1_000));
    world.until_counted().await;
    member.stop().await;
    assert_eq!((world.counter("n"), world.counter("m"), world.counter("l")), (3, 7, 3));
    assert_eq!((world.held().gaps, world.held().checkpoints[&t].incarnation), (Vec::new(), 0));
}

/// The group's offsets on the broker.
struct Broker(Vec<Shown>);

#[async_trait]
impl GroupOffsets for Broker {
    async fn members(&self, _group: &str) -> Result<usize, LogError> {
        Ok(0)
    }

    async fn shown(&self, _group: &str, _partitions: Option<&[TopicPartition]>) -> Result<Vec<Shown>, LogError> {
        Ok(self.0.clone())
    }

    async fn commit(&self, _: &str, offsets: &[Mirrored], _: &str) -> Result<Vec<Result<(), LogError>>, LogError> {
        Ok(offsets.iter().map(|_| Ok(())).collect())
    }
}

/// Without a copy an emptied store is counted from the log's start, and only a group that nobody knows begins at `latest`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_known_outside_never_begins_at_latest() {
    let shown = |note: &str| {
        let shown = Shown { partition: views(0), offset: 4, note: note.to_owned() };
        Some(Arc::new(Broker(vec![shown])) as Arc<dyn GroupOffsets>)
    };
    let ours = format!("{NOTE} somebody");
    for (group_offsets, expected) in [(None, 1), (shown("another consumer"), 1), (shown(&ours), 6)] {
        let mut world = World { group_offsets, ..World::video(1) };
        world.options.offset_reset = OffsetReset::Latest;
        for user in 0..5 {
            world.append(&views(0), &view("v", user));
        }
        let member = world.member();
        until("the origin is fixed", || world.held().origins.contains_key(&views(0))).await;
        world.append(&views(0), &view("v", 5));
        until("the end is counted", || world.checkpoint(&views(0)) == Some(6)).await;
        assert_eq!(world.counter("video:v:views"), expected);

        // Where it began is noted outside of the store.
        empty(&world, [0]);
        until("the end is counted again", || world.checkpoint(&views(0)) == Some(6)).await;
        assert_eq!(world.counter("video:v:views"), expected);
        member.stop().await;
    }
}

/// Where nobody can say whether there is a copy, waiting is right: what is begun could not be put back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_waits_for_a_tier_that_is_away() {
    let world = World::video(1).with_tier();
    let member = world.member();
    world.append(&views(0), &view("v", 1));
    world.until_counted().await;
    copied(&world).await;
    member.stop().await;
    world.log.retain_from(&views(0), 1);
    let tier = world.tier.clone().unwrap();
    tier.is_down.store(true, Ordering::SeqCst);
    empty(&world, [0]);
    let member = world.member();
    let waits = || {
        let report = member.counting.health.report(std::time::Instant::now());
        format!("{report:?}").contains("cannot say whether it was counted before")
    };
    until("it says that it waits", waits).await;
    assert_eq!(world.store.positions(&[views(0)]).await.unwrap()[0][0], Default::default());
    tier.is_down.store(false, Ordering::SeqCst);
    world.append(&views(0), &view("v", 2));
    until("it goes on", || world.counter("video:v:views") == 2).await;
    member.stop().await;
}

/// A group that began at the end of what was there, without any tier: what is noted outside says where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_is_counted_from_where_the_group_began() {
    for shards in [1, 3] {
        let mut world = World::video(2).in_shards(shards);
        world.options.offset_reset = OffsetReset::Latest;
        for user in 0..20 {
            world.append(&views(0), &view("before", user));
        }
        let mut member = world.member();
        until("the origin is fixed", || world.held().origins.contains_key(&views(0))).await;
        for user in 0..10 {
            world.append(&views(0), &view("v", user));
        }
        until("it is counted", || world.counter("video:v:views") == 10).await;
        for is_running in [true, false] {
            if is_running {
                empty(&world, 0..shards);
            } else {
                member.stop().await;
                empty(&world, 0..shards);
                member = world.member();
            }
            until("it is counted again", || world.counter("video:v:views") == 10).await;
            let before = world.counter("video:before:views");
            assert_eq!(before, 0, "{shards} shards: what lay before the group began is no part of it");
        }
        member.stop().await;
    }
}
