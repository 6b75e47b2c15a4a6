//! The store of the simulation: prefixes with what they hold, older copies of it, requests that come late, and each member's
//! connection to it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use streamgauge::{
    model::{
        Answer, Beat, Beaten, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap, SwapOutcome,
        TopicPartition,
    },
    runtime::tenure::Tenures,
    store::{Store, StoreError},
};

use crate::{
    applying::told,
    faults::Fault,
    support::memory_store::Held,
    world::{Shared, State},
};

/// Older copies that are kept.
const COPIES: usize = 12;

/// A defect put into the store on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Sections are applied without a look at what is stored.
    CompareDropped,
    /// `recent` keeps what came last, not what is newest.
    RecentPushed,
}

/// What a prefix holds.
#[derive(Clone, Default)]
pub struct Shard {
    pub held: Held,
    /// Where the tenure began that wrote a partition's first section: what its checkpoint says was counted from.
    pub began: BTreeMap<TopicPartition, i64>,
    /// The members that share, and their leases.
    pub roster: Arc<Roster>,
}

/// A section, and where its tenure began.
#[derive(Clone)]
pub struct Sent {
    pub section: Section,
    pub began: Option<i64>,
}

/// A request that comes late.
#[derive(Clone)]
pub enum Late {
    Sections(Vec<Sent>),
    Origins(Vec<(TopicPartition, i64)>),
    Beat(Box<Beat>),
}

/// The store.
#[derive(Default)]
pub struct Stores {
    /// What the prefix in use holds.
    pub shard: Arc<Shard>,
    /// Number of the prefix in use: requests for another one change nothing that is looked at.
    pub prefix: u32,
    pub copies: VecDeque<Arc<Shard>>,
    /// When it comes, milliseconds of the world's time, and its prefix.
    pub late: Vec<(u64, u32, Late)>,
    pub planted: Option<Planted>,
    /// It has fallen back or was emptied: origins may have been fixed twice.
    pub has_forgotten: bool,
    /// It may hold what was counted of records that the log has lost, and nobody has noticed.
    pub has_lost_records: bool,
    /// What was applied and must not have been.
    pub wrong: Vec<String>,
}

impl Stores {
    pub fn copy(&mut self) {
        self.copies.push_back(Arc::clone(&self.shard));
        if self.copies.len() > COPIES {
            self.copies.pop_front();
        }
    }

    /// Begins under another prefix, where nothing is.
    pub fn begin_anew(&mut self) {
        self.prefix += 1;
        self.has_lost_records = false;
        self.shard = Arc::default();
        self.copies.clear();
    }

    pub fn checkpoint(&self, partition: &TopicPartition) -> Option<i64> {
        self.shard.held.checkpoints.get(partition).map(|checkpoint| checkpoint.offset)
    }
}

/// What becomes of a request.
enum Fate {
    Done,
    RequestLost,
    AnswerLost,
    /// Given up by the caller; done later, where it may be.
    Delayed,
}

/// A member's connection to the store, under the prefix that it was started with.
pub struct Connection {
    pub shared: Arc<Shared>,
    pub member: u32,
    pub prefix: u32,
    /// The member's own.
    pub tenures: Arc<Tenures>,
}

impl Connection {
    /// `late` is what may come late.
    async fn ask<T>(
        &self,
        doing: &'static str,
        late: Option<Late>,
        work: impl FnOnce(&mut State) -> T,
    ) -> Result<T, StoreError> {
        let unavailable =
            || StoreError::Unavailable { doing: doing.to_owned(), reason: "the simulation says so".to_owned() };
        let (fate, before, after) = self.shared.with(|state| self.plan(state, doing, late));
        self.shared.nap(before).await;
        let work = |state: &mut State| (state.store.prefix == self.prefix).then(|| work(state));
        let answer = match fate {
            Fate::RequestLost | Fate::Delayed => None,
            Fate::Done => self.shared.with(work),
            Fate::AnswerLost => {
                self.shared.with(work);
                None
            }
        };
        self.shared.nap(after).await;
        answer.ok_or_else(unavailable)
    }

