//! How uniques, histories and rankings are written.

use redb::{ReadableTable, TableHandle};

use super::{
    expiry,
    hyperloglog::Registers,
    tables::{NEVER, TOPS, Tables, UNIQUES},
};
use crate::model::{Element, Origin, RecentEntry};

/// Adds elements to a unique. One that has expired begins anew; one that expires in the past is gone at once.
pub(super) fn add_unique<'a>(
    tables: &mut Tables<'_>,
    name: &str,
    expire_at_ms: Option<i64>,
    elements: impl Iterator<Item = &'a Element>,
    now_ms: i64,
) -> Result<(), redb::Error> {
    let stored = tables.uniques.get(name)?.map(|row| (row.value().0, Registers::from_bytes(row.value().1)));
    let old_ms = stored.as_ref().map(|(expire_at_ms, _)| *expire_at_ms);
    let live = stored.filter(|(expire_at_ms, _)| *expire_at_ms > now_ms);
    let new_ms = expire_at_ms.or(live.as_ref().map(|(old_ms, _)| *old_ms)).unwrap_or(NEVER);
    if new_ms <= now_ms {
        tables.uniques.remove(name)?;
        return expiry::reschedule(tables, UNIQUES.name(), name, old_ms, None);
    }
    let mut registers = match live {
        Some((_, Some(registers))) => registers,
        Some((_, None)) => return Err(redb::Error::Corrupted(format!("unique {name:?} has no registers"))),
        None => Registers::new(),
    };
    elements.for_each(|element| registers.add(element));
    tables.uniques.insert(name, (new_ms, registers.to_bytes().as_slice()))?;
    expiry::reschedule(tables, UNIQUES.name(), name, old_ms, Some(new_ms))
}

/// Adds entries to a history and keeps the `cap` newest.
pub(super) fn add_recent<'a>(
    tables: &mut Tables<'_>,
    name: &str,
    cap: usize,
    entries: impl Iterator<Item = &'a RecentEntry>,
) -> Result<(), redb::Error> {
    let stored = tables.recent_sizes.get(name)?.map_or(0, |size| size.value());
    let mut size = stored;
    for entry in entries {
        let member = format!("{}{}", entry.origin.to_hex(), entry.element);
        if tables.recents.insert((name, entry.time_ms, member.as_str()), ())?.is_none() {
            size += 1;
        }
    }
    let surplus = size.saturating_sub(cap as u64);
    if surplus > 0 {
        let mut oldest = Vec::new();
        for row in tables.recents.range((name, i64::MIN, "")..)?.take(surplus as usize) {
            let (key, ()) = row.map(|(key, value)| (key, value.value()))?;
            let (_, time_ms, member) = key.value();
            oldest.push((time_ms, member.to_owned()));
        }
        for (time_ms, member) in oldest {
            tables.recents.remove((name, time_ms, member.as_str()))?;
        }
    }
    if size != stored {
        tables.recent_sizes.insert(name, size - surplus)?;
    }
    Ok(())
}

/// The element of a history's row.
pub(super) fn recent_element(member: &str) -> &str {
    member.get(Origin::WIDTH..).unwrap_or_default()
}

/// A sum as it counts now: 0 in a window that has expired or does not exist.
pub(super) fn stored_sum(tables: &Tables<'_>, name: &str, element: &str, now_ms: i64) -> Result<i64, redb::Error> {
    let lives = tables.top_expiries.get(name)?.is_some_and(|expire_at_ms| expire_at_ms.value() > now_ms);
    Ok(if lives { tables.tops.get((name, element))?.map_or(0, |sum| sum.value()) } else { 0 })
}

/// Adds to the sums of a window. One that has expired begins anew; one that expires in the past is gone at once.
pub(super) fn add_top<'a>(
    tables: &mut Tables<'_>,
    name: &str,
    expire_at_ms: Option<i64>,
    sums: impl Iterator<Item = (&'a Element, &'a i64)>,
    now_ms: i64,
) -> Result<(), redb::Error> {
    let old_ms = tables.top_expiries.get(name)?.map(|expire_at_ms| expire_at_ms.value());
    let live_ms = old_ms.filter(|old_ms| *old_ms > now_ms);
    let new_ms = expire_at_ms.or(live_ms).unwrap_or(NEVER);
    if old_ms.is_some() && (live_ms.is_none() || new_ms <= now_ms) {
        expiry::drop_window(tables, name, usize::MAX)?;
        tables.top_expiries.remove(name)?;
    }
    if new_ms <= now_ms {
        return expiry::reschedule(tables, TOPS.name(), name, old_ms, None);
    }
    for (element, amount) in sums {
        let stored = tables.tops.get((name, &**element))?.map_or(0, |sum| sum.value());
        // Checked before; the limit is far below 64 bits.
        tables.tops.insert((name, &**element), stored.saturating_add(*amount))?;
    }
    tables.top_expiries.insert(name, new_ms)?;
    expiry::reschedule(tables, TOPS.name(), name, old_ms, Some(new_ms))
}
