//! What a member does with its leases: a function of what it sees and of what it does at the moment.
//!
//! Every member computes the same targets from the same roster ([`super::assignment`]); this says how it gets there, one
//! partition at a time, so that only partitions that move pause, and those for as short as can be:
//!
//! | the target is | the lease is | then |
//! |---|---|---|
//! | this member | free | claims it, and counts once the roster says that it holds it |
//! | this member | held by another one | reads the duplicate window (*warms*), then stands as `next` |
//! | another one | this member's | counts on until the target stands as `next`; then stops, flushes, releases |
//! | another one | not this member's | stops; withdraws where it stands as `next` |

use std::collections::{BTreeMap, BTreeSet};

use super::{
    assignment,
    card::{self, StandBy},
};
use crate::model::{Lease, LeaseStep, MemberId, Roster, TopicPartition};

/// What a member does with a partition at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It reads the duplicate window.
    Warming,
    /// It has read the window and waits for the lease.
    Warm,
    /// It counts.
    Counting,
    /// It finishes and flushes what it has counted.
    Stopping,
}

/// Who should count what.
pub type Targets = BTreeMap<TopicPartition, MemberId>;

/// What a member is to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// To be told to the store.
    pub steps: Vec<(TopicPartition, LeaseStep)>,
    /// To be begun without a lease: the duplicate window only.
    pub warm: Vec<TopicPartition>,
    /// To be counted: this member holds them.
    pub count: Vec<TopicPartition>,
    /// To be stopped.
    pub stop: Vec<TopicPartition>,
    /// A move is pending that this member takes part in, so that it looks often.
    pub is_moving: bool,
}

/// Who should count what, and who stands by, from a roster alone: the same for every member that sees it.
pub fn targets(roster: &Roster) -> (Targets, Vec<StandBy>) {
    let mut cards = card::cards(roster);
    let partitions = card::partitions(&cards);
    let standing = card::stand_by(&mut cards, roster);
    let eligible = cards.iter().map(|(member, card)| (MemberId::clone(member), card.eligible(&partitions))).collect();
    // Whoever waits for a partition has it already: else a member that comes amid a move would have others move back.
    let owner = |lease: &Lease| MemberId::clone(lease.next.as_ref().unwrap_or(&lease.holder));
    let held = roster.leases.iter().map(|(partition, lease)| (partition.clone(), owner(lease)));
    (assignment::assign(&eligible, &partitions, &held.collect()), standing)
}

/// What member `me` is to do, given who should count what and what it does at the moment.
pub fn orders(me: &MemberId, targets: &Targets, roster: &Roster, doing: &BTreeMap<TopicPartition, Phase>) -> Orders {
    let mine = targets.iter().filter(|(_, target)| *target == me).map(|(partition, _)| partition);
    let is_party = |lease: &Lease| lease.holder == *me || lease.next.as_ref() == Some(me);
    let leased = roster.leases.iter().filter(|(_, lease)| is_party(lease)).map(|(partition, _)| partition);
    let concerned: BTreeSet<&TopicPartition> = mine.chain(leased).chain(doing.keys()).collect();
    let mut orders = Orders::default();
    for partition in concerned {
        let (lease, phase) = (roster.leases.get(partition), doing.get(partition).copied());
        match targets.get(partition) {
            Some(target) if target == me => orders.take(me, partition, lease, phase),
            target => orders.leave(me, partition, target, lease, phase),
        }
    }
    orders
}

impl Orders {
    /// The partition should be counted by this member.
    fn take(&mut self, me: &MemberId, partition: &TopicPartition, lease: Option<&Lease>, phase: Option<Phase>) {
        match (lease, phase) {
            // What is being stopped is begun again when it has ended.
            (_, Some(Phase::Stopping)) => self.is_moving = true,
            (None, _) => {
                // Also what it counts already: the store lost the lease.
                self.steps.push((partition.clone(), LeaseStep::Claim));
                self.is_moving = true;
            }
            (Some(lease), phase) if lease.holder == *me => {
                if phase != Some(Phase::Counting) {
                    self.count.push(partition.clone());
                }
            }
            (Some(lease), phase) => {
                self.is_moving = true;
                match phase {
                    None => self.warm.push(partition.clone()),
                    Some(Phase::Warm) if lease.next.is_none() => {
                        self.steps.push((partition.clone(), LeaseStep::Wait));
                    }
                    // It was taken for dead and is not: the other one counts now, and gives the partition back warmed.
                    Some(Phase::Counting) => self.stop.push(partition.clone()),
                    Some(Phase::Warming | Phase::Warm | Phase::Stopping) => {}
                }
            }
        }
    }

    /// The partition should be counted by another member, or by nobody.
    fn leave(
        &mut self,
        me: &MemberId,
        partition: &TopicPartition,
        target: Option<&MemberId>,
        lease: Option<&Lease>,
        phase: Option<Phase>,
    ) {
        let holds = lease.is_some_and(|lease| lease.holder == *me);
        let next = lease.and_then(|lease| lease.next.as_ref());
        match phase {
            Some(Phase::Stopping) => self.is_moving = true,
            Some(Phase::Counting) if holds && target.is_some() && next != target => self.is_moving = true,
            Some(_) => {
                self.stop.push(partition.clone());
                self.is_moving |= holds;
            }
            None if holds => {
                self.steps.push((partition.clone(), LeaseStep::Release));
                self.is_moving = true;
            }
            None => {}
        }
        if next == Some(me) {
            self.steps.push((partition.clone(), LeaseStep::Withdraw));
        }
    }
}

#[cfg(test)]
mod tests;
