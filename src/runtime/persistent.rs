//! The persistent tier in this member: totals are copied there every `COUNTER_FLUSH_INTERVAL`, and what is known of it is said.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use dashmap::DashSet;
use tokio_util::sync::CancellationToken;

use super::{
    PERSISTENT_PART,
    health::{Health, Level},
    measure,
    mirror::{GroupOffsets, NOTE},
};
use crate::{
    catalog::plan::{Action, Catalog},
    log::LogError,
    model::TopicPartition,
    store::Tier,
};

/// For how long health tells that a store was found emptied.
const TOLD_FOR: Duration = Duration::from_secs(3600);
/// For how long an answer of the broker about its groups holds: the partitions of an emptied store ask all at once.
const ASKED_LATELY: Duration = Duration::from_secs(30);
/// Longest time that copying may take before it is given up and begun again with the next interval.
const MAX_COPYING: Duration = Duration::from_secs(600);

/// What is known outside the store of a partition that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    /// Nothing: it may be new.
    Nothing,
    /// Another partition of its topic was begun, so this one came later, or had no records yet.
    Topic,
    /// It was begun.
    Itself,
}

impl Known {
    /// What a list of partitions that were begun says of one.
    pub(super) fn of<'a>(partition: &TopicPartition, mut begun: impl Iterator<Item = &'a TopicPartition>) -> Self {
        let of_one = |begun: &TopicPartition| match begun == partition {
            true => Self::Itself,
            false if begun.topic == partition.topic => Self::Topic,
            false => Self::Nothing,
        };
        let mut known = Self::Nothing;
        while let Some(begun) = begun.next()
            && known < Self::Itself
        {
            known = known.max(of_one(begun));
        }
        known
    }
}

/// What stands outside the store: the tier, and the group's offsets on the broker.
pub struct Persistent {
    /// The tier; `None` where the store has none.
    pub tier: Option<Arc<dyn Tier>>,
    /// Where checkpoints are mirrored; `None` where they are not.
    pub group_offsets: Option<Arc<dyn GroupOffsets>>,
    /// `COUNTER_FLUSH_INTERVAL`.
    pub interval: Duration,
    /// Topics whose rules make more than totals.
    has_more: BTreeSet<Arc<str>>,
    /// Partitions that this process has seen begun: a store that lacks one was emptied.
    begun: DashSet<TopicPartition>,
    mirrored: tokio::sync::Mutex<Option<(Instant, BTreeSet<TopicPartition>)>>,
    told: Mutex<Option<(Instant, String)>>,
    /// Held while it is found out whether the store was emptied.
    pub(super) recovering: tokio::sync::Mutex<()>,
}

impl Persistent {
    /// What stands outside the store for the topics of a catalogue.
    pub fn new(
        catalog: &Catalog,
        tier: Option<Arc<dyn Tier>>,
        group_offsets: Option<Arc<dyn GroupOffsets>>,
        interval: Duration,
    ) -> Self {
        let makes_more = |action: &Action| {
            !matches!(action, Action::Count { .. } | Action::Max { .. } | Action::Last { .. } | Action::Forward { .. })
        };
        let rules = |topic: &Arc<crate::catalog::plan::Topic>| {
            topic.events.iter().flat_map(|event| &event.rules).any(|rule| makes_more(&rule.action))
        };
        let has_more =
            catalog.topics.iter().filter(|topic| rules(topic)).map(|topic| Arc::clone(&topic.name)).collect();
        Self {
            tier,
            group_offsets,
            interval,
            has_more,
            begun: DashSet::new(),
            mirrored: tokio::sync::Mutex::default(),
            told: Mutex::default(),
            recovering: tokio::sync::Mutex::default(),
        }
    }

    /// Whether the rules of a topic make more than totals.
    pub(super) fn has_more(&self, topic: &str) -> bool {
        self.has_more.contains(topic)
    }

    /// Notes that the store has a partition.
    pub(super) fn note_begun(&self, partition: &TopicPartition) {
        if !self.begun.contains(partition) {
            self.begun.insert(partition.clone());
        }
    }

    /// Whether this process has seen that the store had a partition, or another one of its topic.
    pub(super) fn has_begun(&self, partition: &TopicPartition) -> Known {
        match self.begun.contains(partition) {
            true => Known::Itself,
            false if self.begun.iter().any(|begun| begun.topic == partition.topic) => Known::Topic,
            false => Known::Nothing,
        }
    }

    /// Whether the group has mirrored an offset of a partition to the broker, or of another one of its topic. Nothing is known
    /// also where the broker cannot say: a group may lack the right to be asked for.
    pub(super) async fn has_mirrored(&self, group: &str, partition: &TopicPartition) -> Known {
        let Some(offsets) = &self.group_offsets else { return Known::Nothing };
        let mut asked = self.mirrored.lock().await;
        if asked.as_ref().is_none_or(|(at, _)| at.elapsed() > ASKED_LATELY) {
            *asked = match shown(offsets.as_ref(), group).await {
                Ok(shown) => Some((Instant::now(), shown)),
                Err(error) => {
                    tracing::warn!(%error, "the broker does not say whether the group has counted before");
                    None
                }
            };
        }
        asked.as_ref().map_or(Known::Nothing, |(_, shown)| Known::of(partition, shown.iter()))
    }

    /// Says for a while in health what was found.
    pub(super) fn tell(&self, health: &Health, what: String) {
        health.set(PERSISTENT_PART, Level::Degraded, what.clone(), Instant::now());
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), what));
    }

    /// Copies totals until `stop`.
    pub(super) async fn run(&self, health: &Health, stop: CancellationToken) {
        let Some(tier) = &self.tier else { return };
        let mut fails = false;
        while tokio::time::timeout(self.interval, stop.cancelled()).await.is_err() {
            let began = Instant::now();
            let copied = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                copied = tokio::time::timeout(MAX_COPYING, tier.copy(self.interval)) => copied,
            };
            let why = match copied {
                Ok(Ok(copied)) => {
                    measure::copied(copied.totals, copied.shards > 0, began.elapsed());
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("copying has not ended within {} s", MAX_COPYING.as_secs())),
            };
            if let Some(why) = &why {
                measure::copy_failed();
                if !fails {
                    tracing::warn!(
                        "totals are not copied to {}: {why}. Counting goes on; it is tried again",
                        tier.name()
                    );
                }
            } else if fails {
                tracing::info!("totals are copied to {} again", tier.name());
            }
            fails = why.is_some();
            self.report(health, tier.name(), why);
        }
    }

    fn report(&self, health: &Health, name: &str, why: Option<String>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = told.filter(|(at, _)| at.elapsed() < TOLD_FOR).map(|(_, what)| what);
        let why = why.map(|why| format!("totals are not copied to {name}: {why}. Counting goes on"));
        match why.or(told) {
            Some(reason) => health.set(PERSISTENT_PART, Level::Degraded, reason, Instant::now()),
            None => health.set(PERSISTENT_PART, Level::Ok, "", Instant::now()),
        }
    }
}

/// What the group has mirrored; what others have committed is none of it.
async fn shown(offsets: &dyn GroupOffsets, group: &str) -> Result<BTreeSet<TopicPartition>, LogError> {
    let shown = offsets.shown(group, None).await?;
    let ours = shown.into_iter().filter(|one| one.note.split(' ').next() == Some(NOTE));
    Ok(ours.map(|one| one.partition).collect())
}
