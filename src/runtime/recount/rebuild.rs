//! The rebuild: results of some topics are recounted into the shadow and put in place of what is stored, while members count.
//!
//! What a shard holds stays a function of the log and its own checkpoints (invariant 0): it gets the shadow's results and the
//! shadow's checkpoints together. A member that counts meanwhile meets a conflict, reads the checkpoints again, and goes on
//! from there, a little behind where it was.
//!
//! Longer than most files, since what a rebuild would do and what it does are judged side by side.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Recount, RecountError, exchanging, moment::patiently};
use crate::{
    catalog::{Feeds, plan::Topic},
    core::{card, register::Note, switches::UNKNOWN},
    log::{At, Log, LogError},
    model::{
        Checkpoint, ExchangePlan, Fingerprint, Gap, NotBegun, RulesMark, ShardId, StoredPosition, Swap, Switch, Target,
        TopicPartition,
    },
    runtime::{
        imports,
        outside::{Outside, as_far_as_needed},
    },
    store::{Exchange, Store, StoreError},
};

/// How often the shadow follows before it is near enough: each time there is less to read.
const MAX_ROUNDS: usize = 10;
/// A round that took no longer has come near: members count as much again once the results are exchanged.
const NEAR: Duration = Duration::from_secs(1);
/// How often the checkpoints are read again because somebody moved them.
const MAX_TRIES: usize = 3;

/// What a rebuild would do.
#[derive(Clone, Debug, Default)]
pub struct RebuildPlan {
    /// The topics, in order.
    pub topics: Vec<String>,
    /// Their partitions that were counted, and up to which offset.
    pub partitions: Vec<(TopicPartition, i64)>,
    /// Offsets that are to be read.
    pub offsets: u64,
    /// What was counted, or would have been, and the log no longer holds. It is in no counter afterwards.
    pub lost: Vec<(TopicPartition, Gap)>,
    /// Why it cannot be done, whatever is accepted.
    pub obstacles: Vec<String>,
}

/// What a rebuild has done.
#[derive(Clone, Debug, Default)]
pub struct Rebuilt {
    /// Offsets that were recounted.
    pub recounted: u64,
    /// Names that were looked at in the exchange.
    pub names: u64,
    /// Counters that no rule makes, left as they are.
    pub strangers: u64,
    /// How long the topics were not counted.
    pub pause: Duration,
    /// The offsets from which members go on.
    pub positions: Vec<(TopicPartition, i64)>,
}

impl Recount {
    /// Lets it begin where the log does, where the log no longer holds the group's beginning.
    #[must_use]
    pub fn accept_loss(mut self) -> Self {
        self.parts.accepts_loss = true;
        self
    }

    /// What a rebuild of these topics would do. Nothing is read of the log but where it begins.
    ///
    /// # Errors
    /// Log or store do not answer.
    pub async fn plan(&mut self, group: &str) -> Result<RebuildPlan, RecountError> {
        self.look_around().await?;
        let topics = self.parts.topics.iter().map(|topic| topic.name.to_string()).collect();
        let mut plan = RebuildPlan { topics, ..RebuildPlan::default() };
        for (partition, position) in self.standings().await? {
            if !self.partitions.contains(&partition) {
                continue;
            }
            let Some(checkpoint) = position.checkpoint else { continue };
            let log_start = self.parts.log.offset_at(&partition, At::Start).await?;
            let origin = position.origin.unwrap_or(0);
            let from = origin.max(log_start.min(checkpoint.offset));
            if log_start > origin {
                plan.lost.push((partition.clone(), Gap { from: origin, to: log_start }));
            }
            plan.offsets += (checkpoint.offset - from).unsigned_abs();
            plan.partitions.push((partition, checkpoint.offset));
        }
        plan.obstacles = self.obstacles(group).await?;
        Ok(plan)
    }

