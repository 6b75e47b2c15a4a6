//! Reads of one committed state.

use std::{cmp::Reverse, collections::BinaryHeap, ops::Bound};

use redb::{ReadTransaction, ReadableTable};

use super::{
    collections::recent_element,
    hyperloglog::Registers,
    statuses,
    tables::{COUNTERS, MEMBERS, RECENTS, SWITCHES_PART, TOP_EXPIRIES, TOPS, UNIQUES, identity_field},
};
use crate::{
    model::{Answer, LogIdentity, Query, RecentItem, ScanPage, Switches, SwitchesError, TopItem, TopicPartition},
    store::StoreError,
};

/// Most elements on a page of a set.
const PAGE_MAX: usize = 10_000;
/// Begins a cursor.
const SEEN: char = '>';

/// What the log said of itself.
pub(super) fn log_identity(
    meta: &impl ReadableTable<&'static str, &'static str>,
    partition: &TopicPartition,
) -> Result<LogIdentity, redb::Error> {
    let part = |part: &str| -> Result<Option<String>, redb::Error> {
        Ok(meta.get(identity_field(partition, part).as_str())?.map(|value| value.value().to_owned()))
    };
    let unreadable = |part: &str| redb::Error::Corrupted(format!("the stored {part} of {partition} cannot be read"));
    Ok(LogIdentity {
        cluster_id: part("cluster_id")?,
        topic_id: part("topic_id")?.map(|id| id.parse()).transpose().map_err(|_| unreadable("topic id"))?,
        leader_epoch: part("leader_epoch")?
            .map(|epoch| epoch.parse())
            .transpose()
            .map_err(|_| unreadable("leader epoch"))?,
    })
}

/// The table of switches of a partition.
pub(super) fn switches(
    meta: &impl ReadableTable<&'static str, &'static str>,
    partition: &TopicPartition,
) -> Result<Option<Switches>, redb::Error> {
    let stored = meta.get(identity_field(partition, SWITCHES_PART).as_str())?.map(|text| text.value().parse());
    stored.transpose().map_err(|error: SwitchesError| redb::Error::Corrupted(error.to_string()))
}

/// The answer to one query.
pub(super) fn answer(transaction: &ReadTransaction, query: &Query, now_ms: i64) -> Result<Answer, redb::Error> {
    Ok(match query {
        Query::Counter(name) => {
            Answer::Counter(transaction.open_table(COUNTERS)?.get(name.as_str())?.map(|number| number.value()))
        }
        Query::Unique(name) => {
            let table = transaction.open_table(UNIQUES)?;
            let row = table.get(name.as_str())?;
            let live = row.as_ref().map(|row| row.value()).filter(|(expire_at_ms, _)| *expire_at_ms > now_ms);
            let unreadable = || redb::Error::Corrupted(format!("unique {name:?} has no registers"));
            let registers = live.map(|(_, bytes)| Registers::from_bytes(bytes).ok_or_else(unreadable)).transpose()?;
            Answer::Unique(registers.map(|registers| registers.estimate()).filter(|estimate| *estimate > 0))
        }
        Query::Recent { key, limit } => recent(transaction, key, *limit)?,
        Query::Top { key, limit } => top(transaction, key, *limit, now_ms)?,
        Query::IsMember { key, element } => {
            let table = transaction.open_table(MEMBERS)?;
            let first = table.range((key.as_str(), "")..)?.next().transpose()?;
            let exists = first.is_some_and(|(row, _)| row.value().0 == key);
            Answer::IsMember { exists, member: table.get((key.as_str(), element.as_str()))?.is_some() }
        }
        Query::Status { event_id, mark } => statuses::answer(transaction, event_id, mark, now_ms)?,
        Query::Members { key, cursor, limit } => members(transaction, key, cursor, (*limit).clamp(1, PAGE_MAX))?,
    })
}

