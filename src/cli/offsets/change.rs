//! A move of checkpoints: what it would do, said before it is done; and doing it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};

use super::standing::Standing;
use crate::{
    app::Parts,
    config::{Config, OffsetReset},
    core::{backoff::Backoff, register::Note, switches::UNKNOWN},
    model::{
        Checkpoint, Fingerprint, Outcome, RulesMark, Section, ShardId, StoredPosition, Swap, Switches, TopicPartition,
    },
    runtime::outside::{as_far_as_needed, look_before, table_before},
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

/// Why it cannot be done now: partitions that are being rebuilt, or that living members hold, by member.
pub fn obstacle(changes: &[Change], session_timeout_ms: u128) -> Option<String> {
    let mut shards = changes.iter().flat_map(|change| change.standing.shards.iter().map(move |shard| (change, shard)));
    let exchanged = shards.find(|(_, shard)| shard.checkpoint.is_some_and(|checkpoint| checkpoint.is_exchanged()));
    if let Some((change, _)) = exchanged {
        return Some(format!(
            "the results of {} are being exchanged for rebuilt ones, or that was broken off: wait until `streamgauge counters \
             rebuild` is done, or run it again",
            change.standing.partition
        ));
    }
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
    check_rules(changes)?;
    let shards = changes.first().map_or(1, |change| change.standing.shards.len());
    let register =
        as_far_as_needed(&*parts.outside, shards).await.context("reading what is noted outside of the store")?;
    begin(parts, changes, register.is_some()).await?;
    let mut by_shard: BTreeMap<ShardId, Vec<Section>> = BTreeMap::new();
    for change in changes {
        let partition = &change.standing.partition;
        // Beside the new checkpoint must stand the log that it is of: with an epoch of before, going forward would look as if
        // the log had lost its tail.
        let log_identity =
            parts.log.identity(partition).await.with_context(|| format!("asking which log {partition} is"))?;
        let noted = register.as_ref().map(|register| register.noted(partition, log_identity.topic_id).switches());
        let first = first_rules(parts, &change.standing, noted.unwrap_or_default()).await?;
        for (shard, stored) in change.standing.shards.iter().enumerate() {
            let (fingerprint, rules, switches) = match stored.checkpoint {
                Some(stored) => (stored.fingerprint, stored.rules, None),
                None => first.clone(),
            };
            let section = Section {
                partition: partition.clone(),
                expect: stored.checkpoint,
                next: Checkpoint { offset: change.to, incarnation: change.incarnation(), fingerprint, rules },
                gap: None,
                log_identity: log_identity.clone(),
                switches,
                deltas: Vec::new(),
                statuses: Vec::new(),
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

/// Refuses to move a partition whose rules are about to change: shards must meet at one offset for that.
fn check_rules(changes: &[Change]) -> anyhow::Result<()> {
    let is_changing = |change: &&Change| {
        let stored = || change.standing.shards.iter().filter(|shard| shard.checkpoint.is_some());
        let differ = stored().zip(stored().skip(1)).any(|(one, other)| rules_of(one) != rules_of(other));
        let is_last = |shard: &StoredPosition| match (&shard.switches, shard.checkpoint) {
            (Some(table), Some(stored)) => {
                stored.rules == RulesMark::default() || stored.rules.in_force as usize + 1 == table.0.len()
            }
            _ => true,
        };
        differ || !stored().all(is_last)
    };
    let changing: Vec<String> =
        changes.iter().filter(is_changing).map(|change| change.standing.partition.to_string()).collect();
    if changing.is_empty() {
        return Ok(());
    }
    bail!(
        "nothing was changed: the rules of {} are being changed, and the shards of the store must count to one offset for that. \
         Run a member until it says that they are in force, then run this again",
        changing.join(", ")
    )
}

fn rules_of(shard: &StoredPosition) -> Option<(Fingerprint, RulesMark)> {
    shard.checkpoint.map(|checkpoint| (checkpoint.fingerprint, checkpoint.rules))
}

/// The rules that a first checkpoint stands under: those of the other shards, or that are kept outside of them, else this
/// catalogue's.
async fn first_rules(
    parts: &Parts,
    standing: &Standing,
    mut table: Switches,
) -> anyhow::Result<(Fingerprint, RulesMark, Option<Switches>)> {
    if let Some((shard, (fingerprint, rules))) =
        standing.shards.iter().find_map(|shard| Some((shard, rules_of(shard)?)))
    {
        return Ok((fingerprint, rules, shard.switches.clone()));
    }
    if table.0.is_empty() && standing.shards.len() > 1 {
        // Nobody has counted since a version that kept it in the store.
        let before = parts.store.swap(&[look_before(&standing.partition)]).await?.pop();
        table = table_before(before)?.unwrap_or_default();
    }
    table.0.retain(|rules| rules.from != UNKNOWN);
    match (&table.0[..], table.last()) {
        (_, None) => Ok((standing.topic.fingerprint, RulesMark::default(), None)),
        ([_], Some(last)) => Ok((last.fingerprint, RulesMark::default(), None)),
        (entries, Some(last)) => Ok((last.fingerprint, table.mark(entries.len() - 1), Some(table.clone()))),
    }
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

/// Where the group has not begun on a partition it begins with the move: what lies before was never counted, so a recount must
/// not count it either (EXACTLY_ONCE, "origin"). Highest partition first, as members fix them, and noted outside before the
/// store has it.
async fn begin(parts: &Parts, changes: &[Change], is_noted: bool) -> anyhow::Result<()> {
    let is_new = |change: &&Change| {
        let mut shards = change.standing.shards.iter();
        shards.all(|shard| shard.checkpoint.is_none() && shard.origin.is_none())
    };
    let new = changes.iter().filter(is_new).map(|change| (change.standing.partition.clone(), change.to));
    let mut origins: Vec<(TopicPartition, i64)> = new.collect();
    origins.sort_by(|(one, _), (other, _)| other.cmp(one));
    if origins.is_empty() {
        return Ok(());
    }
    if is_noted {
        let notes = origins.iter().map(|(partition, to)| Note::Origin(partition.clone(), *to));
        parts.outside.add(&notes.collect::<Vec<_>>()).await.context("noting where the group begins")?;
        let register = parts.outside.read().await.context("noting where the group begins")?;
        for (partition, origin) in &mut origins {
            let topic_id = parts.log.identity(partition).await?.topic_id;
            *origin = register.noted(partition, topic_id).origin.unwrap_or(*origin);
        }
    }
    parts.store.fix_origins(&origins).await?;
    Ok(())
}

/// A checkpoint that is the partition's first names rules: their text is kept, as a member keeps it.
async fn keep_texts(parts: &Parts, changes: &[Change]) -> Result<(), StoreError> {
    let mut swaps: BTreeMap<String, Swap> = BTreeMap::new();
    for topic in changes.iter().map(|change| &change.standing.topic) {
        swaps.entry(topic.fingerprint.document()).or_insert_with(|| topic.keep_text());
    }
    parts.store.swap(&Vec::from_iter(swaps.into_values())).await.map(drop)
}

#[cfg(test)]
mod tests;
