//! What is wrong with subscriptions in code is told at the start, all of it, with what would be right.

use std::time::Duration;

use streamgauge::handlers::{Event, Priority, Service, Subscription};

use super::fixture::Folder;

fn group(name: &str) -> Subscription {
    Subscription::new(name).on("job", |_: Event| async { Ok(()) })
}

fn any(name: &str) -> Subscription {
    Subscription::new(name).on_any(|_: Event| async { Ok(()) })
}

#[tokio::test]
async fn what_is_wrong_is_told_at_the_start() {
    let folder = Folder::new();
    let file = folder.path("streamgauge.toml");
    let over_http = "[[subscription]]\ngroup = \"taken\"\ntopics = [\"jobs\"]\nurl = \"http://127.0.0.1:1\"\n";
    std::fs::write(&file, over_http).unwrap();
    let odd = group("odd")
        .concurrency(0)
        .timeout(Duration::ZERO)
        .unfinished(1_000_000)
        .max_retries(5_000)
        .retry_initial(Duration::from_secs(100_000))
        .retry_factor(0.5);
    let number = "must be a whole number from";
    for (groups, parts) in [
        (vec![group("taken")], vec!["handlers of taken: group has a subscription already".to_owned()]),
        (vec![group("streamgauge")], vec!["handlers of streamgauge: group is the counting group".to_owned()]),
        (
            vec![group("a"), any("a").topics(["jobs"])],
            vec!["handlers of a: group has a subscription already".to_owned()],
        ),
        (vec![group("no name")], vec!["handlers of no name: group must name the group".to_owned()]),
        (vec![Subscription::new("a")], vec!["handlers of a: there are none: add one with on(".to_owned()]),
        (vec![any("a")], vec!["handlers of a: topics and types are both empty".to_owned()]),
        (
            vec![group("a").on("job", |_: Event| async { Ok(()) })],
            vec!["handlers of a: job has a handler already".to_owned()],
        ),
        (
            vec![group("a").on_any(|_: Event| async { Ok(()) })],
            vec!["handlers of a: on_any takes all events, so job need".to_owned()],
        ),
        (
            vec![odd],
            vec![
                format!("handlers of odd: concurrency {number} 1 to 256"),
                format!("handlers of odd: timeout_ms {number} 1 to 600000"),
                format!("handlers of odd: unfinished {number} 1 to 100000"),
                format!("handlers of odd: max {number} 0 to 1000"),
                format!("handlers of odd: initial_ms {number} 1 to 86400000"),
                "handlers of odd: factor must be a number from 1 to 100".to_owned(),
            ],
        ),
        (
            vec![Subscription::new("a").on("jobb", |_: Event| async { Ok(()) })],
            vec![
                "subscription a names the event type \"jobb\", which its catalogues do not have; did you mean job?"
                    .to_owned(),
            ],
        ),
        (
            vec![group("a").topics(["job"])],
            vec![
                "subscription a names the topic \"job\", which its catalogues do not have; did you mean jobs?"
                    .to_owned(),
            ],
        ),
    ] {
        let mut service = Service::from_settings(folder.settings(&[("CONFIG_FILE", &file)])).unwrap();
        for group in groups {
            service = service.subscribe(group);
        }
        let Err(error) = service.start().await else { panic!("it starts: {parts:?}") };
        for part in parts {
            assert!(error.to_string().contains(&part), "{part} is missing in: {error}");
        }
    }
    let Err(error) = Service::from_settings([("MAX_RETRIES", "many")]) else { panic!("it is read") };
    assert!(error.to_string().contains("MAX_RETRIES"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_gets_what_its_conditions_ask_for() {
    let (folder, notes) = (Folder::new(), super::Notes::default());
    let noting = notes.clone();
    let group = any("picky").topics(["jobs"]).on_any(move |event: Event| {
        noting.note(&event);
        async { Ok(()) }
    });
    let group = group.priorities([Priority::Normal]).data("k", ["a", "b"]).data("n", [1, 2]);
    let client = folder.start(&[], vec![group]).await.unwrap();
    for (event_type, key, n) in [("job", "a", 1), ("done", "b", 2), ("job", "a", 3), ("job", "c", 1), ("error", "a", 2)]
    {
        client.publish(event_type, key, n).await;
    }
    let lag = async || client.group("picky").await["lag"].clone();
    super::until("all are read", async || notes.len() >= 3 && lag().await == 0).await;
    client.running.stop().await.unwrap();
    let mut seen: Vec<_> = notes.all().into_iter().map(|seen| (seen.event_type, seen.key, seen.n)).collect();
    seen.sort_by_key(|(event_type, ..)| event_type.clone());
    let expected = [("done", "b", 2), ("error", "a", 2), ("job", "a", 1)];
    assert_eq!(seen, expected.map(|(event_type, key, n)| (event_type.to_owned(), key.to_owned(), n.into())));
}
