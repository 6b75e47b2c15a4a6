//! Keys by name, table by table. A cursor is the table's number and the last name that was seen.

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable};

use super::{
    EmbeddedStore,
    tables::{COUNTERS, LAST, MEMBERS, PRESENCES, RECENT_SIZES, TOP_EXPIRIES, UNIQUES},
};
use crate::{
    model::Kind,
    store::{Inventory, KeyPage, StoreError},
};

/// Most keys of one page.
const PAGE_MAX: usize = 10_000;
/// The tables in the order in which they are listed.
pub(super) const KINDS: [Kind; 4] = [Kind::Unique, Kind::Recent, Kind::Top, Kind::Member];

#[async_trait]
impl Inventory for EmbeddedStore {
    async fn keys(&self, cursor: &str, limit: usize) -> Result<KeyPage, StoreError> {
        let doing = "listing keys";
        let limit = limit.clamp(1, PAGE_MAX);
        let (table, after) = match cursor.split_once('>') {
            _ if cursor.is_empty() => (0, None),
            Some((table, name)) => (table.parse().unwrap_or(KINDS.len()), Some(name)),
            None => (KINDS.len(), None),
        };
        let Some(kind) = KINDS.get(table).copied() else {
            let reason = format!("{cursor:?} is no cursor that an earlier page gave");
            return Err(StoreError::Refused { doing: doing.to_owned(), reason });
        };
        let names = self.reading(doing, |transaction| names(transaction, kind, after.unwrap_or(""), limit))?;
        let next = match names.last() {
            Some(last) if names.len() == limit => Some(format!("{table}>{last}")),
            _ => (table + 1 < KINDS.len()).then(|| format!("{}>", table + 1)),
        };
        Ok(KeyPage { keys: names.into_iter().map(|name| (name, kind)).collect(), cursor: next })
    }
}

/// Up to `limit` names of a kind behind `after`. No name is empty, so an empty one begins.
pub(super) fn names(
    transaction: &ReadTransaction,
    kind: Kind,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, redb::Error> {
    match kind {
        Kind::Count | Kind::Max => plain(&transaction.open_table(COUNTERS)?, after, limit),
        Kind::Last => plain(&transaction.open_table(LAST)?, after, limit),
        Kind::Unique => plain(&transaction.open_table(UNIQUES)?, after, limit),
        Kind::Recent => plain(&transaction.open_table(RECENT_SIZES)?, after, limit),
        Kind::Top => plain(&transaction.open_table(TOP_EXPIRIES)?, after, limit),
        Kind::Member => {
            // Of a set from which all was taken out, what is remembered of that may be left.
            let mut names = sets(&transaction.open_table(MEMBERS)?, after, limit)?;
            names.extend(sets(&transaction.open_table(PRESENCES)?, after, limit)?);
            names.sort_unstable();
            names.dedup();
            names.truncate(limit);
            Ok(names)
        }
    }
}

fn plain<V: redb::Value + 'static>(
    table: &impl ReadableTable<&'static str, V>,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, redb::Error> {
    let mut names = Vec::new();
    for row in table.range(after..)? {
        let (name, _) = row?;
        if name.value() != after {
            names.push(name.value().to_owned());
        }
        if names.len() == limit {
            break;
        }
    }
    Ok(names)
}

/// A set has a row per element: the next set is looked for behind all that this one can have.
fn sets<V: redb::Value + 'static>(
    table: &impl ReadableTable<(&'static str, &'static str), V>,
    after: &str,
    limit: usize,
) -> Result<Vec<String>, redb::Error> {
    let mut names: Vec<String> = Vec::new();
    let mut behind = after.to_owned();
    while names.len() < limit {
        // The least text that is greater than the name.
        let from = if behind.is_empty() { String::new() } else { format!("{behind}\0") };
        let Some(row) = table.range((from.as_str(), "")..)?.next().transpose()? else { break };
        behind = row.0.value().0.to_owned();
        names.push(behind.clone());
    }
    Ok(names)
}
