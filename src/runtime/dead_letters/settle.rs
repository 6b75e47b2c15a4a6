//! What became of a batch that somebody claimed and did not finish.
//!
//! Nobody can ask a process that was killed what it had sent. But whoever claimed wrote down where the partitions ended that the
//! batch goes to, so what was stored lies behind these ends, and each record names its dead letter. Until the claim's time is over
//! the sender may still live, so nothing is touched before; how long that is, each process measures by itself, from when it first
//! saw the claim.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{CALL_WITHIN, DeadLetterError, DeadLetters, books::Read, walk};
use crate::{
    core::{
        ledger::{Ledger, Target},
        replay::Replay,
    },
    log::{At, Log, LogError},
    model::TopicPartition,
};

/// How long another one's batch is waited for: one that goes well takes a moment.
const WAIT_WITHIN: Duration = Duration::from_secs(3);
/// Rest between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl DeadLetters {
    /// The ledger of a partition, without a claim: one that was left behind is settled first.
    pub(super) async fn settled(&self, partition: &TopicPartition) -> Result<Read, DeadLetterError> {
        let began = Instant::now();
        loop {
            let read = self.ledger(partition).await?;
            let Some(claim) = &read.ledger.claim else { return Ok(read) };
            let held = Duration::from_millis(claim.held_ms);
            let left = held.saturating_sub(self.books.stands_since(partition, claim.id));
            if left.is_zero() {
                self.settle(partition, &read).await?;
            } else if began.elapsed() > WAIT_WITHIN {
                return Err(DeadLetterError::Busy { partition: partition.clone(), left });
            } else {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Searches for what was stored of a claim, as far as one call may, and writes down what it found.
    async fn settle(&self, partition: &TopicPartition, read: &Read) -> Result<(), DeadLetterError> {
        let mut ledger = read.ledger.clone();
        let Ledger { done, claim: Some(claim), .. } = &mut ledger else { return Ok(()) };
        let log = &*self.parts.log;
        let began = Instant::now();
        let mut sought: BTreeMap<(String, u32), i64> = claim
            .letters
            .iter()
            .map(|(offset, number)| ((format!("{partition}:{offset}"), *number), *offset))
            .collect();
        for target in &mut claim.targets {
            while !sought.is_empty() && began.elapsed() < CALL_WITHIN && search(log, target, &mut sought, done).await? {
            }
        }
        claim.letters = sought.into_iter().map(|((_, number), offset)| (offset, number)).collect();
        let is_searched = claim.letters.is_empty() || claim.targets.iter().all(|target| target.to <= Some(target.from));
        let (id, left) = (claim.id, claim.letters.len());
        if is_searched {
            ledger.claim = None;
        }
        // Where another one was faster, its words stand.
        if self.books.write(partition, read, ledger).await?.is_some() && is_searched {
            tracing::info!(topic = %partition.topic, partition = partition.partition, claim = %id, not_sent = left,
                "a replay that was broken off is settled: what it had not sent waits again");
        }
        Ok(())
    }
}

/// Looks at one block of a target; `false` at its end.
async fn search(
    log: &dyn Log,
    target: &mut Target,
    sought: &mut BTreeMap<(String, u32), i64>,
    done: &mut crate::core::ledger::Ranges,
) -> Result<bool, DeadLetterError> {
    let partition = TopicPartition::new(target.topic.as_str(), target.partition);
    let to = match target.to {
        Some(to) => to,
        None => match log.offset_at(&partition, At::End).await {
            // The topic was deleted meanwhile: nothing that was stored there is there any more.
            Err(LogError::Unknown { .. }) => target.from,
            end => end?,
        },
    };
    target.to = Some(to);
    if target.from >= to {
        return Ok(false);
    }
    let block = match walk::block_at(log, &partition, target.from).await {
        Err(LogError::OffsetOutOfRange { .. }) => {
            let start = log.offset_at(&partition, At::Start).await?;
            // Past the end, or the log begins behind it: another log, or retention.
            target.from = if start > target.from { start } else { to };
            return Ok(true);
        }
        block => block?,
    };
    block.records.visit(&mut |record| {
        let replay = Replay::of(&record);
        let found = replay.and_then(|replay| sought.remove(&(replay.origin.to_owned(), replay.number)));
        if let Some(offset) = found {
            done.add(offset, offset + 1);
        }
    })?;
    target.from = block.next_offset;
    Ok(true)
}
