//! The world of one seed: a log, a store, members, a clock, and what happens to them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use streamgauge::model::{ShardId, TopicPartition};
use tokio::sync::Notify;

use crate::{
    events,
    faults::{Counts, Fault, Faults},
    leases::Observed,
    log::Logs,
    members::{Member, Setting},
    store::{Planted, Stores},
    support::events::Random,
};

/// Lines of the trace that are kept.
const TRACE_LINES: usize = 80;

/// What happened last, or all of it, where someone will read it.
#[derive(Default)]
pub struct Trace {
    pub is_kept: bool,
    pub lines: VecDeque<String>,
    pub is_whole: bool,
    now_ms: u64,
}

impl Trace {
    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if self.is_kept {
            self.lines.push_back(format!("{:>8} ms  {}", self.now_ms, line()));
            if !self.is_whole && self.lines.len() > TRACE_LINES {
                self.lines.pop_front();
            }
        }
    }
}

/// What the members share. Everything random of a seed comes from here, in an order that the seed alone decides.
pub struct State {
    pub random: Random,
    pub faults: Faults,
    pub trace: Trace,
    pub now_ms: u64,
    pub log: Logs,
    pub store: Stores,
    pub leases: Observed,
    /// Calls to log and store take up to so long.
    slowest_ms: usize,
}

impl State {
    pub fn happens(&mut self, fault: Fault) -> bool {
        self.faults.happens(fault, &mut self.random)
    }

    pub fn latency(&mut self) -> Duration {
        let slowest_ms = if self.faults.is_calm { 1 } else { self.slowest_ms };
        Duration::from_millis(self.random.below(slowest_ms + 1) as u64)
    }
}

/// The state, and who waits for records.
pub struct Shared {
    state: Mutex<State>,
    pub appended: Notify,
}

impl Shared {
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub async fn nap(&self, time: Duration) {
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
    }
}

/// The world.
pub struct World {
    pub shared: Arc<Shared>,
    pub setting: Setting,
    pub members: Vec<Member>,
    pub topics: Vec<&'static str>,
    pub records_left: usize,
    /// Everything that was made, to be made again.
    pub made: Vec<events::Made>,
    wanted_members: usize,
    next_member: u32,
}

