//! Reading one's own write between real servers: published through one member, read through another, with the receipt.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Instant;

use serde_json::json;

use crate::{
    place::{Place, ready},
    support::process::Process,
};

const WRITES: usize = 200;

/// Publishes a view through one process and reads its counter through another; `false` where it was not there.
async fn reads_its_write(writer: &Process, reader: &Process, topic: &str, n: usize, with_receipt: bool) -> bool {
    let video = format!("own-{with_receipt}-{n}");
    let event = json!({"topic": topic, "data": {"videoId": video, "userId": "u", "timestamp": n}});
    let (status, receipt) = writer.post("/api/events/publish", &event).await;
    assert_eq!(status, 200, "{receipt}");
    let place = format!("{}:{}:{}", receipt["topic"].as_str().unwrap(), receipt["partition"], receipt["offset"]);
    let after = if with_receipt { format!("?after={place}&wait=10s") } else { String::new() };
    let (status, answer) = reader.get(&format!("/api/counters/video:{video}:views{after}")).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["data"]["value"] == 0 || answer["data"]["value"] == 1, "{answer}");
    answer["data"]["value"] == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_member_published_is_read_at_once_through_another() {
    let mut place = Place::own_topics();
    place.store_shards = 3;
    let topic = format!("{}video.views", place.topic_prefix);
    // One counts, or each a share: a reader that counts nothing, and members that hold some of the partitions.
    let mut first = place.start(&[]);
    let mut second = place.start(&[]);
    let mut apart = place.start(&[("ROLES", "publish")]);
    for process in [&mut first, &mut second, &mut apart] {
        ready(process).await;
    }
    for (what, writer, reader) in [
        ("two members", &first, &second),
        ("one member", &first, &first),
        ("a reader that does not count", &second, &apart),
    ] {
        let (mut missing, mut slowest) = (0, std::time::Duration::ZERO);
        for n in 0..WRITES {
            let began = Instant::now();
            assert!(reads_its_write(writer, reader, &topic, n, true).await, "{what}: write {n} is not there");
            slowest = slowest.max(began.elapsed());
        }
        for n in 0..WRITES / 10 {
            missing += usize::from(!reads_its_write(writer, reader, &topic, n, false).await);
        }
        eprintln!(
            "{what}: {WRITES} of {WRITES} were there, the slowest after {slowest:.1?}; without receipt {missing} of {} were not",
            WRITES / 10
        );
    }
    let (status, answer) = apart.get(&format!("/api/counters/x?after={topic}:0:999999&wait=200ms")).await;
    assert_eq!(
        (status, answer["type"].as_str().unwrap()),
        (504, "urn:streamgauge:problem:not-counted-yet"),
        "{answer}"
    );
}
