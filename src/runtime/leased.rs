//! What a group's leases are for: counting partitions, or delivering them. The coordinator is the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use tokio_util::sync::CancellationToken;

use super::{
    counting::Counting, handover::Handover, health::Health, measure, membership::Membership, partition::PartitionTask,
    recheck::Beliefs,
};
use crate::{
    catalog::plan::Topic,
    core::card::TopicCard,
    model::{Beat, StoredPosition, TopicPartition},
    store::Store,
};

/// A member of a group, as far as heartbeats need it.
pub(super) struct Member {
    pub store: Arc<dyn Store>,
    pub health: Arc<Health>,
    pub membership: Arc<Membership>,
    /// `SESSION_TIMEOUT_MS`.
    pub session_timeout: Duration,
    /// `HEARTBEAT_INTERVAL_MS`.
    pub heartbeat_interval: Duration,
}

impl Member {
    /// What a heartbeat says that says goodbye: what others wait for passes to them at once, and not when the session ends.
    pub fn goodbye(&self) -> Beat {
        Beat {
            group: self.membership.group.as_str().into(),
            member: Arc::clone(&self.membership.me),
            about: None,
            session_timeout_ms: u64::try_from(self.session_timeout.as_millis()).unwrap_or(u64::MAX),
            known_version: None,
            steps: Vec::new(),
        }
    }

    /// Leaves the group, where it knows this member.
    pub async fn say_goodbye(&self) {
        if !self.membership.is_member() {
            return;
        }
        let group = &self.membership.group;
        match self.store.beat(&self.goodbye(), &[]).await {
            Ok(_) => tracing::info!(member = %self.membership.me, group, "left the group"),
            // Others wait for the end of the session then.
            Err(error) => tracing::warn!(%error, group, "the group was not told that this member leaves"),
        }
    }
}

/// What a group's leases are for.
pub(super) trait Leased: Send + Sync + 'static {
    /// What is believed of the store while a heartbeat asks for it.
    type Beliefs: Send + Sync;
    /// What need not be feared where a member was taken for dead.
    const UNHARMED: &'static str;

    /// Who takes part.
    fn member(&self) -> &Member;

    /// What is said of a topic with so many partitions; `None` where it is none of the group's.
    fn card(&self, topic: &str, partitions: i32) -> Option<TopicCard>;

    /// What is believed now.
    fn beliefs(&self) -> Self::Beliefs;

    /// The partitions whose positions the heartbeat is to read for that.
    fn believed(beliefs: &Self::Beliefs) -> Vec<TopicPartition>;

    /// Holds what was believed against what the heartbeat read: first the believed partitions, then others.
    fn compare(&self, beliefs: &Self::Beliefs, stored: &[Vec<StoredPosition>]);

    /// The task of a partition, which ends with its handover or `halt`. `None` where the topic is none of the group's.
    fn begin(
        self: &Arc<Self>,
        partition: &TopicPartition,
        handover: &Arc<Handover>,
        halt: &CancellationToken,
    ) -> Option<BoxFuture<'static, TopicPartition>>;

    /// Tells how many members there are, and how many partitions this one holds.
    fn measure(&self, members: usize, held: usize);
}

/// The leases of the counting group.
pub(super) struct Counted {
    pub counting: Arc<Counting>,
    pub topics: BTreeMap<Arc<str>, Arc<Topic>>,
}

impl Leased for Counted {
    type Beliefs = Beliefs;
    const UNHARMED: &'static str = "no count is lost or doubled by it";

    fn member(&self) -> &Member {
        &self.counting.member
    }

    fn card(&self, topic: &str, partitions: i32) -> Option<TopicCard> {
        let known = self.topics.get(topic)?;
        let only = self.counting.options.partitions.get(topic).map(Vec::as_slice);
        let last = self.counting.membership.last_rules().remove(topic);
        Some(TopicCard { last, ..TopicCard::new(partitions, known.fingerprint, only) })
    }

    fn beliefs(&self) -> Beliefs {
        Beliefs::now(&self.counting)
    }

    fn believed(beliefs: &Beliefs) -> Vec<TopicPartition> {
        beliefs.partitions().cloned().collect()
    }

    fn compare(&self, beliefs: &Beliefs, stored: &[Vec<StoredPosition>]) {
        beliefs.compare(&self.counting, stored);
    }

    fn begin(
        self: &Arc<Self>,
        partition: &TopicPartition,
        handover: &Arc<Handover>,
        halt: &CancellationToken,
    ) -> Option<BoxFuture<'static, TopicPartition>> {
        let topic = self.topics.get(&*partition.topic)?;
        let task = PartitionTask {
            counting: Arc::clone(&self.counting),
            topic: Arc::clone(topic),
            partition: partition.clone(),
            handover: Arc::clone(handover),
        };
        Some(task.run(halt.clone()).boxed())
    }

    fn measure(&self, members: usize, held: usize) {
        measure::standing(members, held);
    }
}
