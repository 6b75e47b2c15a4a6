//! Following counters between real servers: a process that counts nothing tells what others flush.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::{Place, ready};

const VIEWS: usize = 50;

/// Reads events until the counter has this value; the values that came, and the id of the last event.
async fn until(response: &mut reqwest::Response, key: &str, value: i64) -> (Vec<i64>, String) {
    let (mut text, mut values) = (String::new(), Vec::new());
    loop {
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.clone().split_once("\n\n") {
            text = rest.to_owned();
            let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            let Some(id) = line("id: ") else { continue };
            let data: Value = serde_json::from_str(&line("data: ").unwrap()).unwrap();
            let counters = data["counters"].as_array().unwrap();
            values.extend(counters.iter().filter(|c| c["key"] == key).map(|c| c["value"].as_i64().unwrap()));
            if values.last() == Some(&value) {
                return (values, id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_member_flushes_is_followed_through_another() {
    let place = Place::own_topics();
    let topic = format!("{}video.views", place.topic_prefix);
    let (mut counting, mut apart) = (place.start(&[]), place.start(&[("ROLES", "publish")]));
    ready(&mut counting).await;
    ready(&mut apart).await;
    streamgauge::tls::install_provider();
    let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let follow = async |url: String, last: &str| {
        let request = client.get(format!("{url}/api/stream?key=video:1:views")).header("last-event-id", last);
        request.send().await.unwrap()
    };
    let (counting_url, apart_url) = (counting.url().await, apart.url().await);
    let (mut own, mut other) = (follow(counting_url, "").await, follow(apart_url.clone(), "").await);
    let publish = async |from: usize| {
        for n in from..from + VIEWS {
            let event = json!({"topic": topic, "data": {"videoId": "1", "userId": "u", "timestamp": n}});
            assert_eq!(apart.post("/api/events/publish", &event).await.0, 200);
        }
    };
    publish(0).await;
    let began = Instant::now();
    let (values, id) = until(&mut own, "video:1:views", VIEWS as i64).await;
    let (others, same) = until(&mut other, "video:1:views", VIEWS as i64).await;
    eprintln!(
        "{VIEWS} views: {} and {} events, the last {:?} behind the last publish",
        values.len(),
        others.len(),
        began.elapsed()
    );
    assert!(values.is_sorted() && others.is_sorted());
    assert_eq!(id, same, "both name one state alike");
    // Begun again at another member, where it was left: nothing, until something changes.
    drop(own);
    let mut resumed = follow(apart_url, &id).await;
    let quiet = tokio::time::timeout(Duration::from_secs(1), resumed.chunk()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    publish(VIEWS).await;
    let (values, _) = until(&mut resumed, "video:1:views", 2 * VIEWS as i64).await;
    assert!(values[0] > VIEWS as i64, "{values:?}");
    // A stream that is open does not hold up the end.
    assert_eq!(apart.terminate().await.code(), Some(0), "{}", apart.said());
}
