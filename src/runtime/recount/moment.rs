//! What is stored, read as of one moment.

use std::time::Duration;

use super::{
    Recount, RecountError,
    values::{self, KeyName, Value},
};
use crate::{
    core::backoff::Backoff,
    model::{StoredPosition, TopicPartition},
    runtime::imports::imports,
    store::StoreError,
};

/// How often keys are read again because a flush came in between. A read takes a few milliseconds, a member flushes every
/// FLUSH_INTERVAL_MS.
const MAX_LOOKS: usize = 30;
/// Between two looks: not in step with the flushes.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(3);
/// How often a store that does not answer is asked again.
const MAX_TRIES: usize = 6;

/// What keys held when the partitions stood at these positions.
pub(super) struct Moment {
    pub(super) positions: Vec<(TopicPartition, StoredPosition)>,
    pub(super) values: Vec<Value>,
}

impl Recount {
    /// Reads keys so that what they hold belongs to one set of positions: results only change together with a checkpoint, so
    /// where no checkpoint has moved around the read, no result has. `None` where flushes came in between each time.
    pub(super) async fn moment(&mut self, keys: &[KeyName]) -> Result<Option<Moment>, RecountError> {
        for look in 0..MAX_LOOKS {
            if look > 0 {
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            }
            let partitions = self.positioned();
            let store = &*self.parts.live.store;
            let before = patiently(|| store.positions(&partitions)).await?;
            let values = patiently(|| values::read(store, keys)).await?;
            let after = patiently(|| store.positions(&partitions)).await?;
            // An import is listed before anything of it is added: none that is not known here was.
            let known = imports(store).await?;
            if known != self.imports {
                self.imports = known;
                continue;
            }
            let Some(positions) = same(before, after) else { continue };
            return Ok(Some(Moment { positions: partitions.into_iter().zip(positions).collect(), values }));
        }
        Ok(None)
    }
}

/// One position for each partition, where all shards had it, before and after.
fn same(before: Vec<Vec<StoredPosition>>, after: Vec<Vec<StoredPosition>>) -> Option<Vec<StoredPosition>> {
    let one = |(before, after): (Vec<StoredPosition>, Vec<StoredPosition>)| {
        let first = before.first()?.clone();
        let stays = before.iter().chain(&after).all(|shard| shard.checkpoint == first.checkpoint);
        stays.then_some(first)
    };
    before.into_iter().zip(after).map(one).collect()
}

/// Asks a store again that does not answer for a moment.
pub(super) async fn patiently<T, F: Future<Output = Result<T, StoreError>>>(
    call: impl Fn() -> F,
) -> Result<T, StoreError> {
    let mut backoff = Backoff::store();
    for _ in 1..MAX_TRIES {
        match call().await {
            Err(error) if error.is_retriable() => tokio::time::sleep(backoff.next()).await,
            answer => return answer,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, Fingerprint};

    #[test]
    fn a_moment_is_one_where_no_checkpoint_of_any_shard_moved() {
        let at = |offsets: &[i64]| -> Vec<StoredPosition> {
            let checkpoint = |offset| Checkpoint { offset, incarnation: 0, fingerprint: Fingerprint(1) };
            let position =
                |offset: &i64| StoredPosition { checkpoint: Some(checkpoint(*offset)), ..Default::default() };
            offsets.iter().map(position).collect()
        };
        let none = vec![StoredPosition::default()];
        for (before, after, is_moment) in [
            (vec![at(&[5])], vec![at(&[5])], true),
            (vec![at(&[5])], vec![at(&[6])], false),
            (vec![at(&[5]), at(&[7])], vec![at(&[5]), at(&[8])], false),
            (vec![at(&[5, 5])], vec![at(&[5, 5])], true),
            (vec![at(&[5, 4])], vec![at(&[5, 4])], false),
            (vec![none.clone()], vec![none.clone()], true),
            (vec![none], vec![at(&[0])], false),
        ] {
            assert_eq!(same(before.clone(), after.clone()).is_some(), is_moment, "{before:?} {after:?}");
        }
    }
}
