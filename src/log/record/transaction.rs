//! Which batches belong to transactions that were aborted, as a consumer with `isolation.level=read_committed` has to find
//! out by itself (KIP-98): the broker names the transactions, and markers in the log end them.

use std::collections::HashSet;

use super::{batch::Batch, codec::Scratch, error::RecordError, visit::take_record};

/// The key of a control record: version 2, type 2.
const CONTROL_KEY_BYTES: usize = 4;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;

/// An aborted transaction, as a fetch response names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: i64,
    /// Offset of its first record.
    pub first_offset: i64,
}

/// How a control batch ended a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Its records do not count.
    Abort,
    /// Its records count.
    Commit,
}

impl Batch<'_> {
    /// The marker that a control batch holds; `None` for other batches and for markers that are of no concern to readers.
    ///
    /// # Errors
    /// The control record is malformed.
    pub fn marker(&self) -> Result<Option<Marker>, RecordError> {
        if !self.attributes.is_control() || self.record_count == 0 {
            return Ok(None);
        }
        // Brokers never compress markers, so the buffers of others need not be borrowed for them.
        let mut scratch = Scratch::default();
        let mut records = self.records(&mut scratch)?;
        let record = take_record(&mut records).map_err(|reason| self.malformed(0, reason))?;
        let key = record.key.and_then(|key| key.first_chunk::<CONTROL_KEY_BYTES>());
        let Some(&[_, _, high, low]) = key else { return Err(self.malformed(0, "its control key is too short")) };
        Ok(match i16::from_be_bytes([high, low]) {
            ABORT => Some(Marker::Abort),
            COMMIT => Some(Marker::Commit),
            _ => None,
        })
    }
}

/// Tells aborted batches of one fetch response and partition.
#[derive(Clone, Debug, Default)]
pub struct AbortedFilter {
    /// Those that have not begun yet, the next one last. As many as the response names, which its own cap bounds.
    ahead: Vec<AbortedTransaction>,
    /// Producers within an aborted transaction; never more than were named.
    open: HashSet<i64>,
}

impl AbortedFilter {
    /// A filter for what the response names; without transactions, nothing is aborted.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self { ahead: aborted, open: HashSet::new() }
    }

    /// Whether the batch belongs to an aborted transaction, so that its records must not be visited.
    ///
    /// It must be asked about every batch of the response, in order: also control batches, and those before the offset
    /// wanted.
    ///
    /// # Errors
    /// A marker is malformed, so that what follows cannot be told apart.
    pub fn is_aborted(&mut self, batch: &Batch<'_>) -> Result<bool, RecordError> {
        while let Some(transaction) = self.ahead.pop_if(|next| next.first_offset < batch.next_offset()) {
            self.open.insert(transaction.producer_id);
        }
        if self.open.is_empty() {
            return Ok(false);
        }
        if batch.attributes.is_control() {
            if batch.marker()?.is_some() {
                self.open.remove(&batch.producer_id);
            }
            return Ok(false);
        }
        Ok(batch.attributes.is_transactional() && self.open.contains(&batch.producer_id))
    }
}
