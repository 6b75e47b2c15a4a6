//! Leases: what becomes of them while members come, die and stand still, and how they must lie when all is quiet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use streamgauge::model::{Beat, Beaten, MemberId, Roster, ShardId, TopicPartition};

use crate::{
    check::is_input,
    faults::Fault,
    store::Shard,
    world::{State, World},
};

/// The group of the members that share.
pub const GROUP: &str = "g";

/// What the world knows of the members that share, besides what the store has of them.
#[derive(Default)]
pub struct Observed {
    /// Until when members stand still, milliseconds of the world's time.
    pub still_until_ms: BTreeMap<MemberId, u64>,
    /// Partitions whose holder was taken for dead, and that holder.
    orphans: BTreeMap<TopicPartition, MemberId>,
}

impl State {
    /// A heartbeat, by the world's clock, which does not begin at 0.
    pub fn beat(&mut self, beat: &Beat) -> Beaten {
        const FIRST_MS: u64 = 1_700_000_000_000;
        let now_ms = FIRST_MS + self.now_ms;
        let shard = self.store.shard_mut(0);
        let group = shard.held.groups.entry(Arc::clone(&beat.group)).or_default();
        let beaten = group.beat(beat, now_ms).expect("a small group");
        if &*beat.group == GROUP && beaten.version != shard.roster.version {
            let after = Arc::new(group.roster());
            let before = std::mem::replace(&mut shard.roster, Arc::clone(&after));
            self.observe(&beat.member, &before, &after);
        }
        beaten
    }

    fn observe(&mut self, speaker: &MemberId, before: &Roster, after: &Roster) {
        let now_ms = self.now_ms;
        let is_dead = |member: &MemberId| member != speaker && !after.members.contains_key(member);
        for member in before.members.keys().filter(|member| is_dead(member)) {
            self.trace.say(|| format!("{member} is taken for dead"));
            if self.leases.still_until_ms.get(member).is_some_and(|until_ms| *until_ms > now_ms) {
                self.faults.saw(Fault::DeadWhileStill);
            }
        }
        for (partition, lease) in &before.leases {
            let holder = after.leases.get(partition).map(|lease| &lease.holder);
            if is_dead(&lease.holder) {
                self.leases.orphans.insert(partition.clone(), lease.holder.clone());
            } else if lease.holder == *speaker && holder.is_some() && holder == lease.next.as_ref() {
                self.faults.saw(Fault::WarmedMove);
            }
        }
        let (faults, leases) = (&mut self.faults, &after.leases);
        self.leases.orphans.retain(|partition, was| {
            let holder = leases.get(partition).map(|lease| &lease.holder);
            if holder.is_some_and(|holder| holder != was) {
                faults.saw(Fault::Takeover);
            }
            holder.is_none()
        });
    }

    /// Puts another copy in a shard's place. The leases are in the first one.
    pub fn put_back(&mut self, shard: ShardId, copy: Arc<Shard>) {
        let lost = self.store.replace(shard, copy);
        if shard > 0 {
            return;
        }
        let is_kept = |(partition, lease)| self.store.shard(0).roster.leases.get(partition) == Some(lease);
        if !lost.roster.leases.iter().all(is_kept) {
            self.faults.saw(Fault::RosterLost);
        }
        self.leases.orphans.clear();
    }
}

impl World {
    /// Whether members have a partition at once.
    pub fn has_two_owners(&self) -> bool {
        let mut seen = BTreeSet::new();
        let held = self.members.iter().flat_map(|member| member.counting.tenures.alive());
        held.into_iter().any(|tenure| !seen.insert(tenure.partition.clone()))
    }

    /// Says what is wrong, where not every partition is held by exactly one living member, which counts it, in shares that
    /// differ by one at most. Members that share nothing each hold all.
    pub fn wrong_shares(&self) -> Option<String> {
        if !self.setting.has_leases {
            return None;
        }
        let roster = self.shared.with(|state| Arc::clone(&state.store.shard(0).roster));
        let mut counted: BTreeMap<TopicPartition, MemberId> = BTreeMap::new();
        let mut shares = Vec::new();
        for member in &self.members {
            let (me, alive) = (&member.counting.membership.me, member.counting.tenures.alive());
            if member.is_stopping || !roster.members.contains_key(me) {
                return Some(format!("{me} is leaving or unknown to the group"));
            }
            shares.push(alive.len());
            for tenure in alive {
                if let Some(other) = counted.insert(tenure.partition.clone(), me.clone()) {
                    return Some(format!("{me} and {other} count {}", tenure.partition));
                }
            }
        }
        let leased = roster.leases.iter().map(|(partition, lease)| (partition.clone(), lease.holder.clone()));
        if roster.members.len() != self.members.len() || counted != leased.collect() {
            return Some(format!("counted by {counted:?}, where the store has {roster:?}"));
        }
        let partitions = self.shared.with(|state| {
            state.log.partitions.keys().filter(|place| is_input(&place.topic)).cloned().collect::<Vec<_>>()
        });
        let is_level = shares.iter().max().zip(shares.iter().min()).is_some_and(|(most, least)| most - least <= 1);
        (!is_level || !counted.keys().eq(&partitions)).then(|| format!("shares of {partitions:?} are {shares:?}"))
    }
}
