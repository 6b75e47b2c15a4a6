//! The store of the simulation: prefixes with what their shards hold, older copies of it, and requests that come late.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use streamgauge::model::{Beat, Roster, Section, ShardId, TopicPartition};

use crate::{faults::Fault, support::memory_store::Held, world::State};

/// Older copies that are kept.
const COPIES: usize = 12;
/// A shard answers nobody for so long at most, milliseconds.
const LONGEST_OUTAGE_MS: usize = 9_000;

/// A defect put into the store on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Sections are applied without a look at what is stored.
    CompareDropped,
    /// `recent` keeps what came last, not what is newest.
    RecentPushed,
}

/// What a shard of a prefix holds.
#[derive(Clone, Default)]
pub struct Shard {
    pub held: Held,
    /// The first offset that the tenure counted here which wrote a partition's first section.
    pub began: BTreeMap<TopicPartition, i64>,
    /// In the first shard: the members that share, and their leases.
    pub roster: Arc<Roster>,
}

impl Shard {
    pub fn checkpoint(&self, partition: &TopicPartition) -> Option<i64> {
        self.held.checkpoints.get(partition).map(|checkpoint| checkpoint.offset)
    }
}

/// A section, and the tenure that sends it.
#[derive(Clone)]
pub struct Sent {
    pub section: Section,
    /// The first offset that the tenure counts in the shard; `None` where it is void.
    pub began: Option<i64>,
    /// How often the shard had fallen back when the member read the partition's checkpoint, as a tenure begins.
    pub read_after: u64,
    /// The shard had more than another one when the tenure began.
    pub was_ahead: bool,
}

/// A request that comes late.
#[derive(Clone)]
pub enum Late {
    Sections(ShardId, Vec<Sent>),
    Origins(ShardId, Vec<(TopicPartition, i64)>),
    Beat(Box<Beat>),
}

/// The store.
pub struct Stores {
    /// What the prefix in use holds; at least one.
    shards: Vec<Arc<Shard>>,
    /// Until when a shard answers nobody, milliseconds of the world's time.
    down_until_ms: Vec<u64>,
    /// Number of the prefix in use: requests for another one change nothing that is looked at.
    pub prefix: u32,
    copies: VecDeque<Vec<Arc<Shard>>>,
    /// When it comes, milliseconds of the world's time, and its prefix.
    pub late: Vec<(u64, u32, Late)>,
    pub planted: Option<Planted>,
    /// A shard has fallen back or was emptied: origins may have been fixed twice.
    pub has_forgotten: Vec<bool>,
    /// How often each shard has.
    pub falls: Vec<u64>,
    /// How often a shard had when a member last read a partition's checkpoint from it.
    pub read_after: BTreeMap<(u32, ShardId, TopicPartition), u64>,
    /// It may hold what was counted of records that the log has lost, and nobody has noticed.
    pub has_lost_records: bool,
    /// What was applied and must not have been.
    pub wrong: Vec<String>,
}

impl Stores {
    pub fn new(shards: ShardId, planted: Option<Planted>) -> Self {
        let count = usize::from(shards);
        Self {
            shards: vec![Arc::default(); count],
            down_until_ms: vec![0; count],
            prefix: 0,
            copies: VecDeque::new(),
            late: Vec::new(),
            planted,
            has_forgotten: vec![false; count],
            falls: vec![0; count],
            read_after: BTreeMap::new(),
            has_lost_records: false,
            wrong: Vec::new(),
        }
    }

    pub fn count(&self) -> ShardId {
        self.shards.len() as ShardId
    }

    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    pub fn shard(&self, shard: ShardId) -> &Shard {
        &self.shards[usize::from(shard)]
    }

    pub fn shard_mut(&mut self, shard: ShardId) -> &mut Shard {
        Arc::make_mut(&mut self.shards[usize::from(shard)])
    }

    /// Puts another copy in a shard's place, and returns what it held.
    pub fn replace(&mut self, shard: ShardId, copy: Arc<Shard>) -> Arc<Shard> {
        self.has_forgotten[usize::from(shard)] = true;
        self.falls[usize::from(shard)] += 1;
        std::mem::replace(&mut self.shards[usize::from(shard)], copy)
    }

    pub fn copy(&mut self) {
        self.copies.push_back(self.shards.clone());
        if self.copies.len() > COPIES {
            self.copies.pop_front();
        }
    }

    /// Begins under another prefix, where nothing is.
    pub fn begin_anew(&mut self) {
        self.prefix += 1;
        self.has_lost_records = false;
        self.shards.fill_with(Arc::default);
        self.copies.clear();
    }

    /// How far a partition is counted in the shard that is furthest.
    pub fn furthest(&self, partition: &TopicPartition) -> Option<i64> {
        self.shards.iter().filter_map(|shard| shard.checkpoint(partition)).max()
    }

    pub fn is_down(&self, shard: ShardId, now_ms: u64) -> bool {
        self.down_until_ms[usize::from(shard)] > now_ms
    }

    pub fn is_up_again(&mut self) {
        self.down_until_ms.fill(0);
    }
}

impl State {
    /// Older copies, none at all, and silence: of one shard, and of all.
    pub fn harm_store(&mut self) {
        for (fault, is_all) in [(Fault::RolledBack, true), (Fault::ShardRolledBack, false)] {
            if self.happens(fault) && !self.fall_back(is_all) {
                self.faults.did_not(fault);
            }
        }
        for (fault, is_all) in [(Fault::Emptied, true), (Fault::ShardEmptied, false)] {
            if self.happens(fault) {
                for shard in self.hit(is_all) {
                    self.put_back(shard, Arc::default());
                    self.trace.say(|| format!("shard {shard} is emptied"));
                }
            }
        }
        for (fault, is_all) in [(Fault::StoreDown, true), (Fault::ShardDown, false)] {
            if self.happens(fault) {
                let until_ms = self.now_ms + 1 + self.random.below(LONGEST_OUTAGE_MS) as u64;
                for shard in self.hit(is_all) {
                    self.store.down_until_ms[usize::from(shard)] = until_ms;
                    self.trace.say(|| format!("shard {shard} is down until {until_ms} ms"));
                }
            }
        }
        if self.random.below(3) == 0 {
            self.store.copy();
        }
    }

    /// The shards that something happens to.
    fn hit(&mut self, is_all: bool) -> std::ops::Range<ShardId> {
        let count = self.store.count();
        if is_all {
            return 0..count;
        }
        let shard = self.random.below(usize::from(count)) as ShardId;
        shard..shard + 1
    }

    /// Puts shards back to a copy; all of them to the same, or each to one of its own. Returns false where there is none.
    fn fall_back(&mut self, is_all: bool) -> bool {
        let copies = self.store.copies.len();
        if copies == 0 {
            return false;
        }
        let mut at = self.random.below(copies);
        let is_each_its_own = self.random.below(2) == 0;
        let shards = self.hit(is_all);
        let copies_of = self.store.copies.clone();
        self.store.copy();
        for shard in shards {
            let copy = Arc::clone(&copies_of[at][usize::from(shard)]);
            self.trace.say(|| {
                let told = copy.held.checkpoints.iter().map(|(place, at)| format!("{place}={}", at.offset));
                format!("shard {shard} falls back to {}", told.collect::<Vec<_>>().join(" "))
            });
            self.put_back(shard, copy);
            if is_each_its_own {
                at = self.random.below(copies);
            }
        }
        true
    }
}
