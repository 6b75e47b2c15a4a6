//! The whole program between a real Kafka and a real Redis.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, time::Duration};

use crate::{
    kcat,
    place::{Place, ready},
    support::{
        events::{Random, events_of_these_days, fresh_seed},
        oracle::fold,
        results,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_another_client_are_counted_exactly_and_never_twice() {
    const EVENTS: usize = 50_000;
    const BAD: usize = 20;
    let seed = fresh_seed();
    let (place, log) = (Place::shared_topics(), Place::shared_topics().log());
    let mut process = place.start(&[]);
    ready(&mut process).await;
    let before = results::read_events(&log, &place.catalog()).await;
    let mut events = events_of_these_days(seed, EVENTS, BAD);
    // kcat sends no empty line.
    events.iter_mut().filter(|event| event.value.is_empty()).for_each(|event| event.value = b"-".to_vec());
    kcat::produce_events(&place.brokers, &events, &["-z", "lz4"]);
    let all = place.caught_up(&mut process).await;
    assert_eq!(results::count(&all), results::count(&before) + EVENTS);
    let expected = fold(&place.catalog(), &all);
    assert_eq!(expected.dead.len(), fold(&place.catalog(), &before).dead.len() + BAD);
    assert_eq!(results::dead_letters(&log, &all).await, results::expected_letters(&expected));
    place.assert_complete().await;

    // Plain names and numbers, and nothing else.
    let lines = place.redis_cli(&["hgetall", "@counters:aggregated"]);
    let shown: BTreeMap<_, _> =
        lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].parse::<i64>().unwrap())).collect();
    results::assert_same("fields", &shown, &expected.counters);

    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let mut process = place.start(&[]);
    ready(&mut process).await;
    kcat::produce_events(&place.brokers, &events_of_these_days(seed ^ 1, 20, 0), &[]);
    place.caught_up(&mut process).await;
    assert_eq!(place.assert_complete().await, results::count(&all) + 20);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_equals_the_fold_after_each_of_20_kills_while_counting() {
    const KILLS: usize = 20;
    const EVENTS: usize = 6_000;
    let seed = fresh_seed();
    let place = Place::own_topics();
    let (log, store, reference, catalog) = (place.log(), place.store(), place.reference(), place.catalog());
    let mut random = Random::new(seed);
    let events = events_of_these_days(seed, EVENTS, 200);
    results::create(&log, &results::topics_of(&catalog), 3).await;
    results::publish(&log, &place.topic_prefix, &events[..EVENTS / 2]).await;
    // Small bites, so that there is much to interrupt.
    let bites = [("FLUSH_INTERVAL_MS", "2"), ("KAFKA_FETCH_MAX_PARTITION_BYTES", "4096"), ("BATCH_SIZE", "20")];
    let (mut before, mut amid) = (0, 0);
    for round in 0..KILLS {
        let mut process = place.start(&bites);
        process.url().await;
        // Not further than what is left: where a round has caught up, only the events of one round are.
        let left = EVENTS / 2 + EVENTS / 2 / KILLS * round - before;
        let moment = random.below(EVENTS / KILLS).min(left);
        let far = async |process: &crate::support::process::Process| {
            (process.metric("streamgauge_records_total", "").await >= moment as f64).then_some(())
        };
        process.until("progress", far).await;
        tokio::time::sleep(Duration::from_micros(random.below(10_000) as u64)).await;
        process.kill();
        let (counted, of) = results::assert_whole(&log, &store, &reference, &catalog).await;
        eprintln!("kill {round}: {counted} of {of}");
        assert!(counted >= before, "counting went back from {before} to {counted}");
        amid += usize::from(counted > before && counted < of);
        before = counted;
        let next = &events[EVENTS / 2..][EVENTS / 2 / KILLS * round..][..EVENTS / 2 / KILLS];
        results::publish(&log, &place.topic_prefix, next).await;
    }
    assert!(amid >= KILLS / 5, "only {amid} of {KILLS} kills came amid counting");
    let mut process = place.start(&[]);
    place.caught_up(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    assert_eq!(place.assert_complete().await, EVENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_of_the_users_is_counted_and_grows_at_the_same_offset() {
    let mut place = Place::own_topics();
    let topic = format!("{}shop.sales", place.topic_prefix);
    let catalog = |more: &str| {
        format!(
            r#"name = "shop"
[[topic]]
name = "{topic}"
partitions = 2
shape = ["flat"]
key = ["item"]
[[topic.event]]
type = "sale"
required = ["item"]
rules = [
  {{ count = "item:{{item}}:revenue", by = {{ field = "price", scale = 2 }} }},
  {{ max = "item:{{item}}:dearest", of = {{ field = "price", scale = 2 }} }},
  {{ last = "item:{{item}}:price", of = {{ field = "price", scale = 2 }} }},{more}
]
"#
        )
    };
    let sales = |from: usize| -> Vec<u8> {
        let sale = |n: usize| {
            let (item, price) = (n % 3, n * 7 % 100);
            format!("i{item}|{{\"type\":\"sale\",\"item\":\"i{item}\",\"price\":{price}.5,\"timestamp\":{n}}}\n")
        };
        (from..from + 100).map(sale).collect::<String>().into_bytes()
    };
    place.write_catalog(&catalog(""));
    let mut process = place.start(&[]);
    ready(&mut process).await;
    kcat::produce(&place.brokers, &topic, &["-K", "|"], &sales(0));
    place.caught_up(&mut process).await;
    assert_eq!(place.assert_complete().await, 100);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    place.write_catalog(&catalog("\n  { count = \"item:{item}:sales\" },"));
    let mut process = place.start(&[]);
    ready(&mut process).await;
    kcat::produce(&place.brokers, &topic, &["-K", "|"], &sales(100));
    let all = place.caught_up(&mut process).await;
    assert!(process.has_said("the catalogue has changed"), "{}", process.said());
    // The old rules go on as if nothing had happened, the new one begins where it came.
    let mut expected = fold(&place.catalog(), &all).counters;
    for (item, sales) in [("i0", 33), ("i1", 34), ("i2", 33)] {
        expected.insert(format!("item:{item}:sales"), sales);
    }
    let lines = place.redis_cli(&["hgetall", "@counters:aggregated"]);
    let shown: BTreeMap<_, i64> = lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect();
    results::assert_same("fields", &shown, &expected);
}
