//! Counters that name a day and are removed some time after it.

use super::*;

/// Milliseconds that a test counts into a counter before that expires.
const SHORT_MS: i64 = 300;

pub async fn counters_of_a_day_are_removed_when_it_is_over(f: &Fixture) {
    let (soon, later) = (from_now_ms(0) + SHORT_MS, from_now_ms(3_600));
    let deltas = vec![count_until("soon", soon, 2), count_until("later", later, 3), count("ever", 4)];
    assert_eq!(f.apply_one(section(0, -1, 1, deltas)).await, Outcome::Applied);
    let more = vec![count_until("soon", soon, -7), count_until("later", later, i64::MAX - 4), count("ever", 1)];
    assert_eq!(f.apply_one(section(0, 1, 2, more)).await, Outcome::Applied);
    assert_eq!((f.counter("soon").await, f.counter("later").await), (Some(-5), Some(i64::MAX - 1)));
    let over = f.apply_one(section(0, 2, 3, vec![count("ever", 1), count_until("later", later, 9)])).await;
    assert_eq!(over, refused("later", RefusalReason::Overflow));
    f.until_gone("soon").await;
    assert!(from_now_ms(0) >= soon, "it went before its time");
    assert_eq!((f.counter("later").await, f.counter("ever").await), (Some(i64::MAX - 1), Some(5)));
    if f.raw.is_some() {
        assert_eq!(f.raw("HKEYS @counters:last").await, ["later"]);
        assert_eq!(f.raw("ZRANGE @counters:days 0 -1").await, ["later"]);
    }
    // Not before its time, however often somebody looks.
    assert!(!f.store.sweep().await.unwrap());
    assert_eq!(f.counter("later").await, Some(i64::MAX - 1));
}

/// Neither as a part of what it was, nor as a difference that a verification would find.
pub async fn a_late_event_brings_no_removed_counter_back(f: &Fixture) {
    let past = from_now_ms(-1);
    let late = vec![count_until("past", past, 5), count("ever", 1)];
    assert_eq!(f.apply_one(section(0, -1, 1, late)).await, Outcome::Applied);
    assert_eq!((f.counter("past").await, f.counter("ever").await), (None, Some(1)));
    let soon = from_now_ms(0) + SHORT_MS;
    f.apply_one(section(0, 1, 2, vec![count_until("soon", soon, 2)])).await;
    // What expires is over, also where it was not removed yet.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while from_now_ms(0) <= soon {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    f.apply_one(section(0, 2, 3, vec![count_until("soon", soon, 100)])).await;
    assert!(f.counter("soon").await.is_none_or(|stood| stood == 2));
    f.until_gone("soon").await;
    f.apply_one(section(0, 3, 4, vec![count_until("soon", soon, 100)])).await;
    assert_eq!(f.counter("soon").await, None);
    assert_eq!(f.checkpoint(&partition(0)).await, Some(checkpoint(4)));
}

pub async fn many_that_expire_at_once_go_in_steps(f: &Fixture) {
    let soon = from_now_ms(1);
    let mut deltas: Vec<_> = (0..5_500).map(|i| count_until(&format!("day:{i}"), soon, 1)).collect();
    deltas.push(count("ever", 1));
    assert_eq!(f.apply_one(section(0, -1, 1, deltas)).await, Outcome::Applied);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut steps = 0;
    loop {
        let left = f.store.scan("day:", "", 10_000).await.unwrap().counters.len();
        if left == 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left} outlive their time");
        if f.store.sweep().await.unwrap() {
            steps += 1;
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(steps >= 3, "{steps}");
    assert_eq!(f.counter("ever").await, Some(1));
}
