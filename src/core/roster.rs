//! What a heartbeat means: a group as a value, changed by beats and the time that a store's clock shows.
//!
//! The stores that live in a process keep this very value; Redis has the same rules as a script (`store/redis/beat.lua`), and
//! one contract suite runs on all. The order within a beat: sessions that have ended, then what the member says of itself,
//! then its steps, then the answer.

use std::collections::BTreeMap;

use crate::model::{Beat, Beaten, Lease, LeaseStep, MemberId, Roster, TopicPartition};

/// Most members of a group.
pub const MAX_MEMBERS: usize = 1_000;
/// Most leases of a group. A claim beyond it changes nothing.
pub const MAX_LEASES: usize = 100_000;
/// Most steps that are taken in one beat: in Redis about 10 ms, in which it answers nobody else. Further ones change nothing,
/// and are taken if the next beat brings them again.
pub const MAX_STEPS: usize = 5_000;
/// Most bytes that a member may say of itself; every member reads them all.
pub const MAX_ABOUT_BYTES: usize = 16 * 1024;
/// Longest name of a member.
pub const MAX_MEMBER_ID_CHARS: usize = 64;
/// Longest session, a day.
pub const MAX_SESSION_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

/// Why a beat is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// The member's name cannot be one: see [`is_member_id`].
    #[error("a member's name has 1 to {MAX_MEMBER_ID_CHARS} characters of A-Z, a-z, 0-9, '.', '_' and '-'")]
    MemberId,
    /// The member says more of itself than [`MAX_ABOUT_BYTES`].
    #[error("a member may say at most {MAX_ABOUT_BYTES} bytes of itself: name fewer TOPICS or PARTITIONS")]
    About,
    /// The session is longer than [`MAX_SESSION_TIMEOUT_MS`].
    #[error("SESSION_TIMEOUT_MS is at most {MAX_SESSION_TIMEOUT_MS}")]
    SessionTimeout,
    /// The group has [`MAX_MEMBERS`] others.
    #[error("the group has {MAX_MEMBERS} members already: stop some")]
    Full,
}

/// Whether a text can be a member's name: 1 to [`MAX_MEMBER_ID_CHARS`] characters of `A-Za-z0-9._-`.
pub fn is_member_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_MEMBER_ID_CHARS).contains(&text.len()) && text.bytes().all(fits)
}

/// Looks at a beat by itself, without the group.
///
/// # Errors
/// Every [`BeatError`] but [`BeatError::Full`].
pub fn check(beat: &Beat) -> Result<(), BeatError> {
    if !is_member_id(&beat.member) {
        return Err(BeatError::MemberId);
    }
    if beat.about.as_ref().is_some_and(|about| about.len() > MAX_ABOUT_BYTES) {
        return Err(BeatError::About);
    }
    if beat.session_timeout_ms > MAX_SESSION_TIMEOUT_MS {
        return Err(BeatError::SessionTimeout);
    }
    Ok(())
}

#[derive(Clone, Debug)]
struct Session {
    about: Vec<u8>,
    /// When the member is taken for dead, unless it is heard of before.
    ends_at_ms: u64,
}

/// A group: its members, their sessions, their leases. Begins empty.
#[derive(Clone, Debug, Default)]
pub struct Group {
    version: u64,
    members: BTreeMap<MemberId, Session>,
    leases: BTreeMap<TopicPartition, Lease>,
}

impl Group {
    /// Takes a beat in. `now_ms` is the store's clock, milliseconds since 1970.
    ///
    /// Where the version is raised, it is raised at least to `now_ms`, and above what the member knows: a store that was emptied or
    /// put back to an older copy never gives another content a version that a member knows from before, also within one ms.
    ///
    /// # Errors
    /// A beat that is not taken in changes nothing, except that sessions end.
    pub fn beat(&mut self, beat: &Beat, now_ms: u64) -> Result<Beaten, BeatError> {
        check(beat)?;
        let mut changed = self.end_sessions(beat, now_ms);
        let is_new = !self.members.contains_key(&beat.member);
        let is_full = is_new && beat.about.is_some() && self.members.len() >= MAX_MEMBERS;
        if !is_full {
            changed |= self.listen(beat, now_ms);
            for (partition, step) in beat.steps.iter().take(MAX_STEPS) {
                changed |= self.step(&beat.member, partition, *step);
            }
        }
        if changed {
            let above = self.version.max(beat.known_version.unwrap_or(0));
            self.version = now_ms.max(above.saturating_add(1));
        }
        if is_full {
            return Err(BeatError::Full);
        }
        let roster = (beat.known_version != Some(self.version)).then(|| self.roster());
        Ok(Beaten { is_new, version: self.version, roster })
    }

