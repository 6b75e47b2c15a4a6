//! The ledgers in the store, and how long their claims have stood.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::{DeadLetterError, DeadLetters};
use crate::{
    core::ledger::{Ledger, MAX_RANGES},
    model::{Swap, SwapOutcome, TopicPartition},
    store::Store,
};

/// Most claims of others that are watched at a time; as many partitions of dead letter topics at most have one.
const MAX_WATCHED: usize = 10_000;

/// The ledgers.
pub(super) struct Books {
    store: Arc<dyn Store>,
    /// Claims that were found, by partition: since when this process knows of each. The clocks of others say nothing here.
    watched: Mutex<HashMap<TopicPartition, (Uuid, Instant)>>,
}

/// A ledger as it was read.
pub(super) struct Read {
    /// What it says.
    pub ledger: Ledger,
    /// What must still be stored when it is changed.
    stored: Option<Vec<u8>>,
}

impl Books {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, watched: Mutex::default() }
    }

    async fn read(&self, partition: &TopicPartition, topic_id: Option<Uuid>) -> Result<Read, DeadLetterError> {
        // A swap that expects and sets nothing reads.
        let stored = self.swap(partition, None, None).await?.unwrap_or_default();
        let ledger = Ledger::read(stored.as_deref(), topic_id).map_err(|error| {
            let why = error.to_string();
            DeadLetterError::Corrupt { partition: partition.clone(), why }
        })?;
        Ok(Read { ledger, stored })
    }

    /// Puts a ledger in place of what was read; `None` where it is another one by now.
    pub(super) async fn write(
        &self,
        partition: &TopicPartition,
        read: &Read,
        next: Ledger,
    ) -> Result<Option<Read>, DeadLetterError> {
        if next.done.len() > MAX_RANGES {
            return Err(DeadLetterError::TooScattered { partition: partition.clone() });
        }
        let text = next.text();
        match self.swap(partition, read.stored.clone(), Some(text.clone())).await? {
            None => Ok(Some(Read { ledger: next, stored: Some(text) })),
            // The answer of a first try may have been lost.
            Some(stored) if stored.as_ref() == Some(&text) => Ok(Some(Read { ledger: next, stored })),
            Some(_) => Ok(None),
        }
    }

    /// What is stored, where it is not what was expected.
    async fn swap(
        &self,
        partition: &TopicPartition,
        expect: Option<Vec<u8>>,
        next: Option<Vec<u8>>,
    ) -> Result<Option<Option<Vec<u8>>>, DeadLetterError> {
        let swap = Swap { name: format!("dlq:{partition}"), expect, next, ttl_ms: None };
        match self.store.swap(&[swap]).await?.pop() {
            Some(SwapOutcome::Differs(stored)) => Ok(Some(stored)),
            Some(SwapOutcome::Swapped) | None => Ok(None),
        }
    }

    /// For how long this process has seen a claim stand.
    pub(super) fn stands_since(&self, partition: &TopicPartition, claim: Uuid) -> Duration {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.len() >= MAX_WATCHED && !watched.contains_key(partition) {
            watched.clear();
        }
        let seen = watched.entry(partition.clone()).or_insert_with(|| (claim, Instant::now()));
        if seen.0 != claim {
            *seen = (claim, Instant::now());
        }
        seen.1.elapsed()
    }
}

impl DeadLetters {
    /// The ledger of a partition as it is now.
    pub(super) async fn ledger(&self, partition: &TopicPartition) -> Result<Read, DeadLetterError> {
        let identity = self.parts.log.identity(partition).await?;
        self.books.read(partition, identity.topic_id).await
    }
}
