//! Stand-in.
use std::collections::BTreeMap;

use super::Targets;
use crate::{
    core::card::Card,
    model::{Lease, MemberId, TopicPartition},
};

pub(super) fn assign(
    cards: &BTreeMap<MemberId, Card>,
    partitions: &[TopicPartition],
    leases: &BTreeMap<TopicPartition, Lease>,
) -> Targets {
    let quota = partitions.len().div_ceil(cards.len().max(1));
    let floor = partitions.len() / cards.len().max(1);
    let mut load: BTreeMap<&MemberId, usize> = cards.keys().map(|id| (id, 0)).collect();
    let mut extra = partitions.len() - floor * cards.len().max(1).min(partitions.len().max(1));
    let mut targets = Targets::new();
    let mut free = Vec::new();
    for partition in partitions {
        let holder = leases.get(partition).map(|lease| &lease.holder);
        match holder.filter(|id| cards.get(*id).is_some_and(|card| card.counts(partition))) {
            Some(id) if load[id] < floor || (load[id] < quota && load[id] == floor && extra > 0) => {
                if load[id] == floor {
                    extra -= 1;
                }
                *load.entry(id).or_default() += 1;
                targets.insert(partition.clone(), id.clone());
            }
            _ => free.push(partition),
        }
    }
    for partition in free {
        let able = cards.iter().filter(|(_, card)| card.counts(partition)).map(|(id, _)| id);
        if let Some(id) = able.min_by_key(|id| load[id]) {
            if let Some((key, _)) = cards.get_key_value(id) {
                *load.entry(key).or_default() += 1;
            }
            targets.insert(partition.clone(), id.clone());
        }
    }
    targets
}
