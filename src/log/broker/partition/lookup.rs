//! Finding and reading what is in a partition's log.

use super::Partition;
use crate::log::broker::{
    batch,
    reading::{Chunk, Place, ReadError},
    times,
};

/// Bytes read at once while looking for a time.
const TIME_SCAN_BYTES: usize = 1024 * 1024;

impl Partition {
    /// Reads whole batches from the one that holds `offset`, at most `max_bytes` of them; with `at_least_one` the first comes
    /// whatever its size. Nothing beyond the high watermark is read.
    pub fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> Result<Chunk, ReadError> {
        let Some(place) = self.find(offset)? else { return Ok(Chunk::empty(offset)) };
        place.read(offset, max_bytes, at_least_one)
    }

    /// The first record that is not older than `timestamp_ms`: its offset and its time. `None` if all visible ones are older.
    pub fn offset_at_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        let (found, start) = {
            let log = self.log();
            (log.segments.iter().find_map(|segment| segment.index.offset_before_time(timestamp_ms)), log.start)
        };
        let Some(mut offset) = found.map(|offset| offset.max(start)) else { return Ok(None) };
        loop {
            let chunk = self.read(offset, TIME_SCAN_BYTES, true)?;
            let mut rest = &chunk.bytes[..];
            while let Ok(header) = batch::read_header(rest) {
                let size_bytes = header.size_bytes.min(rest.len());
                if header.max_timestamp_ms >= timestamp_ms
                    && let Some(found) = times::first_at(&rest[..size_bytes], &header, start, timestamp_ms)
                {
                    return Ok(Some(found));
                }
                rest = &rest[size_bytes..];
            }
            if chunk.bytes.is_empty() {
                return Ok(None);
            }
            offset = chunk.next_offset;
        }
    }

    /// The first of the records with the greatest time; `None` in an empty log.
    pub fn offset_of_greatest_time(&self) -> Result<Option<(i64, i64)>, ReadError> {
        let greatest = {
            let log = self.log();
            let below = log.segments.iter().filter(|segment| segment.base_offset < log.visible_base);
            below
                .map(|segment| segment.index.max_timestamp_ms)
                .max()
                .unwrap_or(i64::MIN)
                .max(log.visible_max_timestamp_ms)
        };
        if greatest == i64::MIN { Ok(None) } else { self.offset_at_time(greatest) }
    }

    fn find(&self, offset: i64) -> Result<Option<Place>, ReadError> {
        let log = self.log();
        if log.is_gone {
            return Err(ReadError::Gone);
        }
        let Some(last) = log.segments.last() else { return Ok(None) };
        // A producer may ask for the offset that it was just answered, before that is synced: it waits, it is not refused.
        if offset < log.start || offset > last.index.next_offset {
            return Err(ReadError::OutOfRange);
        }
        if offset >= self.high_watermark() {
            return Ok(None);
        }
        let at = log.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
        let segment = &log.segments[at];
        let to = if segment.base_offset == log.visible_base { log.visible_bytes } else { segment.index.len_bytes };
        let Some((batch_offset, from)) = segment.index.before(offset) else { return Ok(None) };
        let (file, path, is_sealed) = (segment.reader()?, segment.path.clone(), segment.is_sealed());
        Ok(Some(Place { file, path, offset: batch_offset, from, to, is_sealed }))
    }
}
