//! Switches of rules: what is to be done before a partition can be counted on, as a function of what the store's shards and the
//! table outside of them say (EXACTLY_ONCE, "Catalogue").
//!
//! Rules change at one offset X for all shards, however far each of them is and whichever copy of a shard comes back:
//!
//! 1. earlier switches are finished;
//! 2. the new rules are *announced* outside ([`UNKNOWN`] stands for X). Whoever sends what it has counted looks outside after
//!    it has fetched and before it sends, so nothing that is sent from then on by somebody who does not know of it was fetched
//!    later;
//! 3. X is the log's end, looked up behind the announcement: nothing that was sent before reaches beyond it. The entry is made
//!    outside, once and for ever, and copied to every shard;
//! 4. each shard goes under the old rules to exactly X, then under the new ones.
//!
//! Whoever takes over a partition does the next step that is missing, whoever has begun. An announcement is never taken back:
//! somebody may be about to make the entry.
//!
//! A store of one shard changes its rules where it stands, by one compare-and-set, and the entry is made outside behind that:
//! where it falls back, or is emptied, it goes to that X by the old rules once more. Its own table, which lies beside its
//! checkpoint, is always right about what it holds; where the one outside says something else (a copy came back that is
//! further than X), that is left aside.
//!
//! Longer than most files, since the steps of one shard and of several are read side by side.

use std::cmp::Ordering;

use crate::model::{Checkpoint, Fingerprint, MAX_SWITCHES, RulesMark, ShardId, Switch, Switches};

/// Stands for X in the table outside while it is not known yet: the rules are announced.
pub const UNKNOWN: i64 = i64::MAX;

/// What a shard has of a partition.
#[derive(Clone, Debug)]
pub struct ShardRules {
    /// Its checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// The first offset that it lacks: its checkpoint's, else the group's first one.
    pub from: i64,
    /// Its table; `None` where the rules have never changed.
    pub table: Option<Switches>,
}

/// What a member sees of a partition.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Each shard; at least one.
    pub shards: Vec<ShardRules>,
    /// The table outside of the store; `None` where it cannot be known.
    pub outside: Option<Switches>,
    /// The entry by whose rules, or later ones, a shard that begins anew is counted: everything was counted anew by them.
    pub recounted: usize,
    /// The rules that this member has.
    pub own: Fingerprint,
    /// The log's end, looked up after the shards and the table outside were read.
    pub log_end: i64,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The table outside becomes this one, if it is still as it was seen; then look again.
    Keep(Switches),
    /// A shard's checkpoint becomes this one, if it is still as it was seen, and its table, if one is given; then look again.
    Set {
        /// The shard.
        shard: ShardId,
        /// Its checkpoint afterwards.
        next: Checkpoint,
        /// Its table afterwards.
        table: Option<Switches>,
    },
    /// Count.
    Count(InForce),
}

/// The rules under which a partition is counted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The rules.
    pub fingerprint: Fingerprint,
    /// Their number in the table.
    pub entry: usize,
    /// The offset that must be reached exactly: there the next rules begin.
    pub end: Option<i64>,
    /// All switches.
    pub table: Switches,
}

impl InForce {
    /// The first offset that these rules count. The entry up to which all was counted anew has counted everything before it too.
    pub fn begin(&self, recounted: usize) -> i64 {
        match self.table.0.get(self.entry) {
            Some(rules) if self.entry > recounted => rules.from,
            _ => 0,
        }
    }
}

/// Why a partition cannot be counted on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SwitchError {
    /// A shard was counted under old rules beyond the offset where the new ones begin.
    #[error(
        "shard {shard} of the store has counted up to offset {counted_to} by the rules {rules}, but from offset {end} on others are \
         in force in the other shards: it fell back while a member of the former rules went on. Delete that shard's keys \
         (REDIS_KEY_PREFIX and its tag {{{shard}}}:), and it is counted again from the log; or count all anew under another \
         REDIS_KEY_PREFIX"
    )]
    Past {
        /// The shard.
        shard: ShardId,
        /// Its checkpoint.
        counted_to: i64,
        /// The rules that it counted by.
        rules: Fingerprint,
        /// Where they end.
        end: i64,
    },
    /// A shard's rules are not those of the table outside.
    #[error(
        "shard {0} of the store was counted by other rules than the other shards: the store was put together from copies that do \
         not belong together, or something else writes to it. Count anew under another REDIS_KEY_PREFIX"
    )]
    Differs(ShardId),
    /// At the cap.
    #[error("the rules of this partition have changed {MAX_SWITCHES} times; count anew under another REDIS_KEY_PREFIX")]
    TooMany,
}

