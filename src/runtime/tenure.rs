//! Tenures: a member's time with a partition, from reading its checkpoints until it lets go or meets a conflict.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::{
    core::switches::InForce,
    model::{Checkpoint, Fingerprint, LogIdentity, ShardId, TopicPartition},
};

/// Number of a tenure within this process.
pub type TenureId = u64;

/// A tenure, shared by the partition's task and the flusher.
pub struct Tenure {
    /// Its number.
    pub id: TenureId,
    /// The partition.
    pub partition: TopicPartition,
    /// The rules that its sections are computed with.
    pub fingerprint: Fingerprint,
    /// Where these rules stand among those of the partition; `None` where nobody else ever counts by others.
    pub rules: Option<InForce>,
    /// The first offset that it counts.
    pub begin: i64,
    /// What each shard had when it began.
    found: Box<[Standing]>,
    /// The checkpoints that the shards have, as far as this tenure knows: what its next sections expect.
    stored: Mutex<Box<[Option<Checkpoint>]>>,
    has_flushed: AtomicBool,
    end: CancellationToken,
    verdict: Mutex<Option<Verdict>>,
    reading: Mutex<Reading>,
}

/// What a shard has of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its checkpoint, where it has one.
    pub checkpoint: Option<Checkpoint>,
    /// The first offset that it lacks: its checkpoint's, else the group's first one.
    pub from: i64,
}

/// What a tenure knows of the log that it reads.
struct Reading {
    /// What the log said when the tenure began.
    found: LogIdentity,
    /// Epoch of the leader that sent the last block, where it was told.
    epoch: Option<i32>,
    /// The next offset to read.
    to: i64,
    /// A block was read.
    has_begun: bool,
}

/// Why the flusher ended a tenure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something else is stored than the tenure believed: begin again from there.
    Conflict(String),
    /// The store or a counter cannot take what the tenure brings: wait for someone to mend it, then begin again.
    Refused(String),
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Tenure {
    /// Begins a tenure at what each shard of the store has; at least one. `begin` is the first offset that it counts.
    pub fn over(partition: TopicPartition, fingerprint: Fingerprint, found: Vec<Standing>, begin: i64) -> Arc<Self> {
        Self::new(partition, fingerprint, None, found, begin)
    }

    /// The same under rules that may have come after others, and end where the next ones begin.
    pub fn under(partition: TopicPartition, rules: InForce, found: Vec<Standing>, begin: i64) -> Arc<Self> {
        Self::new(partition, rules.fingerprint, Some(rules), found, begin)
    }

    fn new(
        partition: TopicPartition,
        fingerprint: Fingerprint,
        rules: Option<InForce>,
        found: Vec<Standing>,
        begin: i64,
    ) -> Arc<Self> {
        Arc::new(Self {
            begin,
            rules,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            partition,
            fingerprint,
            stored: Mutex::new(found.iter().map(|standing| standing.checkpoint).collect()),
            found: found.into(),
            has_flushed: AtomicBool::new(false),
            end: CancellationToken::new(),
            verdict: Mutex::new(None),
            reading: Mutex::new(Reading { found: LogIdentity::default(), epoch: None, to: begin, has_begun: false }),
        })
    }

    /// Begins a tenure at what a store of one shard has.
    pub fn begin(
        partition: TopicPartition,
        fingerprint: Fingerprint,
        stored: Option<Checkpoint>,
        begin: i64,
    ) -> Arc<Self> {
        Self::over(partition, fingerprint, vec![Standing { checkpoint: stored, from: begin }], begin)
    }

    /// The number of the store's shards.
    pub fn shards(&self) -> ShardId {
        ShardId::try_from(self.found.len()).unwrap_or(ShardId::MAX)
    }

    /// What a shard had when it began.
    pub fn found(&self, shard: ShardId) -> Standing {
        self.found[usize::from(shard)]
    }

    /// The shard that had least of the partition when it began; of several the first.
    pub fn lowest_shard(&self) -> ShardId {
        (0..self.shards()).min_by_key(|shard| self.found(*shard).from).unwrap_or(0)
    }

    /// The checkpoints that the next sections expect, by shard.
    pub fn stored(&self) -> Box<[Option<Checkpoint>]> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far all shards have got; `None` while a shard has no checkpoint.
    pub fn counted_to(&self) -> Option<i64> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        stored.iter().map(|stored| stored.map(|checkpoint| checkpoint.offset)).min().flatten()
    }

    /// Notes that a shard has applied a section.
    pub fn advance(&self, shard: ShardId, checkpoint: Checkpoint) {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(shard)] = Some(checkpoint);
        self.has_flushed.store(true, Ordering::Release);
    }

    /// Whether a section of this tenure was applied.
    pub fn has_flushed(&self) -> bool {
        self.has_flushed.load(Ordering::Acquire)
    }

    /// Notes what the log says of itself.
    pub fn note_log(&self, found: LogIdentity) {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner).found = found;
    }

    /// Notes that a block up to this offset came from a leader of this epoch.
    pub fn note_read(&self, to: i64, epoch: Option<i32>) {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // What was counted before lies behind the duplicate window, and must still be there when the leader changes while that
        // is read. Where the log does not tell epochs, only what was read is known to be of one.
        reading.to = if reading.found.leader_epoch.is_some() { reading.to.max(to) } else { to };
        reading.epoch = epoch.or(reading.epoch);
        reading.has_begun = true;
    }

    /// How far the log is known, and under which leader it was read so far.
    pub fn read(&self) -> ReadTo {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.found.iter().filter_map(|standing| standing.checkpoint);
        let offset = counted.map(|checkpoint| checkpoint.offset).fold(reading.to, i64::max);
        ReadTo { offset, epoch: reading.epoch, epoch_found: reading.found.leader_epoch }
    }

    /// What a section says of the log. The epoch is that of what was read, never a later one's: it must have reached as far
    /// as the checkpoint beside it. Before anything was read a section can only tell a gap, up to where the log began under the
    /// leader that was found then; the epoch of before the gap may have ended within it.
    pub fn log_identity(&self) -> LogIdentity {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let leader_epoch = if reading.has_begun { reading.epoch } else { reading.found.leader_epoch };
        LogIdentity { leader_epoch, ..reading.found.clone() }
    }

    /// Ends the tenure: what it holds, open or in flight, is void from now on (invariant 4).
    pub fn end(&self, verdict: Verdict) {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(verdict);
        self.end.cancel();
    }

    /// Lets go without a verdict: the partition's task has finished with it.
    pub fn let_go(&self) {
        self.end.cancel();
    }

    /// Whether the tenure still counts.
    pub fn is_alive(&self) -> bool {
        !self.end.is_cancelled()
    }

    /// Waits for the end and says why it came.
    pub async fn ended(&self) -> Option<Verdict> {
        self.end.cancelled().await;
        self.verdict()
    }

    /// Why the tenure ended, if the flusher ended it.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How far a tenure knows the log, and under which leader it has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadTo {
    /// What lies before it was read, or was counted by a shard when the tenure began: also where another shard lacks it and it
    /// is read again, the log must still have it.
    pub offset: i64,
    /// Epoch of the leader that sent the last block, where one was told.
    pub epoch: Option<i32>,
    /// Epoch of the leader when the tenure began, where the log told.
    pub epoch_found: Option<i32>,
}

