//! A partition's blocks, decoded, in order.

use std::{collections::VecDeque, sync::Arc};

use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;

use super::PartitionTask;
use crate::{
    core::worker::Worker,
    log::LogError,
    runtime::{
        decoding::{Ahead, DecodedBlock, Decoding, SMALL_BYTES},
        fetcher::{Held, Subscription},
    },
};

/// Blocks of one partition that are decoded before their turn, if there is room over all partitions.
const MAX_AHEAD: usize = 4;

impl PartitionTask {
    /// The next block, decoded; those behind it that come meanwhile are begun.
    pub(super) async fn next_block(
        &self,
        worker: &Worker,
        blocks: &mut Subscription,
        ahead: &mut VecDeque<Ahead>,
    ) -> Option<Result<DecodedBlock, LogError>> {
        next_block(&self.counting.decoding, worker, blocks, ahead).await
    }
}

/// The next block of a subscription, decoded for a worker; those behind it that come meanwhile are begun.
pub(in crate::runtime) async fn next_block(
    decoding: &Arc<Decoding>,
    worker: &Worker,
    blocks: &mut Subscription,
    ahead: &mut VecDeque<Ahead>,
) -> Option<Result<DecodedBlock, LogError>> {
    let (decoder, count_from) = (worker.decoder(), worker.count_from());
    let current = match ahead.pop_front() {
        Some(current) => Ok(current),
        None => match blocks.next().await? {
            Ok(held) => Err(held),
            Err(error) => return Some(Err(error)),
        },
    };
    let current = async {
        match current {
            Ok(current) => current.decoded().await,
            Err(held) => decoding.decode(decoder, count_from, held).await,
        }
    };
    tokio::pin!(current);
    let decoded = loop {
        tokio::select! {
            biased;
            decoded = &mut current => break decoded,
            Some((room, held)) = before_its_turn(decoding, blocks), if ahead.len() < MAX_AHEAD => {
                ahead.push_back(decoding.decode_ahead(room, decoder, count_from, held));
            }
        }
    };
    // What came in that moment, so that it is decoded while the one at hand is counted.
    while ahead.len() < MAX_AHEAD
        && let Some(Some((room, held))) = before_its_turn(decoding, blocks).now_or_never()
    {
        ahead.push_back(decoding.decode_ahead(room, decoder, count_from, held));
    }
    let decoded = match decoded {
        Ok(decoded) => decoding.complete(decoder, count_from, decoded).await,
        Err(error) => Err(error),
    };
    match decoded {
        Ok(decoded) => Some(decoded.outcome.clone().map(|()| decoded)),
        // A defect ends this task too, and so the process, loudly; else the process is ending.
        Err(error) => error.try_into_panic().map_or(None, |panic| std::panic::resume_unwind(panic)),
    }
}

/// Waits for a block, none of the small ones, and for room to decode it before its turn.
async fn before_its_turn(decoding: &Arc<Decoding>, blocks: &mut Subscription) -> Option<(OwnedSemaphorePermit, Held)> {
    blocks.arrived(SMALL_BYTES).await;
    let room = decoding.room_ahead().await?;
    blocks.ready(SMALL_BYTES).map(|held| (room, held))
}

#[cfg(test)]
mod tests;
