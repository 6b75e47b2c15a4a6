//! What is done about topics at the start (`TOPICS_AUTO_APPLY`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    apply::{Created, Outcome, apply, create},
    need::{Consent, readable},
    plan::{Change, Difference, Found, Observed, plan, wanted},
};
use crate::{
    catalog::plan::Topic,
    log::LogError,
    runtime::{LOG_PART, counting::Counting, health::Level, measure},
};

/// Creates what is missing of the topics, their dead letter topics and the topics that they forward to, where that is
/// wanted, and returns the partition counts of what is there, and whether nothing is left that another try could make.
pub(in crate::runtime) async fn ensure(counting: &Counting, topics: &[Arc<Topic>]) -> (HashMap<String, i32>, bool) {
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
        for spec in plan(&wanted(topics), &listed(&counts)).into_iter().filter_map(missing) {
            let created = create(counting.log.as_ref(), &spec).await;
            match &created {
                Ok(Created::Not) => continue,
                Ok(Created::Whole) => {}
                Ok(Created::Bare(error)) => {
                    tracing::warn!(topic = %spec.name, %error, "the topic is there without the catalogue's settings");
                }
                Err(error) => {
                    measure::log_failed(error);
                    is_whole &= !error.is_retriable();
                    tracing::warn!(topic = %spec.name, %error, "the topic could not be created");
                    continue;
                }
            }
            tracing::info!(topic = %spec.name, partitions = spec.partitions, "topic created");
            counts.insert(spec.name, spec.partitions);
        }
    }
    // Only now: who is told that we are ready may publish to any of the topics.
    counting.health.set(LOG_PART, Level::Ok, "", std::time::Instant::now());
    (counts, is_whole)
}

/// What is known of topics by their list alone.
fn listed(counts: &HashMap<String, i32>) -> Observed {
    let found = |partitions: &i32| Found { partitions: *partitions, ..Found::default() };
    Observed {
        found: counts.iter().map(|(name, partitions)| (name.clone(), found(partitions))).collect(),
        unseen: BTreeMap::new(),
    }
}

fn missing(difference: Difference) -> Option<crate::log::TopicSpec> {
    match difference.change {
        Change::Create(spec) => Some(spec),
        _ => None,
    }
}

/// Mends the topics that are there as far as that loses and breaks nothing, and says what is left. Returns whether nothing is
/// left that another try could mend.
pub(super) async fn mend(counting: &Counting, topics: &[Arc<Topic>]) -> bool {
    let Some(admin) = counting.topic_admin.get().filter(|_| counting.options.create_topics) else { return true };
    let wanted = wanted(topics);
    let names: Vec<String> = wanted.keys().cloned().collect();
    let observed = match admin.observe(&names).await {
        Ok(observed) => observed,
        Err(error) => return told(&error, "the topics could not be compared with the catalogue"),
    };
    // Most often the same for all of them: a right that the user lacks.
    let unseen: BTreeSet<&str> = observed.unseen.values().map(String::as_str).collect();
    if let Some(why) = unseen.first() {
        let topics = observed.unseen.len();
        tracing::info!(topics, reasons = unseen.len(), "topics could not be compared with the catalogue: {why}");
    }
    let mut differences = plan(&wanted, &observed);
    // Creating has had its turn, with its own pauses.
    differences.retain(|difference| !matches!(difference.change, Change::Create(_)));
    let outcomes = apply(counting.log.as_ref(), &**admin, &wanted, differences, Consent::default()).await;
    let mut is_settled = true;
    for (Difference { topic, change, .. }, outcome) in outcomes {
        let what = in_words(&change);
        match outcome {
            Outcome::Done => tracing::info!(%topic, "the topic is as the catalogue says again: {what}"),
            Outcome::Left(reason) => {
                tracing::warn!(%topic, "the topic differs from the catalogue: {what}; left to `streamgauge topics apply`: {reason}");
            }
            Outcome::Failed(error) => {
                is_settled &= told(&error, &format!("topic {topic} differs from the catalogue ({what})"))
            }
        }
    }
    is_settled
}

/// Says what went wrong, and whether trying again is of no use.
fn told(error: &LogError, what: &str) -> bool {
    measure::log_failed(error);
    tracing::warn!(%error, "{what}");
    !error.is_retriable()
}

fn in_words(change: &Change) -> String {
    match change {
        Change::Create(_) => "it is missing".to_owned(),
        Change::Set { name, from, to } => format!("{name} {} -> {}", readable(name, from), readable(name, to)),
        Change::Partitions { from, to } => format!("partitions {from} -> {to}"),
        Change::Replication { from, to } => {
            let from: Vec<String> = from.iter().map(i16::to_string).collect();
            format!("replication {} -> {to}", from.join(", "))
        }
    }
}
