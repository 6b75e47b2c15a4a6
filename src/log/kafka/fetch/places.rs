//! Which places are wanted, what they wait for, and what has come.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use smallvec::SmallVec;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Done, Fetched,
    answer::{Outcome, reading},
    broker::{Answered, Looked, Search},
    request::{Asked, Round},
};
use crate::{
    log::{
        FetchLimits, FetchPosition, LogError,
        kafka::wire::{Leader, NodeId, Wire},
    },
    model::TopicPartition,
};

/// How long a place that nobody asks for again is kept. Longer than a caller needs for a round of blocks.
pub(super) const KEEP_UNASKED: Duration = Duration::from_secs(10);
/// The wait of a request that leaves out a partition which was asked for within [`RECENTLY`].
pub(super) const SHORT_POLL: Duration = Duration::from_millis(20);
/// See [`SHORT_POLL`].
const RECENTLY: Duration = Duration::from_secs(1);
/// Longest pause before a partition is asked for again, so that reading goes on soon after a new leader is there.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How often the cluster may deny a topic before that is believed: brokers learn of a new one one after the other.
const DENIALS: u32 = 3;
/// Most partitions whose topic ids are kept.
const MAX_TOPIC_IDS: usize = 100_000;

/// A call that waits.
pub(super) type CallId = u64;

/// All places. As many partitions as were asked for within [`KEEP_UNASKED`], and for each of them as many places as calls
/// wait for different offsets.
#[derive(Default)]
pub(super) struct Places {
    tracks: HashMap<TopicPartition, Track>,
    /// The ids of the topics that were read, by partition: kept for longer than the partition is asked for.
    topic_ids: HashMap<TopicPartition, Uuid>,
    /// Brokers with a request under way; those of a cluster are few.
    busy: HashSet<NodeId>,
    /// Until when brokers want to hear nothing.
    quiet: HashMap<NodeId, Instant>,
    calls: CallId,
    served: u64,
}

/// A partition that is read.
struct Track {
    /// The one that is asked for next comes first.
    places: SmallVec<[Place; 1]>,
    /// Who led it when it was last asked.
    leader: Option<Leader>,
    /// It is part of a request, or its leader is looked for.
    is_under_way: bool,
    /// What its first batch needs, where that is more than is asked for otherwise.
    needed_bytes: i32,
    /// When it received something last, as a number that grows.
    served: u64,
    asked_at: Instant,
    trouble: Trouble,
}

/// Where reading goes on, and who waits for it.
struct Place {
    offset: i64,
    callers: SmallVec<[CallId; 1]>,
    limits: FetchLimits,
    asked_at: Instant,
    ready: Option<Fetched>,
}

/// Failures in a row.
#[derive(Default)]
struct Trouble {
    failures: u32,
    denials: u32,
    since: Option<Instant>,
    not_before: Option<Instant>,
    last: Option<LogError>,
}

/// What to do now.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) searches: Vec<Search>,
    pub(super) rounds: Vec<Round>,
    /// A place has received an error.
    pub(super) is_told: bool,
    /// When to plan again although nothing has happened.
    pub(super) wake_at: Option<Instant>,
}

impl Places {
    pub(super) fn new_call(&mut self) -> CallId {
        self.calls += 1;
        self.calls
    }

    /// Takes what has come for these positions; the call waits for the others.
    pub(super) fn collect(
        &mut self,
        call: CallId,
        positions: &[FetchPosition],
        limits: FetchLimits,
        now: Instant,
    ) -> Vec<(TopicPartition, Fetched)> {
        let mut ready = Vec::new();
        for FetchPosition { partition, offset } in positions {
            if !self.tracks.contains_key(partition) {
                self.tracks.insert(partition.clone(), Track::new(now));
            }
            let Some(track) = self.tracks.get_mut(partition) else { continue };
            track.asked_at = now;
            track.places.retain(|place| place.offset == *offset || !place.callers.is_empty());
            match track.places.iter_mut().position(|place| place.offset == *offset) {
                Some(index) => {
                    if let Some(fetched) = track.places[index].ready.take() {
                        track.places.remove(index);
                        ready.push((partition.clone(), fetched));
                        continue;
                    }
                    let place = &mut track.places[index];
                    (place.asked_at, place.limits) = (now, limits);
                    if !place.callers.contains(&call) {
                        place.callers.push(call);
                    }
                }
                None => track.places.push(Place {
                    offset: *offset,
                    callers: SmallVec::from_elem(call, 1),
                    limits,
                    asked_at: now,
                    ready: None,
                }),
            }
        }
        ready
    }