    /// Members that count by other rules would go on by them, and an import that was broken off cannot be told from one that is
    /// under way.
    async fn obstacles(&self, group: &str) -> Result<Vec<String>, RecountError> {
        let store = &*self.parts.live.store;
        let roster = patiently(|| store.roster(group)).await?;
        let mut obstacles = Vec::new();
        for (member, card) in card::cards(&roster) {
            let is_other = |topic: &&Arc<Topic>| {
                let own = card::TopicCard::new(0, topic.fingerprint, None).rules;
                card.topics.get(&*topic.name).is_some_and(|counted| counted.rules != own)
            };
            obstacles.extend(self.parts.topics.iter().find(is_other).map(|topic| {
                format!(
                    "member {member} on {} counts {} by other rules than those of this catalogue: start it with this one first",
                    card.host, topic.name
                )
            }));
        }
        obstacles.extend(self.changing_rules().await?);
        for import in &self.imports {
            let missing = import.missing(store).await?;
            if missing > 0 {
                obstacles.push(format!(
                    "the import {:032x} is under way or was broken off, {missing} of its {} parts are not added: let it end, or \
                     import the same file again",
                    import.id, import.parts
                ));
            }
        }
        Ok(obstacles)
    }

    /// Partitions whose rules have changed before and are others now than what is recounted by, or are being changed: a table of
    /// switches tells by which rules each offset is counted, and the shards must agree on it, with the one outside.
    async fn changing_rules(&self) -> Result<Vec<String>, RecountError> {
        let partitions = self.positioned();
        let store = &*self.parts.live.store;
        let positions = patiently(|| store.positions(&partitions)).await?;
        let shards = positions.first().map_or(1, Vec::len);
        let register = as_far_as_needed(&*self.parts.outside, shards).await?;
        let is_wrong = |(partition, shards): &(&TopicPartition, Vec<StoredPosition>)| {
            let Some(topic) = self.parts.topics.iter().find(|topic| topic.name == partition.topic) else {
                return false;
            };
            let mut marks = marks(shards);
            let first = marks.next().unwrap_or_default();
            let counted_by = shards.iter().filter_map(|shard| shard.checkpoint).filter(|stored| !stored.is_exchanged());
            let is_other = |stored: Checkpoint| stored.fingerprint != topic.fingerprint;
            let topic_id = shards.iter().find_map(|shard| shard.log_identity.topic_id);
            let noted = register.as_ref().map(|register| register.noted(partition, topic_id).switches());
            let noted = noted.unwrap_or_default();
            let has_come = match (noted.0.len(), noted.last()) {
                (0, _) | (_, None) => true,
                (1, Some(last)) => last.fingerprint == topic.fingerprint && first == RulesMark::default(),
                (entries, Some(last)) => {
                    last.fingerprint == topic.fingerprint && last.from != UNKNOWN && first == noted.mark(entries - 1)
                }
            };
            // One shard goes by its own.
            if shards.len() > 1 && !has_come {
                return true;
            }
            marks.any(|mark| mark != first) || first != RulesMark::default() && counted_by.into_iter().any(is_other)
        };
        let wrong = partitions.iter().zip(positions).filter(is_wrong);
        let told = wrong.map(|(partition, _)| {
            format!(
                "the rules of {partition} have changed before and are others now than those of this catalogue, or are being changed: \
                 run a member with this catalogue until it counts, then run this again"
            )
        });
        Ok(told.collect())
    }

    /// Where every partition stands: the lowest checkpoint of the shards that have one, as if it were of the rules of now, since by
    /// these it is recounted.
    async fn standings(&self) -> Result<Vec<(TopicPartition, StoredPosition)>, RecountError> {
        let partitions = self.positioned();
        let store = &*self.parts.live.store;
        let positions = patiently(|| store.positions(&partitions)).await?;
        let one = |(partition, shards): (TopicPartition, Vec<StoredPosition>)| {
            let rules = self.parts.topics.iter().find(|topic| topic.name == partition.topic);
            let checkpoints =
                shards.iter().filter_map(|shard| shard.checkpoint).filter(|checkpoint| !is_stray(checkpoint));
            let lowest = checkpoints.min_by_key(|checkpoint| checkpoint.offset);
            let fingerprint = |lowest: &Checkpoint| rules.map_or(lowest.fingerprint, |topic| topic.fingerprint);
            // By the rules of now alone, whichever counted it first.
            let rules = RulesMark::default();
            let checkpoint = lowest.map(|lowest| Checkpoint { fingerprint: fingerprint(&lowest), rules, ..lowest });
            let origin = shards.iter().find_map(|shard| shard.origin);
            let first = shards.into_iter().next().unwrap_or_default();
            (partition, StoredPosition { checkpoint, origin, switches: None, ..first })
        };
        Ok(partitions.into_iter().zip(positions).map(one).collect())
    }

