//! Statuses of events: one row each, in which every group has its part.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, TableHandle};

use super::{
    expiry,
    tables::{DOCUMENTS, STATUSES, Tables},
};
use crate::model::{Answer, GroupStatus, Status};

/// What a row has: each group's status.
type Row = BTreeMap<String, Status>;

fn read(bytes: &[u8]) -> Result<Row, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| redb::Error::Corrupted(format!("a stored status: {error}")))
}

/// Writes what became of an event in a group. Of several groups the longest time to keep counts.
pub(super) fn write(
    tables: &mut Tables<'_>,
    event_id: &str,
    noted: &GroupStatus,
    now_ms: i64,
) -> Result<(), redb::Error> {
    let stored = tables.statuses.get(event_id)?.map(|row| (row.value().0, row.value().1.to_vec()));
    let old_ms = stored.as_ref().map(|(expire_at_ms, _)| *expire_at_ms);
    let alive = stored.filter(|(expire_at_ms, _)| *expire_at_ms > now_ms);
    let mut row = alive.as_ref().map_or_else(|| Ok(Row::new()), |(_, bytes)| read(bytes))?;
    let keep_ms = i64::try_from(noted.status.kept_ms()).unwrap_or(i64::MAX);
    let expire_at_ms = alive.map_or(0, |(at_ms, _)| at_ms).max(now_ms.saturating_add(keep_ms));
    row.insert(noted.group.to_string(), noted.status.clone());
    let bytes = serde_json::to_vec(&row).unwrap_or_default();
    tables.statuses.insert(event_id, (expire_at_ms, bytes.as_slice()))?;
    expiry::reschedule(tables, STATUSES.name(), event_id, old_ms, Some(expire_at_ms))
}

/// An event's statuses, and the document of its mark.
pub(super) fn answer(
    transaction: &ReadTransaction,
    event_id: &str,
    mark: &str,
    now_ms: i64,
) -> Result<Answer, redb::Error> {
    let row = transaction.open_table(STATUSES)?.get(event_id)?.map(|row| (row.value().0, row.value().1.to_vec()));
    let row = match row.filter(|(expire_at_ms, _)| *expire_at_ms > now_ms) {
        Some((_, bytes)) => read(&bytes)?,
        None => Row::new(),
    };
    let groups = row.into_iter().map(|(group, status)| GroupStatus { group: group.into(), status }).collect();
    let mark = transaction.open_table(DOCUMENTS)?.get(mark)?.map(|row| (row.value().0, row.value().1.to_vec()));
    Ok(Answer::Status { groups, mark: mark.filter(|(expire_at_ms, _)| *expire_at_ms > now_ms).map(|(_, bytes)| bytes) })
}