    /// What members read of the group.
    pub fn roster(&self) -> Roster {
        let about = |(member, session): (&MemberId, &Session)| (member.clone(), session.about.clone());
        Roster { version: self.version, members: self.members.iter().map(about).collect(), leases: self.leases.clone() }
    }

    /// The group as it stands at `now_ms` to one who only looks: without those whose session has ended. Unlike a beat it
    /// changes nothing, and has no patience with a store that was away.
    pub fn roster_at(&self, now_ms: u64) -> Roster {
        living(self.roster(), |member| self.members.get(member).is_some_and(|own| own.ends_at_ms >= now_ms))
    }

    /// Takes members off the list whose session has ended, except where it is everybody's and one of them speaks: then it was
    /// the store that nobody could reach, and the time since that member's last beat is nobody's fault. Without this the first
    /// to come back would find itself alone and take over everything (Kafka's coordinators begin all sessions anew, too).
    fn end_sessions(&mut self, beat: &Beat, now_ms: u64) -> bool {
        let count = self.members.len();
        let ended = self.members.values().filter(|session| session.ends_at_ms < now_ms).count();
        if ended == 0 {
            return false;
        }
        if let Some(own) = self.members.get(&beat.member).filter(|_| ended == count) {
            let silence_ms = now_ms + beat.session_timeout_ms - own.ends_at_ms;
            self.members.values_mut().for_each(|session| session.ends_at_ms += silence_ms);
            return false;
        }
        self.members.retain(|_, session| session.ends_at_ms >= now_ms);
        self.settle();
        true
    }

    /// What the member says of itself, or its goodbye. Tells whether others have to know.
    fn listen(&mut self, beat: &Beat, now_ms: u64) -> bool {
        let Some(about) = &beat.about else {
            let was_there = self.members.remove(&beat.member).is_some();
            if was_there {
                self.settle();
            }
            return was_there;
        };
        let ends_at_ms = now_ms + beat.session_timeout_ms;
        let session = Session { about: about.clone(), ends_at_ms };
        self.members.insert(beat.member.clone(), session).is_none_or(|before| before.about != *about)
    }

    /// Drops leases of those who are gone; one that a living member waits for passes to it.
    fn settle(&mut self) {
        let members = &self.members;
        settle_leases(&mut self.leases, |member| members.contains_key(member));
    }

    /// Takes a step if it fits. Tells whether it did.
    fn step(&mut self, member: &MemberId, partition: &TopicPartition, step: LeaseStep) -> bool {
        if !self.members.contains_key(member) {
            return false;
        }
        let count = self.leases.len();
        match (step, self.leases.get_mut(partition)) {
            (LeaseStep::Claim, None) if count < MAX_LEASES => {
                self.leases.insert(partition.clone(), Lease { holder: member.clone(), next: None });
            }
            (LeaseStep::Wait, Some(lease)) if lease.holder != *member && lease.next.is_none() => {
                lease.next = Some(member.clone());
            }
            (LeaseStep::Withdraw, Some(lease)) if lease.next.as_ref() == Some(member) => lease.next = None,
            (LeaseStep::Release, Some(lease)) if lease.holder == *member => match lease.next.take() {
                Some(next) => lease.holder = next,
                None => {
                    self.leases.remove(partition);
                }
            },
            _ => return false,
        }
        true
    }
}

/// A roster without the members that do not live, and without what only they held.
pub fn living(mut roster: Roster, lives: impl Fn(&MemberId) -> bool) -> Roster {
    roster.members.retain(|member, _| lives(member));
    let members = &roster.members;
    settle_leases(&mut roster.leases, |member| members.contains_key(member));
    roster
}

/// Drops leases of those who are gone; one that a living member waits for passes to it.
fn settle_leases(leases: &mut BTreeMap<TopicPartition, Lease>, lives: impl Fn(&MemberId) -> bool) {
    leases.retain(|_, lease| {
        lease.next.take_if(|next| !lives(next));
        if !lives(&lease.holder) {
            let Some(next) = lease.next.take() else { return false };
            lease.holder = next;
        }
        true
    });
}