    /// Recounts and exchanges. `id` is the shadow's name, `instead_of` that of an exchange that was broken off and lost its shadow.
    ///
    /// Once the exchange has begun it must be brought to its end, or members wait: where this fails later, or is dropped, the shadow
    /// must stay, for [`super::finish`].
    ///
    /// # Errors
    /// It cannot be done, or log or store do not answer.
    pub async fn rebuild(
        &mut self,
        exchange: &dyn Exchange,
        id: &str,
        instead_of: Option<&str>,
    ) -> Result<Rebuilt, RecountError> {
        for _ in 0..MAX_ROUNDS {
            let began = Instant::now();
            self.catch_on().await?;
            if began.elapsed() <= NEAR {
                break;
            }
        }
        let live = Arc::clone(&self.parts.live.store);
        imports::close(&*live, true).await?;
        let rebuilt = self.exchange(exchange, id, instead_of).await;
        // Where it was begun and has failed, it stays closed until somebody brings it to its end.
        if rebuilt.is_ok() || !exchanging::is_under_way(exchange).await? {
            imports::close(&*live, false).await?;
        }
        rebuilt
    }

    /// Counts the shadow on to where the store is.
    async fn catch_on(&mut self) -> Result<(), RecountError> {
        self.look_around().await?;
        let positions = self.standings().await?;
        self.follow(&positions).await.map_err(|error| match error {
            RecountError::CannotVerify(why) => RecountError::CannotRebuild(why),
            other => other,
        })
    }

    async fn exchange(
        &mut self,
        exchange: &dyn Exchange,
        id: &str,
        instead_of: Option<&str>,
    ) -> Result<Rebuilt, RecountError> {
        // No import comes any more: the shadow gets the last ones.
        self.catch_on().await?;
        for import in &self.imports {
            if import.missing(&*self.parts.live.store).await? > 0 {
                let why = format!("the import {:032x} is under way: let it end first", import.id);
                return Err(RecountError::CannotRebuild(vec![why]));
            }
        }
        self.keep_texts().await?;
        let began = Instant::now();
        self.machine.progress.is_exchanging.store(true, Ordering::Release);
        let mut begun = Vec::with_capacity(usize::from(exchange.shards()));
        for shard in 0..exchange.shards() {
            begun.push(self.begin(exchange, shard, id, instead_of).await?);
        }
        let feeds = Feeds::of(&self.parts.topics);
        let exchanged = exchanging::finish(exchange, &feeds, &self.machine.progress).await?;
        note_recounted(&*self.parts.log, &*self.parts.outside, begun.first().map_or(&[], Vec::as_slice)).await?;
        self.look_back(&begun).await?;
        Ok(Rebuilt {
            recounted: self.machine.progress.read.load(Ordering::Relaxed),
            names: exchanged.names,
            strangers: exchanged.strangers,
            pause: began.elapsed(),
            positions: self.lanes.iter().map(|(name, lane)| (name.clone(), lane.counted_to())).collect(),
        })
    }

    /// Begins the exchange of a shard. The shadow stands still from the first one on, so all get the same offsets.
    async fn begin(
        &self,
        exchange: &dyn Exchange,
        shard: ShardId,
        id: &str,
        instead_of: Option<&str>,
    ) -> Result<Vec<Target>, RecountError> {
        let mut tries = 1;
        loop {
            let plan = self.exchange_plan(id).await?;
            // Where an earlier one has begun in some shards only, the others have nothing that could give way.
            let there = patiently(|| exchange.state(shard)).await?.map(|state| state.plan.id);
            let instead_of = instead_of.filter(|old| there.as_deref() == Some(*old));
            match patiently(|| exchange.begin(shard, &plan, instead_of)).await? {
                Ok(()) => return Ok(plan.targets),
                Err(NotBegun::Moved { .. }) if tries < MAX_TRIES => tries += 1,
                Err(why) => return Err(RecountError::CannotRebuild(vec![format!("{why}: run it again")])),
            }
        }
    }

    /// Whether every shard has what it was given: one that fell back to before the exchange knows nothing of it.
    async fn look_back(&self, begun: &[Vec<Target>]) -> Result<(), RecountError> {
        let Some(first) = begun.first() else { return Ok(()) };
        let partitions: Vec<TopicPartition> = first.iter().map(|target| target.partition.clone()).collect();
        let store = &*self.parts.live.store;
        let stored = patiently(|| store.positions(&partitions)).await?;
        for (shard, targets) in begun.iter().enumerate() {
            let has = |(target, shards): (&Target, &Vec<StoredPosition>)| {
                let stored = shards.get(shard).and_then(|position| position.checkpoint);
                stored
                    .is_some_and(|stored| !stored.is_exchanged() && stored.incarnation >= target.checkpoint.incarnation)
            };
            if !targets.iter().zip(&stored).all(has) {
                let why =
                    format!("shard {shard} of the store fell back while its results were exchanged: run it again");
                return Err(RecountError::CannotRebuild(vec![why]));
            }
        }
        Ok(())
    }

