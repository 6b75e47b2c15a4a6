//! Reading, against brokers that do what real ones do rarely: leaders that move, topics made again, limits, silence.

// The lint excuses test functions only, not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fetching/cluster.rs"]
mod cluster;

use std::time::{Duration, Instant};

use cluster::{Cluster, TOPIC};
use kafka_protocol::messages::{
    BrokerId,
    fetch_response::{LeaderIdAndEpoch, PartitionData},
};
use streamgauge::{
    log::{
        Block, FetchLimits, FetchPosition, Log, LogError,
        kafka::{KafkaLog, KafkaOptions},
    },
    model::TopicPartition,
};
use uuid::Uuid;

const LIMITS: FetchLimits = FetchLimits {
    max_wait: Duration::from_millis(300),
    min_bytes: 1,
    max_partition_bytes: 1 << 20,
    max_bytes: 8 << 20,
};
const PATIENCE: Duration = Duration::from_secs(20);
const NOT_LEADER: i16 = 6;

fn position(partition: i32, offset: i64) -> FetchPosition {
    FetchPosition { partition: TopicPartition::new(TOPIC, partition), offset }
}

fn values(block: &Block) -> Vec<String> {
    let mut values = Vec::new();
    let visited = block.records.visit(&mut |record| {
        values.push(format!("{}={}", record.offset, String::from_utf8_lossy(record.value.unwrap_or_default())));
    });
    visited.unwrap();
    values
}

/// What comes of these places until each has been answered.
async fn fetch(log: &KafkaLog, mut positions: Vec<FetchPosition>) -> Vec<(i32, Result<Vec<String>, LogError>)> {
    let mut answers = Vec::new();
    let until = Instant::now() + PATIENCE;
    while !positions.is_empty() {
        assert!(Instant::now() < until, "nothing came for {positions:?}");
        for (partition, answer) in log.fetch(&positions, LIMITS).await {
            positions.retain(|position| position.partition != partition);
            answers.push((partition.partition, answer.map(|block| values(&block))));
        }
    }
    answers.sort_by_key(|(partition, _)| *partition);
    answers
}

async fn fetch_one(log: &KafkaLog, partition: i32, offset: i64) -> Result<Vec<String>, LogError> {
    fetch(log, vec![position(partition, offset)]).await.remove(0).1
}

fn ok(values: &[&str]) -> Result<Vec<String>, LogError> {
    Ok(values.iter().map(|value| (*value).to_owned()).collect())
}

#[tokio::test]
async fn partitions_of_a_broker_share_a_request() {
    for (newest_fetch, has_ids) in [(17, true), (12, true), (4, true), (17, false)] {
        let cluster = Cluster::start(&[0, 1, 0, 1, 0, 0]).await;
        cluster.state().newest_fetch = newest_fetch;
        if !has_ids {
            cluster.state().topic_id = Uuid::nil();
        }
        for partition in 0..6 {
            cluster.state().append(partition, &["a", "b"]);
        }
        let log = KafkaLog::connect(cluster.options());
        let answers = fetch(&log, (0..6).map(|partition| position(partition, 1)).collect()).await;
        assert_eq!(answers, (0..6).map(|partition| (partition, ok(&["1=b"]))).collect::<Vec<_>>());

        // Everything is at its end now and waited for together.
        assert!(log.fetch(&(0..6).map(|p| position(p, 2)).collect::<Vec<_>>(), LIMITS).await.is_empty());
        let state = cluster.state();
        let rounds = state.rounds();
        assert!(rounds.contains(&(0, vec![(0, 2), (2, 2), (4, 2), (5, 2)])), "{rounds:?}");
        assert!(rounds.contains(&(1, vec![(1, 2), (3, 2)])), "{rounds:?}");
        let (_, version, request, _) = state.asked.last().unwrap();
        assert_eq!(*version, if has_ids { newest_fetch } else { 12 });
        assert_eq!((request.isolation_level, request.session_id), (1, 0));
        let asked = &request.topics[0];
        assert_eq!(asked.topic_id.is_nil(), *version < 13, "{asked:?}");
        assert_eq!(asked.partitions[0].current_leader_epoch, if *version < 9 { -1 } else { 1 });
    }
}

