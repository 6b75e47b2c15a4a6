//! What expires: looked over by every reader from its moment on, removed a little at each flush.

use redb::{ReadTransaction, ReadableTable, TableHandle};

use super::{
    presences,
    tables::{COUNTERS, DOCUMENTS, EXPIRIES, NEVER, PRESENCES, STATUSES, Tables, UNIQUES},
};

/// Most rows that one flush removes because they have expired.
const SWEEP_MAX: usize = 1_000;

/// Moves a key's entry in the order of expiry; `None` is a key that does not exist.
pub(super) fn reschedule(
    tables: &mut Tables<'_>,
    table: &str,
    name: &str,
    old_ms: Option<i64>,
    new_ms: Option<i64>,
) -> Result<(), redb::Error> {
    if old_ms == new_ms {
        return Ok(());
    }
    if let Some(old) = old_ms.filter(|old| *old != NEVER) {
        tables.expiries.remove((old, table, name))?;
    }
    if let Some(new) = new_ms.filter(|new| *new != NEVER) {
        tables.expiries.insert((new, table, name), ())?;
    }
    Ok(())
}

/// Notes when a counter expires: the latest time that any rule has said. One that has expired already has no trace to leave.
pub(super) fn note_counter(
    tables: &mut Tables<'_>,
    name: &str,
    expire_at_ms: i64,
    now_ms: i64,
) -> Result<(), redb::Error> {
    let old_ms = tables.counter_expiries.get(name)?.map(|row| row.value());
    if expire_at_ms <= now_ms || old_ms.is_some_and(|old_ms| old_ms >= expire_at_ms) {
        return Ok(());
    }
    tables.counter_expiries.insert(name, expire_at_ms)?;
    reschedule(tables, COUNTERS.name(), name, old_ms, Some(expire_at_ms))
}

/// Forgets when a counter expires.
pub(super) fn forget_counter(tables: &mut Tables<'_>, name: &str) -> Result<(), redb::Error> {
    let old_ms = tables.counter_expiries.remove(name)?.map(|row| row.value());
    reschedule(tables, COUNTERS.name(), name, old_ms, None)
}

/// Whether something has expired and was not removed yet.
pub(super) fn is_due(transaction: &ReadTransaction, now_ms: i64) -> Result<bool, redb::Error> {
    let table = transaction.open_table(EXPIRIES)?;
    let first = table.first()?.map(|(key, _)| key.value().0);
    Ok(first.is_some_and(|expire_at_ms| expire_at_ms <= now_ms))
}

/// Removes expired keys, at most [`SWEEP_MAX`] rows.
pub(super) fn sweep(tables: &mut Tables<'_>, now_ms: i64) -> Result<(), redb::Error> {
    let mut removed = 0;
    while removed < SWEEP_MAX {
        let Some((expire_at_ms, table, name)) = first(tables)?.filter(|(expire_at_ms, ..)| *expire_at_ms <= now_ms)
        else {
            return Ok(());
        };
        if table == UNIQUES.name() {
            tables.uniques.remove(name.as_str())?;
        } else if table == DOCUMENTS.name() {
            tables.documents.remove(name.as_str())?;
        } else if table == STATUSES.name() {
            tables.statuses.remove(name.as_str())?;
        } else if table == COUNTERS.name() {
            tables.counters.remove(name.as_str())?;
            tables.counter_expiries.remove(name.as_str())?;
        } else if table == PRESENCES.name() {
            presences::forget(tables, &name)?;
        } else {
            removed += drop_window(tables, &name, SWEEP_MAX - removed)?;
            if removed >= SWEEP_MAX {
                // The rest of a large window goes at the next flush; its row of expiry still hides it.
                return Ok(());
            }
            tables.top_expiries.remove(name.as_str())?;
        }
        tables.expiries.remove((expire_at_ms, table.as_str(), name.as_str()))?;
        removed += 1;
    }
    Ok(())
}

fn first(tables: &Tables<'_>) -> Result<Option<(i64, String, String)>, redb::Error> {
    let row = tables.expiries.first()?;
    Ok(row.map(|(key, _)| {
        let (expire_at_ms, table, name) = key.value();
        (expire_at_ms, table.to_owned(), name.to_owned())
    }))
}

/// Removes up to `limit` elements of a window and says how many.
pub(super) fn drop_window(tables: &mut Tables<'_>, name: &str, limit: usize) -> Result<usize, redb::Error> {
    let mut elements = Vec::new();
    for row in tables.tops.range((name, "")..)? {
        let (key, _) = row?;
        let (window, element) = key.value();
        if window != name || elements.len() == limit {
            break;
        }
        elements.push(element.to_owned());
    }
    for element in &elements {
        tables.tops.remove((name, element.as_str()))?;
    }
    Ok(elements.len())
}
