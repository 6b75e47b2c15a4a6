//! Topics of a test's own, written by Kafka's client, counted by the binary, and held against what Kafka's consumer reads.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use streamgauge::{model::TopicPartition, store::Store};

use crate::{
    java::{End, Java, Written},
    place::{Place, kafka},
    support::{
        oracle::fold,
        process::Process,
        results::{self, Partitions},
    },
};

/// Topics of a test's own, written by Kafka's client and counted by the binary.
pub struct Proof {
    pub place: Place,
    pub java: Java,
    pub topics: Vec<String>,
}

impl Proof {
    /// One topic of two partitions for each of these settings.
    pub fn with_topics(settings: &[&[(&str, &str)]]) -> Self {
        let mut place = Place::own_topics();
        let mut java = Java::start(&kafka());
        let mut catalog = "name = \"proof\"\n".to_owned();
        let mut topics = Vec::new();
        for (number, settings) in settings.iter().enumerate() {
            let topic = format!("{}proof{number}", place.topic_prefix);
            java.create(&topic, 2, settings);
            catalog += &rules(&topic, 2);
            topics.push(topic);
        }
        place.write_catalog(&catalog);
        Self { place, java, topics }
    }

    pub fn with_topic(settings: &[(&str, &str)]) -> Self {
        Self::with_topics(&[settings])
    }

    /// Writes sales number `from` to `from + count` as a batch of their own.
    pub fn sell(&mut self, partition: i32, end: End, from: usize, count: usize) {
        let topic = self.topics[0].clone();
        write_sales(&mut self.java, &topic, partition, "none", end, from, count);
    }

    /// What Kafka's consumer reads of all topics.
    pub fn judged(&mut self) -> Partitions {
        self.topics.iter().flat_map(|topic| self.java.dump(topic)).collect()
    }

    /// Waits until every checkpoint is at its partition's end, and no lag is shown.
    pub async fn wait_for_ends(&mut self, process: &mut Process) {
        let mut ends = self.ends();
        loop {
            wait_for_positions(process, &self.place.store(), &ends).await;
            // The marker of a transaction may come after its end was answered.
            let before = std::mem::replace(&mut ends, self.ends());
            if before == ends {
                break;
            }
        }
        let lag = async |process: &Process| process.metric("streamgauge_partition_lag_records", "").await;
        process.until("no lag", async |process| (lag(process).await == 0.0).then_some(())).await;
    }

    /// Where the partitions that are not empty end.
    fn ends(&mut self) -> BTreeMap<(String, i32), i64> {
        let of_topic = |topic: &String| {
            self.java.ends(topic).into_iter().map(|(number, end)| ((topic.clone(), number), end)).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of_topic).filter(|(_, end)| *end > 0).collect()
    }

    /// Waits for the ends; then all results equal the fold of what Kafka's consumer reads. Gives how many records that are.
    pub async fn assert_counted(&mut self, process: &mut Process) -> usize {
        self.wait_for_ends(process).await;
        let judged = self.judged();
        let expected = fold(&self.place.catalog(), &judged);
        results::assert_stored(&self.place.store(), &self.place.reference(), &expected).await;
        results::count(&judged)
    }
}

/// A catalogue's entry for a topic of sales: sums by item and by day. No identity, so that nothing hides a record that is
/// read twice.
fn rules(topic: &str, partitions: i32) -> String {
    format!(
        r#"[[topic]]
name = "{topic}"
partitions = {partitions}
shape = ["flat"]
key = ["item"]
[[topic.event]]
type = "sale"
required = ["item"]
rules = [
  {{ count = "item:{{item}}:sales", shared = true }},
  {{ count = "day:{{day}}:sales", shared = true }},
]
"#
    )
}

/// The event of a number.
pub fn sale(n: usize) -> String {
    format!("{{\"type\":\"sale\",\"item\":\"i{}\",\"n\":{n}}}", n % 7)
}

/// Writes sales of these numbers as a batch of their own.
pub fn write_sales(java: &mut Java, topic: &str, partition: i32, codec: &str, end: End, from: usize, count: usize) {
    let sales: Vec<String> = (from..from + count).map(sale).collect();
    let write = |sale: &'_ String| Written { value: Some(sale.clone().into_bytes()), ..Written::default() };
    let records: Vec<Written> = sales.iter().map(write).collect();
    assert_eq!(java.write(topic, partition, codec, end, &records).len(), count);
}

/// Waits until the store has counted to these offsets at least.
pub async fn wait_for_positions(process: &mut Process, store: &dyn Store, ends: &BTreeMap<(String, i32), i64>) {
    let names: Vec<_> = ends.keys().map(|(topic, number)| TopicPartition::new(topic.as_str(), *number)).collect();
    process
        .until(&format!("counted to {ends:?}"), async |_| {
            let stored = store.positions(&names).await.ok()?;
            let mut stored = stored.iter().map(|shards| results::counted_to(shards)).zip(ends.values());
            stored.all(|(stored, end)| stored >= *end).then_some(())
        })
        .await;
}
