//! Purging: dead letters that nobody wants any more.
//!
//! A log can be cut only where it begins. So what is meant is noted as done first, which hides it from every list and replay, and
//! then the log is cut up to the first dead letter that is not done with: what lies behind one stays on the broker until that one
//! goes, or retention takes it.

use std::time::Duration;

use super::{
    Cursor, DeadLetterError, DeadLetters, MAX_TRIES,
    books::Read,
    walk::{self, Walk},
};
use crate::{
    catalog::plan::Topic,
    core::{
        ledger::Ranges,
        letter::{Filter, Spot},
    },
    log::At,
    model::TopicPartition,
};

/// How to purge.
#[derive(Clone, Copy, Debug, Default)]
pub struct PurgeOptions {
    /// Says only what would be done.
    pub is_dry_run: bool,
    /// What lies before this offset of this partition, instead of what a filter means.
    pub before: Option<Spot>,
}

/// What a call has purged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Dead letters that were purged; in a dry run, would be. Where whole stretches go, the offsets that they take.
    pub purged: u64,
    /// Those of them that are gone from the broker. In a dry run not told.
    pub deleted: u64,
    /// Those of them that lie on the broker still, and are left out by every list and replay.
    pub hidden: u64,
    /// Offsets that the broker deleted altogether, with those that were replayed or purged before.
    pub trimmed: u64,
    /// Why the broker deleted nothing of a partition, where it did not.
    pub undeleted: Option<String>,
    /// Dead letters that were looked at one by one.
    pub looked_at: u64,
    /// Where to go on; `None` at the end.
    pub cursor: Option<Cursor>,
}

impl DeadLetters {
    /// Purges what a filter means, as much as one call may, from `cursor` on.
    ///
    /// # Errors
    /// The log or the store does not answer, or a replay is at work.
    pub async fn purge(
        &self,
        topic: &Topic,
        filter: &Filter,
        cursor: Option<Cursor>,
        options: PurgeOptions,
    ) -> Result<Purged, DeadLetterError> {
        let _turn = match options.is_dry_run {
            true => None,
            false => Some(self.turn.lock().await),
        };
        let mut told = Purged::default();
        if options.before.is_some() || filter.is_by_time_alone() {
            self.purge_beginnings(topic, filter, options, &mut told).await?;
        } else {
            self.purge_some(topic, filter, cursor, options, &mut told).await?;
        }
        told.hidden = if options.is_dry_run { 0 } else { told.purged - told.deleted };
        Ok(told)
    }

    /// Whole beginnings of partitions: nothing need be read for that.
    async fn purge_beginnings(
        &self,
        topic: &Topic,
        filter: &Filter,
        options: PurgeOptions,
        told: &mut Purged,
    ) -> Result<(), DeadLetterError> {
        for partition in self.partitions(topic).await? {
            let (from, end) = walk::bounds(&*self.parts.log, &partition).await?;
            let to = match (options.before, filter.until_ms) {
                (Some(before), _) if before.partition != partition.partition => continue,
                (Some(before), _) => before.offset.min(end),
                (None, Some(until)) => self.parts.log.offset_at(&partition, At::Time(until)).await?,
                (None, None) => end,
            };
            if from >= to {
                continue;
            }
            let mut meant = Ranges::default();
            meant.add(from, to);
            self.purge_ranges(&partition, &meant, options, told).await?;
        }
        Ok(())
    }

    /// Those that a filter means, one by one.
    async fn purge_some(
        &self,
        topic: &Topic,
        filter: &Filter,
        cursor: Option<Cursor>,
        options: PurgeOptions,
        told: &mut Purged,
    ) -> Result<(), DeadLetterError> {
        let mut walk = Walk::begin(self, topic, filter, cursor).await?;
        while let Some(block) = walk.next_block().await? {
            let mut meant = Ranges::default();
            for letter in block.waiting().filter(|letter| walk.means(letter)) {
                meant.add(letter.offset, letter.offset + 1);
            }
            if !meant.is_empty() {
                self.purge_ranges(&block.partition, &meant, options, told).await?;
            }
            if walk.is_enough() {
                break;
            }
        }
        told.looked_at = walk.looked_at();
        told.cursor = walk.cursor().await?;
        Ok(())
    }

    /// Notes offsets as done with. Returns the ledger, and what was done before.
    async fn mark_done(&self, partition: &TopicPartition, meant: &Ranges) -> Result<(Read, Ranges), DeadLetterError> {
        for _ in 0..MAX_TRIES {
            let read = self.settled(partition).await?;
            let before = read.ledger.done.clone();
            let mut next = read.ledger.clone();
            meant.iter().for_each(|(from, to)| next.done.add(from, to));
            if let Some(written) = self.books.write(partition, &read, next).await? {
                return Ok((written, before));
            }
        }
        Err(DeadLetterError::Busy { partition: partition.clone(), left: Duration::ZERO })
    }

    /// Notes offsets of a partition as done with, and cuts the log as far as all is.
    async fn purge_ranges(
        &self,
        partition: &TopicPartition,
        meant: &Ranges,
        options: PurgeOptions,
        told: &mut Purged,
    ) -> Result<(), DeadLetterError> {
        if options.is_dry_run {
            let done = self.ledger(partition).await?.ledger.done;
            told.purged += meant.iter().map(|(from, to)| to - from - done.count_within(from, to)).sum::<i64>() as u64;
            return Ok(());
        }
        let (read, before) = self.mark_done(partition, meant).await?;
        let fresh = |to: i64| {
            let within = |(from, end): (i64, i64)| (end.min(to) - from).max(0) - before.count_within(from, end.min(to));
            meant.iter().map(within).sum::<i64>() as u64
        };
        told.purged += fresh(i64::MAX);
        let start = self.parts.log.offset_at(partition, At::Start).await?;
        let cut = read.ledger.done.first_missing(start);
        if cut > start {
            match self.parts.trimming.delete_before(partition, cut).await {
                Ok(begins_at) => {
                    told.deleted += fresh(begins_at);
                    told.trimmed += u64::try_from(begins_at - start).unwrap_or(0);
                    let mut next = read.ledger.clone();
                    next.done.forget_before(begins_at);
                    // Only less to keep: where another one was faster, the next purge forgets it.
                    drop(self.books.write(partition, &read, next).await?);
                }
                Err(error) => told.undeleted = Some(error.to_string()),
            }
        }
        Ok(())
    }
}
