//! Mirrored offsets on Kafka: what the mirror asks for, by the calls that there are, and its task.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::Engine;
use crate::{
    log::{
        LogError,
        kafka::{Admin, CommittedOffset},
    },
    model::TopicPartition,
    runtime::mirror::{GroupOffsets, Mirror, Mirrored, Shown},
};

/// The running mirror.
pub(super) struct Mirroring {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Mirroring {
    /// Begins to mirror what the engine counts.
    pub(super) fn start(engine: &Engine, admin: Admin) -> Self {
        let counting = &engine.counting;
        let mirror = Mirror::new(
            Arc::new(Broker(admin)),
            counting.options.group.clone(),
            &counting.membership.me,
            Arc::clone(&counting.tenures),
            Arc::clone(&engine.health),
        );
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(mirror.run(stop.clone())));
        Self { stop, task }
    }

    /// Mirrors once more, and ends. A mirror that has failed is no reason to fail: nothing is counted by it.
    pub(super) async fn finish(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the mirror of offsets has failed: report this; no count is touched by it");
        }
    }
}

/// The broker's groups.
pub(super) struct Broker(pub(super) Admin);

#[async_trait]
impl GroupOffsets for Broker {
    async fn members(&self, group: &str) -> Result<usize, LogError> {
        Ok(self.0.describe_group(group).await?.map_or(0, |state| state.members))
    }

    async fn shown(&self, group: &str, partitions: Option<&[TopicPartition]>) -> Result<Vec<Shown>, LogError> {
        let mut shown = Vec::new();
        for (partition, committed) in self.0.committed_offsets(group, partitions).await? {
            // A partition that is gone is no reason to leave the others.
            if let Ok(Some(CommittedOffset { offset, metadata: note, .. })) = committed {
                shown.push(Shown { partition, offset, note });
            }
        }
        Ok(shown)
    }

    async fn commit(
        &self,
        group: &str,
        offsets: &[Mirrored],
        note: &str,
    ) -> Result<Vec<Result<(), LogError>>, LogError> {
        let committed = |one: &Mirrored| {
            let metadata = note.to_owned();
            (one.partition.clone(), CommittedOffset { offset: one.offset, leader_epoch: None, metadata })
        };
        let offsets: Vec<_> = offsets.iter().map(committed).collect();
        let answers = self.0.commit_offsets(group, &offsets).await?;
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}
