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
        Answer, Checkpoint, Outcome, Query, ScanPage, Section, ShardId, StoredPosition, Swap, SwapOutcome,
        TopicPartition,
    },
    runtime::tenure::Tenures,
    store::{Store, StoreError},
};

use crate::{
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
}

/// A section, and where its tenure began.
#[derive(Clone)]
pub struct Sent {
    section: Section,
    began: Option<i64>,
}

/// A request that comes late.
#[derive(Clone)]
pub enum Late {
    Sections(Vec<Sent>),
    Origins(Vec<(TopicPartition, i64)>),
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

fn told(checkpoint: Option<Checkpoint>) -> String {
    checkpoint.map_or_else(|| "none".to_owned(), |checkpoint| checkpoint.offset.to_string())
}

impl State {
    fn apply(&mut self, who: &str, sent: &Sent) -> Outcome {
        let section = &sent.section;
        let planted = self.store.planted;
        let compared = self.store.shard.held.compare(section);
        let outcome = match compared {
            Some(Outcome::Conflict { .. }) if planted == Some(Planted::CompareDropped) => None,
            compared => compared,
        };
        let outcome = outcome.unwrap_or_else(|| {
            self.check_gap(section);
            self.check_beginning(sent);
            let shard = Arc::make_mut(&mut self.store.shard);
            if let (None, Some(began)) = (section.expect, sent.began) {
                shard.began.insert(section.partition.clone(), began);
            }
            shard.held.recents_are_pushed = planted == Some(Planted::RecentPushed);
            shard.held.put(section)
        });
        let Section { partition, expect, next, gap, deltas, .. } = section;
        self.trace.say(|| {
            let (expect, next, keys) = (told(*expect), next.offset, deltas.len());
            let gap = gap.map_or_else(String::new, |gap| format!(" gap {}..{}", gap.from, gap.to));
            format!("{who} flushes {partition} {expect}->{next}{gap} {keys} keys: {outcome:?}")
        });
        match outcome {
            Outcome::Conflict { .. } => self.faults.saw(Fault::Conflict),
            Outcome::AlreadyApplied => {
                self.faults.saw(Fault::AlreadyApplied);
                self.look_for_lost_records(&section.partition);
            }
            Outcome::Applied if who == "late" => self.faults.saw(Fault::LateAndFitting),
            _ => {}
        }
        outcome
    }

    /// A gap begins at what is stored and ends where the log began once.
    fn check_gap(&mut self, section: &Section) {
        let Some(gap) = section.gap else { return };
        self.faults.saw(Fault::Gap);
        let stored = self.store.shard.held.position(&section.partition);
        let from = stored.checkpoint.map(|checkpoint| checkpoint.offset).or(stored.origin);
        let start = self.log.partitions[&section.partition].start;
        let may_differ = stored.checkpoint.is_none() && self.store.has_forgotten;
        if (from != Some(gap.from) && !may_differ) || gap.to > start {
            self.store.wrong.push(format!("{}: {gap:?}, stored {from:?}, log start {start}", section.partition));
        }
    }

    /// A first section counts from the origin that is stored, or from the end of the gap behind it.
    fn check_beginning(&mut self, sent: &Sent) {
        let Sent { section, began } = sent;
        let partition = &section.partition;
        let Some(began) = began else {
            self.store.wrong.push(format!("{partition}: a void tenure has flushed (invariant 4)"));
            return;
        };
        let origin = self.store.shard.held.origins.get(partition).copied();
        let from = section.gap.map_or(*began, |gap| gap.from);
        if section.expect.is_none() && origin != Some(from) && !self.store.has_forgotten {
            self.store.wrong.push(format!("{partition}: counted from {from}, where the origin is {origin:?}"));
        }
    }

    /// What another member counted of records that a leader then lacked is told from what this one counted of those in their
    /// place by nothing but the epoch beside the checkpoint, which is not compared. It is outside the promise, and rare: such
    /// a store is counted anew at the end.
    fn look_for_lost_records(&mut self, partition: &TopicPartition) {
        let stored = self.store.shard.held.position(partition);
        let log = &self.log.partitions[partition];
        let (Some(checkpoint), Some(epoch)) = (stored.checkpoint, stored.log_identity.leader_epoch) else { return };
        if log.has_lost_tail && log.epoch_end(epoch) < checkpoint.offset {
            self.store.has_lost_records = true;
            self.faults.saw(Fault::LostRecordsKept);
        }
    }

    fn do_late(&mut self, late: &Late) {
        match late {
            Late::Sections(sections) => sections.iter().for_each(|sent| {
                self.apply("late", sent);
            }),
            Late::Origins(origins) => {
                let fixed = Arc::make_mut(&mut self.store.shard).held.fix_origins(origins);
                self.trace.say(|| format!("late origins {origins:?}: {fixed:?}"));
            }
        }
    }

    /// Does what comes now.
    pub fn do_what_is_due(&mut self) {
        let now_ms = self.now_ms;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.store.late).into_iter().partition(|(at, ..)| *at <= now_ms);
        self.store.late = later;
        for (_, prefix, late) in due {
            if prefix == self.store.prefix {
                self.do_late(&late);
            }
        }
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
