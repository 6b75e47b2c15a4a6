//! The story of `order.created`: four services get a shop's orders, one of them has a bug, its dead letters are looked at, the bug
//! is mended, they are replayed, and all four hold the same.
//!
//! The subscriptions are those of `examples/commerce.toml`, as a process reads them from its file.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod shop;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};

use shop::{ATTEMPTS, CUSTOMERS, ORDERS, PAYMENT, SERVICES, Shop, discounted, events_of, has_discount, id, order};

use crate::support::{
    process::Process,
    replays::{replays, run, told, waiting},
    target::Reply,
};

/// Dead letters a second while the replay runs that is killed.
const RATE: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_services_hold_the_same_orders_once_the_bug_of_one_is_mended_and_its_dead_letters_are_replayed() {
    let shop = Shop::open().await;
    let (mut process, url) = shop.start().await;
    let others: Vec<&str> = SERVICES.iter().map(|(group, _)| *group).filter(|group| *group != PAYMENT).collect();
    let bad: Vec<usize> = discounted().collect();

    // The payment service takes a discount for a number, and refuses a text. It takes its time for the first of them.
    shop.payment().behave(|got| {
        let after = if got.id == id(0) && got.attempt == 2 { Duration::from_secs(5) } else { Duration::ZERO };
        let is_text = events_of(got)[0].1["discount"].is_string();
        if is_text { Reply { after, ..Reply::status(422) } } else { Reply::default() }
    });
    shop.sell(&process, 0..1).await;
    let slow = told_of(&mut process, bad[0], "RETRYING").await;
    assert_eq!(slow["groups"][PAYMENT]["error"], "delivery-status: the target answered 422", "{slow}");
    shop.sell(&process, 1..ORDERS).await;
    shop.hold(&mut process, &others, ORDERS).await;
    shop.hold(&mut process, &[PAYMENT], ORDERS - bad.len()).await;
    waiting(&mut process, &shop.topic, bad.len()).await;
    assert_eq!(shop.payment().requests(), ORDERS - bad.len() + ATTEMPTS * bad.len());

    // Each order says what became of it.
    for number in &bad {
        let told = told_of(&mut process, *number, "FAILED").await;
        for (group, _) in SERVICES {
            let expected = if group == PAYMENT { "FAILED" } else { "PROCESSED" };
            assert_eq!(told["groups"][group]["status"], expected, "{told}");
        }
        let failed = &told["groups"][PAYMENT];
        assert_eq!(
            (&failed["attempts"], &failed["deadLetter"]),
            (&json!(ATTEMPTS), &json!(format!("{}.dlq", shop.topic)))
        );
    }
    assert_eq!(told_of(&mut process, bad[0] + 1, "PROCESSED").await["groups"].as_object().unwrap().len(), 5);

    // Somebody looks at them.
    let (_, answer) = process.get("/api/dlq").await;
    let of_orders =
        answer["data"].as_array().unwrap().iter().find(|told| told["topic"] == shop.topic.as_str()).unwrap();
    assert_eq!(of_orders["deadLetterTopic"], format!("{}.dlq", shop.topic));
    assert_eq!(of_orders["reasons"], json!({ "delivery-status": bad.len() }));
    let topics = told(&run(&url, &["dlq", "list"]).await);
    assert!(topics["topics"].as_array().unwrap().contains(of_orders), "{topics}");
    let listed = told(&shop.dlq(&url, "list", &["--group", PAYMENT, "--limit", "1000"]).await);
    let letters = listed["letters"].as_array().unwrap();
    assert_eq!((letters.len(), &listed["all"]), (bad.len(), &json!(true)));
    assert!(told(&shop.dlq(&url, "list", &["--group", others[0]]).await)["letters"].as_array().unwrap().is_empty());
    let place = letters[0]["letter"].as_str().unwrap().rsplitn(3, ':').take(2).collect::<Vec<_>>();
    let shown = told(&shop.dlq(&url, "show", &[&format!("{}:{}", place[1], place[0])]).await);
    let letter = &shown["letters"][0];
    let seen = ["state", "group", "attempts", "status"].map(|name| letter[name].clone());
    assert_eq!(seen, [json!("waiting"), json!(PAYMENT), json!(ATTEMPTS.to_string()), json!(422)], "{letter}");
    let value: Value = serde_json::from_str(letter["value"].as_str().unwrap()).unwrap();
    assert_eq!(value["data"]["discount"], "SPRING");
    assert!(letter["key"].as_str().unwrap().starts_with("c-"), "{letter}");

    // Replaying only for show sends nothing.
    let requests = shop.payment().requests();
    let dry = told(&shop.dlq(&url, "replay", &["--dry-run"]).await);
    assert_eq!((&dry["replayed"], &dry["dryRun"]), (&json!(bad.len()), &json!(true)));
    waiting(&mut process, &shop.topic, bad.len()).await;
    assert_eq!(shop.payment().requests(), requests);

    // The bug is mended, and the replay is killed with the process amid it.
    shop.payment().behave(|_| Reply::default());
    let replay = {
        let (url, topic) = (url.clone(), shop.topic.clone());
        tokio::spawn(async move { run(&url, &["dlq", "replay", &topic, "--rate", &RATE.to_string()]).await })
    };
    process
        .until("the first replays", async |_| {
            (shop.payment().different() >= ORDERS - bad.len() + RATE / 2).then_some(())
        })
        .await;
    process.kill();
    let (code, _) = replay.await.unwrap();
    let amid = shop.held(PAYMENT).len() - (ORDERS - bad.len());
    assert!(code != Some(0) && amid < bad.len(), "{amid} of {} were replayed before the kill", bad.len());
    let (mut process, url) = shop.start().await;
    let again = told(&shop.dlq(&url, "replay", &[]).await);
    eprintln!(
        "killed after {amid} of {} replays had come; the same command sent {} more",
        bad.len(),
        again["replayed"]
    );

    // All four hold the same.
    shop.hold(&mut process, &[PAYMENT], ORDERS).await;
    waiting(&mut process, &shop.topic, 0).await;
    let sold: BTreeMap<String, Value> = (0..ORDERS).map(|number| (id(number), order(number))).collect();
    for (group, _) in SERVICES {
        let held = shop.held(group);
        let data: BTreeMap<String, Value> = held.iter().map(|(id, (data, _))| (id.clone(), data.clone())).collect();
        assert!(data == sold, "{group} holds other orders than were sold");
        // What was on its way at the kill may have come twice, to the service that it was replayed for, and nothing else.
        let doubled: BTreeSet<&String> = held.iter().filter(|(_, (_, times))| *times > 1).map(|(id, _)| id).collect();
        let may_be = bad.iter().map(|number| id(*number)).collect::<BTreeSet<_>>();
        assert!(doubled.iter().all(|id| group == PAYMENT && may_be.contains(*id)), "{group} got twice: {doubled:?}");
    }
    for number in 0..ORDERS {
        if has_discount(number) || number.is_multiple_of(97) {
            let told = told_of(&mut process, number, "PROCESSED").await;
            let groups = told["groups"].as_object().unwrap();
            assert!(groups.len() == 5 && groups.values().all(|group| group["status"] == "PROCESSED"), "{told}");
        }
    }
    // Each dead letter was replayed once, and nothing was counted twice for it.
    let events = shop.place.caught_up(&mut process).await;
    let found = replays(&events);
    assert!(found.len() == bad.len() && found.values().all(|times| *times == 1), "{found:?}");
    counted(&process, &shop).await;
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
}

/// What is told of an order, once it is this over all.
async fn told_of(process: &mut Process, number: usize, status: &str) -> Value {
    let path = format!("/api/events/processed/{}", id(number));
    process
        .until(&format!("{} is {status}", id(number)), async |process| {
            let data = process.get(&path).await.1["data"].take();
            (data["status"] == status).then_some(data)
        })
        .await
}

/// Each order is counted once.
async fn counted(process: &Process, shop: &Shop) {
    let (_, answer) = process.post("/api/counters/query", &json!({ "prefix": "user:", "limit": 1000 })).await;
    let counters = answer["data"].as_array().unwrap();
    let each = (ORDERS / CUSTOMERS) as u64;
    assert_eq!(counters.len(), CUSTOMERS, "{answer}");
    assert!(counters.iter().all(|counter| counter["stored"].as_u64() == Some(each)), "{answer}");
    let replayed = process.metric("streamgauge_others_replays_total", &shop.topic).await;
    assert!(replayed > 0.0, "counting has left no replay out");
}
