//! From a closed generation to sections: one for each tenure and shard of the store.

use std::{
    collections::{BTreeMap, HashMap},
    sync::PoisonError,
};

use super::{Open, Progress, Sealed, SealedSection};
use crate::{
    core::shards::shard_of,
    model::{Checkpoint, Delta, Gap, Key, Section, ShardId, Statuses},
    runtime::{switching::first, tenure::TenureId},
};

type Deltas = Vec<(Key, Delta)>;

/// Splits a closed generation by tenure and shard. Void tenures are skipped (invariant 4).
pub(super) fn into_sections(open: Open) -> Sealed {
    let progress = open.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut deltas: HashMap<TenureId, Vec<Deltas>> = progress
        .iter()
        .map(|(id, progress)| (*id, vec![Deltas::new(); usize::from(progress.tenure.shards())]))
        .collect();
    let mut weight = 0;
    for (key, per_tenure) in open.deltas {
        let mut key = Some(key);
        let mut rest = per_tenure.into_iter().peekable();
        while let Some((id, delta)) = rest.next() {
            // The last tenure takes the key itself: nearly always there is only one.
            let name = if rest.peek().is_some() { key.clone() } else { key.take() };
            if let (Some(shards), Some(key)) = (deltas.get_mut(&id), name) {
                weight += delta.weight();
                let shard = shard_of(&key.name, shards.len() as ShardId);
                shards[usize::from(shard)].push((key, delta));
            }
        }
    }
    let mut shards: Vec<Vec<SealedSection>> = Vec::new();
    for (id, progress) in progress.into_iter().filter(|(_, progress)| progress.tenure.is_alive()) {
        let stored = progress.tenure.stored();
        shards.resize_with(shards.len().max(stored.len()), Vec::new);
        let deltas = deltas.remove(&id).unwrap_or_default();
        for ((shard, stored), deltas) in (0..).zip(stored).zip(deltas) {
            shards[usize::from(shard)].extend(section(&progress, shard, stored, deltas));
        }
    }
    let statuses = open.statuses.into_inner().unwrap_or_else(PoisonError::into_inner);
    weight += statuses.values().map(Vec::len).sum::<usize>();
    add_statuses(&mut shards, statuses);
    Sealed { shards, weight }
}

/// What became of events goes with their tenure's section of the shard that their id lies in.
fn add_statuses(shards: &mut [Vec<SealedSection>], statuses: BTreeMap<TenureId, Statuses>) {
    for (tenure, statuses) in statuses {
        let mut sections: Vec<Option<&mut SealedSection>> =
            shards.iter_mut().map(|sections| sections.iter_mut().find(|sealed| sealed.tenure.id == tenure)).collect();
        let count = ShardId::try_from(sections.len()).unwrap_or(ShardId::MAX);
        for status in statuses {
            if let Some(Some(sealed)) = sections.get_mut(usize::from(shard_of(&status.0, count))) {
                sealed.section.statuses.push(status);
            }
        }
    }
}

/// What a tenure brings to a shard. Nothing where the shard has all that the tenure has read.
///
/// Each shard goes from what it has itself to where the tenure is, never back: they differ after one of them fell back, and
/// one common end would count what the others have a second time (EXACTLY_ONCE, "Sections").
fn section(progress: &Progress, shard: ShardId, stored: Option<Checkpoint>, deltas: Deltas) -> Option<SealedSection> {
    let Progress { tenure, next_offset, newest_ms, gap } = progress;
    let found = tenure.found(shard);
    let from = stored.map_or(found.from, |stored| stored.offset);
    if *next_offset <= from {
        debug_assert!(deltas.is_empty(), "a record that the shard has must not change it");
        return None;
    }
    // A shard that has no checkpoint yet gets the table with its first one.
    let (rules, switches) = match stored {
        Some(stored) => (stored.rules, None),
        None => first(tenure.rules.as_ref()),
    };
    let section = Section {
        partition: tenure.partition.clone(),
        expect: stored,
        next: Checkpoint {
            offset: *next_offset,
            incarnation: stored.map_or(0, |stored| stored.incarnation),
            fingerprint: tenure.fingerprint,
            rules,
        },
        gap: gap.filter(|gap| found.from < gap.to).map(|gap| Gap { from: found.from, ..gap }),
        log_identity: tenure.log_identity(),
        switches,
        deltas,
        statuses: Statuses::new(),
    };
    Some(SealedSection { tenure: tenure.clone(), section, newest_ms: *newest_ms })
}
