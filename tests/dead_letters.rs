//! Dead letters replayed and purged, with log and store in memory: each is replayed exactly once, wherever a replay breaks off and
//! whoever else replays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

#[path = "dead_letters/embedded.rs"]
mod embedded;
#[path = "dead_letters/purging.rs"]
mod purging;
mod support;
#[path = "dead_letters/world.rs"]
mod world;

use std::time::Duration;

use streamgauge::{core::letter::Filter, runtime::dead_letters::ReplayOptions};
use world::{DLQ, Faults, MAX_REPLAYS, TOPIC, World, replay_all};

const LETTERS: usize = 40;

/// That the topic has each dead letter's record once, for its group, as the first replay.
#[track_caller]
fn assert_each_once(world: &World, context: &str) {
    let mut expected: Vec<[String; 4]> = (0..LETTERS)
        .map(|number| {
            let origin = format!("{DLQ}:{}:{}", number % 2, number / 2);
            [number.to_string(), "1".to_owned(), origin, "g".to_owned()]
        })
        .collect();
    expected.sort();
    assert_eq!(world.replayed(), expected, "{context}");
}

#[tokio::test(start_paused = true)]
async fn each_dead_letter_is_replayed_once_wherever_a_replay_breaks_off() {
    let everything = (Filter::default(), ReplayOptions::default());
    let mut breaks = 0;
    for step in 0.. {
        for is_behind in [false, true] {
            let world = World::with(LETTERS);
            let (letters, seen) = world.process(Faults { break_at: Some((step, is_behind)), ..Faults::default() });
            let is_broken = tokio::select! {
                biased;
                () = seen.broken.notified() => true,
                done = replay_all(&letters, &everything.0, everything.1) => {
                    done.unwrap();
                    false
                }
            };
            drop(letters);
            breaks += usize::from(is_broken);
            let (next, _) = world.process(Faults::default());
            replay_all(&next, &everything.0, everything.1).await.unwrap();
            let context = format!("broken at step {step}, behind it: {is_behind}");
            assert_each_once(&world, &context);
            let page = next.list(next.topic(TOPIC).unwrap(), &Filter::default(), None, 100).await.unwrap();
            assert!(page.letters.is_empty() && page.cursor.is_none(), "{context}: {page:?}");
            if !is_broken {
                assert!(breaks > 20, "only {breaks} steps were broken at");
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_is_replayed_once_by_two_at_a_time() {
    for seed in 1..60 {
        let world = World::with(LETTERS);
        let (one, _) = world.process(Faults { slow_seed: Some(seed), ..Faults::default() });
        let (other, _) = world.process(Faults { slow_seed: Some(seed + 1_000), ..Faults::default() });
        let options = ReplayOptions { rate: Some(40), ..ReplayOptions::default() };
        let filter = Filter::default();
        let (one, other) =
            tokio::join!(replay_all(&one, &filter, options), replay_all(&other, &filter, ReplayOptions::default()));
        assert_eq!(one.unwrap().replayed + other.unwrap().replayed, LETTERS as u64, "seed {seed}");
        assert_each_once(&world, &format!("seed {seed}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_answered_for_is_searched_for_and_sent_only_where_it_is_not_there() {
    for is_stored in [true, false] {
        let world = World::with(LETTERS);
        let (letters, _) = world.process(Faults { unanswered: Some(is_stored), ..Faults::default() });
        // Each batch of more than one has an answer that is lost; the last ones are sent one by one.
        replay_all(&letters, &Filter::default(), ReplayOptions::default()).await.unwrap();
        assert_each_once(&world, &format!("stored: {is_stored}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_a_limit_too_and_a_dry_run_sends_nothing() {
    let world = World::with(LETTERS);
    let (letters, _) = world.process(Faults::default());
    let dry = ReplayOptions { is_dry_run: true, ..ReplayOptions::default() };
    assert_eq!(replay_all(&letters, &Filter::default(), dry).await.unwrap().replayed, LETTERS as u64);
    assert!(world.replayed().is_empty());

    let three = ReplayOptions { limit: Some(3), ..ReplayOptions::default() };
    let told = letters.replay(letters.topic(TOPIC).unwrap(), &Filter::default(), None, three).await.unwrap();
    assert_eq!((told.replayed, world.replayed().len()), (3, 3));
    assert!(told.cursor.is_some());

    let slow = ReplayOptions { rate: Some(5), ..ReplayOptions::default() };
    let began = tokio::time::Instant::now();
    replay_all(&letters, &Filter::default(), slow).await.unwrap();
    let took = began.elapsed();
    assert!((Duration::from_secs(6)..Duration::from_secs(9)).contains(&took), "37 at 5 a second took {took:?}");
    assert_each_once(&world, "in parts");
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_waits_for_the_next_replay_and_is_parked_at_last() {
    let world = World::with(1);
    let (letters, _) = world.process(Faults::default());
    for number in 1..=MAX_REPLAYS {
        assert_eq!(replay_all(&letters, &Filter::default(), ReplayOptions::default()).await.unwrap().replayed, 1);
        let [_, said, origin, _] = world.replayed().pop().unwrap();
        assert_eq!((said, origin), (number.to_string(), format!("{DLQ}:0:{}", number - 1)));
        let records = world.log.records_of([TOPIC].into_iter());
        let last = records[&(TOPIC.to_owned(), 0)].last().unwrap().clone();
        let record = streamgauge::log::OutRecord {
            key: last.key,
            value: last.value,
            headers: last.headers,
            timestamp_ms: Some(last.timestamp_ms),
        };
        world.fail(0, last.offset, &record, 0);
    }
    let told = replay_all(&letters, &Filter::default(), ReplayOptions::default()).await.unwrap();
    assert_eq!((told.replayed, told.parked), (0, 1));
    let parked = Filter { is_parked: true, ..Filter::default() };
    let page = letters.list(letters.topic(TOPIC).unwrap(), &parked, None, 10).await.unwrap();
    assert_eq!(page.letters.iter().map(|letter| letter.replays).collect::<Vec<_>>(), [MAX_REPLAYS]);
}

#[tokio::test(start_paused = true)]
async fn pages_are_the_whole_and_a_topic_without_dead_letters_has_none() {
    let world = World::with(LETTERS);
    let (letters, _) = world.process(Faults::default());
    let topic = letters.topic(DLQ).unwrap();
    let error = Filter { error: Some("missing-field".to_owned()), ..Filter::default() };
    for (filter, expected) in [(Filter::default(), LETTERS), (error, LETTERS / 2)] {
        for limit in [1, 3, 100] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let page = letters.list(topic, &filter, cursor, limit).await.unwrap();
                assert!(page.letters.len() <= limit);
                seen.extend(page.letters.iter().map(|letter| (letter.partition.partition, letter.offset)));
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]));
            assert_eq!(seen.len(), expected, "limit {limit}");
        }
    }
    let told = letters.topics().await.unwrap().pop().unwrap();
    assert_eq!((told.waiting, told.is_whole), (LETTERS as i64, true));
    assert_eq!(
        told.reasons.into_iter().collect::<Vec<_>>(),
        [("missing-field".to_owned(), 20), ("not-json".to_owned(), 20)]
    );
    let (empty, _) = World::new().process(Faults::default());
    assert_eq!(empty.topics().await.unwrap()[0].waiting, 0);
}