    /// The call does not wait any more.
    pub(super) fn end_call(&mut self, call: CallId, positions: &[FetchPosition]) {
        for position in positions {
            let Some(track) = self.tracks.get_mut(&position.partition) else { continue };
            for place in &mut track.places {
                place.callers.retain(|caller| *caller != call);
            }
        }
    }

    /// What is to be asked of whom.
    pub(super) fn plan(&mut self, now: Instant, wire: &Wire) -> Plan {
        self.forget(now);
        let mut plan = Plan::default();
        let mut rounds: BTreeMap<NodeId, Vec<(u64, Asked, FetchLimits)>> = BTreeMap::new();
        // Brokers that would be asked for more in a moment.
        let mut left_out: HashSet<NodeId> = HashSet::new();
        let mut is_searching = false;
        for (partition, track) in &mut self.tracks {
            let is_recent = now < track.asked_at + RECENTLY;
            let step = track.step(partition, now, wire, &mut self.topic_ids, &mut plan);
            match step {
                Step::Ask(asked, limits) => {
                    rounds.entry(asked.leader.node).or_default().push((track.served, asked, limits));
                }
                Step::Wait if is_recent => match track.leader {
                    Some(leader) => drop(left_out.insert(leader.node)),
                    None => is_searching = true,
                },
                Step::Wait => {}
            }
        }
        for (node, mut asked) in rounds {
            if self.busy.contains(&node) {
                continue;
            }
            if let Some(until) = self.quiet.get(&node).filter(|until| now < **until) {
                plan.wake_by(*until);
                continue;
            }
            asked.sort_by_key(|(served, ..)| *served);
            let round = round(node, asked, is_searching || left_out.contains(&node));
            for asked in &round.asked {
                self.tracks.get_mut(&asked.partition).into_iter().for_each(|track| {
                    (track.is_under_way, track.leader) = (true, Some(asked.leader));
                });
            }
            self.busy.insert(node);
            plan.rounds.push(round);
        }
        plan
    }

    /// Puts what has come to its places. `true` if there is something for a caller.
    pub(super) fn take_in(&mut self, done: Done, now: Instant, wire: &Wire) -> bool {
        match done {
            Done::Looked(looked) => self.take_in_leader(looked, now, wire),
            Done::Answered(answered) => self.take_in_answer(answered, now, wire),
        }
    }

    fn take_in_leader(&mut self, looked: Looked, now: Instant, wire: &Wire) -> bool {
        let Looked { partition, began, found } = looked;
        let Some(track) = self.tracks.get_mut(&partition) else { return false };
        track.is_under_way = false;
        match found {
            Ok(leader) => track.leader = Some(leader),
            Err(LogError::Unknown { what }) => {
                track.trouble.denials += 1;
                if track.trouble.denials >= DENIALS {
                    track.trouble = Trouble::default();
                    return track.tell_all(&LogError::Unknown { what });
                }
                track.trouble.add(LogError::Unknown { what }, began, now, wire);
            }
            Err(error) if error.is_retriable() => track.trouble.add(error, began, now, wire),
            Err(error) => {
                track.trouble.add(error.clone(), now, now, wire);
                return track.tell_all(&error);
            }
        }
        false
    }

    fn take_in_answer(&mut self, answered: Answered, now: Instant, wire: &Wire) -> bool {
        self.busy.remove(&answered.node);
        self.quiet.retain(|_, until| now < *until);
        if !answered.quiet.is_zero() {
            self.quiet.insert(answered.node, now + answered.quiet);
        }
        let mut is_told = false;
        for (asked, outcome) in answered.outcomes {
            if matches!(outcome, Outcome::Block(_) | Outcome::Nothing) {
                self.keep_topic_id(&asked);
            }
            self.served += 1;
            let Some(track) = self.tracks.get_mut(&asked.partition) else { continue };
            track.is_under_way = false;
            is_told |= track.take_in(&asked, outcome, self.served, now, wire);
        }
        is_told
    }

