//! What the producer promises, on a broker of our own that fails as told or at random.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod broker;

use std::{sync::Arc, time::Duration};

use broker::{Dice, FakeBroker, Fault, INVALID, Identities, LARGE};
use futures::future::join_all;
use kafka_protocol::error::ResponseError;

use super::Producing;
use crate::{
    log::{
        LogError, OutRecord,
        kafka::{KafkaOptions, wire::Wire},
    },
    model::TopicPartition,
};

const SEEDS: u64 = 200;
/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_secs(300);

fn producing(broker: &FakeBroker, change: impl FnOnce(&mut KafkaOptions)) -> Producing {
    let mut options = KafkaOptions::new(vec![broker.address.clone()]);
    options.retry_backoff = Duration::from_millis(1);
    options.request_timeout = LONG;
    options.retries = 1_000;
    options.compression = crate::catalog::plan::Compression::None;
    change(&mut options);
    Producing::new(Arc::new(Wire::new(options)))
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn records(values: &[String]) -> Vec<OutRecord> {
    values.iter().map(|value| OutRecord { value: Some(value.clone().into_bytes()), ..OutRecord::default() }).collect()
}

/// Appends calls of these values, all at once.
async fn append(producing: &Producing, calls: &[Vec<String>]) -> Vec<Vec<Result<i64, LogError>>> {
    let partition = partition();
    join_all(calls.iter().map(|values| producing.append(&partition, records(values)))).await
}

/// Nothing is lost, doubled or out of order, as far as the answers promise.
fn check(log: &[String], calls: &[Vec<String>], answers: &[Vec<Result<i64, LogError>>], seed: u64) {
    let mut last = -1;
    for (value, answer) in calls.iter().flatten().zip(answers.iter().flatten()) {
        let times = log.iter().filter(|stored| *stored == value).count();
        let wanted = match answer {
            Ok(offset) => {
                assert_eq!(log.get(*offset as usize), Some(value), "seed {seed}: offset {offset}");
                assert!(*offset > last, "seed {seed}: {value} at {offset} came behind what was sent later");
                last = *offset;
                1..=1
            }
            Err(LogError::TimedOut { .. }) => 0..=1,
            Err(_) => 0..=0,
        };
        assert!(wanted.contains(&times), "seed {seed}: {value} was answered {answer:?} and stored {times} times");
    }
}

fn some_calls(dice: &mut Dice, is_clean: bool) -> Vec<Vec<String>> {
    let kind = |dice: &mut Dice| match dice.below(if is_clean { 1 } else { 20 }) {
        18 => INVALID,
        19 => LARGE,
        _ => "record",
    };
    let mut number = 0;
    let mut value = |dice: &mut Dice| {
        number += 1;
        format!("{} {number}", kind(dice))
    };
    (0..5 + dice.below(30)).map(|_| (0..1 + dice.below(8)).map(|_| value(dice)).collect()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_reordered_whatever_fails() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed + 1);
        let is_clean = seed % 2 == 0;
        let calls = some_calls(&mut dice, is_clean);
        let broker = FakeBroker::start(seed + 1, 10 + dice.below(40), false).await;
        let producing = producing(&broker, |options| options.max_in_flight = 1 + dice.below(5) as usize);
        let answers = append(&producing, &calls).await;
        broker.settle();
        let log = broker.state.lock().unwrap().log.clone();
        check(&log, &calls, &answers, seed);
        for (value, answer) in calls.iter().flatten().zip(answers.iter().flatten()) {
            let is_right = match answer {
                Ok(_) => value.starts_with("record"),
                // Refused for what is in it, after an earlier try that may have been stored: as the topic's limits may change.
                Err(LogError::TimedOut { .. }) => !is_clean,
                Err(LogError::TooLarge { .. }) => value.starts_with(LARGE),
                Err(LogError::Invalid { .. }) => value.starts_with(INVALID),
                Err(_) => false,
            };
            assert!(is_right, "seed {seed}: {value} was answered {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_at_the_deadline_is_true() {
    for seed in 0..SEEDS {
        let mut dice = Dice::new(seed + 1_000);
        let calls = some_calls(&mut dice, false);
        let broker = FakeBroker::start(seed + 1, 30 + dice.below(40), true).await;
        let producing = producing(&broker, |options| {
            options.request_timeout = Duration::from_millis(10 + dice.below(60));
            options.retries = dice.below(4) as u32;
        });
        let mut answers = Vec::new();
        for part in calls.chunks(6) {
            answers.extend(append(&producing, part).await);
        }
        drop(producing);
        broker.settle();
        let log = broker.state.lock().unwrap().log.clone();
        check(&log, &calls, &answers, seed);
    }
}

fn values(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn sequence_numbers_follow_and_a_resend_keeps_its_own() {
    let broker = FakeBroker::start(1, 0, false).await;
    broker.state.lock().unwrap().script = [Fault::None, Fault::LoseAnswer].into();
    let producing = producing(&broker, |options| options.max_in_flight = 1);
    let answers = append(&producing, &[values(&["a", "b"]), values(&["c"]), values(&["d"])]).await;
    assert_eq!(answers, [vec![Ok(0), Ok(1)], vec![Ok(2)], vec![Ok(3)]]);
    let state = broker.state.lock().unwrap();
    assert_eq!(state.stamps, [(1, 0, 0), (1, 0, 2), (1, 0, 2), (1, 0, 3)]);
    assert_eq!(state.log, ["a", "b", "c", "d"]);
}

/// The broker stores `b` to `f` and says so of three of them, then `c` again. Were four new batches sent along with that one,
/// it would be the sixth last at the next try, and the broker remembers five.
#[tokio::test]
async fn what_is_in_doubt_is_not_overtaken_until_the_broker_has_forgotten_it() {
    let broker = FakeBroker::start(7, 0, false).await;
    let unsure = Fault::After(ResponseError::RequestTimedOut);
    let ok = Fault::None;
    broker.state.lock().unwrap().script = [ok, unsure, unsure, ok, ok, ok, ok, unsure].into();
    let producing = producing(&broker, |options| options.max_in_flight = 5);
    let calls: Vec<_> = ('a'..='l').map(|name| vec![name.to_string()]).collect();
    let answers = append(&producing, &calls).await;
    assert_eq!(answers.concat(), (0..12).map(Ok).collect::<Vec<_>>());
    let state = broker.state.lock().unwrap();
    assert_eq!(state.log, calls.concat());
    let sequences: Vec<_> = state.stamps.iter().map(|(_, _, sequence)| *sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4, 5, 1, 2, 2, 6, 7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn a_refused_record_is_answered_alone_and_later_ones_get_its_numbers_in_the_next_epoch() {
    let broker = FakeBroker::start(2, 0, false).await;
    let producing = producing(&broker, |_| {});
    let calls = [values(&["a"]), values(&["b", INVALID, "c"]), values(&["d", LARGE]), values(&["e"])];
    let answers = append(&producing, &calls).await;
    let kinds: Vec<_> =
        answers.iter().flatten().map(|answer| answer.as_ref().map_err(LogError::kind).copied()).collect();
    assert_eq!(kinds, [Ok(0), Ok(1), Err("invalid"), Ok(2), Ok(3), Err("too_large"), Ok(4)]);
    assert_eq!(broker.state.lock().unwrap().log, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_forgotten_producer_gets_a_new_id_unless_the_outcome_is_unknown() {
    for error in [ResponseError::UnknownProducerId, ResponseError::InvalidProducerEpoch] {
        let broker = FakeBroker::start(3, 0, false).await;
        broker.state.lock().unwrap().script = [Fault::Before(error)].into();
        let producing = producing(&broker, |_| {});
        assert_eq!(append(&producing, &[values(&["a"])]).await, [[Ok(0)]]);
        assert_eq!(broker.state.lock().unwrap().given, 2, "{error}");

        broker.state.lock().unwrap().script = [Fault::LoseAnswer, Fault::Before(error)].into();
        let answers = append(&producing, &[values(&["b"])]).await;
        assert!(matches!(answers[0][0], Err(LogError::TimedOut { .. })), "{answers:?}");
        assert_eq!(append(&producing, &[values(&["c"])]).await, [[Ok(2)]]);
    }
}

#[tokio::test]
async fn retries_are_counted_where_nothing_was_stored() {
    let broker = FakeBroker::start(4, 0, false).await;
    let refused = Fault::Before(ResponseError::NotEnoughReplicas);
    broker.state.lock().unwrap().script = [refused; 3].into();
    let producing = producing(&broker, |options| options.retries = 2);
    let answers = append(&producing, &[values(&["a"])]).await;
    assert!(matches!(answers[0][0], Err(LogError::Unavailable { .. })), "{answers:?}");
    assert_eq!(append(&producing, &[values(&["b"])]).await, [[Ok(0)]]);
}

#[tokio::test]
async fn without_the_right_to_an_identity_records_are_sent_without() {
    for identities in [Identities::Refused, Identities::NotOffered] {
        let broker = FakeBroker::start(5, 0, false).await;
        broker.state.lock().unwrap().identities = identities;
        let producing = producing(&broker, |_| {});
        let answers = append(&producing, &[values(&["a"]), values(&["b", LARGE, "c"])]).await;
        let stored: Vec<_> = answers.iter().flatten().flatten().collect();
        assert_eq!(stored, [&0, &1, &2], "{identities:?}");
        let state = broker.state.lock().unwrap();
        assert!(state.stamps.iter().all(|stamp| *stamp == (-1, -1, -1)), "{:?}", state.stamps);
    }
}

#[tokio::test]
async fn what_is_larger_than_may_be_sent_is_not_sent() {
    let broker = FakeBroker::start(6, 0, false).await;
    let producing = producing(&broker, |options| options.max_message_bytes = 10_000);
    let large = "x".repeat(10_001);
    let call: Vec<String> = (0..5).map(|n| n.to_string()).chain([large]).chain(["y".repeat(9_950)]).collect();
    let answers = append(&producing, &[call]).await.remove(0);
    assert!(matches!(answers[5], Err(LogError::TooLarge { .. })));
    assert_eq!(answers.iter().flatten().copied().collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
}
