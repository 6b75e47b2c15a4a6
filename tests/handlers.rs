//! Handlers in code: services over the embedded log and store in the test's own process, and in a process of their own that is
//! killed. Order, positions and leases are those of every delivery; `delivery` tries these harder.
//!
//! `HANDLERS_SEED=n cargo test --test handlers in_order` tries one seed again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

mod support;

#[path = "../examples/handlers.rs"]
#[allow(dead_code, reason = "its main; a test runs what it registers")]
mod example;
#[path = "handlers/fixture.rs"]
mod fixture;
#[path = "handlers/order.rs"]
mod order;
#[path = "handlers/program.rs"]
mod program;
#[path = "handlers/wrong.rs"]
mod wrong;

use std::{sync::Arc, time::Duration};

use fixture::{Folder, Notes, started_again, until};
use serde::Deserialize;
use serde_json::{Value, json};
use streamgauge::handlers::{Event, Failure, Outcome, Subscription};
use tokio::sync::Notify;

#[derive(Deserialize)]
struct Job {
    #[serde(rename = "n")]
    _n: u64,
}

/// A group with a handler for each way to end.
fn every_way(notes: &Notes) -> Subscription {
    let noting = |ends: fn(&Event) -> Result<Outcome, Failure>| {
        let notes = notes.clone();
        move |event: Event| {
            notes.note(&event);
            async move { ends(&event) }
        }
    };
    let hanging = notes.clone();
    Subscription::new("ways")
        .on("done", noting(|_| Ok(Outcome::Done)))
        .on("drop", noting(|_| Ok(Outcome::Drop)))
        .on("again", noting(|event| Ok(if event.attempt == 1 { Outcome::Retry } else { Outcome::Done })))
        .on("error", noting(|_| Err(std::io::Error::other("the disk is full"))?))
        .on("refuse", noting(|_| Err(Failure::refuse("not this one"))))
        .on("panic", noting(|event| panic!("number {}", event.data["n"])))
        .on("hang", move |event: Event| {
            hanging.note(&event);
            std::future::pending::<Result<(), Failure>>()
        })
        .on("unfit", |_: Event<Job>| async { Ok(()) })
        // An attempt that has not begun by then, on a busy machine, counts as one too, and is not seen.
        .timeout(Duration::from_secs(2))
        .max_retries(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_ends_as_its_handler_says() {
    /// Type, attempts that the handler sees, and of its dead letter: reason, message, attempts.
    type Way = (&'static str, usize, Option<(&'static str, &'static str, &'static str)>);
    const WAYS: &[Way] = &[
        ("done", 1, None),
        ("drop", 1, None),
        ("again", 2, None),
        ("error", 3, Some(("delivery-error", "the handler failed: the disk is full", "3"))),
        ("refuse", 1, Some(("delivery-refused", "the handler refused it: not this one", "1"))),
        ("panic", 3, Some(("delivery-panic", "the handler panicked: number 5", "3"))),
        ("hang", 3, Some(("delivery-timeout", "no answer within 2000 ms (timeout_ms)", "3"))),
        ("unfit", 0, Some(("delivery-data", "the data is not what the handler takes: invalid type: string", "1"))),
    ];
    let (folder, notes) = (Folder::new(), Notes::default());
    let client = folder.start(&[("ROLES", "publish,deliver")], vec![every_way(&notes)]).await.unwrap();
    for (n, (event_type, ..)) in WAYS.iter().enumerate() {
        let n: Value = if *event_type == "unfit" { "many".into() } else { n.into() };
        client.publish(event_type, event_type, n).await;
    }
    let dead = WAYS.iter().filter(|(.., letter)| letter.is_some()).count();
    until("all are finished", async || {
        client.letters().await.len() == dead && client.group("ways").await["unfinished"] == 0
    })
    .await;
    let (seen, letters) = (notes.all(), client.letters().await);
    for (event_type, attempts, expected) in WAYS {
        let seen: Vec<_> = seen.iter().filter(|seen| seen.event_type == *event_type).collect();
        let numbers: Vec<u32> = seen.iter().map(|seen| seen.attempt).collect();
        assert_eq!(numbers, (1..=*attempts as u32).collect::<Vec<_>>(), "{event_type}");
        let letter = letters.iter().find(|letter| letter["eventType"] == *event_type);
        assert_eq!(letter.is_some(), expected.is_some(), "{event_type}");
        let (Some(letter), Some((reason, message, attempts))) = (letter, expected) else { continue };
        assert_eq!((&letter["reason"], &letter["attempts"]), (&json!(reason), &json!(attempts)), "{event_type}");
        assert_eq!((&letter["group"], &letter["status"]), (&json!("ways"), &Value::Null));
        assert!(letter["message"].as_str().unwrap().starts_with(message), "{letter}");
        let known = seen.first().is_none_or(|seen| letter["origin"] == *seen.origin);
        assert!(known, "{letter}");
    }
    let shown = client.group("ways").await;
    assert_eq!((&shown["target"], &shown["topics"]), (&json!("handlers of ways"), &json!(["jobs"])));
    for (outcome, attempts) in [("processed", 2.0), ("dropped", 1.0), ("failed", 12.0)] {
        let labels = ["group=\"ways\"", &format!("outcome=\"{outcome}\"")];
        assert_eq!(client.metric("streamgauge_delivery_attempts_total", &labels).await, attempts, "{outcome}");
    }
    assert_eq!(client.metric("streamgauge_delivery_dead_letters_total", &["group=\"ways\""]).await, dead as f64);
    client.running.stop().await.unwrap();
}

/// A group whose handler tells that it has begun, and ends when it is let go.
fn held(group: &str, notes: &Notes, began: &Arc<Notify>, go: &Arc<Notify>) -> Subscription {
    let (notes, began, go) = (notes.clone(), Arc::clone(began), Arc::clone(go));
    Subscription::new(group).on("job", move |event: Event| {
        notes.note(&event);
        let (began, go) = (Arc::clone(&began), Arc::clone(&go));
        async move {
            began.notify_one();
            go.notified().await;
            Ok(())
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_what_handlers_have_begun() {
    let (folder, notes) = (Folder::new(), Notes::default());
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let client = folder.start(&[], vec![held("stopped", &notes, &began, &go)]).await.unwrap();
    client.publish("job", "k", 1).await;
    client.publish("job", "k", 2).await;
    began.notified().await;
    let mut stopping = tokio::spawn(client.running.stop());
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut stopping).await.is_err(), "it does not wait");
    go.notify_one();
    stopping.await.unwrap().unwrap();
    assert_eq!(notes.len(), 1, "nothing was begun meanwhile");

    let client = folder.start(&[], vec![held("stopped", &notes, &began, &go)]).await.unwrap();
    began.notified().await;
    go.notify_one();
    until("the other is taken", async || client.group("stopped").await["unfinished"] == 0).await;
    client.running.stop().await.unwrap();
    let seen: Vec<Value> = notes.all().into_iter().map(|seen| seen.n).collect();
    assert_eq!(seen, [1, 2], "what was finished does not come again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_gives_up_what_takes_longer_than_it_may() {
    let (folder, notes) = (Folder::new(), Notes::default());
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let settings = [("SHUTDOWN_TIMEOUT", "300")];
    let client = folder.start(&settings, vec![held("given-up", &notes, &began, &go)]).await.unwrap();
    client.publish("job", "k", 1).await;
    began.notified().await;
    client.running.stop().await.unwrap();

    // What was given up ends a moment later, and has the data's files until then.
    let client = started_again(&folder, &settings, || held("given-up", &notes, &began, &go)).await;
    began.notified().await;
    go.notify_one();
    until("it is taken", async || client.group("given-up").await["unfinished"] == 0).await;
    client.running.stop().await.unwrap();
    let attempts: Vec<u32> = notes.all().iter().map(|seen| seen.attempt).collect();
    assert_eq!(attempts, [1, 1], "an attempt that was given up does not count");
}
