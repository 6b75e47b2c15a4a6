//! Replays: dead letters sent to their topic again, each exactly once.
//!
//! Batch by batch: claim in the ledger what is to be sent and where the partitions end that it goes to; send; write down as done
//! what was stored, and give the claim back, in one step. ARCHITECTURE.md goes through the crashes.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Cursor, DeadLetterError, DeadLetters, sending::Sending, walk::Walk};
use crate::{
    catalog::plan::Topic,
    core::letter::{Filter, Letter},
};

/// How to replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions {
    /// Says only what would be done.
    pub is_dry_run: bool,
    /// Most records a second.
    pub rate: Option<u32>,
    /// Most records of this call.
    pub limit: Option<u64>,
}

/// What a call has replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Dead letters whose record was sent again; in a dry run, would be.
    pub replayed: u64,
    /// Those that were replayed as often as may be.
    pub parked: u64,
    /// Those that cannot be replayed, by the reason.
    pub never: BTreeMap<&'static str, u64>,
    /// How many the topic did not take; they wait on.
    pub refused: u64,
    /// Some of these: where the dead letter lies, and why.
    pub refusals: Vec<(String, String)>,
    /// Dead letters that were looked at.
    pub looked_at: u64,
    /// Where to go on; `None` at the end.
    pub cursor: Option<Cursor>,
}

impl DeadLetters {
    /// Replays what a filter means, as much as one call may, from `cursor` on.
    ///
    /// # Errors
    /// The log or the store does not answer, or another replay is at work. Where something was replayed before, that is the answer,
    /// and the next call has the error.
    pub async fn replay(
        &self,
        topic: &Topic,
        filter: &Filter,
        cursor: Option<Cursor>,
        options: ReplayOptions,
    ) -> Result<Replayed, DeadLetterError> {
        let _turn = match options.is_dry_run {
            true => None,
            false => Some(self.turn.lock().await),
        };
        let mut walk = Walk::begin(self, topic, filter, cursor).await?;
        let partitions = self.partition_count(&topic.name).await?;
        let mut sending =
            Sending { letters: self, topic, partitions, options, began: Instant::now(), told: Replayed::default() };
        while let Some(block) = walk.next_block().await? {
            let wanted: Vec<&Letter> = block.waiting().filter(|letter| walk.means(letter)).collect();
            match sending.block(&block.partition, &wanted, &walk).await {
                Ok(None) if walk.is_enough() => break,
                Ok(None) => {}
                Ok(Some(next)) => {
                    walk.stop_before(next);
                    break;
                }
                Err((next, error)) => {
                    if sending.told.replayed == 0 {
                        return Err(error);
                    }
                    tracing::warn!(topic = %topic.name, "a replay stops for now: {error}");
                    walk.stop_before(next);
                    break;
                }
            }
        }
        let mut told = sending.told;
        told.looked_at = walk.looked_at();
        told.cursor = walk.cursor().await?;
        Ok(told)
    }
}
