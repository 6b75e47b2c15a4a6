//! Through the dead letters of a topic, partition by partition, in bounded steps.

use std::time::Duration;

use tokio::time::Instant;

use super::{CALL_WITHIN, Cursor, DeadLetterError, DeadLetters, MAX_LOOKED_AT};
use crate::{
    catalog::plan::Topic,
    core::{
        ledger::Ranges,
        letter::{Filter, Letter},
    },
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError},
    model::TopicPartition,
};

/// How a block is asked for: a small one, as most of it may be held as letters at once.
const LIMITS: FetchLimits = FetchLimits {
    max_wait: Duration::from_millis(500),
    min_bytes: 1,
    max_partition_bytes: 256 * 1024,
    max_bytes: 1024 * 1024,
};
/// How long the log may give nothing of what it says it has.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// A walk.
pub(super) struct Walk<'a> {
    letters: &'a DeadLetters,
    filter: Filter,
    until_ms: i64,
    partitions: Vec<TopicPartition>,
    /// The partition at hand, by its place in the list.
    at: usize,
    /// What is left of it, once it was looked at.
    left: Option<(i64, i64)>,
    /// Where to begin in the partition at hand.
    begin: i64,
    looked_at: u64,
    began: Instant,
}

/// Dead letters that lie together.
pub(super) struct Letters {
    /// The partition.
    pub partition: TopicPartition,
    /// Each of them.
    pub all: Vec<Letter>,
    /// Which are done with.
    done: Ranges,
}

impl Letters {
    /// Those that are not done with.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Letter> {
        self.all.iter().filter(|letter| !self.done.contains(letter.offset))
    }
}

impl<'a> Walk<'a> {
    pub(super) async fn begin(
        letters: &'a DeadLetters,
        topic: &Topic,
        filter: &Filter,
        cursor: Option<Cursor>,
    ) -> Result<Self, DeadLetterError> {
        let mut partitions = letters.partitions(topic).await?;
        if let Some(wanted) = filter.letter {
            partitions.retain(|partition| partition.partition == wanted.partition);
        }
        let now_ms = || chrono::Utc::now().timestamp_millis();
        let until_ms = cursor.map(|cursor| cursor.until_ms).or(filter.until_ms).unwrap_or_else(now_ms);
        let first = cursor.map_or(0, |cursor| cursor.partition);
        let at = partitions.partition_point(|partition| partition.partition < first);
        let begin = cursor.filter(|_| partitions.get(at).is_some_and(|it| it.partition == first));
        Ok(Self {
            letters,
            filter: Filter { until_ms: Some(until_ms), ..filter.clone() },
            until_ms,
            partitions,
            at,
            left: None,
            begin: begin.map_or(0, |cursor| cursor.offset),
            looked_at: 0,
            began: Instant::now(),
        })
    }

    /// Whether a dead letter is meant.
    pub(super) fn means(&self, letter: &Letter) -> bool {
        self.filter.matches(letter, self.letters.parts.max_replays)
    }

    /// The next dead letters, whether they are meant or not; none at the end.
    pub(super) async fn next_block(&mut self) -> Result<Option<Letters>, DeadLetterError> {
        loop {
            let Some((partition, from, to)) = self.stretch().await? else { return Ok(None) };
            let (all, next) = read(&*self.letters.parts.log, &partition, from, to).await?;
            self.left = Some((next, to));
            self.looked_at += all.len() as u64;
            if !all.is_empty() {
                let done = self.letters.ledger(&partition).await?.ledger.done;
                return Ok(Some(Letters { partition, all, done }));
            }
        }
    }

    /// What is left of the partition at hand, or of the first one behind it of which anything is.
    async fn stretch(&mut self) -> Result<Option<(TopicPartition, i64, i64)>, DeadLetterError> {
        while let Some(partition) = self.partitions.get(self.at) {
            let (from, to) = match self.left {
                Some(left) => left,
                None => {
                    let log = &*self.letters.parts.log;
                    let (mut from, mut to) = bounds(log, partition).await?;
                    from = from.max(self.begin);
                    if let Some(since) = self.filter.since_ms {
                        from = from.max(log.offset_at(partition, At::Time(since)).await?);
                    }
                    if let Some(wanted) = self.filter.letter {
                        (from, to) = (from.max(wanted.offset), to.min(wanted.offset.saturating_add(1)));
                    }
                    (from, to)
                }
            };
            if from < to {
                self.left = Some((from, to));
                return Ok(Some((partition.clone(), from, to)));
            }
            (self.at, self.left, self.begin) = (self.at + 1, None, 0);
        }
        Ok(None)
    }

    /// Goes on behind this dead letter, though more of its block was looked at.
    pub(super) fn stop_behind(&mut self, letter: &Letter) {
        if let Some((next, _)) = &mut self.left {
            *next = letter.offset + 1;
        }
    }

    /// Goes on with this dead letter.
    pub(super) fn stop_before(&mut self, letter: &Letter) {
        if let Some((next, _)) = &mut self.left {
            *next = letter.offset;
        }
    }

    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// The call has done its part.
    pub(super) fn is_enough(&self) -> bool {
        self.looked_at >= MAX_LOOKED_AT || self.is_late()
    }

    /// The call has lasted long enough.
    pub(super) fn is_late(&self) -> bool {
        self.began.elapsed() >= CALL_WITHIN
    }

    pub(super) async fn is_at_end(&mut self) -> Result<bool, DeadLetterError> {
        Ok(self.stretch().await?.is_none())
    }

    /// Where the next call goes on; `None` at the end.
    pub(super) async fn cursor(&mut self) -> Result<Option<Cursor>, DeadLetterError> {
        let until_ms = self.until_ms;
        let stretch = self.stretch().await?;
        Ok(stretch.map(|(partition, offset, _)| Cursor { partition: partition.partition, offset, until_ms }))
    }
}

/// Where a partition begins and ends.
pub(super) async fn bounds(log: &dyn Log, partition: &TopicPartition) -> Result<(i64, i64), DeadLetterError> {
    Ok((log.offset_at(partition, At::Start).await?, log.offset_at(partition, At::End).await?))
}

/// Dead letters of `from..to`, and the first offset that was not looked at. Where the log lost some meanwhile, those behind them.
async fn read(
    log: &dyn Log,
    partition: &TopicPartition,
    from: i64,
    to: i64,
) -> Result<(Vec<Letter>, i64), DeadLetterError> {
    let block = match block_at(log, partition, from).await {
        Err(LogError::OffsetOutOfRange { .. }) => {
            return Ok((Vec::new(), log.offset_at(partition, At::Start).await?.max(from + 1)));
        }
        block => block?,
    };
    let mut letters = Vec::new();
    block.records.visit(&mut |record| {
        if (from..to).contains(&record.offset) {
            letters.push(Letter::of(partition, &record));
        }
    })?;
    Ok((letters, block.next_offset))
}

/// The block at an offset that the log says it has.
///
/// # Errors
/// It cannot be read, or does not come within [`READ_WITHIN`].
pub(super) async fn block_at(log: &dyn Log, partition: &TopicPartition, offset: i64) -> Result<Block, LogError> {
    let began = Instant::now();
    let position = [FetchPosition { partition: partition.clone(), offset }];
    loop {
        if let Some((_, block)) = log.fetch(&position, LIMITS).await.pop() {
            return block;
        }
        if began.elapsed() > READ_WITHIN {
            let what = format!("reading {partition} from offset {offset} on");
            return Err(LogError::TimedOut { what, after_ms: READ_WITHIN.as_millis() as u64 });
        }
    }
}
