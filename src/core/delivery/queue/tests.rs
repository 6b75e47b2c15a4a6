//! The queue against a naive model, under seeds: `DELIVERY_SEED=n` tries one again.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// xorshift64*: enough to choose by.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

const RETRY: Retry = Retry { max: 3, initial_ms: 50, factor: 2.0, max_delay_ms: 300 };
const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];

fn failed() -> Outcome {
    Outcome::Failed { not_before_ms: None }
}

fn position_of<T>(queue: &Queue<T>) -> Position {
    let (to, unfinished) = queue.position();
    Position { tenure: 1, topic_id: None, epoch: None, to, unfinished }
}

/// An event of the log that is to be delivered; `None` is one that nobody wants.
type Log = Vec<Option<(Option<u8>, Priority)>>;

fn log(dice: &mut Dice) -> Log {
    let event = |dice: &mut Dice| {
        let key = (dice.below(5) > 0).then(|| dice.below(6) as u8);
        (dice.below(6) > 0).then(|| (key, PRIORITIES[dice.below(4) as usize]))
    };
    (0..40 + dice.below(80)).map(|_| event(dice)).collect()
}

/// What the world saw.
#[derive(Default)]
struct Seen {
    attempts: BTreeMap<i64, Vec<u32>>,
    /// First deliveries, in order, by key.
    first: BTreeMap<u8, Vec<i64>>,
    finished: BTreeSet<i64>,
    letters: BTreeSet<i64>,
}

