//! One partition that is read: its places, who leads it, and what troubles it.

use std::{collections::HashMap, time::Duration};

use smallvec::SmallVec;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Fetched,
    answer::{Outcome, reading},
    broker::Search,
    places::{CallId, Plan},
    request::Asked,
};
use crate::{
    log::{
        FetchLimits, LogError,
        kafka::wire::{Leader, Wire},
    },
    model::TopicPartition,
};

/// Longest pause before a partition is asked for again, so that reading goes on soon after a new leader is there.
pub(super) const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How often the cluster may deny a topic before that is believed: brokers learn of a new one one after the other.
pub(super) const DENIALS: u32 = 3;

/// A partition that is read.
pub(super) struct Track {
    /// The one that is asked for next comes first.
    pub(super) places: SmallVec<[Place; 1]>,
    /// Who led it when it was last asked.
    pub(super) leader: Option<Leader>,
    /// It is part of a request, or its leader is looked for.
    pub(super) is_under_way: bool,
    /// What its first batch needs, where that is more than is asked for otherwise.
    pub(super) needed_bytes: i32,
    /// When it received something last, as a number that grows.
    pub(super) served: u64,
    pub(super) asked_at: Instant,
    pub(super) trouble: Trouble,
}

/// Where reading goes on, and who waits for it.
pub(super) struct Place {
    pub(super) offset: i64,
    pub(super) callers: SmallVec<[CallId; 1]>,
    pub(super) limits: FetchLimits,
    pub(super) asked_at: Instant,
    pub(super) ready: Option<Fetched>,
}

/// Failures in a row.
#[derive(Default)]
pub(super) struct Trouble {
    pub(super) failures: u32,
    pub(super) denials: u32,
    pub(super) since: Option<Instant>,
    pub(super) not_before: Option<Instant>,
    pub(super) last: Option<LogError>,
}

/// What a partition needs now.
pub(super) enum Step {
    Ask(Asked, FetchLimits),
    /// Nothing, or nothing yet.
    Wait,
}

impl Track {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            places: SmallVec::new(),
            leader: None,
            is_under_way: false,
            needed_bytes: 0,
            served: 0,
            asked_at: now,
            trouble: Trouble::default(),
        }
    }

    pub(super) fn step(
        &mut self,
        partition: &TopicPartition,
        now: Instant,
        wire: &Wire,
        topic_ids: &mut HashMap<TopicPartition, Uuid>,
        plan: &mut Plan,
    ) -> Step {
        if self.is_under_way {
            return Step::Wait;
        }
        let mut places = self.places.iter_mut();
        let Some(place) = places.find(|place| place.ready.is_none() && !place.callers.is_empty()) else {
            return Step::Wait;
        };
        if let Some(since) = self.trouble.since {
            let until = since + wire.options.request_timeout;
            if until <= now {
                place.ready = Some(Err(self.trouble.told(partition, place.offset)));
                plan.is_told = true;
                return Step::Wait;
            }
            plan.wake_by(until);
        }
        if let Some(not_before) = self.trouble.not_before.filter(|not_before| now < *not_before) {
            plan.wake_by(not_before);
            return Step::Wait;
        }
        let Some(leader) = wire.known_leader(partition).or(self.leader) else {
            self.is_under_way = true;
            let deadline = self.trouble.since.unwrap_or(now) + wire.options.request_timeout;
            plan.searches.push(Search { partition: partition.clone(), deadline });
            return Step::Wait;
        };
        if !leader.topic_id.is_nil() && topic_ids.get(partition).is_some_and(|known| *known != leader.topic_id) {
            // Told once: who asks again after that means the new topic.
            topic_ids.remove(partition);
            (self.leader, self.trouble) = (None, Trouble::default());
            plan.is_told |= self.tell_all(&LogError::Recreated { topic: partition.topic.to_string() });
            return Step::Wait;
        }
        let max_bytes = place.limits.max_partition_bytes.max(self.needed_bytes);
        Step::Ask(Asked { partition: partition.clone(), offset: place.offset, leader, max_bytes }, place.limits)
    }

    pub(super) fn take_in(&mut self, asked: &Asked, outcome: Outcome, served: u64, now: Instant, wire: &Wire) -> bool {
        match outcome {
            Outcome::Nothing => {
                self.trouble = Trouble::default();
                // Another offset of the partition is next.
                if let Some(index) = self.places.iter().position(|place| place.offset == asked.offset) {
                    let place = self.places.remove(index);
                    self.places.push(place);
                }
            }
            Outcome::Block(block) => {
                (self.trouble, self.needed_bytes, self.served) = (Trouble::default(), 0, served);
                return self.tell(asked.offset, Ok(block));
            }
            Outcome::MoreBytes(needed_bytes) => {
                let most_bytes = wire.options.max_message_bytes;
                // Cut by the whole answer's limit, where it is not more than what was asked for.
                let asked_bytes = usize::try_from(asked.max_bytes).unwrap_or(0);
                let needed_bytes = needed_bytes.max(asked_bytes.saturating_add(1));
                if needed_bytes > most_bytes {
                    let reason =
                        format!("the first batch has {needed_bytes} bytes, and at most {most_bytes} can be read");
                    let error = LogError::Unsupported { what: reading(&asked.partition, asked.offset), reason };
                    return self.tell(asked.offset, Err(error));
                }
                self.needed_bytes = i32::try_from(needed_bytes).unwrap_or(i32::MAX);
            }
            Outcome::Moved { to, why } => {
                self.leader = None;
                // A new leader that was named is asked at once, the first time.
                let is_named = to.is_some_and(|to| to.epoch > asked.leader.epoch) && self.trouble.failures == 0;
                self.trouble.add(why, now, now, wire);
                if is_named || self.trouble.failures == 1 {
                    self.trouble.not_before = None;
                }
            }
            Outcome::NotThere => {
                self.leader = None;
                let unknown = LogError::Unknown { what: asked.partition.to_string() };
                self.trouble.add(unknown, now, now, wire);
            }
            Outcome::Again(why) => self.trouble.add(why, now, now, wire),
            Outcome::Told(error) => {
                // A caller may simply ask again: the pause is here.
                self.trouble.add(error.clone(), now, now, wire);
                self.trouble.since = None;
                return self.tell(asked.offset, Err(error));
            }
        }
        false
    }

    pub(super) fn tell(&mut self, offset: i64, fetched: Fetched) -> bool {
        // Forgotten meanwhile, where it is not there.
        let Some(place) = self.places.iter_mut().find(|place| place.offset == offset) else { return false };
        place.ready = Some(fetched);
        true
    }

    pub(super) fn tell_all(&mut self, error: &LogError) -> bool {
        for place in self.places.iter_mut().filter(|place| place.ready.is_none()) {
            place.ready = Some(Err(error.clone()));
        }
        !self.places.is_empty()
    }
}

impl Trouble {
    pub(super) fn add(&mut self, error: LogError, since: Instant, now: Instant, wire: &Wire) {
        self.since.get_or_insert(since);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + wire.options.pause_after(self.failures).min(MAX_PAUSE));
        self.last = Some(error);
    }

    /// What the caller is told of a trouble that lasts; the next one is told as much later.
    pub(super) fn told(&mut self, partition: &TopicPartition, offset: i64) -> LogError {
        self.since = None;
        let reason = self.last.as_ref().map_or_else(|| "no answer".to_owned(), ToString::to_string);
        LogError::Unavailable { what: reading(partition, offset), reason }
    }
}
