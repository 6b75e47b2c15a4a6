//! One section: compare the checkpoint, check everything, then write.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::{
    collections, exchange, expiry, presences, statuses,
    tables::{SWITCHES_PART, Tables, identity_field},
};
use crate::{
    model::{Checkpoint, Delta, Outcome, Refusal, RefusalReason, Section},
    store::TOP_SUM_MAX,
};

/// Numbers that the section changes, by name: 128 bits, so that a sum is judged whole.
type Moves = BTreeMap<Box<str>, i128>;

/// Numbers to store, by name.
type Sums = Vec<(Box<str>, i64)>;

/// Applies a section, or says why not. An error is the disk's; the transaction is void then.
pub(super) fn section(tables: &mut Tables<'_>, section: &Section, now_ms: i64) -> Result<Outcome, redb::Error> {
    let name = section.partition.to_string();
    let next = section.next.to_string();
    let expect = section.expect.map(|checkpoint| checkpoint.to_string());
    let stored = tables.checkpoints.get(name.as_str())?.map(|text| text.value().to_owned());
    if stored.as_deref() == Some(&next) {
        return Ok(Outcome::AlreadyApplied);
    }
    if stored != expect {
        let stored: Result<Option<Checkpoint>, _> = stored.map(|text| text.parse()).transpose();
        let key = || "counters:checkpoints".to_owned();
        return Ok(stored.map_or_else(
            |_| Outcome::Refused(Refusal { key: key(), reason: RefusalReason::WrongType }),
            |stored| Outcome::Conflict { stored },
        ));
    }
    // A checkpoint that is exchanged is no one's to expect; a partition that has none yet has no place for that mark.
    if expect.is_none() && exchange::is_exchanged(tables, &section.partition)? {
        return Ok(Outcome::Conflict { stored: None });
    }
    let sums = match check(tables, section, now_ms)? {
        Ok(sums) => sums,
        Err(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    for (name, sum) in &sums {
        tables.counters.insert(&**name, sum)?;
    }
    for (key, delta) in &section.deltas {
        write(tables, &key.name, delta, now_ms)?;
    }
    for (event_id, noted) in &section.statuses {
        statuses::write(tables, event_id, noted, now_ms)?;
    }
    tables.checkpoints.insert(name.as_str(), next.as_str())?;
    if let Some(gap) = section.gap {
        tables.gaps.insert(format!("{name}:{}", gap.from).as_str(), gap.to)?;
    }
    note_log(tables, section)?;
    Ok(Outcome::Applied)
}

/// The sums that are to be stored, or what is in the way.
fn check(tables: &Tables<'_>, section: &Section, now_ms: i64) -> Result<Result<Sums, Refusal>, redb::Error> {
    let overflow = |key: &str| Refusal { key: key.to_owned(), reason: RefusalReason::Overflow };
    let mut moves = Moves::new();
    for (key, delta) in &section.deltas {
        match delta {
            Delta::Count(amount) => *moves.entry(key.name.clone()).or_insert(0) += i128::from(*amount),
            Delta::CountUntil { expire_at_ms, sum } if *expire_at_ms > now_ms => {
                *moves.entry(key.name.clone()).or_insert(0) += i128::from(*sum);
            }
            // Expired at once: it leaves no trace.
            Delta::CountUntil { .. } => {}
            Delta::Member { elements } => {
                for (element, membership) in elements {
                    let present = tables.members.get((&*key.name, &**element))?.is_some();
                    let first = (membership.first_is_add != present).then_some(membership.first_move.as_ref());
                    let first = first.flatten().map(|(counter, amount)| (counter, amount));
                    for (counter, amount) in first.into_iter().chain(&membership.later_moves) {
                        *moves.entry(counter.clone()).or_insert(0) += i128::from(*amount);
                    }
                }
            }
            Delta::MemberByTime(presences) => {
                presences::moves(tables, &key.name, presences, |counter, amount| {
                    *moves.entry(counter.into()).or_insert(0) += i128::from(amount);
                })?;
            }
            Delta::Top { sums, .. } => {
                for (element, amount) in sums {
                    let stored = collections::stored_sum(tables, &key.name, element, now_ms)?;
                    let sum = i128::from(stored) + i128::from(*amount);
                    if sum.abs() > i128::from(TOP_SUM_MAX) || amount.unsigned_abs() > TOP_SUM_MAX.unsigned_abs() {
                        return Ok(Err(overflow(&key.name)));
                    }
                }
            }
            Delta::Max(_) | Delta::Last { .. } | Delta::Unique { .. } | Delta::Recent { .. } => {}
        }
    }
    let mut sums = Vec::with_capacity(moves.len());
    for (name, amount) in moves {
        let stored = tables.counters.get(&*name)?.map_or(0, |stored| stored.value());
        // The change itself has to fit as well, as in Redis.
        match (i64::try_from(amount), i64::try_from(amount + i128::from(stored))) {
            (Ok(_), Ok(sum)) => sums.push((name, sum)),
            _ => return Ok(Err(overflow(&name))),
        }
    }
    Ok(Ok(sums))
}

fn write(tables: &mut Tables<'_>, name: &str, delta: &Delta, now_ms: i64) -> Result<(), redb::Error> {
    match delta {
        // Among the sums that were checked.
        Delta::Count(_) => Ok(()),
        Delta::CountUntil { expire_at_ms, .. } => expiry::note_counter(tables, name, *expire_at_ms, now_ms),
        Delta::Max(value) => {
            let stored = tables.counters.get(name)?.map(|stored| stored.value());
            if stored.is_none_or(|stored| *value > stored) {
                tables.counters.insert(name, value)?;
            }
            Ok(())
        }
        Delta::Last { time_ms, origin, value } => {
            let origin = origin.to_hex();
            let wins = tables.last.get(name)?.is_none_or(|stored| (*time_ms, origin.as_str()) > stored.value());
            if wins {
                tables.last.insert(name, (*time_ms, origin.as_str()))?;
                tables.counters.insert(name, value)?;
            }
            Ok(())
        }
        Delta::Unique { expire_at_ms, elements } => {
            collections::add_unique(tables, name, *expire_at_ms, elements.iter(), now_ms)
        }
        Delta::Recent { cap, entries } => collections::add_recent(tables, name, *cap, entries.iter()),
        Delta::Top { expire_at_ms, sums } => collections::add_top(tables, name, *expire_at_ms, sums.iter(), now_ms),
        Delta::Member { elements } => {
            for (element, membership) in elements {
                if membership.present_after {
                    tables.members.insert((name, &**element), ())?;
                } else {
                    tables.members.remove((name, &**element))?;
                }
            }
            Ok(())
        }
        Delta::MemberByTime(presences) => presences::write(tables, name, presences, now_ms),
    }
}

/// What stands beside the checkpoint: each known part by itself, so that a part which is not known now leaves what is stored.
fn note_log(tables: &mut Tables<'_>, section: &Section) -> Result<(), redb::Error> {
    let identity = &section.log_identity;
    let parts = [
        ("cluster_id", identity.cluster_id.clone()),
        ("topic_id", identity.topic_id.map(|id| id.to_string())),
        ("leader_epoch", identity.leader_epoch.map(|epoch| epoch.to_string())),
    ];
    for (part, value) in parts {
        if let Some(value) = value {
            tables.meta.insert(identity_field(&section.partition, part).as_str(), value.as_str())?;
        }
    }
    if let Some(switches) = &section.switches {
        let field = identity_field(&section.partition, SWITCHES_PART);
        tables.meta.insert(field.as_str(), switches.to_string().as_str())?;
    }
    Ok(())
}
