//! Looking for a time inside a batch. Only here the broker reads records.

use super::batch::BatchHeader;
use crate::log::record::{Batch, Scratch};

/// The first record of a batch that is not older than `timestamp_ms` and not below `start`: its offset and its time.
///
/// Records that cannot be read are answered as if the whole batch were one: never beyond the record in question.
pub fn first_at(bytes: &[u8], header: &BatchHeader, start: i64, timestamp_ms: i64) -> Option<(i64, i64)> {
    let mut found = None;
    let read = Batch::read(bytes).and_then(|batch| {
        batch.visit(start, &mut Scratch::default(), &mut |record| {
            if found.is_none() && record.timestamp_ms >= timestamp_ms {
                found = Some((record.offset, record.timestamp_ms));
            }
        })
    });
    match read {
        Ok(()) => found,
        Err(_) => found.or(Some((header.base_offset.max(start), header.max_timestamp_ms))),
    }
}
