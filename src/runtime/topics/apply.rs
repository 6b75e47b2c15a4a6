//! Making the broker's topics as the catalogue has them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{
    need::{Consent, Need},
    plan::{Change, Difference, Observed, Wanted, plan},
};
use crate::log::{Log, LogError, TopicSpec};

/// What a broker says of topics, and changes of them. No seam of the program: it is here so that applying can be tried without a
/// broker.
#[async_trait]
pub trait TopicAdmin: Send + Sync + 'static {
    /// How these topics are. What cannot be seen of one is told in its place.
    async fn observe(&self, topics: &[String]) -> Result<Observed, LogError>;

    /// Gives a topic another value of a setting.
    async fn set(&self, topic: &str, name: &str, value: &str) -> Result<(), LogError>;

    /// Gives a topic more partitions, so many in all.
    async fn widen(&self, topic: &str, partitions: i32) -> Result<(), LogError>;
}

/// What became of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is mended.
    Done,
    /// It was left, for this reason.
    Left(String),
    /// The broker would not, or could not be asked.
    Failed(LogError),
}

/// How a topic was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Created {
    /// It was there.
    Not,
    /// As it should be.
    Whole,
    /// Without its settings, which the broker has refused.
    Bare(LogError),
}

/// Makes a topic. Where the broker refuses the settings, it is made without them: counting must not wait for a policy to change.
pub(super) async fn create(log: &dyn Log, spec: &TopicSpec) -> Result<Created, LogError> {
    match log.create_topic(spec).await {
        Ok(true) => Ok(Created::Whole),
        Ok(false) => Ok(Created::Not),
        Err(error @ LogError::Refused { .. }) if !spec.configs.is_empty() => {
            let bare = TopicSpec { configs: BTreeMap::new(), ..spec.clone() };
            Ok(if log.create_topic(&bare).await? { Created::Bare(error) } else { Created::Not })
        }
        Err(error) => Err(error),
    }
}

/// Mends what differs, as far as `consent` goes, and tells what became of each. Topics that are made here are looked at once more:
/// a broker may have defaults that differ, or refuse one of their settings.
pub async fn apply(
    log: &dyn Log,
    admin: &dyn TopicAdmin,
    wanted: &BTreeMap<String, Wanted>,
    differences: Vec<Difference>,
    consent: Consent,
) -> Vec<(Difference, Outcome)> {
    let mut outcomes = Vec::with_capacity(differences.len());
    let mut made = Vec::new();
    for difference in differences {
        let outcome = match (&difference.change, difference.need.lacks(consent)) {
            (_, Some(reason)) => Outcome::Left(reason),
            (Change::Create(spec), None) => match create(log, spec).await {
                Ok(created) => {
                    // What somebody else has just made may hold records.
                    made.push((spec.name.clone(), created != Created::Not));
                    Outcome::Done
                }
                Err(error) => Outcome::Failed(error),
            },
            (_, None) => carry_out(admin, &difference).await,
        };
        outcomes.push((difference, outcome));
    }
    if !made.is_empty() {
        outcomes.extend(finish(admin, wanted, &made, consent).await);
    }
    outcomes
}

async fn carry_out(admin: &dyn TopicAdmin, difference: &Difference) -> Outcome {
    let topic = &difference.topic;
    let done = match &difference.change {
        Change::Set { name, to, .. } => admin.set(topic, name, to).await,
        Change::Partitions { to, .. } => admin.widen(topic, *to).await,
        // The first is done by the caller, the second needs a hand.
        Change::Create(_) | Change::Replication { .. } => Ok(()),
    };
    done.map_or_else(Outcome::Failed, |()| Outcome::Done)
}

/// What is left of topics that were just made; of each its name, and whether it is empty for sure.
async fn finish(
    admin: &dyn TopicAdmin,
    wanted: &BTreeMap<String, Wanted>,
    made: &[(String, bool)],
    consent: Consent,
) -> Vec<(Difference, Outcome)> {
    let names: Vec<String> = made.iter().map(|(name, _)| name.clone()).collect();
    // They are there, which is what matters; the next look tells the rest.
    let Ok(observed) = admin.observe(&names).await else { return Vec::new() };
    let wanted: BTreeMap<String, Wanted> =
        wanted.iter().filter(|(name, _)| names.contains(name)).map(|(name, one)| (name.clone(), one.clone())).collect();
    let mut outcomes = Vec::new();
    for difference in plan(&wanted, &observed) {
        // A broker that does not list it yet.
        if matches!(difference.change, Change::Create(_)) {
            continue;
        }
        let is_empty = made.iter().any(|(name, is_empty)| *name == difference.topic && *is_empty);
        let allowed = Consent { deletion: consent.deletion || is_empty, ..consent };
        let outcome = match difference.need.lacks(allowed) {
            Some(reason) => Outcome::Left(reason),
            None => carry_out(admin, &difference).await,
        };
        let difference = Difference { need: if is_empty { Need::Nothing } else { difference.need }, ..difference };
        outcomes.push((difference, outcome));
    }
    outcomes
}