#[tokio::test]
async fn a_block_that_waits_is_not_asked_for_again() {
    let cluster = Cluster::start(&[0, 0]).await;
    let log = KafkaLog::connect(cluster.options());
    let both = [position(0, 0), position(1, 0)];
    assert!(log.fetch(&both, LIMITS).await.is_empty());
    // Dropped while the broker waits for records; what it then sends is kept.
    let dropped = tokio::time::timeout(Duration::from_millis(50), log.fetch(&both, LIMITS)).await;
    assert!(dropped.is_err());
    cluster.state().append(0, &["kept"]);
    let waited = log.fetch(&[position(1, 0)], LIMITS).await;
    assert!(waited.is_empty(), "only partition 0 has something");
    let asked_before = cluster.state().asked.len();
    assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=kept"]));
    let state = cluster.state();
    assert_eq!(state.asked.len(), asked_before, "it was there already");
    let rounds = state.rounds();
    let last_of_both = rounds.iter().rposition(|(_, places)| places.len() == 2).unwrap();
    assert!(rounds[last_of_both + 1..].iter().all(|(_, places)| *places == [(1, 0)]), "{rounds:?}");
    let waits: Vec<_> = state.asked[last_of_both..].iter().map(|(.., request, _)| request.max_wait_ms).collect();
    assert_eq!(waits[0], 300, "nothing was left out");
    // A partition that was asked for a moment ago may come back, so these did not wait long.
    assert!(waits.len() > 1 && waits[1..].iter().all(|wait| *wait < 50), "{waits:?}");
}

#[tokio::test]
async fn two_readers_of_a_partition_do_not_disturb_each_other() {
    let cluster = Cluster::start(&[0]).await;
    cluster.state().append(0, &["a", "b", "c"]);
    let log = KafkaLog::connect(cluster.options());
    let (first, second, third) = tokio::join!(fetch_one(&log, 0, 0), fetch_one(&log, 0, 2), fetch_one(&log, 0, 2));
    assert_eq!((first, second, third), (ok(&["0=a", "1=b", "2=c"]), ok(&["2=c"]), ok(&["2=c"])));
}

#[tokio::test]
async fn a_leader_that_moved_is_found_without_the_caller() {
    for is_named in [true, false] {
        let cluster = Cluster::start(&[0, 1]).await;
        cluster.state().append(0, &["a"]);
        let log = KafkaLog::connect(cluster.options());
        assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=a"]));
        {
            let mut state = cluster.state();
            state.append(0, &["b"]);
            state.leaders[0] = (1, 2);
            if is_named {
                let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(1)).with_leader_epoch(2);
                let refusal = PartitionData::default().with_error_code(NOT_LEADER).with_current_leader(leader);
                state.refusals.insert(0, vec![refusal]);
            }
        }
        assert_eq!(fetch_one(&log, 0, 1).await, ok(&["1=b"]), "named: {is_named}");
        let rounds = cluster.state().rounds();
        assert_eq!(rounds.last(), Some(&(1, vec![(0, 1)])), "{rounds:?}");
    }
}

#[tokio::test]
async fn errors_that_pass_are_not_told() {
    // LEADER_NOT_AVAILABLE, NOT_LEADER, REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR, FENCED_LEADER_EPOCH,
    // UNKNOWN_LEADER_EPOCH, OFFSET_NOT_AVAILABLE, UNKNOWN_SERVER_ERROR
    for code in [5, 6, 9, 56, 74, 75, 78, -1] {
        let cluster = Cluster::start(&[0]).await;
        cluster.state().append(0, &["a"]);
        let refusal = PartitionData::default().with_error_code(code);
        cluster.state().refusals.insert(0, vec![refusal.clone(), refusal.clone(), refusal]);
        let log = KafkaLog::connect(cluster.options());
        assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=a"]), "error {code}");
        assert_eq!(cluster.state().asked.len(), 4, "error {code}");
    }
}

#[tokio::test]
async fn other_errors_are_told() {
    let cases = [(1, "offset_out_of_range"), (29, "refused"), (76, "unsupported"), (2, "unavailable"), (17, "refused")];
    for (code, kind) in cases {
        let cluster = Cluster::start(&[0]).await;
        cluster.state().append(0, &["a"]);
        cluster.state().refusals.insert(0, vec![PartitionData::default().with_error_code(code)]);
        let log = KafkaLog::connect(cluster.options());
        assert_eq!(fetch_one(&log, 0, 0).await.map_err(|error| error.kind()), Err(kind), "error {code}");
        assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=a"]), "it may be asked for again");
    }
}

