//! Services with handlers in a process of their own: one that is killed, and the example.

use std::{collections::BTreeSet, io::Write, process::Command, time::Duration};

use serde_json::{Value, json};
use streamgauge::handlers::{Event, Failure, Service, Subscription, stop_signal};

use super::{example, fixture::Folder};
use crate::support::process::Process;

/// Names the service that [`as_a_process`] is to be.
const SERVICE: &str = "HANDLERS_TEST_SERVICE";
/// Names the file that its handler writes to.
const NOTES: &str = "HANDLERS_TEST_NOTES";
/// Set where its handler fails for one event.
const FAILS: &str = "HANDLERS_TEST_FAILS";

/// A line for each attempt: key, number, attempt. Written before the attempt ends, so that no kill takes it.
fn noting() -> Subscription {
    let (path, fails) = (std::env::var(NOTES).unwrap(), std::env::var_os(FAILS).is_some());
    Subscription::new("killed").from_earliest().on("job", move |event: Event| {
        let line = format!("{} {} {}\n", event.data["k"].as_str().unwrap(), event.data["n"], event.attempt);
        let mut notes = std::fs::File::options().append(true).create(true).open(&path).unwrap();
        notes.write_all(line.as_bytes()).unwrap();
        let is_odd = fails && event.data["n"] == 7;
        async move { if is_odd { Err(Failure::new("not yet")) } else { Ok(()) } }
    })
}

/// Not a test: what the tests below start, as this program once more.
#[test]
fn as_a_process() {
    let Ok(name) = std::env::var(SERVICE) else { return };
    let subscription = if name == "example" { example::mails() } else { noting() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let service = Service::from_env().unwrap().with_log_lines().unwrap().subscribe(subscription);
        service.run(stop_signal()).await.unwrap();
    });
}

fn start(folder: &Folder, service: &str, more: &[(&str, &str)]) -> Process {
    let settings = folder.settings(more);
    let mut settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    settings.push((SERVICE, service));
    let mut program = Command::new(std::env::current_exe().unwrap());
    Process::start_program(program.args(["--exact", "program::as_a_process", "--nocapture"]), &settings)
}

async fn ready(process: &mut Process) {
    process.url().await;
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
}

async fn publish(process: &Process, event: Value) {
    let (status, answer) = process.post("/api/events/publish", &event).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_gets_again_only_what_was_unfinished() {
    const EVENTS: usize = 100;
    const KEYS: usize = 10;
    let folder = Folder::new();
    let notes = folder.path("notes");
    let lines = || std::fs::read_to_string(&notes).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
    let retries = ("RETRY_INITIAL_MS", "60000");
    let mut process = start(&folder, "noting", &[(NOTES, &notes), (FAILS, "1"), retries]);
    ready(&mut process).await;
    for n in 0..EVENTS {
        let data = json!({ "type": "job", "k": format!("k{}", n % KEYS), "n": n });
        publish(&process, json!({ "topic": "jobs", "data": data })).await;
    }
    // The one that fails, and those of its key behind it.
    let unfinished = EVENTS / KEYS;
    process
        .until("all others are taken", async |process| {
            let (_, answer) = process.get("/api/deliveries").await;
            let is_so = answer["data"][0]["unfinished"] == unfinished && answer["data"][0]["inFlight"] == 0;
            (is_so && lines().len() == EVENTS - unfinished + 1).then_some(())
        })
        .await;
    // Positions are kept every 10 ms, and nothing says from outside that they are.
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.kill();
    let before = lines();

    let mut process = start(&folder, "noting", &[(NOTES, &notes), ("RETRY_INITIAL_MS", "1")]);
    ready(&mut process).await;
    process.until("all are taken", async |_| (lines().len() >= before.len() + unfinished).then_some(())).await;
    assert!(process.terminate().await.success(), "{}", process.said());
    let again = lines().split_off(before.len());
    let expected: Vec<String> = (0..unfinished)
        .map(|place| (place * KEYS + 7, if place == 0 { 2 } else { 1 }))
        .map(|(n, attempt)| format!("k7 {n} {attempt}"))
        .collect();
    assert_eq!(again, expected, "its second attempt after the restart, then those behind it");
    let all: BTreeSet<String> = lines().into_iter().collect();
    assert_eq!(all.len(), EVENTS + 1, "nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_does_what_it_says() {
    let folder = Folder::new();
    // Of the many lines that a start says, only those that are looked for: the last ones are kept.
    let lines = ("LOG_LEVEL", "warn,handlers=info,streamgauge::handlers=info");
    let mut process = start(&folder, "example", &[("CATALOG", "commerce"), ("LOG_FORMAT", "text"), lines]);
    ready(&mut process).await;
    for (order, user, amount) in [
        ("o-1", "u-7", json!(199.99)),
        ("o-2", "new-8", json!(5)),
        ("o-3", "u-9", json!(0)),
        ("o-4", "u-9", json!("5")),
    ] {
        let data = json!({ "orderId": order, "userId": user, "totalAmount": amount });
        publish(&process, json!({ "topic": "order.created", "eventId": order, "data": data })).await;
    }
    for (cart, user) in [("c-1", json!("u-7")), ("c-2", Value::Null)] {
        publish(&process, json!({ "topic": "cart.abandoned", "data": { "cartId": cart, "userId": user } })).await;
    }
    for words in ["order o-1 is confirmed, attempt 1", "order o-2 is confirmed, attempt 2", "user \"u-7\" is reminded"]
    {
        process.says(words).await;
    }
    let dropped = async |process: &Process| process.metric("streamgauge_delivery_attempts_total", "dropped").await;
    process.until("one is dropped", async |process| (dropped(process).await == 1.0).then_some(())).await;
    let letters = process
        .until("the dead letters", async |process| {
            let (_, answer) = process.get("/api/dlq/order.created").await;
            answer["data"].as_array().filter(|letters| letters.len() == 2).cloned()
        })
        .await;
    let told: BTreeSet<(&str, &str)> =
        letters.iter().filter_map(|letter| Some((letter["reason"].as_str()?, letter["message"].as_str()?))).collect();
    let refused = ("delivery-refused", "the handler refused it: order o-3 costs nothing");
    assert!(told.contains(&refused) && told.iter().any(|(reason, _)| *reason == "delivery-data"), "{told:?}");
    // The topic is tracked: what became of each event is told of this group too.
    for (order, status, attempts) in [("o-1", "PROCESSED", 1), ("o-2", "PROCESSED", 2), ("o-3", "FAILED", 1)] {
        let path = format!("/api/events/processed/{order}");
        process
            .until(order, async |process| {
                let group = process.get(&path).await.1["data"]["groups"]["mail-service-group"].take();
                (group["status"] == status && group["attempts"] == attempts).then_some(())
            })
            .await;
    }
    let (_, groups) = process.get("/api/groups").await;
    assert!(groups.to_string().contains("mail-service-group"), "{groups}");
    assert!(process.terminate().await.success(), "{}", process.said());
}
