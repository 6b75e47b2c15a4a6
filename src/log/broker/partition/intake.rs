//! What a producer sent: checked, and made as the topic keeps it.

use std::sync::atomic::Ordering;

use super::{AppendError, Partition};
use crate::log::{
    broker::batch::{self, BatchError, BatchHeader},
    record::Compression,
};

/// No codec's bits: batches are kept as they came.
pub(super) const AS_PRODUCED: i16 = -1;

impl Partition {
    /// What a producer sent, as the topic keeps it.
    pub(super) fn as_kept(&self, records: &[u8]) -> Result<(Vec<BatchHeader>, Vec<u8>), AppendError> {
        let headers = self.check(records)?;
        let compression = Compression::from_bits(self.compression.load(Ordering::Relaxed));
        let Some(compression) = compression else { return Ok((headers, records.to_vec())) };
        let kept = batch::recompress(records, compression)?;
        Ok((self.check(&kept)?, kept))
    }

    /// The headers of what a producer sent, at least one.
    fn check(&self, records: &[u8]) -> Result<Vec<BatchHeader>, AppendError> {
        let most_bytes = self.max_batch_bytes.load(Ordering::Relaxed);
        let mut headers = Vec::with_capacity(1);
        let mut rest = records;
        while headers.is_empty() || !rest.is_empty() {
            let header = batch::read_produced(rest)?;
            if header.size_bytes as u64 > most_bytes {
                return Err(AppendError::TooLarge { size_bytes: header.size_bytes, most_bytes });
            }
            rest = &rest[header.size_bytes..];
            headers.push(header);
        }
        if headers.len() > 1 && headers.iter().any(|header| header.stamp.is_some()) {
            return Err(BatchError::Invalid("an idempotent producer sends one batch a partition and request").into());
        }
        Ok(headers)
    }
}