    fn plan(&self, state: &mut State, doing: &'static str, late: Option<Late>) -> (Fate, Duration, Duration) {
        let (mut before, mut after) = (state.latency(), state.latency());
        let mut fate = Fate::Done;
        if state.happens(Fault::StoreRequestLost) {
            fate = Fate::RequestLost;
        } else if state.happens(Fault::StoreAnswerLost) {
            fate = Fate::AnswerLost;
        } else if let Some(late) = late {
            if state.happens(Fault::StoreDelayed) {
                fate = Fate::Delayed;
                let at = state.now_ms + 1 + state.random.below(8_000) as u64;
                state.store.late.push((at, self.prefix, late));
            } else if state.happens(Fault::StoreDoubled) {
                let at = state.now_ms + 1 + state.random.below(8_000) as u64;
                state.store.late.push((at, self.prefix, late));
            }
        }
        if !matches!(fate, Fate::Done) {
            // At once, as when a connection is refused, or at the deadline.
            let hang = Duration::from_millis([0, 30, 2_000][state.random.below(3)]);
            if state.random.below(2) == 0 {
                before += hang
            } else {
                after += hang
            }
            let name = match fate {
                Fate::Done => "done",
                Fate::RequestLost => "request lost",
                Fate::AnswerLost => "answer lost",
                Fate::Delayed => "delayed",
            };
            state.trace.say(|| format!("m{} {doing}: {name}", self.member));
        }
        (fate, before, after)
    }
}

#[async_trait]
impl Store for Connection {
    async fn open(&self, _group: &str, _topics: &[String]) -> Result<(), StoreError> {
        self.ask("opening", None, |_| ()).await
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        self.ask("reading checkpoints", None, |state| {
            let positions: Vec<_> =
                partitions.iter().map(|partition| state.store.shard.held.position(partition)).collect();
            // While nothing happens any more, only this would.
            if !state.faults.is_calm {
                state.trace.say(|| {
                    let places = partitions.iter().zip(&positions);
                    let told: Vec<_> = places.map(|(name, at)| format!("{name}={}", told(at.checkpoint))).collect();
                    format!("m{} reads {}", self.member, told.join(" "))
                });
            }
            positions.into_iter().map(|position| vec![position]).collect()
        })
        .await
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        self.ask("fixing origins", Some(Late::Origins(origins.to_vec())), |state| {
            let fixed = Arc::make_mut(&mut state.store.shard).held.fix_origins(origins);
            state.trace.say(|| format!("m{} fixes origins {origins:?}: {fixed:?}", self.member));
            fixed
        })
        .await
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        assert_eq!(shard, 0);
        let alive = self.tenures.alive();
        let sent = |section: &Section| {
            let tenure = alive.iter().find(|tenure| tenure.partition == section.partition);
            Sent { section: section.clone(), began: tenure.map(|tenure| tenure.begin) }
        };
        let sent: Vec<Sent> = sections.iter().map(sent).collect();
        self.ask("flushing", Some(Late::Sections(sent.clone())), |state| {
            let who = format!("m{}", self.member);
            sent.iter().map(|sent| state.apply(&who, sent)).collect()
        })
        .await
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        self.ask("beating", Some(Late::Beat(Box::new(beat.clone()))), |state| {
            let beaten = state.beat(beat);
            let positions = partitions.iter().map(|partition| vec![state.store.shard.held.position(partition)]);
            (beaten, positions.collect())
        })
        .await
    }

    async fn roster(&self, _group: &str) -> Result<Roster, StoreError> {
        panic!("nobody looks at a group from outside here")
    }

    async fn read(&self, _queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        panic!("nobody reads here")
    }

    async fn scan(&self, _prefix: &str, _cursor: &str, _limit: usize) -> Result<ScanPage, StoreError> {
        panic!("nobody scans here")
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        self.ask("swapping documents", None, |state| {
            let shard = Arc::make_mut(&mut state.store.shard);
            swaps.iter().map(|swap| shard.held.swap(swap)).collect()
        })
        .await
    }
}
