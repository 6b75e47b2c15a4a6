//! A recount that begins at an export of earlier totals: where the log no longer holds the group's beginning, or where all of
//! it would take too long. The export says at which checkpoints its totals stand, so the shadow gets both, and counts on.
//!
//! Totals are all that an export has. What else a counter can hang on is not in it, and such counters are left aside: the latest
//! values, which need the time of the one before, and counters that the members of a set move.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Recount, RecountError, moment::patiently};
use crate::{
    catalog::{
        Feeds,
        plan::{Action, Topic},
    },
    model::{Kind, StoredPosition, TopicPartition},
    runtime::imports::{Import, Total},
};

/// Totals of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The totals.
    pub totals: Vec<Total>,
    /// By partition: the next offset to count, and the incarnation of each shard's results.
    pub positions: BTreeMap<TopicPartition, (i64, Vec<u32>)>,
    /// Parts of imports that are in the totals.
    pub imports: BTreeSet<String>,
}

impl Snapshot {
    /// Where a partition stood.
    pub(super) fn offset(&self, partition: &TopicPartition) -> Option<i64> {
        self.positions.get(partition).map(|(offset, _)| *offset)
    }
}

/// Names whose values cannot be told from totals.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftAside {
    all: Feeds,
    moved: Feeds,
}

impl LeftAside {
    pub(super) fn of(topics: &[Arc<Topic>]) -> Self {
        let members = |topic: &Arc<Topic>| {
            let mut topic = Topic::clone(topic);
            for event in &mut topic.events {
                event.rules.retain(|rule| matches!(rule.action, Action::Member { .. }));
            }
            Arc::new(topic)
        };
        Self { all: Feeds::of(topics), moved: Feeds::of(&topics.iter().map(members).collect::<Vec<_>>()) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.kind(name) == Some(Kind::Last) || self.moved.kind(name) == Some(Kind::Count)
    }
}

impl Recount {
    /// Lets it begin at these totals. A partition that they know nothing of is recounted from where the group began.
    #[must_use]
    pub fn from_snapshot(mut self, snapshot: Snapshot) -> Self {
        self.parts.snapshot = Some(snapshot);
        self
    }

    /// Gives the shadow the totals.
    pub(super) async fn begin_at_snapshot(&mut self) -> Result<(), RecountError> {
        let Some(snapshot) = &self.parts.snapshot else { return Ok(()) };
        let partitions: Vec<TopicPartition> = snapshot.positions.keys().cloned().collect();
        let store = &*self.parts.live.store;
        let stored = patiently(|| store.positions(&partitions)).await?;
        let changed = snapshot.positions.iter().zip(&stored).filter(|((_, (_, then)), now)| !is_same(then, now));
        let changed: Vec<String> = changed
            .map(|((partition, _), _)| {
                format!(
                    "{partition}: its results were rebuilt, restored or moved since the snapshot was made, or the store has another \
                     number of shards: make a new one"
                )
            })
            .collect();
        if !changed.is_empty() {
            return Err(RecountError::CannotVerify(changed));
        }
        let (import, parts) = Import::of(b"snapshot", &snapshot.totals);
        import.add(&*self.parts.shadow.store, &parts).await?;
        let imports = self.imports.iter().flat_map(Import::partitions);
        self.repeated.extend(imports.filter(|part| snapshot.imports.contains(&part.to_string())));
        Ok(())
    }
}

fn is_same(then: &[u32], now: &[StoredPosition]) -> bool {
    let now = now.iter().map(|shard| shard.checkpoint.map(|checkpoint| checkpoint.incarnation));
    then.iter().map(|incarnation| Some(*incarnation)).eq(now)
}
