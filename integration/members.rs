//! Three processes of one group: partitions move warmed, who dies is replaced, and every key equals the fold.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use crate::{
    place::{Place, ready},
    support::{
        events::{events_of_these_days, fresh_seed},
        process::Process,
        results,
    },
};

/// Waits until each process holds an equal share of the partitions.
async fn shared(processes: &mut [&mut Process], partitions: usize) {
    let count = processes.len();
    for process in processes.iter_mut() {
        let what = format!("one of {count} members that share {partitions} partitions");
        let is_level = async |process: &Process| {
            let members = process.metric("streamgauge_members", "").await as usize;
            let held = process.metric("streamgauge_partitions_held", "").await as usize;
            (members == count && (partitions / count..=partitions.div_ceil(count)).contains(&held)).then_some(())
        };
        process.until(&what, is_level).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_leave_and_die_and_every_key_equals_the_fold() {
    const ROUND: usize = 3_000;
    const SESSION: (&str, &str) = ("SESSION_TIMEOUT_MS", "2000");
    let seed = fresh_seed();
    let place = Place::own_topics();
    let (log, catalog) = (place.log(), place.catalog());
    let partitions = 3 * catalog.topics.len();
    results::create(&log, &results::topics_of(&catalog), 3).await;
    let mut rounds = 0;
    let mut publish = async || {
        rounds += 1;
        let events = events_of_these_days(seed.wrapping_add(rounds), ROUND, 20);
        results::publish(&log, &place.topic_prefix, &events).await;
    };

    let mut first = place.start(&[SESSION]);
    ready(&mut first).await;
    publish().await;
    shared(&mut [&mut first], partitions).await;
    place.caught_up(&mut first).await;

    let mut second = place.start(&[SESSION]);
    let began = Instant::now();
    publish().await;
    shared(&mut [&mut first, &mut second], partitions).await;
    eprintln!("a second member has its share after {:?}", began.elapsed());
    second.says("is_warm\":true").await;
    pauses("a warmed move", &second).await;
    place.caught_up(&mut second).await;
    place.assert_complete().await;

    let mut third = place.start(&[SESSION]);
    publish().await;
    shared(&mut [&mut first, &mut second, &mut third], partitions).await;
    publish().await;
    first.kill();
    let began = Instant::now();
    publish().await;
    place.caught_up(&mut second).await;
    eprintln!("what a member had that was killed is counted after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    shared(&mut [&mut second, &mut third], partitions).await;

    publish().await;
    let began = Instant::now();
    assert_eq!(second.terminate().await.code(), Some(0), "{}", second.said());
    assert!(second.has_said("left the group"), "{}", second.said());
    shared(&mut [&mut third], partitions).await;
    eprintln!("what a member had that left is held by another one after {:?}", began.elapsed());
    publish().await;
    place.caught_up(&mut third).await;
    place.assert_complete().await;
    assert_eq!(third.metric("streamgauge_conflicts_total", "").await, 0.0, "{}", third.said());
    assert_eq!(third.terminate().await.code(), Some(0), "{}", third.said());
}

/// Prints how long partitions paused on the side of who took them over.
async fn pauses(what: &str, process: &Process) {
    let count = process.metric("streamgauge_takeover_duration_seconds_count", "").await;
    let sum = process.metric("streamgauge_takeover_duration_seconds_sum", "").await;
    eprintln!("{what}: {count} partitions, {:.1} ms each on the side that took over", sum / count * 1_000.0);
}
