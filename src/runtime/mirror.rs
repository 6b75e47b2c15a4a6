//! Mirrored offsets: the checkpoints of what this member holds, copied to the broker as its group's offsets, so that tools
//! which know Kafka alone show the lag (SPEC 5).
//!
//! A copy, nothing else: nothing here reads an offset back to count from it, and a mirror that fails disturbs no counting.
//! What others have committed is never overwritten: our commits carry a note ([`NOTE`]), and a group that has running members
//! or an offset without that note is left alone, which is said once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    MIRROR_PART,
    health::{Health, Level},
    tenure::Tenures,
};
use crate::{log::LogError, model::TopicPartition};

/// The first word of the metadata of every offset that streamgauge commits.
pub const NOTE: &str = "streamgauge";
/// Between two looks at what has changed.
const INTERVAL: Duration = Duration::from_secs(5);
/// Rounds for which a group is left alone that belongs to others: a minute.
const ROUNDS_ASIDE: u32 = 12;
/// How long the last commit may take when the process ends.
const LAST_WITHIN: Duration = Duration::from_secs(2);

/// A partition and the next offset to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to count, as it is stored.
    pub offset: i64,
    /// This member still counts it.
    pub is_held: bool,
}

/// What the broker has for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The partition.
    pub partition: TopicPartition,
    /// The committed offset.
    pub offset: i64,
    /// Its metadata.
    pub note: String,
}

/// The offsets that a broker keeps for groups. No seam of the program: it is here so that the mirror can be tried without one.
#[async_trait]
pub trait GroupOffsets: Send + Sync + 'static {
    /// Members of the group that run now; a group that nobody knows has none.
    async fn members(&self, group: &str) -> Result<usize, LogError>;

    /// What is committed: for these partitions, or for all. What has no offset is left out.
    async fn shown(&self, group: &str, partitions: Option<&[TopicPartition]>) -> Result<Vec<Shown>, LogError>;

    /// Commits offsets with this metadata, as one that is no member. One answer for each partition, in the order given.
    async fn commit(
        &self,
        group: &str,
        offsets: &[Mirrored],
        note: &str,
    ) -> Result<Vec<Result<(), LogError>>, LogError>;
}

/// Copies checkpoints to the broker.
pub struct Mirror {
    offsets: Arc<dyn GroupOffsets>,
    group: String,
    note: String,
    tenures: Arc<Tenures>,
    health: Arc<Health>,
    /// What the broker has of us. Holds no more partitions than are held: see [`Mirror::changed`].
    committed: HashMap<TopicPartition, i64>,
    /// Every offset of the group was looked at once: from then on those suffice that are written.
    has_looked_at_all: bool,
    rounds_aside: u32,
    state: State,
}

/// What was said last, so that it is said once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begun,
    Mirrors,
    StandsAside,
    Fails,
}

