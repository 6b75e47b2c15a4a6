//! What every `Log` promises, to be run on each implementation and each broker.
//!
//! Each function takes a log and a prefix for its topics, unique on that broker. [`all`] runs them one after the other.
//!
//! Longer than most files, since the contract is read as one list.

#![allow(dead_code)] // each test target uses what it needs
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a check fails by panicking

use std::time::{Duration, Instant};

use streamgauge::{
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, RecordRef, TopicInfo, TopicSpec},
    model::TopicPartition,
};

const LIMITS: FetchLimits = FetchLimits {
    max_wait: Duration::from_millis(500),
    min_bytes: 1,
    max_partition_bytes: 1 << 20,
    max_bytes: 1 << 23,
};
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// The whole contract, on a broker that is up and does not take a record of `too_large_bytes` that cannot be compressed.
pub async fn all(log: &dyn Log, prefix: &str, too_large_bytes: usize) {
    creates_a_topic_once(log, prefix).await;
    gives_back_what_was_produced(log, prefix).await;
    leaves_out_records_below_the_position(log, prefix).await;
    answers_each_partition_by_itself(log, prefix).await;
    says_which_offset_is_out_of_range(log, prefix).await;
    answers_a_long_poll_soon_after_a_produce(log, prefix).await;
    returns_nothing_at_the_end(log, prefix).await;
    refuses_only_the_records_that_are_too_large(log, prefix, too_large_bytes).await;
    does_not_know_what_is_not_there(log, prefix).await;
}

pub async fn creates_a_topic_once(log: &dyn Log, prefix: &str) {
    let name = format!("{prefix}.created");
    let spec = TopicSpec { name: name.clone(), partitions: 3, ..TopicSpec::default() };
    assert_eq!(log.create_topic(&spec).await, Ok(true));
    assert_eq!(log.create_topic(&spec).await, Ok(false));
    assert_eq!(log.create_topic(&TopicSpec { partitions: 5, ..spec }).await, Ok(false), "whatever its settings");
    let topics = log.topics().await.unwrap();
    assert!(topics.contains(&TopicInfo { name, partitions: 3 }), "{topics:?}");
}

pub async fn gives_back_what_was_produced(log: &dyn Log, prefix: &str) {
    let partition = new_topic(log, &format!("{prefix}.round-trip"), 1).await;
    let table = [
        record(Some("k"), Some("v"), &[]),
        record(None, Some("no key"), &[]),
        record(Some("tombstone"), None, &[]),
        record(None, None, &[]),
        record(Some(""), Some(""), &[("a", ""), ("dlq-reason", "schema"), ("h", "ü")]),
        OutRecord { timestamp_ms: Some(0), ..record(Some("old"), Some("1970"), &[]) },
        OutRecord { value: Some((0..=255).cycle().take(100_000).collect()), ..record(Some("large"), None, &[]) },
    ];
    let first = produce(log, &partition, table[..4].to_vec()).await;
    let second = produce(log, &partition, table[4..].to_vec()).await;
    assert_eq!([first, second].concat(), (0..7).collect::<Vec<i64>>(), "offsets follow the order of sending");
    assert_eq!(log.produce(&partition, Vec::new()).await, Vec::new());
    assert_eq!(log.offset_at(&partition, At::Start).await, Ok(0));

    let read = read_to(log, &partition, 0, 7).await;
    for ((offset, got), sent) in read.iter().zip(&table) {
        assert_eq!((&got.key, &got.value, &got.headers), (&sent.key, &sent.value, &sent.headers), "offset {offset}");
        let time = got.timestamp_ms.unwrap();
        assert!(sent.timestamp_ms.is_none_or(|sent| sent == time) && time >= 0, "offset {offset}: {time}");
    }
    assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (0..7).collect::<Vec<_>>());
    // Only now: a broker may answer a produce a moment before readers may see it.
    assert_eq!(log.offset_at(&partition, At::End).await, Ok(7));
}

pub async fn leaves_out_records_below_the_position(log: &dyn Log, prefix: &str) {
    let partition = new_topic(log, &format!("{prefix}.inside"), 1).await;
    produce(log, &partition, (0..10).map(|n| record(None, Some(&n.to_string()), &[])).collect()).await;
    for from in [9, 4, 7, 0] {
        let read = read_to(log, &partition, from, 10).await;
        let values: Vec<_> = read.into_iter().map(|(offset, record)| (offset, record.value.unwrap())).collect();
        let wanted: Vec<_> = (from..10).map(|n| (n, n.to_string().into_bytes())).collect();
        assert_eq!(values, wanted, "from {from}");
    }
}