    fn keep_topic_id(&mut self, asked: &Asked) {
        if asked.leader.topic_id.is_nil() || self.topic_ids.contains_key(&asked.partition) {
            return;
        }
        if self.topic_ids.len() >= MAX_TOPIC_IDS {
            // Any will do: only a topic that is made again meanwhile is not noticed.
            let any = self.topic_ids.keys().next().cloned();
            any.and_then(|any| self.topic_ids.remove(&any));
        }
        self.topic_ids.insert(asked.partition.clone(), asked.leader.topic_id);
    }

    /// Drops what nobody has asked for lately.
    fn forget(&mut self, now: Instant) {
        self.tracks.retain(|_, track| {
            track.places.retain(|place| !place.callers.is_empty() || now < place.asked_at + KEEP_UNASKED);
            track.is_under_way || !track.places.is_empty() || now < track.asked_at + KEEP_UNASKED
        });
    }
}

/// What a partition needs now.
enum Step {
    Ask(Asked, FetchLimits),
    /// Nothing, or nothing yet.
    Wait,
}

impl Track {
    fn new(now: Instant) -> Self {
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

    fn step(
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
            self.leader = None;
            plan.is_told |= self.tell_all(&LogError::Recreated { topic: partition.topic.to_string() });
            return Step::Wait;
        }
        let max_bytes = place.limits.max_partition_bytes.max(self.needed_bytes);
        Step::Ask(Asked { partition: partition.clone(), offset: place.offset, leader, max_bytes }, place.limits)
    }

    fn take_in(&mut self, asked: &Asked, outcome: Outcome, served: u64, now: Instant, wire: &Wire) -> bool {
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
                let most = wire.options.max_message_bytes;
                // Cut by the whole answer's limit, where it is not more than what was asked for.
                let asked_bytes = usize::try_from(asked.max_bytes).unwrap_or(0);
                let needed_bytes = needed_bytes.max(asked_bytes.saturating_mul(2));
                if asked_bytes >= most {
                    let reason = format!("the first batch is larger than {most} bytes, the most that is read");
                    let error = LogError::Unsupported { what: reading(&asked.partition, asked.offset), reason };
                    return self.tell(asked.offset, Err(error));
                }
                self.needed_bytes = i32::try_from(needed_bytes.min(most)).unwrap_or(i32::MAX);
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

    fn tell(&mut self, offset: i64, fetched: Fetched) -> bool {
        // Forgotten meanwhile, where it is not there.
        let Some(place) = self.places.iter_mut().find(|place| place.offset == offset) else { return false };
        place.ready = Some(fetched);
        true
    }

    fn tell_all(&mut self, error: &LogError) -> bool {
        for place in self.places.iter_mut().filter(|place| place.ready.is_none()) {
            place.ready = Some(Err(error.clone()));
        }
        !self.places.is_empty()
    }
}

impl Trouble {
    fn add(&mut self, error: LogError, since: Instant, now: Instant, wire: &Wire) {
        self.since.get_or_insert(since);
        self.not_before = Some(now + wire.pause_after(self.failures).min(MAX_PAUSE));
        self.failures = self.failures.saturating_add(1);
        self.last = Some(error);
    }

    /// What the caller is told of a trouble that lasts; the next one is told as much later.
    fn told(&mut self, partition: &TopicPartition, offset: i64) -> LogError {
        self.since = None;
        let reason = self.last.as_ref().map_or_else(|| "no answer".to_owned(), ToString::to_string);
        LogError::Unavailable { what: reading(partition, offset), reason }
    }
}

impl Plan {
    fn wake_by(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
    }
}

/// One request for all of these, under the tightest of their limits.
fn round(node: NodeId, asked: Vec<(u64, Asked, FetchLimits)>, is_short: bool) -> Round {
    let mut max_wait = if is_short { SHORT_POLL } else { Duration::MAX };
    let (mut min_bytes, mut max_bytes, mut needed_bytes) = (i32::MAX, i32::MAX, 0);
    for (_, asked, limits) in &asked {
        max_wait = max_wait.min(limits.max_wait);
        min_bytes = min_bytes.min(limits.min_bytes);
        max_bytes = max_bytes.min(limits.max_bytes);
        if asked.max_bytes > limits.max_partition_bytes {
            needed_bytes = needed_bytes.max(asked.max_bytes);
        }
    }
    let asked = asked.into_iter().map(|(_, asked, _)| asked).collect();
    Round { node, asked, max_wait, min_bytes, max_bytes: max_bytes.max(needed_bytes) }
}
