//! Several shards of the store: each goes its own way, and an event changes each key once.

use streamgauge::{
    core::shards::shard_of,
    model::{Checkpoint, Gap, ShardId},
    runtime::OffsetReset,
};

use crate::{
    fixture::{World, until},
    support::memory_store::Held,
    view, views,
};

const SHARDS: ShardId = 4;

/// Views of many videos, so that every shard has some.
fn watch(world: &World, users: std::ops::Range<u32>) {
    for user in users {
        world.append(&views(0), &view(&format!("v{}", user % 20), user));
    }
}

fn offsets(world: &World) -> Vec<Option<i64>> {
    let at = |shard| {
        world.store.inner.shard(shard).checkpoints.get(&views(0)).map(|checkpoint: &Checkpoint| checkpoint.offset)
    };
    (0..SHARDS).map(at).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_lies_in_its_shard_and_every_shard_gets_every_checkpoint() {
    let world = World::video(1).in_shards(SHARDS);
    let member = world.member();
    world.append(&views(0), &view("v", 1));
    world.until_counted().await;
    assert_eq!(offsets(&world), [Some(1); SHARDS as usize]);
    watch(&world, 0..60);
    world.until_counted().await;
    member.stop().await;
    world.held().assert_equals(&world.expected(), "in shards");
    for shard in 0..SHARDS {
        let held = world.store.inner.shard(shard);
        assert!(!held.counters.is_empty(), "no key lies in shard {shard}: the test tries nothing");
        for name in held.counters.keys().filter(|name| name.ends_with(":views")) {
            assert_eq!(shard_of(name, SHARDS), shard, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fell_back_amid_counting_is_counted_on_alone() {
    for emptied in [false, true] {
        let world = World::video(1).in_shards(SHARDS);
        let member = world.member();
        watch(&world, 0..50);
        world.until_counted().await;
        let older = if emptied { Held::default() } else { world.store.inner.shard(2) };
        watch(&world, 50..200);
        until("half of it is counted", || world.checkpoint(&views(0)) >= Some(100)).await;
        world.store.inner.put_back_shard(2, older);
        watch(&world, 200..260);
        world.until_counted().await;
        assert_eq!(offsets(&world), [Some(260); SHARDS as usize]);
        member.stop().await;
        world.held().assert_equals(&world.expected(), "one shard fell back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_fell_back_is_noticed_also_while_the_topic_is_idle() {
    let world = World::video(1).in_shards(SHARDS);
    let member = world.member();
    watch(&world, 0..50);
    world.until_counted().await;
    let older = world.store.inner.shard(3);
    watch(&world, 50..100);
    world.until_counted().await;
    world.store.inner.put_back_shard(3, older);
    assert_eq!(offsets(&world)[3], Some(50));
    world.until_counted().await;
    member.stop().await;
    world.held().assert_equals(&world.expected(), "one shard fell back while nothing came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_stand_apart_are_told_apart_at_the_start() {
    let world = World::video(1).in_shards(SHARDS);
    let member = world.member();
    let mut copies = Vec::new();
    for shard in 0..SHARDS {
        watch(&world, u32::from(shard) * 10..u32::from(shard) * 10 + 10);
        world.until_counted().await;
        copies.push(world.store.inner.shard(shard));
    }
    member.stop().await;
    for (shard, copy) in (0..).zip(copies) {
        world.store.inner.put_back_shard(shard, copy);
    }
    assert_eq!(offsets(&world), [Some(10), Some(20), Some(30), Some(40)]);
    let member = world.member();
    world.until_counted().await;
    // One that has nothing left to do is told nothing, and the others catch up.
    assert_eq!(offsets(&world), [Some(40); SHARDS as usize]);
    watch(&world, 40..50);
    world.until_counted().await;
    member.stop().await;
    world.held().assert_equals(&world.expected(), "shards that stood apart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_shard_begins_at_the_origin_that_the_others_keep() {
    let mut world = World::video(1).in_shards(SHARDS);
    world.options.offset_reset = OffsetReset::Latest;
    watch(&world, 0..30);
    let member = world.member();
    until("the origin is fixed", || world.held().origins.get(&views(0)) == Some(&30)).await;
    watch(&world, 30..80);
    until("all behind the origin is counted", || world.checkpoint(&views(0)) == Some(80)).await;
    member.stop().await;
    let before = world.held();
    for shard in [0, 2] {
        world.store.inner.put_back_shard(shard, Held::default());
        let member = world.member();
        until("the shard is counted again", || world.checkpoint(&views(0)) == Some(80)).await;
        member.stop().await;
        assert_eq!(world.store.inner.shard(shard).origins.get(&views(0)), Some(&30));
        assert_eq!(world.held().counters, before.counters, "shard {shard}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_of_the_shard_that_lacks_the_records() {
    let world = World::video(1).in_shards(SHARDS);
    let member = world.member();
    watch(&world, 0..20);
    world.until_counted().await;
    let older = world.store.inner.shard(1);
    watch(&world, 20..60);
    world.until_counted().await;
    member.stop().await;
    let expected = world.held();
    world.store.inner.put_back_shard(1, older);
    world.log.retain_from(&views(0), 50);
    let member = world.member();
    world.until_counted().await;
    member.stop().await;
    let gaps = |shard| world.store.inner.shard(shard).gaps;
    assert_eq!(gaps(1), [(views(0), Gap { from: 20, to: 50 })]);
    for shard in [0, 2, 3] {
        assert_eq!(gaps(shard), [], "shard {shard}");
        let whole = |held: &Held| {
            held.counters
                .iter()
                .filter(|(name, _)| shard_of(name, SHARDS) == shard)
                .map(|(name, sum)| (name.clone(), *sum))
                .collect::<Vec<_>>()
        };
        assert_eq!(whole(&world.held()), whole(&expected), "shard {shard}");
    }
}
