//! What is under way: an attempt, or a dead letter.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};
use tokio::time::Instant;

use super::{courier::Load, gate::Pass, group::Group, now_ms};
use crate::{
    core::{
        batch::{Outgoing, Purpose},
        delivery::{Attempt, Outcome, Parcel, Tried, Trouble, request::Sent},
        reason::Reason,
    },
    model::TopicPartition,
};

/// What has come back.
pub(super) enum Landed {
    Answered { sent: Vec<Attempt>, began_ms: i64, outcomes: Vec<(Outcome, Option<Trouble>)> },
    Buried(i64),
}

/// Makes one attempt for some events: one, unless the subscription has batches.
pub(super) fn flight(
    group: Arc<Group>,
    partition: TopicPartition,
    pass: Pass,
    batch: Vec<(Attempt, Arc<Parcel>)>,
) -> BoxFuture<'static, Landed> {
    async move {
        let (began_ms, began) = (now_ms(), Instant::now());
        let events: Vec<Sent<'_>> = batch
            .iter()
            .map(|(attempt, parcel)| Sent { parcel, offset: attempt.offset, attempt: attempt.number })
            .collect();
        let key = group.key.as_deref();
        let load = Load { partition: &partition, events: &events, mode: group.mode, key, began_ms };
        let told = group.courier.carry(load).await;
        group.metrics.took(began.elapsed());
        pass.tell(told.manner, began_ms, now_ms());
        let sent = batch.into_iter().map(|(attempt, _)| attempt).collect();
        Landed::Answered { sent, began_ms, outcomes: told.outcomes }
    }
    .boxed()
}

/// Sends a dead letter until the log has it.
pub(super) fn bury(
    group: Arc<Group>,
    partition: TopicPartition,
    offset: i64,
    parcel: Arc<Parcel>,
    trouble: Trouble,
    tried: Tried,
) -> BoxFuture<'static, Landed> {
    async move {
        let purpose = Purpose::Undelivered { reason: Reason::Undelivered(trouble), tried };
        let letter = Outgoing { offset, source: Arc::clone(&parcel.record), purpose };
        group.outbox.deliver(&partition, vec![letter]).await;
        Landed::Buried(offset)
    }
    .boxed()
}
