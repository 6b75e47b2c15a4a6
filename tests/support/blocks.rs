//! Records of the oracle as the blocks that a log hands out.

use std::sync::Arc;

use streamgauge::log::{Block, LogError, RecordRef, Records};

use super::oracle::Record;

/// The records of a block.
pub struct Rows(pub Arc<[Record]>);

impl Records for Rows {
    fn visit(&self, visitor: &mut dyn FnMut(RecordRef<'_>)) -> Result<(), LogError> {
        for record in self.0.iter() {
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                record.headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..]))).collect();
            visitor(RecordRef {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            });
        }
        Ok(())
    }
}

/// A block of these records; `next_offset` may lie behind the last one, as after records that were aborted.
pub fn block(records: &[Record], next_offset: i64, high_watermark: i64) -> Block {
    Block {
        next_offset,
        high_watermark,
        log_start: None,
        leader_epoch: None,
        size_bytes: records.iter().map(|record| record.value.as_ref().map_or(0, Vec::len) + 64).sum(),
        records: Box::new(Rows(records.into())),
    }
}