pub async fn answers_each_partition_by_itself(log: &dyn Log, prefix: &str) {
    let topic = format!("{prefix}.many");
    new_topic(log, &topic, 12).await;
    for number in 0..12 {
        let partition = TopicPartition::new(topic.as_str(), number);
        produce(log, &partition, vec![record(None, Some(&format!("in {number}")), &[])]).await;
    }
    let mut positions: Vec<_> =
        (0..12).map(|number| position(&TopicPartition::new(topic.as_str(), number), 0)).collect();
    positions.push(position(&TopicPartition::new(topic.as_str(), 12), 0));
    positions.push(position(&TopicPartition::new(format!("{prefix}.absent"), 0), 0));
    let mut seen = Vec::new();
    let mut unknown = Vec::new();
    let until = Instant::now() + PATIENCE;
    while seen.len() < 12 || unknown.len() < 2 {
        assert!(Instant::now() < until, "seen {seen:?}, unknown {unknown:?}");
        for (partition, answer) in log.fetch(&positions, LIMITS).await {
            positions.retain(|asked| asked.partition != partition);
            match answer {
                Ok(block) => {
                    assert_eq!(values(&block), [format!("in {}", partition.partition)]);
                    assert_eq!((block.next_offset, block.high_watermark), (1, 1));
                    seen.push(partition.partition);
                }
                Err(error) => {
                    assert!(matches!(error, LogError::Unknown { .. }), "{partition}: {error}");
                    unknown.push(partition.to_string());
                }
            }
        }
    }
    unknown.sort();
    assert_eq!(unknown, [format!("{prefix}.absent:0"), format!("{prefix}.many:12")]);
    let names: Vec<_> = log.topics().await.unwrap().into_iter().map(|info| info.name).collect();
    assert!(!names.contains(&format!("{prefix}.absent")), "asking for a topic must not create it");
}

pub async fn says_which_offset_is_out_of_range(log: &dyn Log, prefix: &str) {
    let partition = new_topic(log, &format!("{prefix}.range"), 1).await;
    produce(log, &partition, vec![record(None, Some("only"), &[])]).await;
    let wanted = LogError::OffsetOutOfRange { partition: partition.to_string(), offset: 5 };
    assert_eq!(fetch_one(log, &partition, 5).await.err(), Some(wanted.clone()));
    assert_eq!(fetch_one(log, &partition, 5).await.err(), Some(wanted), "told again when asked again");
    assert_eq!(values(&fetch_one(log, &partition, 0).await.unwrap()), ["only"]);
}

pub async fn answers_a_long_poll_soon_after_a_produce(log: &dyn Log, prefix: &str) {
    let partition = new_topic(log, &format!("{prefix}.poll"), 1).await;
    let long = FetchLimits { max_wait: PATIENCE, ..LIMITS };
    let asked = [position(&partition, 0)];
    let poll = async {
        let blocks = log.fetch(&asked, long).await;
        (blocks, Instant::now())
    };
    let send = async {
        // The first call may have to connect; this one has then come to wait, or comes to find the record.
        tokio::time::sleep(Duration::from_millis(300)).await;
        produce(log, &partition, vec![record(None, Some("news"), &[])]).await;
        Instant::now()
    };
    let ((blocks, read_at), sent_at) = tokio::join!(poll, send);
    assert_eq!(blocks.len(), 1);
    assert_eq!(values(blocks[0].1.as_ref().ok().unwrap()), ["news"]);
    let late = read_at.saturating_duration_since(sent_at);
    assert!(late < Duration::from_secs(2), "{late:?} after the broker had it");
}

pub async fn returns_nothing_at_the_end(log: &dyn Log, prefix: &str) {
    let partition = new_topic(log, &format!("{prefix}.end"), 1).await;
    produce(log, &partition, vec![record(None, Some("last"), &[])]).await;
    let began = Instant::now();
    assert!(log.fetch(&[position(&partition, 1)], LIMITS).await.is_empty());
    let waited = began.elapsed();
    assert!(waited >= LIMITS.max_wait && waited < LIMITS.max_wait + Duration::from_secs(2), "{waited:?}");
    produce(log, &partition, vec![record(None, Some("one more"), &[])]).await;
    assert_eq!(values(&fetch_one(log, &partition, 1).await.unwrap()), ["one more"]);
}

pub async fn refuses_only_the_records_that_are_too_large(log: &dyn Log, prefix: &str, too_large_bytes: usize) {
    let partition = new_topic(log, &format!("{prefix}.large"), 1).await;
    let too_large = OutRecord { value: Some(noise(too_large_bytes)), ..OutRecord::default() };
    let mut records: Vec<_> = (0..9).map(|n| record(None, Some(&n.to_string()), &[])).collect();
    records.insert(7, too_large.clone());
    records.insert(3, too_large);
    let mut offsets = Vec::new();
    for (index, answer) in log.produce(&partition, records).await.into_iter().enumerate() {
        match answer {
            Ok(offset) => offsets.push(offset),
            Err(LogError::TooLarge { .. }) => assert!([3, 8].contains(&index), "record {index}"),
            Err(error) => panic!("record {index}: {error}"),
        }
    }
    assert_eq!(offsets, (0..9).collect::<Vec<i64>>());
    let read: Vec<_> = read_to(log, &partition, 0, 9).await.into_iter().map(|(_, r)| r.value.unwrap()).collect();
    assert_eq!(read, (0..9).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>(), "in their order");
}