impl World {
    pub fn new(seed: u64, planted: Option<Planted>) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9e37).wrapping_add(0x51e6));
        let shards = [1, 1, 1, 2, 3, 4][random.below(6)];
        let catalog = events::any_catalog(shards, &mut random);
        let mut topics = events::TOPICS.to_vec();
        while topics.len() > 1 && random.below(2) == 0 {
            topics.remove(random.below(topics.len()));
        }
        let setting = Setting::any(catalog, topics.iter().map(|topic| (*topic).to_owned()).collect(), &mut random);
        let mut log = Logs {
            partitions_per_topic: 1 + random.below(4) as i32,
            block_records: [1, 4, 20, 100][random.below(4)],
            ..Logs::default()
        };
        for topic in &topics {
            for number in 0..log.partitions_per_topic {
                log.partitions.entry(TopicPartition::new(*topic, number)).or_default();
            }
        }
        let records_left = 50 + random.below(250);
        let wanted_members = 1 + random.below(3);
        let slowest_ms = [0, 2, 15, 60][random.below(4)];
        let faults = Faults::new(&mut random, shards);
        let state = State {
            random,
            faults,
            trace: Trace::default(),
            now_ms: 0,
            log,
            store: Stores::new(shards, planted),
            leases: Observed::default(),
            slowest_ms,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), appended: Notify::new() });
        Self {
            shared,
            setting,
            members: Vec::new(),
            topics,
            records_left,
            made: Vec::new(),
            wanted_members,
            next_member: 0,
        }
    }

    pub fn below(&self, limit: usize) -> usize {
        self.shared.with(|state| state.random.below(limit))
    }

    /// The number of the store's shards, and what happened.
    pub fn counts(&self) -> (ShardId, Counts) {
        self.shared.with(|state| (state.store.count(), state.faults.counts))
    }

    /// Until everything is appended: records, faults, and each member a little further.
    ///
    /// # Errors
    /// A member ended by itself.
    pub fn live(&mut self) -> Result<(), String> {
        self.start_members();
        while self.records_left > 0 {
            let count = self.below(8).min(self.records_left);
            for _ in 0..count {
                self.append();
            }
            self.harm_log();
            self.shared.with(State::harm_store);
            self.harm_members();
            match self.below(3) {
                0 => self.run_polls(),
                _ => {
                    let time_ms = [1, 5, 20, 100, 400, 1_500][self.below(6)];
                    self.run_for(time_ms);
                }
            }
            self.bury()?;
            self.start_members();
        }
        Ok(())
    }

    pub fn start_members(&mut self) {
        while self.members.len() < self.wanted_members {
            self.members.push(Member::start(&self.shared, self.next_member, &self.setting));
            self.next_member += 1;
        }
        if self.members.len() > 1 && (!self.setting.has_leases || self.has_two_owners()) {
            self.shared.with(|state| state.faults.saw(Fault::TwoOwners));
        }
    }

    fn harm_members(&mut self) {
        for at in (0..self.members.len()).rev() {
            let (crashes, stops, pauses) = self
                .shared
                .with(|state| (state.happens(Fault::Crash), state.happens(Fault::Stop), state.happens(Fault::Pause)));
            let number = self.members[at].number;
            let say = |what: &str| self.shared.with(|state| state.trace.say(|| format!("m{number} {what}")));
            if crashes {
                say("crashes");
                let member = self.members.remove(at);
                self.shared.with(|state| state.leases.still_until_ms.remove(&member.counting.membership.me));
                continue;
            }
            if stops {
                say("is told to stop");
                self.members[at].stop();
            }
            if pauses {
                say("stands still");
                let until_ms = self.shared.with(|state| state.now_ms + 1 + state.random.below(20_000) as u64);
                self.members[at].paused_until_ms = until_ms;
                let me = self.members[at].counting.membership.me.clone();
                self.shared.with(|state| state.leases.still_until_ms.insert(me, until_ms));
            }
        }
    }

    /// Takes away those that have ended.
    pub fn bury(&mut self) -> Result<(), String> {
        while let Some(at) = self.members.iter().position(Member::has_ended) {
            let member = self.members.remove(at);
            let (number, is_stopping) = (member.number, member.is_stopping);
            self.shared.with(|state| state.trace.say(|| format!("m{number} has ended")));
            member.ended().map_err(|error| format!("m{number} ended: {error}"))?;
            if !is_stopping {
                return Err(format!("m{number} ended by itself"));
            }
        }
        Ok(())
    }

    /// Runs members a few polls each, in any order.
    fn run_polls(&mut self) {
        let turns = if self.members.is_empty() { 0 } else { 1 + self.below(6) };
        for _ in 0..turns {
            let at = self.below(self.members.len());
            let polls = 1 + self.below(40);
            let now_ms = self.shared.with(|state| state.now_ms);
            if self.members[at].paused_until_ms <= now_ms {
                self.members[at].run_polls(polls);
            }
        }
    }

    /// Time passes for everyone; those that stand still do not notice.
    pub fn run_for(&mut self, time_ms: u64) {
        let now_ms = self.shared.with(|state| {
            state.do_what_is_due();
            state.now_ms
        });
        let first = self.below(self.members.len().max(1));
        for turn in 0..self.members.len() {
            let at = (first + turn) % self.members.len();
            let member = &mut self.members[at];
            let time = Duration::from_millis(time_ms);
            if member.paused_until_ms > now_ms {
                member.behind += time;
            } else {
                member.run_for(time);
            }
        }
        self.shared.with(|state| {
            state.now_ms += time_ms;
            state.trace.now_ms = state.now_ms;
        });
    }

    pub fn trace(&self) -> Vec<String> {
        self.shared.with(|state| state.trace.lines.iter().cloned().collect())
    }

    /// What the topics that are counted hold, for who looks into a seed.
    pub fn records(&self) -> Vec<String> {
        self.shared.with(|state| {
            // Dead letters tell the time of day, which no seed decides.
            let inputs = state.log.partitions.iter().filter(|(place, _)| events::TOPICS.contains(&&*place.topic));
            let slots = inputs.flat_map(|(place, partition)| {
                let numbered = partition.slots.iter().enumerate();
                numbered.map(move |(offset, slot)| {
                    let value = slot.record.as_ref().and_then(|record| record.value.as_deref());
                    format!("{place}:{offset} {:?}", value.map(String::from_utf8_lossy))
                })
            });
            slots.collect()
        })
    }

    pub fn keep_trace(&self, is_whole: bool) {
        self.shared.with(|state| (state.trace.is_kept, state.trace.is_whole) = (true, is_whole));
    }

    /// Ends all members where they stand.
    pub fn crash_all(&mut self) {
        self.members.clear();
        self.shared.with(|state| state.leases.still_until_ms.clear());
    }
}
