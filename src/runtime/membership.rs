//! What this member knows of its group, for health, metrics and the API.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::measure;
use crate::{
    core::card::StandBy,
    model::{MemberId, Roster},
};

/// This member in its group.
pub struct Membership {
    /// The counting group (`KAFKA_CONSUMER_GROUP`).
    pub group: String,
    /// This member's name.
    pub me: MemberId,
    /// Name of the machine.
    pub host: String,
    roster: RwLock<Arc<Roster>>,
    /// Topics that others count by other rules.
    stands_by: Mutex<BTreeSet<String>>,
}

impl Membership {
    /// A member that has not been heard of yet.
    pub fn new(group: String, me: MemberId, host: String) -> Self {
        Self { group, me, host, roster: RwLock::default(), stands_by: Mutex::default() }
    }

    /// The group as the last heartbeat showed it; empty before the first one.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the group knows this member, as far as it knows.
    pub fn is_member(&self) -> bool {
        self.roster().members.contains_key(&self.me)
    }

    /// Takes note of a roster.
    pub fn note(&self, roster: Arc<Roster>) {
        let held = roster.leases.values().filter(|lease| lease.holder == self.me).count();
        measure::standing(roster.members.len(), held);
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = roster;
    }

    /// Says for which topics this member waits, where that has changed.
    pub fn stand_by(&self, standing: &[StandBy]) {
        let own = || standing.iter().filter(|standing| standing.member == self.me);
        let topics: BTreeSet<String> = own().map(|standing| standing.topic.clone()).collect();
        let mut known = self.stands_by.lock().unwrap_or_else(PoisonError::into_inner);
        for StandBy { topic, counts, rules, .. } in own().filter(|standing| !known.contains(&standing.topic)) {
            tracing::warn!(%topic, member = %counts,
                "stands by for this topic: member {counts} counts it by other rules ({rules}…), which stay in force until the last \
                 of their members has gone; stop those, or give this process their catalogue");
        }
        for topic in known.difference(&topics) {
            tracing::info!(%topic, "stands by no more: this member's rules may come into force");
        }
        *known = topics;
    }
}
