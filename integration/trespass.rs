//! Others in the same store, and what the store or the broker no longer holds.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rskafka::client::{ClientBuilder, partition::UnknownTopicHandling};
use streamgauge::{
    core::partitioner::partition_for_key,
    log::{Log, TopicSpec},
};

use crate::{
    kcat,
    place::{Place, kafka, ready},
    store_faults::{Server, free_port},
    support::{events::events_of_these_days, oracle::fold, process::Process, results},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_group_on_the_same_results_is_refused_with_the_ways_out() {
    let place = Place::own_topics();
    let mut first = place.start(&[]);
    ready(&mut first).await;
    let claimed = place.redis_cli(&["exists", "@counters:meta"]);
    assert_eq!(claimed, ["1"]);
    let mut second = place.start(&[("KAFKA_CONSUMER_GROUP", "another")]);
    assert_eq!(second.ended().await.code(), Some(1));
    let said = second.last_words();
    assert!(said.contains("KAFKA_CONSUMER_GROUP=streamgauge") && said.contains("REDIS_KEY_PREFIX"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_may_evict_is_refused_unless_told_otherwise() {
    let (port, folder) = (free_port(), tempfile::tempdir().unwrap());
    let _server = Server::start(port, folder.path(), &["--maxmemory-policy", "allkeys-lru"]);
    let place = Place { redis_url: format!("redis://127.0.0.1:{port}"), ..Place::own_topics() };
    let mut refused = place.start(&[]);
    assert_eq!(refused.ended().await.code(), Some(1));
    let said = refused.last_words();
    assert!(said.contains("allkeys-lru") && said.contains("REDIS_ALLOW_EVICTION=true"), "{said}");
    let mut accepted = place.start(&[("REDIS_ALLOW_EVICTION", "true")]);
    ready(&mut accepted).await;
    results::publish(&place.log(), &place.topic_prefix, &events_of_these_days(1, 50, 0)).await;
    place.caught_up(&mut accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_value_stops_its_partition_loudly_and_no_other() {
    for (spoil, mend) in [
        (&["set", "@user:stranger:history", "mine"][..], &["del", "@user:stranger:history"][..]),
        (
            &["hset", "@counters:aggregated", "video:odd:views", "many"],
            &["hdel", "@counters:aggregated", "video:odd:views"],
        ),
    ] {
        let place = Place::own_topics();
        let (log, store) = (place.log(), place.store());
        place.redis_cli(spoil);
        let mut process = place.start(&[("LOG_LEVEL", "info")]);
        ready(&mut process).await;
        let topic = format!("{}video.views", place.topic_prefix);
        let odd = b"odd\t{\"type\":\"video.view\",\"videoId\":\"odd\",\"userId\":\"stranger\"}\n";
        kcat::produce(&place.brokers, &topic, &["-K", "\t"], odd);
        let stopped = async |process: &Process| process.metric("streamgauge_partitions_stopped", "").await;
        process.until("one stopped", async |process| (stopped(process).await == 1.0).then_some(())).await;
        let (status, health) = process.get("/api/health").await;
        assert_eq!((status, &health["status"]), (200, &"degraded".into()), "{health}");
        assert!(process.has_said("REDIS_KEY_PREFIX"), "the ways out are named\n{}", process.said());

        results::publish(&log, &place.topic_prefix, &events_of_these_days(5, 300, 5)).await;
        let events = results::read_events(&log, &place.catalog()).await;
        let number = partition_for_key(b"odd", 3);
        let is_other = |name: &streamgauge::model::TopicPartition| *name.topic != *topic || name.partition != number;
        place.counted_to_the_end(&mut process, &store, &events, is_other).await;
        place.redis_cli(mend);
        place.caught_up(&mut process).await;
        process.until("none stopped", async |process| (stopped(process).await == 0.0).then_some(())).await;
        assert_eq!(process.get("/api/health").await.1["status"], "ok");
        assert_eq!(place.assert_complete().await, 301);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_retention_took_are_reported_as_a_gap_and_counting_goes_on() {
    let place = Place::own_topics();
    let (topic, log) = (format!("{}video.uploads", place.topic_prefix), place.log());
    let upload = |n: usize| format!("c|{{\"type\":\"video.upload\",\"channelId\":\"c\",\"userId\":\"{n}\"}}\n");
    let produce = |n: usize| {
        let lines: String = (0..n).map(upload).collect();
        kcat::produce(&place.brokers, &topic, &["-K", "|"], lines.as_bytes());
    };
    let mut process = place.start(&[]);
    ready(&mut process).await;
    produce(10);
    place.caught_up(&mut process).await;
    assert_eq!(process.terminate().await.code(), Some(0));
    produce(30);
    let number = partition_for_key(b"c", 3);
    let client = ClientBuilder::new(vec![kafka()]).build().await.unwrap();
    let partition = client.partition_client(topic.as_str(), number, UnknownTopicHandling::Error).await.unwrap();
    partition.delete_records(25, 5_000).await.unwrap();
    let mut process = place.start(&[]);
    let all = place.caught_up(&mut process).await;
    assert!(process.has_said("gap: the broker no longer holds offsets 10 to 25"), "{}", process.said());
    assert_eq!(process.metric("streamgauge_gap_records_total", "").await, 15.0);
    assert_eq!(place.redis_cli(&["hgetall", "@counters:gaps"]), [format!("{topic}:{number}:10"), "25".to_owned()]);
    assert_eq!(fold(&place.catalog(), &all).counters["channel:c:videos"], 15);
    assert_eq!(place.redis_cli(&["hget", "@counters:aggregated", "channel:c:videos"]), ["25"]);
    assert_eq!(results::read_events(&log, &place.catalog()).await.len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_stops_loudly_while_it_is_counted_and_after_a_restart() {
    let place = Place::own_topics();
    let (topic, log) = (format!("{}video.uploads", place.topic_prefix), place.log());
    let upload = |n: usize| format!("c|{{\"type\":\"video.upload\",\"channelId\":\"c\",\"userId\":\"{n}\"}}\n");
    let lines: String = (0..10).map(upload).collect();
    let mut process = place.start(&[]);
    ready(&mut process).await;
    kcat::produce(&place.brokers, &topic, &["-K", "|"], lines.as_bytes());
    place.caught_up(&mut process).await;
    log.admin().delete_topic(&topic).await.unwrap();
    let spec = TopicSpec { name: topic.clone(), partitions: 3, ..TopicSpec::default() };
    while !log.create_topic(&spec).await.is_ok_and(|created| created) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    kcat::produce(&place.brokers, &topic, &["-K", "|"], upload(99).as_bytes());
    let number = partition_for_key(b"c", 3);
    let said = format!("{topic}:{number}: the topic was deleted and made again");
    let told = async |process: &Process| {
        let (_, health) = process.get("/api/health").await;
        health["parts"]["counting"].to_string().contains(&said).then_some(())
    };
    process.until("made again, while it ran", told).await;
    process.terminate().await;
    let mut process = place.start(&[]);
    process.until("made again, after a restart", told).await;
    assert!(process.has_said("REDIS_KEY_PREFIX"), "{}", process.said());
    let changes = process.metric("streamgauge_log_changes_total", "change=\"topic\"").await;
    assert!(changes >= 1.0, "{changes}");
    assert_eq!(place.redis_cli(&["hget", "@counters:aggregated", "channel:c:videos"]), ["10"]);
}
