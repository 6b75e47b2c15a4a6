//! Topics that must be there before counting begins.

use std::collections::{BTreeMap, HashMap};

use super::{LOG_PART, counting::Counting, health::Level, measure};
use crate::{
    catalog::plan::{Topic, dead_letter_topic},
    log::{Log, LogError, TopicSpec},
};

/// The setting that says how long a topic keeps its records, milliseconds.
const RETENTION: &str = "retention.ms";

/// Creates what is missing of the topics, their dead letter topics and the topics that they forward to, where that is
/// wanted, and returns the partition counts of what is there, and whether nothing is left that another try could make.
pub(super) async fn ensure(counting: &Counting, topics: &[std::sync::Arc<Topic>]) -> (HashMap<String, i32>, bool) {
    let mut is_whole = true;
    let mut counts = match counting.log.topics().await {
        Ok(found) => found.into_iter().map(|topic| (topic.name, topic.partitions)).collect::<HashMap<_, _>>(),
        Err(error) => {
            measure::log_failed(&error);
            tracing::warn!(%error, "the log is not there yet");
            counting.health.set(LOG_PART, Level::Down, error.to_string(), std::time::Instant::now());
            return (HashMap::new(), false);
        }
    };
    if counting.options.create_topics {
        for spec in wanted(topics).into_values() {
            if counts.contains_key(&spec.name) {
                continue;
            }
            match create(counting.log.as_ref(), &spec).await {
                Ok(created) => {
                    if created {
                        tracing::info!(topic = %spec.name, partitions = spec.partitions, "topic created");
                        counts.insert(spec.name, spec.partitions);
                    }
                }
                Err(error) => {
                    measure::log_failed(&error);
                    is_whole &= !error.is_retriable();
                    tracing::warn!(topic = %spec.name, %error, "the topic could not be created");
                }
            }
        }
    }
    // Only now: who is told that we are ready may publish to any of the topics.
    counting.health.set(LOG_PART, Level::Ok, "", std::time::Instant::now());
    (counts, is_whole)
}

/// Where the broker refuses the settings, the topic is made without them: counting must not wait for a policy to change.
async fn create(log: &dyn Log, spec: &TopicSpec) -> Result<bool, LogError> {
    let bare = TopicSpec { configs: BTreeMap::new(), ..spec.clone() };
    match log.create_topic(spec).await {
        Err(error @ LogError::Refused { .. }) if !spec.configs.is_empty() => {
            let created = log.create_topic(&bare).await?;
            tracing::warn!(topic = %spec.name, %error, "the topic is there without the catalogue's settings");
            Ok(created)
        }
        answer => answer,
    }
}

/// The topics by name. A topic's dead letters lie in as many partitions as it has; so do forwards where nothing else says.
fn wanted(topics: &[std::sync::Arc<Topic>]) -> BTreeMap<String, TopicSpec> {
    let spec = |name: String, topic: &Topic| TopicSpec {
        name,
        partitions: topic.partitions,
        replication: topic.replication,
        configs: BTreeMap::new(),
    };
    let mut wanted = BTreeMap::new();
    for topic in topics {
        // The catalogue's retention is of its own records, not of what becomes of them.
        let configs = BTreeMap::from([(RETENTION.to_owned(), topic.retention_ms.to_string())]);
        wanted.insert(topic.name.to_string(), TopicSpec { configs, ..spec(topic.name.to_string(), topic) });
    }
    for topic in topics {
        let others = topic.forward_targets().map(str::to_owned).chain([dead_letter_topic(&topic.name)]);
        for name in others {
            wanted.entry(name.clone()).or_insert_with(|| spec(name, topic));
        }
    }
    wanted
}