/// The tenures of this member.
#[derive(Default)]
pub struct Tenures(Mutex<Vec<Arc<Tenure>>>);

impl Tenures {
    /// Adds a tenure; those that have ended are forgotten.
    pub fn add(&self, tenure: &Arc<Tenure>) {
        let mut tenures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenures.retain(|tenure| tenure.is_alive());
        tenures.push(Arc::clone(tenure));
    }

    /// Those that still count, and those that have ended since the last one was added.
    pub fn known(&self) -> Vec<Arc<Tenure>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one that counts a partition.
    pub fn alive_of(&self, partition: &TopicPartition) -> Option<Arc<Tenure>> {
        let tenures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenures.iter().find(|tenure| tenure.partition == *partition && tenure.is_alive()).cloned()
    }

    /// Those that still count.
    pub fn alive(&self) -> Vec<Arc<Tenure>> {
        let tenures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tenures.iter().filter(|tenure| tenure.is_alive()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_tells_the_epoch_that_was_read_and_before_that_the_one_that_was_found() {
        let tenure = Tenure::begin(TopicPartition::new("t", 0), Fingerprint(1), None, 7);
        tenure.note_log(LogIdentity { leader_epoch: Some(5), ..LogIdentity::default() });
        assert_eq!(tenure.log_identity().leader_epoch, Some(5));
        tenure.note_read(9, Some(3));
        assert_eq!(tenure.log_identity().leader_epoch, Some(3));
        let silent = Tenure::begin(TopicPartition::new("t", 0), Fingerprint(1), None, 7);
        silent.note_log(LogIdentity { leader_epoch: Some(5), ..LogIdentity::default() });
        silent.note_read(9, None);
        assert_eq!(silent.log_identity().leader_epoch, None, "a later leader may have sent it");
    }
}
