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
    answer::Outcome,
    broker::{Answered, Looked, Search},
    request::{Asked, Round},
    track::{DENIALS, Place, Step, Track, Trouble},
};
use crate::{
    log::{
        FetchLimits, FetchPosition, LogError,
        kafka::wire::{NodeId, Wire},
    },
    model::TopicPartition,
};

/// How long a place that nobody asks for again is kept. Longer than a caller needs for a round of blocks.
pub(super) const KEEP_UNASKED: Duration = Duration::from_secs(10);
/// The wait of a request that leaves out a partition which was asked for within [`RECENTLY`].
pub(super) const SHORT_POLL: Duration = Duration::from_millis(20);
/// See [`SHORT_POLL`].
const RECENTLY: Duration = Duration::from_secs(1);
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
    /// Nothing is under way: who waited for it is gone.
    pub(super) fn begin_anew(&mut self) {
        self.busy.clear();
        self.tracks.values_mut().for_each(|track| track.is_under_way = false);
    }

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
                    Some(leader) => {
                        left_out.insert(leader.node);
                    }
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
            let most_bytes = wire.options.max_message_bytes;
            let round = round(node, asked, is_searching || left_out.contains(&node), most_bytes);
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
                track.trouble.since = None;
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
        let mut served_calls: HashSet<CallId> = HashSet::new();
        for (asked, outcome) in answered.outcomes {
            if matches!(outcome, Outcome::Block(_) | Outcome::Nothing) {
                self.keep_topic_id(&asked);
            }
            self.served += 1;
            let Some(track) = self.tracks.get_mut(&asked.partition) else { continue };
            track.is_under_way = false;
            if track.take_in(&asked, outcome, self.served, now, wire) {
                let told = track.places.iter().filter(|place| place.ready.is_some());
                served_calls.extend(told.flat_map(|place| place.callers.iter().copied()));
            }
        }
        // These calls return now and come back with other positions. To ask for the rest of theirs before that would have
        // what they want next stand behind a long poll.
        if !served_calls.is_empty() {
            for place in self.tracks.values_mut().flat_map(|track| &mut track.places) {
                place.callers.retain(|caller| !served_calls.contains(caller));
            }
        }
        !served_calls.is_empty()
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

impl Plan {
    pub(super) fn wake_by(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |wake_at| wake_at.min(at)));
    }
}

/// One request for all of these, under the tightest of their limits. A connection takes no answer above `most_bytes`.
fn round(node: NodeId, asked: Vec<(u64, Asked, FetchLimits)>, is_short: bool, most_bytes: usize) -> Round {
    /// A part of an answer that is enough for what is not records.
    const BESIDE_RECORDS: usize = 16;
    let mut max_wait = if is_short { SHORT_POLL } else { Duration::MAX };
    let most_bytes = i32::try_from(most_bytes - most_bytes / BESIDE_RECORDS).unwrap_or(i32::MAX);
    let (mut min_bytes, mut max_bytes, mut needed_bytes) = (i32::MAX, most_bytes, 0);
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
