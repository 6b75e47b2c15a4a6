//! What became of events of a tracked topic, as it is stored.

use std::sync::Arc;

use crate::{
    catalog::plan::dead_letter_topic,
    core::tracked::Tracked,
    model::{GroupStatus, Progress, Status, TopicPartition},
};

/// The statuses in counting's own group. Whoever is not counted is a dead letter, which the broker has by now.
pub(super) fn of(group: &str, partition: &TopicPartition, tracked: Vec<Tracked>) -> Vec<(Box<str>, GroupStatus)> {
    let at_ms = chrono::Utc::now().timestamp_millis();
    let group: Arc<str> = group.into();
    let status = |Tracked { event_id, offset, error }: Tracked| {
        let status = Status {
            progress: if error.is_some() { Progress::Failed } else { Progress::Processed },
            attempts: 1,
            topic: Arc::clone(&partition.topic),
            partition: partition.partition,
            offset,
            at_ms,
            dead_letter: error.as_ref().map(|_| dead_letter_topic(&partition.topic).into()),
            error,
        };
        (event_id, GroupStatus { group: Arc::clone(&group), status })
    };
    tracked.into_iter().map(status).collect()
}
