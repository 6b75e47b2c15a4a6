//! `counters rebuild`: whatever was changed by hand, whatever breaks off, and while members count, every key is in the end
//! what a naive fold of the log says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

#[path = "rebuild/broken_off.rs"]
mod broken_off;
#[path = "rebuild/exchanges.rs"]
mod exchanges;
#[allow(dead_code, reason = "other targets use the rest of it")]
#[path = "counting/fixture.rs"]
mod fixture;
mod support;

use std::{sync::Arc, time::Duration};

use exchanges::{Rebuild, publish, tamper};
use fixture::World;
use streamgauge::{
    model::{Delta, Gap, Key, Kind, TopicPartition},
    runtime::{
        imports::{Import, ImportError, Total},
        recount::RecountError,
    },
};
use support::{
    events::{Random, events, fresh_seed},
    oracle::fold,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuilt_while_members_and_a_zombie_count_and_every_key_is_the_fold() {
    for shards in [1, 4] {
        let seed = fresh_seed();
        let world = World::video(2).in_shards(shards);
        let (member, zombie) = (world.member(), world.loner());
        let all = events(seed, 20_000, 50);
        publish(&world, &all[..1_000]);
        world.until_counted().await;
        tamper(&world).await;
        let mut rebuild = Rebuild::of(&world, world.catalog.topics.clone());
        let mut published = 1_000;
        let traffic = async {
            for piece in all[1_000..].chunks(5) {
                publish(&world, piece);
                published += piece.len();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            panic!("the events are used up before it is rebuilt");
        };
        let rebuilt = tokio::select! {
            rebuilt = rebuild.run() => rebuilt.unwrap(),
            () = traffic => unreachable!(),
        };
        assert!(rebuilt.recounted > 1_000 && published > 1_000, "nothing was counted meanwhile: {rebuilt:?}");
        publish(&world, &events(seed ^ 1, 300, 10));
        world.until_counted().await;
        member.stop().await;
        zombie.stop().await;
        world.held().assert_equals(&world.expected(), &format!("seed {seed}, {shards} shards"));
        let checkpoints = world.held().checkpoints;
        for partition in world.partitions() {
            let raised = checkpoints[&partition].incarnation;
            assert!(raised > 0, "late sections of the former life must conflict: {partition}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_that_was_added_to_the_catalogue_gets_its_history() {
    let old = World::with_rules("{ count = \"a:{x}\" }", 2);
    let member = old.member();
    let append = |from: usize, count: usize| {
        for number in from..from + count {
            let value = format!("{{\"type\":\"e\",\"x\":\"{}\",\"y\":{}}}", number % 5, number % 3);
            old.append(&TopicPartition::new("t", (number % 2) as i32), &value);
        }
    };
    append(0, 60);
    old.until_counted().await;
    member.stop().await;
    let rules = "{ count = \"a:{x}\" }, { count = \"b:{y}\" }, { top = \"best\", of = \"{y}\" }";
    let new = World::with_rules(rules, 2);
    let new = World { log: Arc::clone(&old.log), store: Arc::clone(&old.store), ..new };
    let member = new.member();
    append(60, 10);
    new.until_counted().await;
    assert_ne!(new.counter("b:0"), new.expected().counters["b:0"], "it has no history yet");
    Rebuild::of(&new, new.catalog.topics.clone()).run().await.unwrap();
    append(70, 10);
    new.until_counted().await;
    new.held().assert_equals(&new.expected(), "with its history");
    member.stop().await;

    // A member that counts by other rules would go on by them.
    let member = old.member();
    old.until_counted().await;
    fixture::until("it is among the members", || !old.held().groups.is_empty()).await;
    let mut rebuild = Rebuild::of(&new, new.catalog.topics.clone());
    let said = loop {
        let plan = rebuild.recount.plan("g").await.unwrap();
        if let Some(obstacle) = plan.obstacles.first() {
            break obstacle.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(said.contains("counts t by other rules"), "{said}");
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_rebuilt_by_itself() {
    let world = World::video(1);
    let member = world.member();
    publish(&world, &events(fresh_seed(), 400, 0));
    world.until_counted().await;
    let junk = |name: &str| (Key::new(Kind::Count, name), Delta::Count(5));
    exchanges::apply(
        &world,
        vec![junk("channel:nobody:subscribers"), junk("video:nobody:comments"), junk("of nobody")],
    )
    .await;
    let topics = world.catalog.with_shared_keys(&["video.comments".to_owned()]);
    assert!(topics.len() < world.catalog.topics.len());
    let before = world.held();
    Rebuild::of(&world, topics.clone()).run().await.unwrap();
    world.until_counted().await;
    member.stop().await;
    let held = world.held();
    assert_eq!(held.counters.get("video:nobody:comments"), None);
    assert_eq!((held.counters["channel:nobody:subscribers"], held.counters["of nobody"]), (5, 5));
    for (partition, checkpoint) in &held.checkpoints {
        let is_rebuilt = topics.iter().any(|topic| *topic.name == *partition.topic);
        assert!(is_rebuilt || before.checkpoints[partition] == *checkpoint, "{partition} was left alone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_totals_are_kept_and_one_that_is_under_way_is_waited_for() {
    for shards in [1, 3] {
        let world = World::video(1).in_shards(shards);
        let member = world.member();
        publish(&world, &events(fresh_seed(), 300, 0));
        world.until_counted().await;
        let total = |name: &str, value| Total { name: name.to_owned(), value, is_max: false, expire_at_ms: None };
        let mut totals: Vec<Total> = (0..5_000).map(|n| total(&format!("video:old{n}:views"), n + 1)).collect();
        let known = world.held().counters.keys().find(|name| name.ends_with(":views")).unwrap().clone();
        totals.extend([total(&known, 1_000), total("made by no rule", 7)]);
        let (import, parts) = Import::of(b"the file", &totals);
        let store = &*world.store;
        import.add(store, &parts[..1]).await.unwrap();
        let said = Rebuild::of(&world, world.catalog.topics.clone()).run().await.unwrap_err();
        assert!(matches!(&said, RecountError::CannotRebuild(why) if why[0].contains("the import")), "{said}");
        import.add(store, &parts).await.unwrap();
        tamper(&world).await;
        Rebuild::of(&world, world.catalog.topics.clone()).run().await.unwrap();
        world.until_counted().await;
        member.stop().await;
        let mut expected = world.expected();
        for total in &totals {
            *expected.counters.entry(total.name.clone()).or_insert(0) += total.value;
        }
        world.held().assert_equals(&expected, "with what was imported");
        assert_eq!(import.add(store, &parts).await.unwrap(), 0, "it was added already");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_gone_are_named_and_given_up_only_where_that_is_accepted() {
    let world = World::video(1);
    let member = world.member();
    publish(&world, &events(fresh_seed(), 600, 0));
    world.until_counted().await;
    let views = TopicPartition::new("video.views", 0);
    world.log.retain_from(&views, 5);
    tamper(&world).await;
    let before = world.held().counters;
    let mut rebuild = Rebuild::of(&world, world.catalog.topics.clone());
    let plan = rebuild.recount.plan("g").await.unwrap();
    assert_eq!(plan.lost, [(views.clone(), Gap { from: 0, to: 5 })]);
    let said = rebuild.run().await.unwrap_err().to_string();
    assert!(said.contains("video.views:0: log begins at 5, and the group began at 0"), "{said}");
    assert_eq!(world.held().counters, before, "nothing was changed");

    let mut rebuild = Rebuild::of(&world, world.catalog.topics.clone());
    rebuild.recount = rebuild.recount.accept_loss();
    rebuild.run().await.unwrap();
    publish(&world, &events(7, 100, 0));
    world.until_counted().await;
    member.stop().await;
    let mut records = world.log.records_of(world.catalog.topics.iter().map(|topic| &*topic.name));
    records.get_mut(&("video.views".to_owned(), 0)).unwrap().retain(|record| record.offset >= 5);
    world.held().assert_equals(&fold(&world.catalog, &records), "from where the log begins");
    assert_eq!(world.held().gaps, [(views, Gap { from: 0, to: 5 })]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_import_comes_between() {
    let world = World::video(1);
    let member = world.member();
    publish(&world, &events(fresh_seed(), 200, 0));
    world.until_counted().await;
    let totals = [Total { name: "video:v:views".to_owned(), value: 5, is_max: false, expire_at_ms: None }];
    let (import, parts) = Import::of(b"late", &totals);
    let mut rebuild = Rebuild::of(&world, world.catalog.topics.clone());
    assert!(rebuild.run_until_broken(2, true).await, "the exchange has begun");
    let said = import.add(&*world.store, &parts).await.unwrap_err();
    assert!(matches!(said, ImportError::Closed), "{said}");
    rebuild.end_as_the_next_one(&world).await;
    assert_eq!(import.add(&*world.store, &parts).await.unwrap(), 1);
    world.until_counted().await;
    member.stop().await;
    let mut expected = world.expected();
    *expected.counters.entry("video:v:views".to_owned()).or_insert(0) += 5;
    world.held().assert_equals(&expected, "with the import behind it");
}

/// Lost answers, failures, and a store that falls back amid the exchange.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_amid_the_exchange_every_key_is_the_fold() {
    for seed in (0..6).map(|n| fresh_seed() + n) {
        let mut random = Random::new(seed);
        let world = World::video(1).in_shards(if seed % 2 == 0 { 1 } else { 3 });
        let member = world.member();
        publish(&world, &events(seed, 150, 5));
        world.until_counted().await;
        tamper(&world).await;
        let mut tries = 0;
        loop {
            let mut rebuild = Rebuild::of(&world, world.catalog.topics.clone());
            let done = rebuild.run_amid_faults(&world, &mut random).await;
            publish(&world, &events(seed + 100 + tries, 30, 2));
            tries += 1;
            match done {
                Ok(_) => break,
                Err(said) if rebuild.is_under_way().await => {
                    eprintln!("seed {seed}: {said}");
                    rebuild.end_as_the_next_one(&world).await;
                }
                Err(said) => eprintln!("seed {seed}: {said}"),
            }
            assert!(tries < 30, "seed {seed}: it never succeeds");
        }
        world.until_counted().await;
        member.stop().await;
        // Where it was ended by the next one after the store had fallen back, the first one must have said so and be done again.
        world.held().assert_equals(&world.expected(), &format!("seed {seed}"));
    }
}