fn recent(transaction: &ReadTransaction, key: &str, limit: usize) -> Result<Answer, redb::Error> {
    let table = transaction.open_table(RECENTS)?;
    let mut items = Vec::new();
    // No text is greater than one that begins with the greatest character: members begin with hexadecimal digits.
    for row in table.range((key, i64::MIN, "")..(key, i64::MAX, "\u{10ffff}"))?.rev().take(limit) {
        let (row, _) = row?;
        let (_, time_ms, member) = row.value();
        items.push(RecentItem { element: recent_element(member).to_owned(), time_ms });
    }
    Ok(Answer::Recent(items))
}

/// Looks at the whole window and keeps the `limit` highest.
fn top(transaction: &ReadTransaction, key: &str, limit: usize, now_ms: i64) -> Result<Answer, redb::Error> {
    let expire_at_ms = transaction.open_table(TOP_EXPIRIES)?.get(key)?.map(|row| row.value());
    if limit == 0 || expire_at_ms.is_none_or(|expire_at_ms| expire_at_ms <= now_ms) {
        return Ok(Answer::Top(Vec::new()));
    }
    let table = transaction.open_table(TOPS)?;
    let mut highest: BinaryHeap<Reverse<(i64, String)>> = BinaryHeap::new();
    for row in table.range((key, "")..)? {
        let (row, sum) = row?;
        let ((window, element), sum) = (row.value(), sum.value());
        if window != key {
            break;
        }
        let lowest = highest.peek().map(|Reverse((sum, element))| (*sum, element.as_str()));
        if highest.len() < limit || lowest.is_some_and(|lowest| (sum, element) > lowest) {
            highest.push(Reverse((sum, element.to_owned())));
            if highest.len() > limit {
                highest.pop();
            }
        }
    }
    let sorted = highest.into_sorted_vec();
    Ok(Answer::Top(sorted.into_iter().map(|Reverse((sum, element))| TopItem { element, sum }).collect()))
}

/// A cursor as pages give it; an empty one begins.
pub(super) fn check_cursor(doing: &str, cursor: &str) -> Result<(), StoreError> {
    let is_one = cursor.is_empty() || cursor.starts_with(SEEN);
    if is_one { Ok(()) } else { Err(StoreError::no_cursor(doing, cursor)) }
}

/// The cursor is the last element that was seen, after a mark that tells it from the empty cursor of the beginning.
fn members(transaction: &ReadTransaction, key: &str, cursor: &str, limit: usize) -> Result<Answer, redb::Error> {
    let table = transaction.open_table(MEMBERS)?;
    let from = match cursor.strip_prefix(SEEN) {
        Some(seen) => Bound::Excluded((key, seen)),
        None => Bound::Included((key, "")),
    };
    let mut elements = Vec::new();
    for row in table.range::<(&str, &str)>((from, Bound::Unbounded))? {
        let (row, _) = row?;
        let (set, element) = row.value();
        if set != key {
            break;
        }
        if elements.len() == limit {
            let cursor = elements.last().map(|last| format!("{SEEN}{last}"));
            return Ok(Answer::Members { elements, cursor });
        }
        elements.push(element.to_owned());
    }
    Ok(Answer::Members { elements, cursor: None })
}

/// A page of counters in the order of their names; the cursor is the last name that was seen.
pub(super) fn scan(
    transaction: &ReadTransaction,
    prefix: &str,
    cursor: &str,
    limit: usize,
) -> Result<ScanPage, redb::Error> {
    let table = transaction.open_table(COUNTERS)?;
    let from = match cursor.strip_prefix(SEEN) {
        Some(seen) => Bound::Excluded(seen),
        None => Bound::Included(prefix),
    };
    let mut counters: Vec<(String, i64)> = Vec::new();
    for row in table.range::<&str>((from, Bound::Unbounded))? {
        let (name, number) = row?;
        if !name.value().starts_with(prefix) {
            break;
        }
        if counters.len() == limit {
            let cursor = counters.last().map(|(last, _)| format!("{SEEN}{last}"));
            return Ok(ScanPage { counters, cursor });
        }
        counters.push((name.value().to_owned(), number.value()));
    }
    Ok(ScanPage { counters, cursor: None })
}