#[test]
fn whatever_fails_and_whenever_it_restarts_every_event_is_finished_once_and_keys_keep_their_order() {
    let seeds = match std::env::var("DELIVERY_SEED") {
        Ok(seed) => vec![seed.parse().expect("DELIVERY_SEED is a number")],
        Err(_) => (1..=1_500).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        run(seed);
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let log = log(&mut dice);
    let mut seen = Seen::default();
    let mut queue: Queue<i64> = Queue::new(&Position::default(), RETRY, seed);
    let (mut on_their_way, mut dying) = (Vec::new(), Vec::new());
    let mut now = 1_000;
    let context = format!("DELIVERY_SEED={seed}");
    for step in 0.. {
        assert!(step < 200_000, "{context}: it does not end");
        let is_read = queue.taken_to() == log.len() as i64;
        if is_read && queue.is_empty() {
            break;
        }
        match dice.below(20) {
            0..=5 if !is_read => take(&mut queue, &log),
            6..=11 => {
                if let Some(attempt) = queue.next(now) {
                    assert_eq!(queue.payload(attempt.offset), Some(&attempt.offset));
                    sent(&mut seen, &log, attempt, &context);
                    on_their_way.push((attempt.offset, now));
                }
            }
            12..=16 if !on_their_way.is_empty() => {
                let (offset, began) = on_their_way.swap_remove(dice.below(on_their_way.len() as u64) as usize);
                let outcome = match dice.below(10) {
                    0..=5 => Outcome::Processed,
                    6 => Outcome::Dropped,
                    _ => failed(),
                };
                match queue.outcome(offset, outcome, began, now) {
                    Some(Verdict::Finished) => assert!(seen.finished.insert(offset), "{context}: {offset} twice"),
                    Some(Verdict::Again(due)) => assert!(due > now, "{context}"),
                    Some(Verdict::Dead(tried)) => {
                        // More where it was killed before the log had the dead letter.
                        assert!(tried.attempts > RETRY.max, "{context}: {offset}");
                        dying.push(offset);
                    }
                    None => panic!("{context}: {offset} was not on its way"),
                }
            }
            17 if !dying.is_empty() => {
                let offset = dying.swap_remove(dice.below(dying.len() as u64) as usize);
                queue.buried(offset);
                seen.letters.insert(offset);
                assert!(seen.finished.insert(offset), "{context}: {offset} twice");
            }
            18 if dice.below(3) == 0 => {
                // Killed: what was on its way is answered to nobody.
                on_their_way.clear();
                dying.clear();
                let position = position_of(&queue);
                let read = Position::parse(&position.to_bytes()).unwrap();
                assert_eq!(read, position, "{context}");
                let due: Vec<_> = position.unfinished.iter().filter(|(_, tried)| tried.attempts > 0).copied().collect();
                queue = Queue::new(&read, RETRY, seed);
                assert_eq!(position_of(&queue), position, "{context}: right after the restart");
                // Half of it read again, it says the same.
                (0..dice.below(30)).for_each(|_| take(&mut queue, &log));
                let again: BTreeMap<_, _> = position_of(&queue).unfinished.into_iter().collect();
                for (offset, tried) in due {
                    assert_eq!(again.get(&offset), Some(&tried), "{context}: {offset}");
                }
            }
            _ => now += 20,
        }
        // The position never says of an unfinished event that it is finished.
        let (to, unfinished) = queue.position();
        let listed: BTreeSet<i64> = unfinished.iter().map(|(offset, _)| *offset).collect();
        for (offset, event) in (0..).zip(&log).take(to as usize) {
            let is_done = event.is_none() || seen.finished.contains(&offset);
            assert!(is_done || listed.contains(&offset), "{context}: {offset} is lost below {to}");
            assert!(!(listed.contains(&offset) && seen.finished.contains(&offset)), "{context}: {offset} comes again");
        }
    }
    let wanted: BTreeSet<i64> =
        (0..).zip(&log).filter(|(_, event)| event.is_some()).map(|(offset, _)| offset).collect();
    assert_eq!(seen.finished, wanted, "{context}");
}

fn take(queue: &mut Queue<i64>, log: &Log) {
    let offset = queue.taken_to();
    match log.get(offset as usize) {
        Some(Some((key, priority))) => {
            let key = key.map(|key| [key]);
            queue.take(offset, key.as_ref().map(|key| &key[..]), *priority, offset);
        }
        Some(None) => queue.read_to(offset + 1),
        None => {}
    }
}

fn sent(seen: &mut Seen, log: &Log, attempt: Attempt, context: &str) {
    let Attempt { offset, number } = attempt;
    let Some((key, _)) = log[offset as usize] else { panic!("{context}: {offset} is not wanted") };
    assert!(!seen.finished.contains(&offset), "{context}: {offset} after it was finished");
    let attempts = seen.attempts.entry(offset).or_default();
    // An attempt whose answer a crash has swallowed is made again under its number.
    let last = attempts.last().copied().unwrap_or(0);
    assert!(number == last + 1 || number == last, "{context}: attempt {number} of {offset} after {last}");
    attempts.push(number);
    if let Some(key) = key.filter(|_| attempts.len() == 1) {
        let before = seen.first.entry(key).or_default();
        assert!(before.last().is_none_or(|last| *last < offset), "{context}: key {key}: {offset} after {before:?}");
        before.push(offset);
        let is_before = |other: &i64| matches!(log[*other as usize], Some((Some(its), _)) if its == key);
        let unfinished = (0..offset).filter(is_before).find(|other| !seen.finished.contains(other));
        assert_eq!(unfinished, None, "{context}: {offset} before that was finished");
    }
}

#[test]
fn urgent_events_go_first_and_leave_room_for_the_rest() {
    let mut queue = Queue::new(&Position::default(), RETRY, 7);
    for offset in 0..4_000 {
        queue.take(offset, None, PRIORITIES[3 - offset as usize % 4], ());
    }
    let mut counts = [0; 4];
    for _ in 0..SHARES.iter().sum::<u32>() * 5 {
        let Attempt { offset, .. } = queue.next(0).unwrap();
        counts[3 - offset as usize % 4] += 1;
    }
    assert_eq!(counts, SHARES.map(|share| share * 5));
    let mut few = Queue::new(&Position::default(), RETRY, 7);
    [Priority::Low, Priority::Critical, Priority::Normal, Priority::High]
        .into_iter()
        .enumerate()
        .for_each(|(offset, priority)| few.take(offset as i64, None, priority, ()));
    let order: Vec<i64> = std::iter::from_fn(|| few.next(0)).map(|attempt| attempt.offset).collect();
    assert_eq!(order, [1, 3, 2, 0]);
}

#[test]
fn an_attempt_is_due_after_its_wait_and_no_sooner_than_the_target_says() {
    let mut queue = Queue::new(&Position::default(), Retry::default(), 7);
    queue.take(0, Some(b"k"), Priority::Normal, ());
    queue.take(1, Some(b"k"), Priority::Normal, ());
    queue.take(2, Some(b"l"), Priority::Normal, ());
    let mut now = 10_000;
    for (attempt, wait, not_before_ms) in [(1, 5_000, None), (2, 30_000, Some(30_000)), (3, 300_000, Some(900_000))] {
        assert_eq!(queue.next(now), Some(Attempt { offset: 0, number: attempt }));
        let not_before_ms = not_before_ms.map(|wait| now + wait);
        let Some(Verdict::Again(due)) = queue.outcome(0, Outcome::Failed { not_before_ms }, now, now) else {
            panic!("attempt {attempt}")
        };
        assert!((due - now - wait).abs() <= wait / 10, "{}", due - now);
        assert_eq!(queue.next_due(), Some(due));
        if attempt == 1 {
            // Another key goes on meanwhile, the same does not.
            assert_eq!(queue.next(now), Some(Attempt { offset: 2, number: 1 }));
            assert_eq!(queue.outcome(2, Outcome::Processed, now, now), Some(Verdict::Finished));
        }
        assert_eq!(queue.next(due - 1), None);
        now = due;
    }
    assert_eq!(queue.next(now), Some(Attempt { offset: 0, number: 4 }));
    let dead = Tried { attempts: 4, first_ms: 10_000, last_ms: now };
    assert_eq!(queue.outcome(0, failed(), now, now), Some(Verdict::Dead(dead)));
    // Not before the log has the dead letter.
    assert_eq!((queue.next(now), queue.position().1.len()), (None, 2));
    queue.buried(0);
    assert_eq!(queue.next(now), Some(Attempt { offset: 1, number: 1 }));
    // What is refused has no further attempts, however many there would be.
    let refused = Tried { attempts: 1, first_ms: now, last_ms: now };
    assert_eq!(queue.outcome(1, Outcome::Refused, now, now + 9), Some(Verdict::Dead(refused)));
    queue.buried(1);
    assert_eq!(queue.position(), (3, vec![]));
}

#[test]
fn the_position_is_short_where_events_are_finished_in_order() {
    let mut queue = Queue::new(&Position::default(), RETRY, 7);
    (0..1_000).for_each(|offset| queue.take(offset, None, Priority::Normal, ()));
    assert_eq!(queue.position(), (0, vec![]));
    for _ in 0..500 {
        let Attempt { offset, .. } = queue.next(0).unwrap();
        queue.outcome(offset, Outcome::Processed, 0, 0);
    }
    assert_eq!(queue.position(), (500, vec![]));
}
