//! Who counts: the members of a group, and which of them holds which partition.
//!
//! Leases save work, they fence nothing (EXACTLY_ONCE, "Sections"): two members that hold one partition at once count it
//! right, only slower. So they may roll back with the store, be lost with it, and be wrong for a moment.

use std::{collections::BTreeMap, sync::Arc};

use super::TopicPartition;

/// A member's name: made anew by each process that starts, never used again.
/// 1 to 64 characters of `A-Za-z0-9._-` (`core::roster::is_member_id`).
pub type MemberId = Arc<str>;

/// Who holds a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who counts it.
    pub holder: MemberId,
    /// Who has read its duplicate window and waits for the holder to let go.
    pub next: Option<MemberId>,
}

/// The members that are alive and the leases that they hold, in one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Raised by every change of what follows; a member that only says that it lives changes nothing.
    pub version: u64,
    /// What each member says of itself; other members read it, the store does not.
    pub members: BTreeMap<MemberId, Vec<u8>>,
    /// Partitions that are held.
    pub leases: BTreeMap<TopicPartition, Lease>,
}

/// What a member does with a lease. A step that does not fit what is stored changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStep {
    /// Holds it, if nobody does.
    Claim,
    /// Waits for it: another one holds it, and no other living member waits.
    Wait,
    /// Waits for it no more.
    Withdraw,
    /// Lets it go: to the living member that waits for it, else to nobody.
    Release,
}

/// A heartbeat.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The counting group (`KAFKA_CONSUMER_GROUP`).
    pub group: Arc<str>,
    /// Who.
    pub member: MemberId,
    /// What it says of itself; `None` says goodbye: it lets go of everything and is taken off the list.
    pub about: Option<Vec<u8>>,
    /// It is taken for dead when nothing was heard of it for so long, by the store's clock (`SESSION_TIMEOUT_MS`).
    pub session_timeout_ms: u64,
    /// The version that it knows, so that the roster is sent only where it has changed.
    pub known_version: Option<u64>,
    /// What it does with leases, in order.
    pub steps: Vec<(TopicPartition, LeaseStep)>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// The member was not on the list: it has just come, or was taken for dead, and then others may hold what it held.
    pub is_new: bool,
    /// The roster's version after the heartbeat.
    pub version: u64,
    /// The roster after the heartbeat, unless the member knows it.
    pub roster: Option<Roster>,
}
