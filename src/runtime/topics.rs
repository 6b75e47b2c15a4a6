//! Topics: made where they are missing when counting begins, and looked at again while it runs, since they may grow.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{LOG_PART, counting::Counting, health::Level, measure};
use crate::{
    catalog::plan::{Topic, dead_letter_topic},
    core::backoff::Backoff,
    log::{Log, LogError, TopicSpec},
};

/// How often the log is asked how many partitions the topics have.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// How often at most, though a fetch met an unknown partition.
const MIN_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How many partitions the topics have, by name; a topic that is not there yet is not in it.
pub(super) type PartitionCounts = BTreeMap<String, i32>;

/// Tells how many partitions the topics have: as soon as they are there, and when they have grown. `part` of health waits for
/// the first. Never ends.
pub(super) async fn watch(
    counting: Arc<Counting>,
    topics: Vec<Arc<Topic>>,
    counts: watch::Sender<PartitionCounts>,
    part: &'static str,
) {
    let mut missing = topics.clone();
    let mut backoff = Backoff::log();
    let mut is_new = true;
    // Also the topics of dead letters and forwards: without them a partition waits at its first bad record.
    let mut is_whole = false;
    loop {
        let found = if missing.is_empty() && is_whole {
            look(&counting).await
        } else {
            let found;
            (found, is_whole) = ensure(&counting, &topics).await;
            found
        };
        counts.send_if_modified(|known| grow(known, &topics, &found));
        missing.retain(|topic| !counts.borrow().contains_key(&*topic.name));
        if missing.is_empty() && std::mem::take(&mut is_new) {
            counting.health.set(part, Level::Ok, "", std::time::Instant::now());
        }
        if missing.is_empty() && is_whole {
            tokio::time::sleep(MIN_LOOK_INTERVAL).await;
            let _ = tokio::time::timeout(LOOK_INTERVAL, counting.topics_stale.notified()).await;
        } else if missing.is_empty() {
            tokio::time::sleep(backoff.next()).await;
        } else {
            let names: Vec<&str> = missing.iter().map(|topic| &*topic.name).collect();
            let why = format!("waiting for topics: {}", names.join(", "));
            counting.health.set(part, Level::Degraded, why, std::time::Instant::now());
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

/// Takes over what is new. A topic never shrinks: one that is gone, or was made again smaller, is told by its partitions.
fn grow(known: &mut PartitionCounts, topics: &[Arc<Topic>], found: &HashMap<String, i32>) -> bool {
    let mut has_grown = false;
    for topic in topics {
        let Some(count) = found.get(&*topic.name) else { continue };
        match known.get_mut(&*topic.name) {
            Some(before) if *before >= *count => {}
            Some(before) => {
                tracing::info!(topic = %topic.name, partitions = count, "the topic has {count} partitions now, {before} before");
                *before = *count;
                has_grown = true;
            }
            None => {
                tracing::info!(topic = %topic.name, partitions = count, "counting");
                known.insert(topic.name.to_string(), *count);
                has_grown = true;
            }
        }
    }
    has_grown
}

async fn look(counting: &Counting) -> HashMap<String, i32> {
    match counting.log.topics().await {
        Ok(found) => found.into_iter().map(|topic| (topic.name, topic.partitions)).collect(),
        Err(error) => {
            measure::log_failed(&error);
            tracing::warn!(%error, "the log did not say how many partitions the topics have");
            HashMap::new()
        }
    }
}

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