/// A shard as it is understood: with a table, whether it stores one or not.
struct Known<'s> {
    shard: ShardId,
    seen: &'s ShardRules,
    table: Switches,
    in_force: usize,
}

impl Known<'_> {
    /// Its checkpoint, or the one that a shard without any begins with.
    fn checkpoint(&self) -> Checkpoint {
        let fingerprint = self.table.0.get(self.in_force).map_or_else(Fingerprint::default, |entry| entry.fingerprint);
        self.seen.checkpoint.unwrap_or(Checkpoint { offset: self.seen.from, fingerprint, ..Checkpoint::default() })
    }

    /// Puts another table beside its checkpoint.
    fn note(&self, table: &Switches) -> Step {
        let next = Checkpoint { rules: table.mark(self.in_force), ..self.checkpoint() };
        Step::Set { shard: self.shard, next, table: Some(table.clone()) }
    }

    /// It was counted beyond the end of its rules.
    fn past(&self, end: i64) -> SwitchError {
        let (counted_to, rules) = (self.seen.from, self.checkpoint().fingerprint);
        SwitchError::Past { shard: self.shard, counted_to, rules, end }
    }

    /// Puts the next rules of its table in force.
    fn enter(&self, entry: usize, rules: Switch) -> Step {
        let next = Checkpoint { fingerprint: rules.fingerprint, rules: self.table.mark(entry), ..self.checkpoint() };
        Step::Set { shard: self.shard, next, table: None }
    }
}

/// What is to be done next with a partition.
///
/// # Errors
/// Why nothing can be done: a person must mend it.
pub fn next(seen: &Seen) -> Result<Step, SwitchError> {
    match &seen.shards[..] {
        [shard] => alone(seen, shard),
        _ => together(seen),
    }
}

/// One shard: the rules change where it stands, unless it stood further before.
fn alone(seen: &Seen, shard: &ShardRules) -> Result<Step, SwitchError> {
    let outside = seen.outside.as_ref().map(|table| Switches(settled(table).to_vec()));
    let Some(stored) = shard.checkpoint else {
        return match outside {
            Some(outside) => begin(seen, shard.from, &outside),
            None => Ok(Step::Count(in_force(&Switches::only(seen.own), 0))),
        };
    };
    let known = known(0, shard, stored)?;
    if let Some(outside) = &outside {
        if known.table.0.len() > outside.0.len() && known.table.0.starts_with(&outside.0) {
            return Ok(Step::Keep(known.table));
        }
        let is_older = outside.0.len() > known.table.0.len() && outside.0.starts_with(&known.table.0);
        if is_older && outside.end_of(known.in_force).is_none_or(|end| stored.offset <= end) {
            return Ok(known.note(outside));
        }
        // Everything was counted anew by other rules than before, which the shard alone does not know.
        let is_recounted = seen.recounted > 0
            && stored.rules == RulesMark::default()
            && outside.0.get(seen.recounted).is_some_and(|rules| rules.fingerprint == stored.fingerprint)
            && outside.end_of(seen.recounted).is_none_or(|end| stored.offset <= end);
        if is_recounted {
            return Ok(Known { in_force: seen.recounted, ..known }.note(outside));
        }
    }
    if let (Some(rules), Some(end)) = (known.table.0.get(known.in_force + 1), known.table.end_of(known.in_force)) {
        return match stored.offset.cmp(&end) {
            Ordering::Less => Ok(Step::Count(in_force(&known.table, known.in_force))),
            Ordering::Equal => Ok(known.enter(known.in_force + 1, *rules)),
            Ordering::Greater => Err(known.past(end)),
        };
    }
    if stored.fingerprint == seen.own {
        return Ok(Step::Count(in_force(&known.table, known.in_force)));
    }
    let table = with(&known.table, seen.own, stored.offset)?;
    let next = Checkpoint { fingerprint: seen.own, rules: table.mark(table.0.len() - 1), ..stored };
    Ok(Step::Set { shard: 0, next, table: Some(table) })
}

/// One shard that holds nothing: it is new, or was emptied.
fn begin(seen: &Seen, from: i64, outside: &Switches) -> Result<Step, SwitchError> {
    let Some(last) = outside.last() else { return Ok(Step::Keep(Switches::only(seen.own))) };
    let entry = begins_with(outside, from, seen.recounted);
    match entry + 1 == outside.0.len() && last.fingerprint != seen.own {
        true => Ok(Step::Keep(with(outside, seen.own, from.max(last.from))?)),
        false => Ok(Step::Count(in_force(outside, entry))),
    }
}

