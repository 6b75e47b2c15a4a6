//! Sets whose latest event decides: what is kept of each element, and how long of those that were taken out.

use redb::{ReadableTable, TableHandle};

use super::{
    expiry,
    tables::{NEVER, PRESENCES, PresenceRow, Tables},
};
use crate::model::{Element, Origin, Presence, Presences};

/// Between set and element in the order of expiry: no name has a control character.
const SEPARATOR: char = '\0';

/// What is kept of an element, with the time at which it is forgotten.
pub(super) fn stored(tables: &Tables<'_>, set: &str, element: &str) -> Result<Option<(Presence, i64)>, redb::Error> {
    let Some(row) = tables.presences.get((set, element))? else { return Ok(None) };
    let (time_ms, origin, is_in, counter, forget_at_ms) = row.value();
    let unreadable = || redb::Error::Corrupted(format!("what is kept of {element:?} in {set:?} cannot be read"));
    let origin = Origin::from_hex(origin).ok_or_else(unreadable)?;
    let counter = (!counter.is_empty()).then(|| Element::from(counter));
    Ok(Some((Presence { time_ms, origin, is_in, counter }, forget_at_ms)))
}

/// Calls `moved` with each counter that the elements move, and by how much.
pub(super) fn moves(
    tables: &Tables<'_>,
    set: &str,
    presences: &Presences,
    mut moved: impl FnMut(&str, i64),
) -> Result<(), redb::Error> {
    for (element, presence) in &presences.elements {
        let before = stored(tables, set, element)?.map(|(before, _)| before);
        if before.as_ref().is_some_and(|before| !presence.is_after(before)) {
            continue;
        }
        let was_in = tables.members.get((set, &**element))?.is_some();
        presence.moves(before.as_ref(), was_in).for_each(|(counter, amount)| moved(counter, amount));
    }
    Ok(())
}

/// Writes what the elements are now.
pub(super) fn write(tables: &mut Tables<'_>, set: &str, presences: &Presences, now_ms: i64) -> Result<(), redb::Error> {
    for (element, presence) in &presences.elements {
        let before = stored(tables, set, element)?;
        if before.as_ref().is_some_and(|(before, _)| !presence.is_after(before)) {
            continue;
        }
        // By the time at which it is stored, not the event's: a recount of old records needs it as long as counting does.
        let forget_at_ms = if presence.is_in { NEVER } else { now_ms.saturating_add(presences.tombstones_ms) };
        let Presence { time_ms, origin, is_in, counter } = presence;
        let row = (*time_ms, &*origin.to_hex(), *is_in, counter.as_deref().unwrap_or_default(), forget_at_ms);
        tables.presences.insert((set, &**element), row)?;
        if *is_in {
            tables.members.insert((set, &**element), ())?;
        } else {
            tables.members.remove((set, &**element))?;
        }
        let name = format!("{set}{SEPARATOR}{element}");
        let old_ms = before.map(|(_, forget_at_ms)| forget_at_ms);
        expiry::reschedule(tables, PRESENCES.name(), &name, old_ms, Some(forget_at_ms))?;
    }
    Ok(())
}

/// Forgets an element that was taken out, by its name in the order of expiry.
pub(super) fn forget(tables: &mut Tables<'_>, name: &str) -> Result<(), redb::Error> {
    if let Some((set, element)) = name.split_once(SEPARATOR) {
        tables.presences.remove((set, element))?;
    }
    Ok(())
}

/// Removes all that is kept of a set's elements.
pub(super) fn remove(tables: &mut Tables<'_>, set: &str) -> Result<(), redb::Error> {
    let mut rows = Vec::new();
    for row in tables.presences.range((set, "")..)? {
        let (key, row) = row?;
        let (name, element) = key.value();
        if name != set {
            break;
        }
        rows.push((element.to_owned(), row.value().4));
    }
    for (element, forget_at_ms) in rows {
        tables.presences.remove((set, element.as_str()))?;
        let name = format!("{set}{SEPARATOR}{element}");
        expiry::reschedule(tables, PRESENCES.name(), &name, Some(forget_at_ms), None)?;
    }
    Ok(())
}

/// Takes over what another store keeps of a set's elements, of which nothing may be there.
pub(super) fn take(
    tables: &mut Tables<'_>,
    from: &impl ReadableTable<(&'static str, &'static str), PresenceRow<'static>>,
    set: &str,
) -> Result<(), redb::Error> {
    for row in from.range((set, "")..)? {
        let (key, row) = row?;
        let (name, element) = key.value();
        if name != set {
            break;
        }
        tables.presences.insert((set, element), row.value())?;
        let name = format!("{set}{SEPARATOR}{element}");
        expiry::reschedule(tables, PRESENCES.name(), &name, None, Some(row.value().4))?;
    }
    Ok(())
}
