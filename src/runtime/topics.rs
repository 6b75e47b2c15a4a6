//! Topics: made as the catalogue has them when counting begins, and looked at again while it runs, since they may grow.
//!
//! [`plan`](plan()) says how the broker differs from the catalogue, [`apply`](apply()) mends it: at the start as far as that
//! loses nothing, and for `streamgauge topics` with the user's consent.

mod apply;
mod need;
mod plan;
mod start;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

pub(super) use self::start::ensure;
pub use self::{
    apply::{Outcome, TopicAdmin, apply},
    need::{Consent, Need, readable},
    plan::{Change, Difference, Found, Observed, Role, Setting, Wanted, plan, wanted},
};
use super::{counting::Counting, health::Level, measure};
use crate::{catalog::plan::Topic, core::backoff::Backoff};

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
    let mut is_mended = false;
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
            // Counting has begun by then: it need not wait for settings.
            if !is_mended {
                is_mended = start::mend(&counting, &topics).await;
            }
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
