//! What is told of events of a tracked topic in a group that they are delivered to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use streamgauge::{
    core::delivery::{Answer, Filter, Trouble},
    model::Progress::{Failed, Processed, Processing, Retrying},
};

use super::{
    fixture::{World, until},
    post::Said,
};
use crate::support::faulty_store::FaultyStore;

fn answer(status: u16) -> Result<Answer, Trouble> {
    Ok(Answer { status, ..Answer::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_each_event_it_is_told_what_came_of_its_attempts() {
    let mut world = World::tracked(1);
    world.retry.initial_ms = 1;
    world.publish_many(5, 5);
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    world.courier.behave(move |said: &Said| match said.data["n"].as_i64() {
        Some(0) if said.attempt == 1 => answer(500),
        Some(1) => Ok(Answer { status: 422, body: b"no such order".to_vec(), ..Answer::default() }),
        // It fails until that is told.
        Some(2) if !mended.load(Ordering::SeqCst) => answer(503),
        Some(3) => Ok(Answer { status: 200, body: br#"{"status":"DROP"}"#.to_vec(), ..Answer::default() }),
        _ => answer(200),
    });
    world.retry.max = 1_000_000;
    let member = world.member();
    until("it is tried again", || world.progress("e-2").is_some_and(|(progress, _)| progress == Retrying)).await;
    let retrying = world.status("e-2").unwrap();
    assert_eq!(retrying.error.as_deref(), Some("delivery-status: the target answered 503"));
    assert!(retrying.attempts > 0 && retrying.dead_letter.is_none(), "{retrying:?}");
    is_mended.store(true, Ordering::SeqCst);
    let done = |id: &str| world.progress(id).is_some_and(|(progress, _)| progress == Processed);
    until("all but one are done", || ["e-0", "e-2", "e-3", "e-4"].iter().all(|id| done(id))).await;
    assert_eq!(["e-0", "e-3", "e-4"].map(|id| world.progress(id).unwrap().1), [2, 1, 1]);
    member.stop().await;

    // With fewer attempts, what has failed so often is a dead letter.
    world.retry.max = 2;
    let member = world.member();
    until("it is told of its dead letter", || world.progress("e-1").is_some_and(|(it, _)| it == Failed)).await;
    let failed = world.status("e-1").unwrap();
    assert_eq!(failed.error.as_deref(), Some("delivery-status: the target answered 422: no such order"));
    assert_eq!((failed.dead_letter.as_deref(), failed.offset, &*failed.topic), (Some("t.dlq"), 1, "t"));
    assert_eq!(world.letters().len(), 1, "and it is there");

    // Replayed, it is told of again; a replay for others changes nothing.
    let event = json!({ "type": "e", "id": "e-1", "n": 7 });
    world.publish(0, None, &json!({ "type": "e", "id": "e-4", "n": 7 }), Some("other"));
    world.publish(0, None, &event, Some("g"));
    until("the replay is told of", || world.progress("e-1") == Some((Processed, 1))).await;
    member.stop().await;
    assert_eq!((world.status("e-1").unwrap().offset, world.status("e-4").unwrap().offset), (6, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_group_passes_over_is_done_there_without_an_attempt() {
    let mut world = World::tracked(1);
    world.filter = Filter { data: vec![("country".to_owned(), vec!["BR".into()])], ..Filter::default() };
    let events: [(&str, Value); 5] = [
        ("asked", json!({ "type": "e", "id": "asked", "country": "BR" })),
        ("unasked", json!({ "type": "e", "id": "unasked", "country": "PT" })),
        ("", json!({ "type": "e", "country": "PT" })),
        ("", json!(["nothing"])),
        ("last", json!({ "type": "e", "id": "last", "country": "BR" })),
    ];
    for (_, event) in &events {
        world.publish(0, None, event, None);
    }
    let member = world.member();
    until("the last is told of", || world.status("last").is_some()).await;
    member.stop().await;
    assert_eq!(["asked", "unasked"].map(|id| world.progress(id).unwrap()), [(Processed, 1), (Processed, 0)]);
    assert_eq!(world.memory.held().statuses.len(), 3, "what has no id is not told of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_lasts_is_told_of_while_it_does() {
    let world = World::tracked(1);
    let hold = world.courier.hold().await;
    world.publish_many(1, 1);
    let member = world.member();
    until("it is on its way", || world.progress("e-0") == Some((Processing, 1))).await;
    drop(hold);
    until("it is done", || world.progress("e-0") == Some((Processed, 1))).await;
    member.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_position_is_kept_before_it_is_told_what_it_finishes() {
    const REFUSED: usize = 1_000_000;
    let mut world = World::tracked(1);
    let store = Arc::new(FaultyStore { inner: Arc::clone(&world.memory), ..FaultyStore::default() });
    store.failed_notes.store(REFUSED, Ordering::SeqCst);
    world.store = Arc::clone(&store) as _;
    world.publish_many(20, 20);
    let member = world.member();
    until("all are taken", || world.courier.taken() == 20).await;
    let tries = store.failed_notes.load(Ordering::SeqCst);
    until("it is tried further", || store.failed_notes.load(Ordering::SeqCst) + 2 < tries).await;
    assert_eq!((world.position(0).from(), world.status("e-0")), (0, None));
    // Whoever goes on knows nothing of what was taken, delivers it again, and tells.
    member.kill().await;
    store.failed_notes.store(0, Ordering::SeqCst);
    let member = world.member();
    let is_told = |n: &usize| world.progress(&format!("e-{n}")) == Some((Processed, 1));
    until("all is told", || (0..20).filter(is_told).count() == 20).await;
    until("the position is kept", || world.is_at_the_end()).await;
    member.stop().await;
    assert_eq!(world.courier.said().len(), 40);
}
