//! What this process has counted, per partition: for the summary each second, the last words at shutdown, demo and bench.

use dashmap::DashMap;

use super::measure;
use crate::{core::batch::Tally, model::TopicPartition};

/// Tallies per partition.
#[derive(Default)]
pub struct Tallies(DashMap<TopicPartition, Tally>);

impl Tallies {
    /// Adds what a merged batch brought.
    pub fn add(&self, partition: &TopicPartition, tally: &Tally) {
        measure::counted(&partition.topic, tally);
        match self.0.get_mut(partition) {
            Some(mut sum) => *sum = sum.plus(tally),
            None => {
                self.0.insert(partition.clone(), *tally);
            }
        }
    }

    /// The sum over all partitions.
    pub fn total(&self) -> Tally {
        self.0.iter().fold(Tally::default(), |sum, tally| sum.plus(&tally))
    }

    /// The tally of each partition, by name.
    pub fn by_partition(&self) -> Vec<(TopicPartition, Tally)> {
        let mut all: Vec<_> = self.0.iter().map(|entry| (entry.key().clone(), *entry.value())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
