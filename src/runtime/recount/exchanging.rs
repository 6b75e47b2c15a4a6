//! The exchange: steps over all names of a shard, from wherever it is to its end.
//!
//! Who does it does not matter: the process that recounted, or the next one after a crash. Every step names the number of those
//! before it, so that a call that is answered late, a second process, or a store that fell back is noticed, and then
//! it is looked anew how far the shard is. What a step does can be done twice.

use std::sync::atomic::Ordering;

use super::{Progress, RecountError, moment::patiently};
use crate::{
    catalog::{
        Feeds,
        plan::{Catalog, Topic},
    },
    model::{ExchangeState, ExchangeStep, Kind, Phase, ShardId},
    store::{Exchange, Half},
};

/// Counters of one step: as many as a section has at most that shares its call.
const COUNTERS_PER_STEP: usize = 1_000;
/// Other keys of one step.
const OTHERS_PER_STEP: usize = 500;
/// How often it is looked anew how far a shard is.
const MAX_LOOKS: usize = 30;

/// What an exchange went over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchanged {
    /// Names in both halves.
    pub names: u64,
    /// Counters that no rule makes; not touched.
    pub strangers: u64,
}

/// Whether an exchange is under way in any shard.
///
/// # Errors
/// The store.
pub async fn is_under_way(exchange: &dyn Exchange) -> Result<bool, RecountError> {
    for shard in 0..exchange.shards() {
        if patiently(|| exchange.state(shard)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys of a broken off exchange's topics.
///
/// # Errors
/// The catalogue is not the one that was recounted with.
pub fn feeds_of(state: &ExchangeState, catalog: &Catalog) -> Result<Feeds, RecountError> {
    let other = |why: String| RecountError::CannotRebuild(vec![why]);
    let mut topics = Vec::with_capacity(state.plan.topics.len());
    for name in &state.plan.topics {
        let Some(topic) = catalog.topic(name) else {
            return Err(other(format!("a rebuild of {name} was broken off, which this catalogue does not have")));
        };
        let is_other = |topic: &Topic| {
            let mut targets = state.plan.targets.iter().filter(|target| target.partition.topic == topic.name);
            targets.any(|target| target.checkpoint.fingerprint != topic.fingerprint)
        };
        if is_other(topic) {
            return Err(other(format!(
                "a rebuild of {name} was broken off that had other rules than this catalogue: run it again with the former one"
            )));
        }
        topics.push(std::sync::Arc::clone(topic));
    }
    Ok(Feeds::of(&topics))
}

/// Brings every exchange that is under way to its end.
///
/// # Errors
/// The store does not answer, or the shadow is gone.
pub async fn finish(exchange: &dyn Exchange, feeds: &Feeds, progress: &Progress) -> Result<Exchanged, RecountError> {
    let mut all = Exchanged::default();
    for shard in 0..exchange.shards() {
        let mut looks = 0;
        while let Some(state) = patiently(|| exchange.state(shard)).await? {
            let mut pass =
                Pass { exchange, feeds, progress, shard, number: state.step, exchanged: Exchanged::default() };
            let is_done = pass.run(state.phase).await?;
            all.names += pass.exchanged.names;
            all.strangers += pass.exchanged.strangers;
            looks += 1;
            if !is_done && looks >= MAX_LOOKS {
                let why = "something else exchanges the same results: stop it, then run this again".to_owned();
                return Err(RecountError::CannotRebuild(vec![why]));
            }
        }
    }
    Ok(all)
}

/// One walk through a shard, from its phase on.
struct Pass<'a> {
    exchange: &'a dyn Exchange,
    feeds: &'a Feeds,
    progress: &'a Progress,
    shard: ShardId,
    number: u64,
    exchanged: Exchanged,
}

impl Pass<'_> {
    /// `false` where the shard was not where it was believed to be.
    async fn run(&mut self, from: Phase) -> Result<bool, RecountError> {
        if from == Phase::Removing && !(self.all(Phase::Removing, Half::Live).await? && self.turn().await?) {
            return Ok(false);
        }
        if !self.all(Phase::Taking, Half::Shadow).await? {
            return Ok(false);
        }
        Ok(patiently(|| self.exchange.finish(self.shard, self.number)).await?)
    }

    /// All names of a half. Those of the store itself are all there, since nobody may make any until the exchange has ended.
    async fn all(&mut self, phase: Phase, half: Half) -> Result<bool, RecountError> {
        let mut cursor = Some(String::new());
        while let Some(from) = cursor {
            let page = patiently(|| self.exchange.names(self.shard, half, &from)).await?;
            cursor = page.cursor;
            let (mut counters, mut others) = (Vec::new(), Vec::new());
            for (name, kind) in page.keys {
                match (is_counter(kind), self.feeds.kind(&name)) {
                    (true, Some(made)) if is_counter(made) => counters.push((kind, name)),
                    (true, None) if kind == Kind::Count && half == Half::Live => self.exchanged.strangers += 1,
                    (false, Some(made)) if made == kind => others.push((kind, name)),
                    // Others may keep keys in the same place.
                    _ => {}
                }
            }
            for names in counters.chunks(COUNTERS_PER_STEP).chain(others.chunks(OTHERS_PER_STEP)) {
                if !self.step(phase, names, false).await? {
                    return Ok(false);
                }
                self.exchanged.names += names.len() as u64;
                self.progress.exchanged.fetch_add(names.len() as u64, Ordering::Relaxed);
            }
        }
        Ok(true)
    }

    async fn turn(&mut self) -> Result<bool, RecountError> {
        self.step(Phase::Removing, &[], true).await
    }

    async fn step(&mut self, phase: Phase, names: &[(Kind, String)], is_last: bool) -> Result<bool, RecountError> {
        let step = ExchangeStep { shard: self.shard, phase, number: self.number, names, is_last };
        let is_done = patiently(|| self.exchange.step(&step)).await?;
        self.number += u64::from(is_done);
        Ok(is_done)
    }
}

fn is_counter(kind: Kind) -> bool {
    matches!(kind, Kind::Count | Kind::Max | Kind::Last)
}
