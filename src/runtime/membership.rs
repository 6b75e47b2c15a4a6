//! What this member knows of its group, for health, metrics and the API.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use crate::{
    core::{
        card::{StandBy, digest},
        switches::UNKNOWN,
    },
    model::{MemberId, Roster, StoredPosition, Switches},
};

/// This member in its group.
pub struct Membership {
    /// The group: that of counting (`KAFKA_CONSUMER_GROUP`), or one of deliveries.
    pub group: String,
    /// This member's name.
    pub me: MemberId,
    /// Name of the machine.
    pub host: String,
    roster: RwLock<Arc<Roster>>,
    /// Topics that others count by other rules.
    stands_by: Mutex<BTreeSet<String>>,
    /// By topic, the first digits of the rules that the store says count it.
    last_rules: RwLock<BTreeMap<String, String>>,
}

impl Membership {
    /// A member that has not been heard of yet.
    pub fn new(group: String, me: MemberId, host: String) -> Self {
        Self { group, me, host, roster: RwLock::default(), stands_by: Mutex::default(), last_rules: RwLock::default() }
    }

    /// The group as the last heartbeat showed it; empty before the first one.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// By topic, the first digits of the rules that the store said count it.
    pub fn last_rules(&self) -> BTreeMap<String, String> {
        self.last_rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of what the store has of a partition, and of the table outside: the last rules of the longest one.
    pub fn note_rules(&self, topic: &str, shards: &[StoredPosition], outside: &Switches) {
        let last = |shard: &StoredPosition| {
            let table = shard.switches.as_ref().and_then(|table| Some((table.0.len(), table.last()?.fingerprint)));
            table.or_else(|| Some((1, shard.checkpoint?.fingerprint)))
        };
        // What is announced may come into force, or not before others have.
        let settled = outside.0.iter().filter(|rules| rules.from != UNKNOWN);
        let outside = settled.clone().next_back().map(|last| (settled.count(), last.fingerprint));
        let known = outside.into_iter().chain(shards.iter().filter_map(last));
        if let Some((_, rules)) = known.max_by_key(|(entries, _)| *entries) {
            let mut last_rules = self.last_rules.write().unwrap_or_else(PoisonError::into_inner);
            last_rules.insert(topic.to_owned(), digest(rules));
        }
    }

    /// Whether the group knows this member, as far as it knows.
    pub fn is_member(&self) -> bool {
        self.roster().members.contains_key(&self.me)
    }

    /// Takes note of a roster.
    pub fn note(&self, roster: Arc<Roster>) {
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
