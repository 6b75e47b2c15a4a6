//! A member's connection to the store of the simulation. A request goes to one shard and has a fate of its own, so that a call
//! that needs several shards may be done in some of them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use streamgauge::{
    core::shards::shard_of,
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
    store::{Late, Sent},
    world::{Shared, State},
};

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
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
    pub shards: ShardId,
    /// The member's own.
    pub tenures: Arc<Tenures>,
}

impl Connection {
    /// Sends a shard a request. `late` is what may come late.
    async fn ask<T>(
        &self,
        doing: &'static str,
        shard: ShardId,
        late: Option<Late>,
        work: impl FnOnce(&mut State) -> T,
    ) -> Result<T, StoreError> {
        let unavailable =
            || StoreError::Unavailable { doing: doing.to_owned(), reason: "the simulation says so".to_owned() };
        let (fate, before, after) = self.shared.with(|state| self.plan(state, doing, shard, late));
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

    fn plan(
        &self,
        state: &mut State,
        doing: &'static str,
        shard: ShardId,
        late: Option<Late>,
    ) -> (Fate, Duration, Duration) {
        let (mut before, mut after) = (state.latency(), state.latency());
        let mut fate = Fate::Done;
        if state.store.is_down(shard, state.now_ms) {
            fate = Fate::RequestLost;
            state.faults.saw(Fault::AskedWhileDown);
        } else if state.happens(Fault::StoreRequestLost) {
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
            state.trace.say(|| format!("m{} {doing}, shard {shard}: {fate:?}", self.member));
        }
        (fate, before, after)
    }

    /// The same of every shard at once; all of them get it, also where one fails.
    async fn ask_all<T>(
        &self,
        doing: &'static str,
        work: impl Fn(&mut State, ShardId) -> T + Copy,
    ) -> Result<Vec<T>, StoreError> {
        let ask = |shard| self.ask(doing, shard, None, move |state| work(state, shard));
        join_all((0..self.shards).map(ask)).await.into_iter().collect()
    }

    /// What all shards have: by partition, then by shard.
    async fn all_positions(
        &self,
        doing: &'static str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        let read = |state: &mut State, shard: ShardId| {
            let held = &state.store.shard(shard).held;
            let positions: Vec<_> = partitions.iter().map(|partition| held.position(partition)).collect();
            // One partition's, as a tenure begins: what stands beside the checkpoint is looked at.
            if let ("reading checkpoints", [partition]) = (doing, partitions) {
                let place = (self.member, shard, partition.clone());
                state.store.read_after.insert(place, state.store.falls[usize::from(shard)]);
            }
            // While nothing happens any more, only this would.
            if !state.faults.is_calm {
                state.trace.say(|| {
                    let places = partitions.iter().zip(&positions);
                    let told: Vec<_> = places.map(|(name, at)| format!("{name}={}", told(at.checkpoint))).collect();
                    format!("m{} reads shard {shard}: {}", self.member, told.join(" "))
                });
            }
            positions
        };
        let mut shards: Vec<_> = self.ask_all(doing, read).await?.into_iter().map(Vec::into_iter).collect();
        Ok(partitions.iter().map(|_| shards.iter_mut().filter_map(Iterator::next).collect()).collect())
    }

    async fn fix_in(&self, shard: ShardId, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        self.ask("fixing origins", shard, Some(Late::Origins(shard, origins.to_vec())), |state| {
            let fixed = state.store.shard_mut(shard).held.fix_origins(origins);
            state.trace.say(|| format!("m{} fixes origins {origins:?} in shard {shard}: {fixed:?}", self.member));
            fixed
        })
        .await
    }
}

#[async_trait]
impl Store for Connection {
    async fn open(&self, _group: &str, _topics: &[String]) -> Result<(), StoreError> {
        self.ask("opening", 0, None, |_| ()).await
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        self.all_positions("reading checkpoints", partitions).await
    }

    /// As the store in Redis does: what any shard keeps is wanted, the first decides, and the others are told.
    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        let mut wanted = origins.to_vec();
        if self.shards > 1 {
            let read = |state: &mut State, shard: ShardId| {
                let kept = &state.store.shard(shard).held.origins;
                origins.iter().map(|(partition, _)| kept.get(partition).copied()).collect::<Vec<_>>()
            };
            for kept in self.ask_all("reading origins", read).await?.into_iter().rev() {
                for ((_, wanted), kept) in wanted.iter_mut().zip(kept) {
                    *wanted = kept.unwrap_or(*wanted);
                }
            }
        }
        let fixed = self.fix_in(0, &wanted).await?;
        wanted.iter_mut().zip(&fixed).for_each(|((_, wanted), fixed)| *wanted = *fixed);
        let others = join_all((1..self.shards).map(|shard| self.fix_in(shard, &wanted))).await;
        others.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(fixed)
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        let alive = self.tenures.alive();
        let read_after = |partition: &TopicPartition| {
            let place = (self.member, shard, partition.clone());
            self.shared.with(|state| state.store.read_after.get(&place).copied().unwrap_or(0))
        };
        let sent = |section: &Section| {
            for (key, _) in &section.deltas {
                assert_eq!(shard_of(&key.name, self.shards), shard, "{} lies elsewhere", key.name);
            }
            let tenure = alive.iter().find(|tenure| tenure.partition == section.partition);
            let found = tenure.map(|tenure| tenure.found(shard).from);
            Sent {
                section: section.clone(),
                read_after: read_after(&section.partition),
                began: found.zip(tenure).map(|(from, tenure)| from.max(tenure.begin)),
                was_ahead: found.zip(tenure).is_some_and(|(from, tenure)| from > tenure.begin),
            }
        };
        let sent: Vec<Sent> = sections.iter().map(sent).collect();
        self.ask("flushing", shard, Some(Late::Sections(shard, sent.clone())), |state| {
            let who = format!("m{}", self.member);
            sent.iter().map(|sent| state.apply(&who, shard, sent)).collect()
        })
        .await
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        if self.shards == 1 {
            return self
                .ask("beating", 0, Some(Late::Beat(Box::new(beat.clone()))), |state| {
                    let beaten = state.beat(beat);
                    let held = &state.store.shard(0).held;
                    (beaten, partitions.iter().map(|partition| vec![held.position(partition)]).collect())
                })
                .await;
        }
        let beaten = self.ask("beating", 0, Some(Late::Beat(Box::new(beat.clone()))), |state| state.beat(beat)).await?;
        if partitions.is_empty() {
            return Ok((beaten, Vec::new()));
        }
        Ok((beaten, self.all_positions("looking again", partitions).await?))
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
        self.ask("swapping documents", 0, None, |state| {
            let shard = state.store.shard_mut(0);
            swaps.iter().map(|swap| shard.held.swap(swap)).collect()
        })
        .await
    }
}
