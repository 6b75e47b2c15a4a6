//! Logs as real clusters hold them, written by Kafka's own client: each is counted as its consumer reads it, to the end.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    java::{End, Written},
    place::{kafka, ready},
    proof::{Proof, sale, wait_for_positions, write_sales},
};

/// How long the broker may take to compact.
const COMPACTED_WITHIN: Duration = Duration::from_secs(60);
/// 2001-09-09: an own time that no broker gives.
const LONG_AGO_MS: i64 = 1_000_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_transactions_are_not_counted_and_markers_do_not_stall() {
    let mut proof = Proof::with_topic(&[]);
    for (round, end) in
        [End::Plain, End::Commit("a"), End::Abort("a"), End::Commit("b"), End::Abort("b")].into_iter().enumerate()
    {
        proof.sell(0, end, round * 100, 20 + round);
    }
    // Nothing but what was aborted.
    proof.sell(1, End::Abort("a"), 5_000, 30);
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 20 + 21 + 23);

    // Two transactions amid each other, the one that began first aborted, with records of no transaction between them.
    proof.sell(0, End::Open("a"), 6_000, 3);
    proof.sell(0, End::Open("b"), 6_100, 4);
    proof.sell(0, End::Plain, 6_200, 5);
    proof.sell(0, End::Open("a"), 6_300, 6);
    proof.sell(0, End::Commit("b"), 6_400, 7);
    // While the first is open nobody may read behind its beginning; the other partition goes on.
    proof.sell(1, End::Commit("b"), 6_500, 8);
    let topic = proof.topics[0].clone();
    let end = proof.java.ends(&topic)[&1];
    wait_for_positions(&mut process, &proof.place.store(), &[((topic, 1), end)].into()).await;
    proof.sell(0, End::Abort("a"), 6_600, 9);
    assert_eq!(proof.assert_counted(&mut process).await, 64 + 4 + 5 + 7 + 8);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());

    // Begun again behind a marker.
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 88);
    proof.sell(0, End::Abort("a"), 7_000, 2);
    proof.sell(1, End::Commit("a"), 7_100, 2);
    assert_eq!(proof.assert_counted(&mut process).await, 90);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_of_markers_and_an_empty_topic_have_no_lag() {
    let mut proof = Proof::with_topics(&[&[], &[]]);
    proof.sell(0, End::Commit("a"), 0, 5);
    for round in 0..4 {
        proof.sell(0, End::Abort("a"), 100 * round, 1);
        proof.sell(0, End::Commit("b"), 100 * round, 0);
    }
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 5);
    assert_eq!(process.terminate().await.code(), Some(0), "{}", process.said());
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_from_compaction_are_passed() {
    const ROUNDS: i64 = 8;
    let compact: &[(&str, &str)] =
        &[("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.01")];
    let zstd = [compact, &[("compression.type", "zstd")]].concat();
    let mut proof = Proof::with_topics(&[compact, &zstd]);
    let values: Vec<String> = (0..10).map(sale).collect();
    for topic in proof.topics.clone() {
        for round in 0..ROUNDS {
            // A segment of its own for each batch: segments end by the records' time. Some keys stay alive in each, at the
            // beginning, amid and at the end of a batch; some end as tombstones.
            let keys: Vec<String> =
                (0..10).map(|n| if n % 3 == round % 3 { n.to_string() } else { format!("{n}/{round}") }).collect();
            let tombstone = |n: usize| round == ROUNDS - 2 && n < 4;
            let record = |n: usize| Written {
                key: Some(keys[n].clone().into_bytes()),
                value: (!tombstone(n)).then(|| values[n].clone().into_bytes()),
                time_ms: Some(LONG_AGO_MS + round * 10_000),
                headers: Vec::new(),
            };
            let records: Vec<Written> = (0..10).map(record).collect();
            proof.java.write(&topic, 0, "lz4", End::Plain, &records);
        }
    }
    let deadline = Instant::now() + COMPACTED_WITHIN;
    let kept = loop {
        let judged = proof.judged();
        let kept = |topic: &String| judged[&(topic.clone(), 0)].len();
        let kept: Vec<_> = proof.topics.iter().map(kept).collect();
        if kept.iter().all(|kept| *kept < 10 * ROUNDS as usize) {
            break kept;
        }
        assert!(Instant::now() < deadline, "not compacted within {COMPACTED_WITHIN:?}: {kept:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    eprintln!("compaction left {kept:?} of {} records", 10 * ROUNDS);
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    proof.assert_counted(&mut process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_is_counted() {
    let codecs = ["uncompressed", "gzip", "snappy", "lz4", "zstd", "producer"];
    let settings = codecs.map(|codec| [("compression.type", codec)]);
    let mut proof = Proof::with_topics(&settings.each_ref().map(|settings| settings.as_slice()));
    for topic in proof.topics.clone() {
        for (round, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
            write_sales(&mut proof.java, &topic, (round % 2) as i32, codec, End::Plain, round * 1_000, 200 + round);
        }
    }
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 6 * 1_010);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_appending_counts_where_the_topic_says_so() {
    // Else the broker would delete what is of long ago.
    let for_ever = ("retention.ms", "-1");
    let mut proof = Proof::with_topics(&[&[for_ever, ("message.timestamp.type", "LogAppendTime")], &[for_ever]]);
    let value = sale(3).into_bytes();
    for topic in proof.topics.clone() {
        let record = Written { value: Some(value.clone()), time_ms: Some(LONG_AGO_MS), ..Written::default() };
        for codec in ["none", "lz4"] {
            proof.java.write(&topic, 0, codec, End::Plain, &vec![record.clone(); 10]);
        }
    }
    let times: Vec<_> = proof.judged().into_values().flatten().map(|record| record.timestamp_ms).collect();
    assert_eq!(times.iter().filter(|ms| **ms == LONG_AGO_MS).count(), 20, "half of them have a time of the broker's");
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_any_bytes_are_read() {
    let mut proof = Proof::with_topic(&[]);
    let topic = proof.topics[0].clone();
    let headers: Vec<(&str, Option<Vec<u8>>)> = vec![
        ("nothing", None),
        ("binary", Some(vec![0xff, 0x00, 0xfe])),
        ("", Some(Vec::new())),
        ("twice", Some(b"1".to_vec())),
        ("twice", None),
        ("event-id", None),
    ];
    let record = |n: usize| Written {
        key: Some(vec![0x80, n as u8]),
        value: Some(sale(n).into_bytes()),
        headers: headers.clone(),
        ..Written::default()
    };
    let tombstone = Written { value: None, ..record(0) };
    let records: Vec<Written> = (0..5).map(record).chain([tombstone]).collect();
    proof.java.write(&topic, 0, "none", End::Plain, &records);
    proof.java.write(&topic, 1, "zstd", End::Plain, &records);
    // Kafka's own client writes names as UTF-8 only; librdkafka takes any bytes but 0.
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", &kafka(), "-t", &topic, "-p", "1", "-H", "empty", "-H"]);
    kcat.arg(OsStr::from_bytes(b"\xff\xfe\xc3=\x80\x81")).arg("-l");
    let file = proof.place.folder.path().join("sales");
    std::fs::write(&file, (0..5).map(|n| sale(n) + "\n").collect::<String>()).unwrap();
    assert!(kcat.arg(&file).status().unwrap().success());
    let judged = proof.judged();
    let has_name = |name: &str| {
        judged.values().flatten().any(|record| record.headers.iter().any(|(found, _)| found.contains(name)))
    };
    assert!(has_name("\u{fffd}"), "a name that is not UTF-8 is in the log");
    let mut process = proof.place.start(&[]);
    ready(&mut process).await;
    assert_eq!(proof.assert_counted(&mut process).await, 17);
}