pub async fn does_not_know_what_is_not_there(log: &dyn Log, prefix: &str) {
    let absent = TopicPartition::new(format!("{prefix}.nowhere"), 0);
    let unknown = LogError::Unknown { what: absent.to_string() };
    assert_eq!(log.offset_at(&absent, At::End).await, Err(unknown.clone()));
    let answers = log.produce(&absent, vec![OutRecord::default(), OutRecord::default()]).await;
    assert_eq!(answers, [Err(unknown.clone()), Err(unknown)]);
}

/// For a log whose broker is not there. `deadline` is what one call may take.
pub async fn errs_within_the_deadline(log: &dyn Log, deadline: Duration) {
    let partition = TopicPartition::new("any", 0);
    let spec = TopicSpec { name: "any".to_owned(), partitions: 1, ..TopicSpec::default() };
    let gone = |error: LogError| error.is_retriable();
    assert!(in_time(deadline, log.topics()).await.is_err_and(gone));
    assert!(in_time(deadline, log.create_topic(&spec)).await.is_err_and(gone));
    assert!(in_time(deadline, log.offset_at(&partition, At::End)).await.is_err_and(gone));
    let answers = in_time(deadline, log.produce(&partition, vec![OutRecord::default(); 2])).await;
    assert!(answers.len() == 2 && answers.into_iter().all(|answer| answer.is_err_and(gone)));
    assert!(in_time(deadline + LIMITS.max_wait, fetch_one(log, &partition, 0)).await.is_err_and(gone));
}

async fn in_time<T>(deadline: Duration, call: impl Future<Output = T>) -> T {
    tokio::time::timeout(deadline, call).await.expect("an answer within the deadline")
}

/// Produces a record with every log given and reads them all back with `reader`: one log per compression.
pub async fn reads_what_others_compressed(writers: &[&dyn Log], reader: &dyn Log, prefix: &str) {
    let partition = new_topic(reader, &format!("{prefix}.codecs"), 1).await;
    let mut wanted = Vec::new();
    for (index, writer) in writers.iter().enumerate() {
        let batch: Vec<_> = (0..50).map(|n| format!("{{\"writer\":{index},\"number\":{n}}}")).collect();
        produce(*writer, &partition, batch.iter().map(|text| record(Some("k"), Some(text), &[])).collect()).await;
        wanted.extend(batch);
    }
    let end = i64::try_from(wanted.len()).unwrap();
    let read = read_to(reader, &partition, 0, end).await;
    let texts: Vec<_> = read.into_iter().map(|(_, r)| String::from_utf8(r.value.unwrap()).unwrap()).collect();
    assert_eq!(texts, wanted);
}

/// Makes a topic and returns its first partition.
pub async fn new_topic(log: &dyn Log, name: &str, partitions: i32) -> TopicPartition {
    let spec = TopicSpec { name: name.to_owned(), partitions, ..TopicSpec::default() };
    assert_eq!(log.create_topic(&spec).await, Ok(true), "{name} is there already");
    TopicPartition::new(name, 0)
}

/// Produces and returns the offsets.
pub async fn produce(log: &dyn Log, partition: &TopicPartition, records: Vec<OutRecord>) -> Vec<i64> {
    log.produce(partition, records).await.into_iter().map(|answer| answer.unwrap()).collect()
}

/// Reads a partition from an offset until `end`.
pub async fn read_to(log: &dyn Log, partition: &TopicPartition, from: i64, end: i64) -> Vec<(i64, OutRecord)> {
    let mut read = Vec::new();
    let mut offset = from;
    while offset < end {
        let block = fetch_one(log, partition, offset).await.unwrap();
        assert!(block.next_offset > offset && block.high_watermark >= block.next_offset);
        offset = block.next_offset;
        let visited = block.records.visit(&mut |record| {
            let header = |(name, value): &(&[u8], Option<&[u8]>)| {
                (String::from_utf8(name.to_vec()).unwrap(), value.unwrap_or_default().to_vec())
            };
            let owned = OutRecord {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(header).collect(),
                timestamp_ms: Some(record.timestamp_ms),
            };
            read.push((record.offset, owned));
        });
        visited.unwrap();
    }
    read
}

/// Fetches one partition until there is an answer.
pub async fn fetch_one(log: &dyn Log, partition: &TopicPartition, offset: i64) -> Result<Block, LogError> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some((answered, answer)) = log.fetch(&[position(partition, offset)], LIMITS).await.pop() {
            assert_eq!(&answered, partition);
            return answer;
        }
    }
    panic!("nothing came from {partition} at {offset}");
}

fn position(partition: &TopicPartition, offset: i64) -> FetchPosition {
    FetchPosition { partition: partition.clone(), offset }
}

fn values(block: &Block) -> Vec<String> {
    let mut values = Vec::new();
    let mut push = |r: RecordRef<'_>| values.push(String::from_utf8_lossy(r.value.unwrap_or_default()).into_owned());
    block.records.visit(&mut push).unwrap();
    values
}

/// A record of text.
pub fn record(key: Option<&str>, value: Option<&str>, headers: &[(&str, &str)]) -> OutRecord {
    OutRecord {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
        timestamp_ms: None,
    }
}

/// Bytes that do not compress (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