    /// What is to stand in the store afterwards: where the shadow is, with an incarnation that no shard has seen.
    async fn exchange_plan(&self, id: &str) -> Result<ExchangePlan, StoreError> {
        let counted: Vec<_> = self.lanes.values().filter(|lane| lane.tenure.counted_to().is_some()).collect();
        let partitions: Vec<TopicPartition> = counted.iter().map(|lane| lane.tenure.partition.clone()).collect();
        let store = &*self.parts.live.store;
        let stored = patiently(|| store.positions(&partitions)).await?;
        let target = |(lane, shards): (&&super::lane::Lane, Vec<StoredPosition>)| {
            let seen =
                shards.iter().filter_map(|shard| shard.checkpoint).map(|checkpoint| checkpoint.incarnation).max();
            let checkpoint = Checkpoint {
                offset: lane.counted_to(),
                incarnation: seen.map_or(1, |seen| seen.saturating_add(1)),
                fingerprint: lane.tenure.fingerprint,
                rules: marks(&shards).next().unwrap_or_default(),
            };
            Target { partition: lane.tenure.partition.clone(), checkpoint, gap: lane.gap }
        };
        Ok(ExchangePlan {
            id: id.to_owned(),
            topics: self.parts.topics.iter().map(|topic| topic.name.to_string()).collect(),
            targets: counted.iter().zip(stored).map(target).collect(),
        })
    }

    /// The checkpoints name rules: their text is kept in the store, as a member keeps it.
    async fn keep_texts(&self) -> Result<(), StoreError> {
        let swaps: Vec<Swap> = self.parts.topics.iter().map(|topic| topic.keep_text()).collect();
        let store = &*self.parts.live.store;
        patiently(|| store.swap(&swaps)).await.map(drop)
    }
}

/// Notes outside by which rules everything of these partitions was counted anew, where there were others before: a shard that is
/// emptied later is counted as the others were.
///
/// # Errors
/// It is not noted. Until it is, shards that are emptied are counted by the former rules, where these were in force.
pub async fn note_recounted(log: &dyn Log, outside: &dyn Outside, targets: &[Target]) -> Result<(), LogError> {
    let Some(register) = as_far_as_needed(outside, 1).await? else { return Ok(()) };
    let mut notes = Vec::new();
    for Target { partition, checkpoint, .. } in targets {
        let noted = register.noted(partition, log.identity(partition).await?.topic_id);
        let table = noted.switches();
        let entry = match table.last() {
            // The only shard has rules that nobody has counted by before: they take the place of all others.
            Some(last) if checkpoint.rules == RulesMark::default() && last.fingerprint != checkpoint.fingerprint => {
                let switch = Switch { fingerprint: checkpoint.fingerprint, from: last.from };
                notes.extend(noted.missing(partition, &table.with(switch)));
                table.0.len()
            }
            _ => checkpoint.rules.in_force as usize,
        };
        if entry > 0 {
            notes.push(Note::Recounted(partition.clone(), entry));
        }
    }
    outside.add(&notes).await
}

/// What shards say of the switches of a partition's rules.
fn marks(shards: &[StoredPosition]) -> impl Iterator<Item = RulesMark> {
    let checkpoints = shards.iter().filter_map(|shard| shard.checkpoint).filter(|checkpoint| !is_stray(checkpoint));
    checkpoints.map(|checkpoint| checkpoint.rules)
}

/// The mark of a partition that an exchange found without being told where it is to stand: it has no checkpoint.
fn is_stray(checkpoint: &Checkpoint) -> bool {
    checkpoint.fingerprint == Fingerprint::EXCHANGE && checkpoint.offset == 0
}

/// Opens the store for imports after an exchange was brought to its end by somebody else than who began it.
///
/// # Errors
/// The store.
pub async fn open_for_imports(store: &dyn Store) -> Result<(), RecountError> {
    Ok(imports::close(store, false).await?)
}
