//! Everything at once, under a seed: a target that fails, members that are killed, lost replies of the store, a store that
//! falls back.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use streamgauge::core::delivery::{Answer, Trouble};

use super::fixture::{World, until};
use crate::support::{events::Random, faulty_store::FaultyStore};

fn seeds() -> Vec<u64> {
    match std::env::var("DELIVERY_SEED") {
        Ok(seed) => vec![seed.parse().expect("DELIVERY_SEED is a number")],
        Err(_) => (0..6).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_every_event_is_taken_or_a_dead_letter_and_keys_keep_their_order() {
    for seed in seeds() {
        whatever_happens(seed).await;
    }
}

async fn whatever_happens(seed: u64) {
    const EVENTS: usize = 600;
    let context = format!("DELIVERY_SEED={seed}");
    let mut random = Random::new(seed ^ 0xde11);
    let mut world = World::tracked(3);
    let store = Arc::new(FaultyStore { inner: Arc::clone(&world.memory), ..FaultyStore::default() });
    world.store = Arc::clone(&store) as _;
    world.publish_many(EVENTS, 25);
    let dice = AtomicU64::new(seed);
    world.courier.behave(move |said| {
        let roll = Random::new(dice.fetch_add(1, Ordering::SeqCst)).below(100);
        match roll {
            // Some always fail.
            _ if said.data["n"].as_i64().unwrap() % 60 == 11 => Ok(Answer { status: 500, ..Answer::default() }),
            0..10 => Ok(Answer { status: 500, ..Answer::default() }),
            10..13 => Err(Trouble::Unreachable("reset".to_owned())),
            13..15 => Ok(Answer { status: 429, retry_after: Some("0".to_owned()), ..Answer::default() }),
            _ => Ok(Answer { status: 200, ..Answer::default() }),
        }
    });
    let mut members = vec![world.member(), world.member()];
    let mut older = world.memory.held();
    // A store that falls back may lose what was told of events whose position is put back, or was not kept yet.
    let falls_back = seed.is_multiple_of(2);
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(random.below(60) as u64)).await;
        match random.below(10) {
            0..=2 => store.lost_swaps.store(1 + random.below(2), Ordering::SeqCst),
            3 => store.failed_swaps.store(1 + random.below(3), Ordering::SeqCst),
            4 => store.failed_notes.store(1 + random.below(3), Ordering::SeqCst),
            5 => older = world.memory.held(),
            6 if falls_back => world.memory.put_back(older.clone()),
            _ => {
                members.remove(random.below(2)).kill().await;
                members.push(world.member());
            }
        }
    }
    let done = || {
        let said = world.courier.said();
        let mut done: BTreeSet<i64> =
            said.iter().filter(|said| said.is_taken).map(|said| said.data["n"].as_i64().unwrap()).collect();
        let letters = world.letters();
        let number = |value: &[u8]| serde_json::from_slice::<serde_json::Value>(value).unwrap()["n"].as_i64().unwrap();
        done.extend(letters.iter().map(|letter| number(letter.value.as_deref().unwrap())));
        done
    };
    let what = format!("every event is taken or a dead letter, {context}");
    until(&what, || done().len() == EVENTS).await;
    until("positions are at the end", || world.is_at_the_end()).await;
    for member in members {
        member.stop().await;
    }
    world.courier.assert_order();
    assert!(!world.letters().is_empty(), "{context}: some have no attempts left");
    // Whoever died, of each that is finished it is told what became of it.
    let untold: Vec<usize> = (0..EVENTS).filter(|n| world.status(&format!("e-{n}")).is_none()).collect();
    assert!(untold.is_empty() || falls_back, "{context}: nothing is told of {untold:?}");
}
