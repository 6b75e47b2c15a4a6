//! What an attempt comes to, however its handler ends.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Job {
    n: u64,
}

/// Reading it panics, as a `Deserialize` by hand may.
struct Trap;

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a trap")
    }
}

async fn ends(event: Event<Job>) -> Result<Outcome, Failure> {
    match event.data.n {
        0 => Ok(Outcome::Done),
        1 => Ok(Outcome::Retry),
        2 => Ok(Outcome::Drop),
        3 => Err(Failure::refuse("not this one")),
        4 => Err(std::io::Error::other("the disk is full"))?,
        5 => panic!("number {}", event.data.n),
        _ => std::future::pending().await,
    }
}

fn courier() -> HandlerCourier {
    let handlers = [("job", erased(ends)), ("trap", erased(|_: Event<Trap>| async { Ok(()) }))];
    let by_type = handlers.into_iter().map(|(name, handler)| (name.to_owned(), handler)).collect();
    HandlerCourier { takers: Takers::ByType(by_type), timeout: Duration::from_secs(7) }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_comes_to_what_its_handler_did() {
    for (event_type, data, expected) in [
        ("job", r#"{"n":0,"more":1}"#, Handled::Done),
        ("job", r#"{"n":1}"#, not(HandlerTrouble::AskedAgain)),
        ("job", r#"{"n":2}"#, Handled::Dropped),
        ("job", r#"{"n":3}"#, not(HandlerTrouble::Refused("not this one".to_owned()))),
        ("job", r#"{"n":4}"#, not(HandlerTrouble::Failed("the disk is full".to_owned()))),
        ("job", r#"{"n":5}"#, not(HandlerTrouble::Panicked("number 5".to_owned()))),
        ("job", r#"{"n":6}"#, Handled::TimedOut { timeout_ms: 7_000 }),
        ("job", r#"{}"#, not(HandlerTrouble::Unfit("missing field `n` at line 1 column 2".to_owned()))),
        ("trap", r#"{}"#, not(HandlerTrouble::Panicked("a trap".to_owned()))),
        ("other", r#"{}"#, not(HandlerTrouble::Refused("other has no handler".to_owned()))),
    ] {
        let found = courier().attempt(Event::new(event_type, data.as_bytes().to_vec())).await;
        assert_eq!(found, expected, "{event_type} {data}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_given_up_is_ended() {
    let (began, mut seen) = tokio::sync::mpsc::channel::<()>(1);
    // The sender goes with the handler's future.
    let began = std::sync::Mutex::new(Some(began));
    let handler = erased(move |_: Event| {
        let began = began.lock().unwrap().take();
        async move {
            let Some(began) = began else { return Ok(()) };
            let _ = began.send(()).await;
            std::future::pending().await
        }
    });
    let courier = HandlerCourier { takers: Takers::One(handler), timeout: Duration::from_secs(7) };
    let attempt = tokio::spawn(async move { courier.attempt(Event::new("job", b"{}".to_vec())).await });
    assert_eq!(seen.recv().await, Some(()));
    attempt.abort();
    assert_eq!(seen.recv().await, None, "its future is dropped");
}
