//! A rebuild that is killed amid the exchange, at each of its writes: members wait, and the next one brings it to its end.

use streamgauge::model::TopicPartition;

use crate::{
    exchanges::{Rebuild, publish_among, tamper},
    fixture::World,
    support::events::events,
};

const EVENTS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_write_it_is_ended_by_the_next_one_and_every_key_is_the_fold() {
    for after in [false, true] {
        let (mut writes, mut tried) = (0, 0);
        while broken_at(writes, after, 1).await {
            tried += 1;
            // Every one of the first and then some: there are many alike.
            writes += if writes < 6 { 1 } else { 5 };
        }
        assert!(tried > 8, "there are few writes: the test tries little");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_write_of_several_shards() {
    let (mut writes, mut tried) = (0, 0);
    while broken_at(writes, true, 3).await {
        tried += 1;
        writes += if writes < 6 { 1 } else { 11 };
    }
    assert!(tried > 8, "there are few writes: the test tries little");
}

/// `false` where it was done before it could break.
async fn broken_at(writes: usize, after: bool, shards: u16) -> bool {
    let context = format!("killed {} write {writes}, {shards} shards", if after { "after" } else { "before" });
    let world = World::video(3).in_shards(shards);
    let member = world.member();
    publish_among(&world, &events(writes as u64, EVENTS, 2), 2);
    world.until_counted().await;
    tamper(&world).await;
    // A partition without records so far begins while it is exchanged: it has no checkpoint to be marked.
    let new = TopicPartition::new("video.views", 2);
    let mut rebuild = Rebuild::of(&world, world.catalog.topics.clone());
    let is_broken = rebuild.run_until_broken(writes, after).await;
    rebuild_is_waited_for(&world, &rebuild, &new).await;
    if rebuild.is_under_way().await {
        rebuild.end_as_the_next_one(&world).await;
    }
    if !is_broken || writes > usize::from(shards) {
        publish_among(&world, &events(9_000 + writes as u64, EVENTS, 2), 2);
        world.until_counted().await;
        member.stop().await;
        world.held().assert_equals(&world.expected(), &context);
        return is_broken;
    }
    // Not begun in all shards: another one is needed.
    let again = Rebuild::of(&world, world.catalog.topics.clone()).run().await;
    again.unwrap_or_else(|error| panic!("{context}: {error}"));
    world.until_counted().await;
    member.stop().await;
    world.held().assert_equals(&world.expected(), &context);
    true
}

/// While results are exchanged nobody counts on.
async fn rebuild_is_waited_for(world: &World, rebuild: &Rebuild, new: &TopicPartition) {
    let event = "{\"type\":\"video.view\",\"videoId\":\"late\",\"userId\":\"1\"}";
    world.append(new, event);
    world.append(&TopicPartition::new("video.views", 0), event);
    if !rebuild.is_under_way().await {
        return;
    }
    // Long enough for a heartbeat, a new tenure, and several flushes.
    let flushes = || world.store.flushes.load(std::sync::atomic::Ordering::SeqCst);
    let before = flushes();
    let began = std::time::Instant::now();
    while flushes() == before && began.elapsed() < std::time::Duration::from_millis(100) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for shard in 0..world.store.inner.shards() {
        let held = world.store.inner.shard(shard);
        if held.exchange.is_some() {
            assert_eq!(held.checkpoints.get(new), None, "a section of an exchanged topic was applied");
        }
    }
}
