//! What is stored, read as of one moment.

use std::time::{Duration, Instant};

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
/// Longest wait for shards that stand apart to come to the same offsets: members bring one that fell back up to the others.
const LEVEL_WITHIN: Duration = Duration::from_secs(10);
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
    ///
    /// The log is recounted to one offset per partition, so all shards must stand there. Between the flushes of a moment they
    /// do; where one has fallen back, this waits until it has been counted on.
    pub(super) async fn moment(&mut self, keys: &[KeyName]) -> Result<Option<Moment>, RecountError> {
        let began = Instant::now();
        let mut looks = 0;
        while looks < MAX_LOOKS {
            let partitions = self.positioned();
            let store = &*self.parts.live.store;
            let before = patiently(|| store.positions(&partitions)).await?;
            let values = patiently(|| values::read(store, keys)).await?;
            let after = patiently(|| store.positions(&partitions)).await?;
            // An import is listed before anything of it is added: none that is not known here was.
            let known = imports(store).await?;
            if known != self.imports {
                self.imports = known;
                looks += 1;
                continue;
            }
            match look(&before, &after) {
                Look::Still(positions) => {
                    return Ok(Some(Moment { positions: partitions.into_iter().zip(positions).collect(), values }));
                }
                Look::Moved => looks += 1,
                Look::Apart(at) if began.elapsed() >= LEVEL_WITHIN => {
                    let partition = &partitions[at];
                    return Err(RecountError::CannotVerify(vec![apart(partition, &after[at])]));
                }
                Look::Apart(_) => {}
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        Ok(None)
    }
}

/// What two looks at all checkpoints, before and after a read, say of it.
#[derive(Debug, PartialEq)]
enum Look {
    /// None moved: the position of each partition.
    Still(Vec<StoredPosition>),
    /// A flush came in between.
    Moved,
    /// The shards do not stand at the same offset in this partition, by its place in the list.
    Apart(usize),
}

fn look(before: &[Vec<StoredPosition>], after: &[Vec<StoredPosition>]) -> Look {
    // Not the incarnation: it counts what an operator did to one shard.
    let stands = |shard: &StoredPosition| shard.checkpoint.map(|at| (at.offset, at.fingerprint));
    let is_level = |shards: &Vec<StoredPosition>| shards.iter().all(|shard| stands(shard) == stands(&shards[0]));
    if let Some(at) = after.iter().position(|shards| !is_level(shards)) {
        return Look::Apart(at);
    }
    let checkpoints = |positions: &[Vec<StoredPosition>]| -> Vec<_> {
        positions.iter().flatten().map(|shard| shard.checkpoint).collect()
    };
    if checkpoints(before) != checkpoints(after) {
        return Look::Moved;
    }
    Look::Still(after.iter().filter_map(|shards| shards.first().cloned()).collect())
}

/// What is said of a partition whose shards stand apart.
fn apart(partition: &TopicPartition, shards: &[StoredPosition]) -> String {
    let offset = |shard: &StoredPosition| shard.checkpoint.map_or("none".to_owned(), |at| at.offset.to_string());
    let offsets: Vec<String> = shards.iter().map(offset).collect();
    format!(
        "{partition}: the shards of the store stand apart (next offsets {}): verify again when counting has brought them together",
        offsets.join(", ")
    )
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
    fn a_moment_is_one_where_no_checkpoint_moved_and_all_shards_stand_alike() {
        let at = |offsets: &[i64], incarnation| -> Vec<StoredPosition> {
            let checkpoint =
                |offset| Checkpoint { offset, incarnation, fingerprint: Fingerprint(1), ..Checkpoint::default() };
            let position =
                |offset: &i64| StoredPosition { checkpoint: Some(checkpoint(*offset)), ..Default::default() };
            offsets.iter().map(position).collect()
        };
        let none = vec![StoredPosition::default()];
        let half = vec![StoredPosition::default(), at(&[5], 0).remove(0)];
        let mended = [at(&[5], 0), at(&[5], 3)].concat();
        for (before, after, expected) in [
            (vec![at(&[5], 0)], vec![at(&[5], 0)], None),
            (vec![at(&[5], 0)], vec![at(&[6], 0)], Some(Look::Moved)),
            (vec![at(&[5], 0), at(&[7], 0)], vec![at(&[5], 0), at(&[8], 0)], Some(Look::Moved)),
            (vec![at(&[5], 0)], vec![at(&[5], 1)], Some(Look::Moved)),
            (vec![at(&[5, 5], 0)], vec![at(&[5, 5], 0)], None),
            (vec![at(&[9], 0), at(&[5, 4], 0)], vec![at(&[9], 0), at(&[5, 4], 0)], Some(Look::Apart(1))),
            (vec![at(&[5, 4], 0)], vec![at(&[5, 5], 0)], Some(Look::Moved)),
            (vec![half.clone()], vec![half], Some(Look::Apart(0))),
            (vec![mended.clone()], vec![mended], None),
            (vec![none.clone()], vec![none.clone()], None),
            (vec![none], vec![at(&[0], 0)], Some(Look::Moved)),
        ] {
            let still = Look::Still(after.iter().map(|shards| shards[0].clone()).collect());
            assert_eq!(look(&before, &after), expected.unwrap_or(still), "{before:?} {after:?}");
        }
    }
}
