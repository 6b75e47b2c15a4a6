//! What this member knows of its group, for health, metrics and the API.

use std::sync::{Arc, PoisonError, RwLock};

use super::measure;
use crate::model::{MemberId, Roster};

/// This member in its group.
pub struct Membership {
    /// The counting group (`KAFKA_CONSUMER_GROUP`).
    pub group: String,
    /// This member's name.
    pub me: MemberId,
    /// Name of the machine.
    pub host: String,
    roster: RwLock<Arc<Roster>>,
}

impl Membership {
    /// A member that has not been heard of yet.
    pub fn new(group: String, me: MemberId, host: String) -> Self {
        Self { group, me, host, roster: RwLock::default() }
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
}