/// Several shards: one table for all.
fn together(seen: &Seen) -> Result<Step, SwitchError> {
    let mut counted = Vec::new();
    for (shard, found) in (0..).zip(&seen.shards) {
        if let Some(stored) = found.checkpoint {
            counted.push(known(shard, found, stored)?);
        }
    }
    let table = seen.outside.clone().unwrap_or_default();
    if let Some(step) = settle(seen, &counted, &table)? {
        return Ok(step);
    }
    for shard in &counted {
        let same = shard.table.0.iter().zip(&table.0).take_while(|(own, outer)| own == outer).count();
        if same <= shard.in_force {
            return Err(SwitchError::Differs(shard.shard));
        }
    }
    let fresh = (0..).zip(&seen.shards).filter(|(_, found)| found.checkpoint.is_none());
    let fresh = fresh.map(|(shard, seen_of)| {
        let in_force = begins_with(&table, seen_of.from, seen.recounted);
        Known { shard, seen: seen_of, table: table.clone(), in_force }
    });
    let shards: Vec<Known<'_>> = counted.into_iter().chain(fresh).collect();
    for shard in &shards {
        let (end, counted_to) = (table.end_of(shard.in_force), shard.seen.from);
        if let Some(end) = end.filter(|end| *end < counted_to) {
            return Err(shard.past(end));
        }
        if shard.table != table {
            return Ok(shard.note(&table));
        }
        if let (Some(rules), true) = (table.0.get(shard.in_force + 1), end == Some(counted_to)) {
            return Ok(shard.enter(shard.in_force + 1, *rules));
        }
    }
    let entry = shards.iter().map(|shard| shard.in_force).min().unwrap_or(0);
    let rules = in_force(&table, entry);
    match rules.end.is_none() && rules.fingerprint != seen.own {
        true => Ok(Step::Keep(with(&table, seen.own, UNKNOWN)?)),
        false => Ok(Step::Count(rules)),
    }
}

/// What the table outside lacks: its first entry, entries that a shard has and it has lost, X of what is announced.
fn settle(seen: &Seen, counted: &[Known<'_>], table: &Switches) -> Result<Option<Step>, SwitchError> {
    let settled = settled(table);
    let announced = table.0.get(settled.len());
    if let Some(longest) = counted.iter().max_by_key(|shard| shard.table.0.len())
        && longest.table.0.len() > settled.len()
    {
        return match longest.table.0.starts_with(settled) {
            true => Ok(Some(Step::Keep(longest.table.clone()))),
            false => Err(SwitchError::Differs(longest.shard)),
        };
    }
    if table.0.is_empty() {
        return Ok(Some(Step::Keep(Switches::only(seen.own))));
    }
    let Some(announced) = announced else { return Ok(None) };
    // Never before an earlier switch, nor before what a shard has: both only where the log has lost its end.
    let froms = seen.shards.iter().map(|shard| shard.from).chain(settled.iter().map(|rules| rules.from));
    let from = froms.fold(seen.log_end, i64::max);
    Ok(Some(Step::Keep(with(&Switches(settled.to_vec()), announced.fingerprint, from)?)))
}

/// The entries that never change.
fn settled(table: &Switches) -> &[Switch] {
    let is_announced = table.last().is_some_and(|last| last.from == UNKNOWN);
    &table.0[..table.0.len() - usize::from(is_announced)]
}

fn with(table: &Switches, fingerprint: Fingerprint, from: i64) -> Result<Switches, SwitchError> {
    if table.0.len() >= MAX_SWITCHES {
        return Err(SwitchError::TooMany);
    }
    Ok(table.with(Switch { fingerprint, from }))
}

fn in_force(table: &Switches, entry: usize) -> InForce {
    let fingerprint = table.0.get(entry).map_or_else(Fingerprint::default, |rules| rules.fingerprint);
    InForce { fingerprint, entry, end: table.end_of(entry), table: table.clone() }
}

/// A shard that has a checkpoint.
fn known<'s>(shard: ShardId, seen: &'s ShardRules, stored: Checkpoint) -> Result<Known<'s>, SwitchError> {
    let in_force = stored.rules.in_force as usize;
    if stored.rules == RulesMark::default() {
        return Ok(Known { shard, seen, table: Switches::only(stored.fingerprint), in_force });
    }
    let table = seen.table.clone().unwrap_or_default();
    let fits = table.mark(in_force) == stored.rules
        && table.0.get(in_force).is_some_and(|rules| rules.fingerprint == stored.fingerprint);
    if fits { Ok(Known { shard, seen, table, in_force }) } else { Err(SwitchError::Differs(shard)) }
}

/// The entry that a shard without a checkpoint begins with: the rules that count its first offset.
pub fn begins_with(table: &Switches, from: i64, recounted: usize) -> usize {
    let first = table.0.iter().rposition(|rules| rules.from <= from).unwrap_or(0);
    first.max(recounted).min(table.0.len().saturating_sub(1))
}

#[cfg(test)]
mod tests;
