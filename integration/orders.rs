//! Numbered orders in a topic of a test's own: each has its number as its id, and keys take turns.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, ops::Range};

use streamgauge::{
    core::partitioner::partition_for_key,
    log::{Log, OutRecord},
    model::TopicPartition,
};

use crate::place::Place;

const PARTITIONS: i32 = 6;
/// Records of one call to the log.
const RECORDS_PER_CALL: usize = 1_000;

/// The topic.
pub struct Orders {
    pub topic: String,
    keys: usize,
}

impl Orders {
    /// Makes the topic the only one of the place's catalogue.
    pub fn of(place: &mut Place, keys: usize) -> Self {
        let topic = format!("{}orders", place.topic_prefix);
        place.write_catalog(&format!(
            "name = \"shop\"\n[[topic]]\nname = \"{topic}\"\npartitions = {PARTITIONS}\nidentity = []\nshape = [\"flat\"]\n\
             [[topic.event]]\ntype = \"order\"\nrules = [{{ count = \"orders\" }}]\n"
        ));
        Self { topic, keys }
    }

    /// Which of the keys an order has.
    pub fn key(&self, number: usize) -> usize {
        number % self.keys
    }

    /// Publishes the orders of these numbers.
    pub async fn publish(&self, log: &dyn Log, numbers: Range<usize>) {
        let mut by_partition: BTreeMap<i32, Vec<OutRecord>> = BTreeMap::new();
        for number in numbers {
            let key = format!("k{}", self.key(number));
            let value = format!("{{\"type\":\"order\",\"id\":\"{number}\",\"key\":\"{key}\"}}");
            let partition = partition_for_key(key.as_bytes(), PARTITIONS);
            let record = OutRecord { key: Some(key.into()), value: Some(value.into()), ..OutRecord::default() };
            by_partition.entry(partition).or_default().push(record);
        }
        for (partition, records) in by_partition {
            let partition = TopicPartition::new(self.topic.as_str(), partition);
            for records in records.chunks(RECORDS_PER_CALL) {
                let stored = log.produce(&partition, records.to_vec()).await;
                assert!(stored.iter().all(Result::is_ok), "{stored:?}");
            }
        }
    }
}
