//! A move of checkpoints: what it would do, said before it is done; and doing it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};

use super::standing::Standing;
use crate::{
    app::Parts,
    config::{Config, OffsetReset},
    core::backoff::Backoff,
    model::{Checkpoint, Outcome, Section, ShardId, Swap},
    store::StoreError,
};

/// How often a call is sent whose answer did not come. The sections are the same each time, so nothing is done twice.
const TRIES: usize = 3;

/// A partition whose checkpoint is to be moved.
#[derive(Clone, Debug)]
pub struct Change {
    /// How it stands.
    pub standing: Standing,
    /// The next offset to count afterwards.
    pub to: i64,
}

/// What a move does to counts, in offsets: at most so many records, since not every offset holds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// They were counted, and would be once more.
    pub counted_again: i64,
    /// They would have been counted, and are not.
    pub skipped: i64,
}

impl Change {
    /// What it does to counts. `reset` is where a group begins that has not begun.
    pub fn effect(&self, reset: OffsetReset) -> Effect {
        let (from, to) = (self.standing.begin(reset), self.to.max(self.standing.log_start));
        let has_counted = self.standing.checkpoint().is_some();
        Effect { counted_again: if has_counted { (from - to).max(0) } else { 0 }, skipped: (to - from).max(0) }
    }

    /// Whether the checkpoint is there already.
    pub fn is_idle(&self) -> bool {
        self.standing.shards.iter().all(|shard| shard.checkpoint.is_some_and(|checkpoint| checkpoint.offset == self.to))
    }

    /// The incarnation afterwards: one that no shard had.
    pub fn incarnation(&self) -> u32 {
        let known = self.standing.shards.iter().filter_map(|shard| shard.checkpoint);
        known.map(|checkpoint| checkpoint.incarnation).max().map_or(0, |highest| highest) + 1
    }
}

/// Offsets that no member could count from.
///
/// # Errors
/// Names every partition whose goal lies beyond the log's end, or before its start where that is not `lenient`.
pub fn check_range(changes: &[Change], lenient: bool) -> anyhow::Result<()> {
    let is_wrong =
        |change: &&Change| change.to > change.standing.log_end || !lenient && change.to < change.standing.log_start;
    let wrong: Vec<String> = changes
        .iter()
        .filter(is_wrong)
        .map(|Change { standing, to }| {
            format!("{}: {to} (the log holds {} to {})", standing.partition, standing.log_start, standing.log_end)
        })
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("nothing was changed: no such offset in {}; earliest and latest always fit", wrong.join(", "))
}

/// Why it cannot be done now: partitions that living members hold, by member.
pub fn obstacle(changes: &[Change], session_timeout_ms: u128) -> Option<String> {
    let mut held: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Standing { partition, holder, .. } in changes.iter().map(|change| &change.standing) {
        if let Some(holder) = holder {
            held.entry(format!("member {} on {}", holder.member, holder.host)).or_default().push(partition.to_string());
        }
    }
    let held: Vec<String> = held.into_iter().map(|(who, what)| format!("{} by {who}", what.join(", "))).collect();
    (!held.is_empty()).then(|| {
        format!(
            "held now: {}. Stop these processes first, then run this again (one that was killed counts as there for \
             {session_timeout_ms} ms more, SESSION_TIMEOUT_MS)",
            held.join("; ")
        )
    })
}

/// The rules of the topics whose partitions change what is counted, in words, by topic.
pub fn counters(changes: &[Change], reset: OffsetReset) -> BTreeMap<String, Vec<String>> {
    let mut touched: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.effect(reset) != Effect::default()) {
        let topic = &change.standing.topic;
        let rules = topic.events.iter().flat_map(|event| &event.rules).map(|rule| topic.describe(&rule.action));
        touched.entry(topic.name.to_string()).or_default().extend(rules);
    }
    touched.into_iter().map(|(topic, rules)| (topic, rules.into_iter().collect())).collect()
}

/// Moves the checkpoints, each by compare-and-set on what was read, with a raised incarnation: what members of the former life
/// still send conflicts (EXACTLY_ONCE, "Sections"). Returns what did not move, and why.
///
/// # Errors
/// The store or the log cannot be asked, or the store belongs to another group. Nothing is known to have moved then.
pub async fn apply(config: &Config, parts: &Parts, changes: &[Change]) -> anyhow::Result<Vec<String>> {
    let topics: BTreeSet<String> = changes.iter().map(|change| change.standing.topic.name.to_string()).collect();
    parts.store.open(&config.kafka.group, &Vec::from_iter(topics)).await?;
    keep_texts(parts, changes).await?;
    let mut by_shard: BTreeMap<ShardId, Vec<Section>> = BTreeMap::new();
    for change in changes {
        let partition = &change.standing.partition;
        // Beside the new checkpoint must stand the log that it is of: with an epoch of before, going forward would look as if
        // the log had lost its tail.
        let log_identity =
            parts.log.identity(partition).await.with_context(|| format!("asking which log {partition} is"))?;
        for (shard, stored) in change.standing.shards.iter().enumerate() {
            let fingerprint = stored.checkpoint.map_or(change.standing.topic.fingerprint, |stored| stored.fingerprint);
            let section = Section {
                partition: partition.clone(),
                expect: stored.checkpoint,
                next: Checkpoint { offset: change.to, incarnation: change.incarnation(), fingerprint },
                gap: None,
                log_identity: log_identity.clone(),
                deltas: Vec::new(),
            };
            by_shard.entry(ShardId::try_from(shard)?).or_default().push(section);
        }
    }
    let mut refused = Vec::new();
    for (shard, sections) in by_shard {
        let outcomes = send(parts, shard, &sections)
            .await
            .context("it is not known which checkpoints were moved: look at `offsets list` and run this again")?;
        for (section, outcome) in sections.iter().zip(outcomes) {
            match outcome {
                Outcome::Applied | Outcome::AlreadyApplied => {}
                Outcome::Conflict { stored } => {
                    let stored = stored.map_or_else(|| "none".to_owned(), |stored| stored.offset.to_string());
                    refused.push(format!("{}: counted on meanwhile (checkpoint {stored} now)", section.partition));
                }
                Outcome::Refused(refusal) => refused.push(format!("{}: {refusal}", section.partition)),
            }
        }
    }
    Ok(refused)
}

async fn send(parts: &Parts, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
    let mut backoff = Backoff::store();
    for _ in 1..TRIES {
        match parts.store.apply(shard, sections).await {
            Err(error) if error.is_retriable() => tokio::time::sleep(backoff.next()).await,
            answer => return answer,
        }
    }
    parts.store.apply(shard, sections).await
}

/// A checkpoint that is the partition's first names rules: their text is kept, as a member keeps it.
async fn keep_texts(parts: &Parts, changes: &[Change]) -> Result<(), StoreError> {
    let mut swaps: BTreeMap<String, Swap> = BTreeMap::new();
    for topic in changes.iter().map(|change| &change.standing.topic) {
        let name = format!("catalog:{}", topic.fingerprint);
        let next = Some(topic.text.as_bytes().to_vec());
        swaps.entry(name.clone()).or_insert(Swap { name, expect: None, next, ttl_ms: None });
    }
    parts.store.swap(&Vec::from_iter(swaps.into_values())).await.map(drop)
}

#[cfg(test)]
mod tests;