impl Mirror {
    /// A mirror of these tenures, which has committed nothing yet. `member` is told in the metadata of what it commits.
    pub fn new(
        offsets: Arc<dyn GroupOffsets>,
        group: String,
        member: &str,
        tenures: Arc<Tenures>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            offsets,
            group,
            note: format!("{NOTE} {member}"),
            tenures,
            health,
            committed: HashMap::new(),
            has_looked_at_all: false,
            rounds_aside: 0,
            state: State::Begun,
        }
    }

    /// Mirrors what has changed every few seconds until `stop`, and once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        while timeout(INTERVAL, stop.cancelled()).await.is_err() {
            tokio::select! {
                () = self.round() => {}
                () = stop.cancelled() => break,
            }
        }
        if timeout(LAST_WITHIN, self.last_round()).await.is_err() {
            tracing::warn!(
                "the last offsets were not mirrored in time: what the broker shows is older than what was counted"
            );
        }
    }

    async fn round(&mut self) {
        let changed = self.changed();
        if changed.is_empty() {
            return;
        }
        if self.rounds_aside > 0 {
            self.rounds_aside -= 1;
            return;
        }
        self.write(changed).await;
    }

    /// What ends with the process has been let go by now; another member may have it already, and be further.
    async fn last_round(&mut self) {
        let mut changed = self.changed();
        if self.rounds_aside > 0 {
            return;
        }
        for tenure in self.tenures.known().into_iter().rev().filter(|tenure| !tenure.is_alive()) {
            if let (Some(offset), None) = (tenure.counted_to(), tenure.verdict())
                && changed.iter().all(|one| one.partition != tenure.partition)
            {
                changed.push(Mirrored { partition: tenure.partition.clone(), offset, is_held: false });
            }
        }
        if !changed.is_empty() {
            self.write(changed).await;
        }
    }

    async fn write(&mut self, changed: Vec<Mirrored>) {
        match self.try_write(changed).await {
            Ok(None) => self.tell(State::Mirrors, ""),
            Ok(Some(others)) => {
                self.rounds_aside = ROUNDS_ASIDE;
                self.committed.clear();
                self.has_looked_at_all = false;
                self.tell(State::StandsAside, &others);
            }
            Err(error) => self.tell(State::Fails, &error.to_string()),
        }
    }

    /// Commits, unless the group is used by others: then nothing, and who.
    async fn try_write(&mut self, mut changed: Vec<Mirrored>) -> Result<Option<String>, LogError> {
        let members = self.offsets.members(&self.group).await?;
        if members > 0 {
            return Ok(Some(format!("{members} running consumers are its members")));
        }
        let partitions: Vec<TopicPartition> = changed.iter().map(|one| one.partition.clone()).collect();
        let asked = self.has_looked_at_all.then_some(&*partitions);
        let shown = self.offsets.shown(&self.group, asked).await?;
        self.has_looked_at_all = true;
        if let Some(foreign) = shown.iter().find(|one| one.note.split(' ').next() != Some(NOTE)) {
            return Ok(Some(format!("somebody else has committed an offset for {}", foreign.partition)));
        }
        let further: HashMap<&TopicPartition, i64> = shown.iter().map(|one| (&one.partition, one.offset)).collect();
        changed.retain(|one| one.is_held || further.get(&one.partition).is_none_or(|offset| *offset < one.offset));
        let answers = match self.offsets.commit(&self.group, &changed, &self.note).await {
            // Somebody has joined the group since it was looked at.
            Err(error @ LogError::Refused { .. }) if self.offsets.members(&self.group).await? > 0 => {
                return Ok(Some(error.to_string()));
            }
            answers => answers?,
        };
        let mut failed = None;
        for (one, answer) in changed.into_iter().zip(answers) {
            match answer {
                Ok(()) => {
                    self.committed.insert(one.partition, one.offset);
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// What is stored and not mirrored yet. What is no longer held is forgotten: its new holder mirrors it.
    fn changed(&mut self) -> Vec<Mirrored> {
        let stored = |tenure: &Arc<super::tenure::Tenure>| Some((tenure.partition.clone(), tenure.counted_to()?));
        let held: HashMap<TopicPartition, i64> = self.tenures.alive().iter().filter_map(stored).collect();
        self.committed.retain(|partition, _| held.contains_key(partition));
        let changed = held.into_iter().filter(|(partition, offset)| self.committed.get(partition) != Some(offset));
        changed.map(|(partition, offset)| Mirrored { partition, offset, is_held: true }).collect()
    }

    fn tell(&mut self, state: State, why: &str) {
        let group = &self.group;
        let (level, reason) = match state {
            State::Begun | State::Mirrors => (Level::Ok, String::new()),
            State::StandsAside => {
                let ways_out = format!(
                    "choose another KAFKA_CONSUMER_GROUP, delete the group's offsets (kafka-consumer-groups --delete --group \
                     {group}), or set MIRROR_OFFSETS=false"
                );
                let reason = format!(
                    "checkpoints are not mirrored: the Kafka group {group:?} belongs to others ({why}). Counting \
                                      goes on as ever. To have the lag shown, {ways_out}"
                );
                (Level::Degraded, reason)
            }
            State::Fails => {
                let hint = "Counting goes on as ever. It is tried again; MIRROR_OFFSETS=false does without";
                (
                    Level::Degraded,
                    format!("checkpoints are not mirrored as offsets of the Kafka group {group:?}: {why}. {hint}"),
                )
            }
        };
        if state != self.state {
            match state {
                State::StandsAside | State::Fails => tracing::warn!("{reason}"),
                State::Begun | State::Mirrors => {
                    tracing::info!("checkpoints are mirrored as offsets of the Kafka group {group:?}")
                }
            }
        }
        self.state = state;
        self.health.set(MIRROR_PART, level, reason, std::time::Instant::now());
    }
}

#[cfg(test)]
mod tests;