#[tokio::test]
async fn what_does_not_pass_within_the_request_timeout_is_told() {
    let cluster = Cluster::start(&[0]).await;
    cluster.state().refusals.insert(0, vec![PartitionData::default().with_error_code(NOT_LEADER); 10_000]);
    let log = KafkaLog::connect(cluster.options());
    let error = fetch_one(&log, 0, 0).await.unwrap_err();
    assert!(matches!(&error, LogError::Unavailable { what, .. } if what.contains("t:0 from offset 0")), "{error}");
    assert!(cluster.state().asked.len() < 60, "the pauses grow");
}

#[tokio::test]
async fn a_topic_made_again_is_told_once_and_one_that_is_gone_is_unknown() {
    let cluster = Cluster::start(&[0]).await;
    cluster.state().append(0, &["old", "old"]);
    let log = KafkaLog::connect(cluster.options());
    assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=old", "1=old"]));
    {
        let mut state = cluster.state();
        state.topic_id = Uuid::from_u128(8);
        state.logs.clear();
        (0..3).for_each(|_| state.append(0, &["new"]));
    }
    assert_eq!(fetch_one(&log, 0, 2).await, Err(LogError::Recreated { topic: TOPIC.to_owned() }));
    assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=new", "1=new", "2=new"]));
    cluster.state().has_topic = false;
    assert_eq!(fetch_one(&log, 0, 3).await, Err(LogError::Unknown { what: format!("{TOPIC}:0") }));
    assert_eq!(fetch_one(&log, 9, 0).await, Err(LogError::Unknown { what: format!("{TOPIC}:9") }));
}

#[tokio::test]
async fn a_first_batch_that_is_cut_is_asked_for_again_with_more_bytes() {
    let cluster = Cluster::start(&[0]).await;
    cluster.state().append(0, &["a", "b", "c"]);
    let log = KafkaLog::connect(cluster.options());
    let small = FetchLimits { max_partition_bytes: 10, ..LIMITS };
    let (_, block) = log.fetch(&[position(0, 0)], FetchLimits { max_wait: PATIENCE, ..small }).await.remove(0);
    assert_eq!(values(&block.unwrap()), ["0=a", "1=b", "2=c"]);
    assert!(cluster.state().asked.len() > 1);
    // Not for ever: what no setting allows is an error.
    let noise: String = (0..2_000_u64).map(|n| char::from(b'a' + ((n * n * 7_919) >> 5) as u8 % 26)).collect();
    cluster.state().append(0, &[&noise]);
    let log = KafkaLog::connect(KafkaOptions { max_message_bytes: 600, ..cluster.options() });
    let answer = log.fetch(&[position(0, 3)], FetchLimits { max_wait: PATIENCE, ..small }).await.remove(0).1;
    assert_eq!(answer.err().map(|error| error.kind()), Some("unsupported"));
}

#[tokio::test]
async fn a_broker_that_wants_quiet_gets_it() {
    const QUIET: Duration = Duration::from_millis(400);
    let cluster = Cluster::start(&[0]).await;
    cluster.state().throttle_ms = QUIET.as_millis() as i32;
    let log = KafkaLog::connect(cluster.options());
    let asked = [position(0, 0)];
    let long = FetchLimits { max_wait: PATIENCE, ..LIMITS };
    let (answers, ()) = tokio::join!(log.fetch(&asked, long), async {
        while cluster.state().asked.is_empty() {
            tokio::task::yield_now().await;
        }
        cluster.state().append(0, &["a"]);
    });
    assert_eq!(answers.len(), 1);
    let state = cluster.state();
    assert!(state.asked[1].3 - state.asked[0].3 >= QUIET, "asked again too soon");
}

#[tokio::test]
async fn a_silent_broker_holds_up_nobody_else_and_is_left_when_another_leads() {
    let cluster = Cluster::start(&[0, 1]).await;
    cluster.state().silent = vec![0];
    cluster.state().append(0, &["a"]);
    cluster.state().append(1, &["a"]);
    let log = KafkaLog::connect(cluster.options());
    let both = [position(0, 0), position(1, 0)];
    let (partition, block) = log.fetch(&both, LIMITS).await.remove(0);
    assert_eq!((partition.partition, values(&block.unwrap())), (1, vec!["0=a".to_owned()]));
    for offset in 1..4 {
        cluster.state().append(1, &["b"]);
        let (partition, block) = log.fetch(&[position(0, 0), position(1, offset)], LIMITS).await.remove(0);
        assert_eq!((partition.partition, values(&block.unwrap())), (1, vec![format!("{offset}=b")]));
    }
    cluster.state().leaders[0] = (1, 2);
    assert_eq!(fetch_one(&log, 0, 0).await, ok(&["0=a"]));
}
