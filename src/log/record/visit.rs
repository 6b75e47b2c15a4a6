//! Visiting the records of a batch as borrowed slices: the hottest code of the log. No allocation per record.
//!
//! A record, all numbers of variable length: length (of what follows), attributes 1, time minus the base time, offset minus
//! the base offset, key length and key, value length and value (a negative length is null), header count, and for each header
//! name length, name, value length, value.

use smallvec::SmallVec;

use super::{
    batch::Batch,
    codec::Scratch,
    error::RecordError,
    varint::{take_i32, take_i64},
};
use crate::log::RecordRef;

/// Headers that a record may have before a batch's first allocation for them.
const INLINE_HEADERS: usize = 8;
/// The end of a record without headers: their count.
const NO_HEADERS: &[u8] = &[0];

type Headers<'a> = SmallVec<[(&'a [u8], Option<&'a [u8]>); INLINE_HEADERS]>;

/// A record as laid out, its headers not yet read.
pub(super) struct Laid<'a> {
    timestamp_delta: i64,
    offset_delta: i32,
    pub(super) key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [u8],
}

impl Batch<'_> {
    /// Calls `visitor` for each record at or behind `from_offset`, in order. A control batch has none.
    ///
    /// The checksum is not compared here: see [`Batch::check_crc`]. Whether the batch belongs to an aborted transaction, only
    /// the batches before it can tell: see [`super::AbortedFilter`].
    ///
    /// # Errors
    /// The records cannot be decompressed, or one of them is malformed; those before it have been visited then.
    pub fn visit<F>(&self, from_offset: i64, scratch: &mut Scratch, visitor: &mut F) -> Result<(), RecordError>
    where
        F: FnMut(RecordRef<'_>) + ?Sized,
    {
        if self.attributes.is_control() || self.next_offset() <= from_offset {
            return Ok(());
        }
        let visited = self.records(scratch).and_then(|records| {
            self.walk(records, from_offset, visitor).map_err(|(index, reason)| self.malformed(index, reason))
        });
        scratch.trim();
        visited
    }

    /// The records, decompressed.
    pub(super) fn records<'r>(&'r self, scratch: &'r mut Scratch) -> Result<&'r [u8], RecordError> {
        let base_offset = self.base_offset;
        let Some(compression) = self.attributes.compression() else {
            return Err(RecordError::Header { base_offset, reason: "its compression is none that exists" });
        };
        if self.record_count == 0 {
            return Ok(&[]); // Of an emptied batch, compaction keeps the header, with or without an empty compressed stream.
        }
        let decompressed = scratch.decompress(compression, self.payload());
        decompressed.map_err(|source| RecordError::Codec { base_offset, compression, source })
    }

    pub(super) fn malformed(&self, index: i32, reason: &'static str) -> RecordError {
        RecordError::Malformed { base_offset: self.base_offset, index, reason }
    }

    fn walk<F>(&self, mut rest: &[u8], from_offset: i64, visitor: &mut F) -> Result<(), (i32, &'static str)>
    where
        F: FnMut(RecordRef<'_>) + ?Sized,
    {
        let mut headers = Headers::new();
        let append_time_ms = self.attributes.is_log_append_time().then_some(self.max_timestamp_ms);
        let mut lowest_delta = 0;
        for index in 0..self.record_count {
            let record = take_record(&mut rest).map_err(|reason| (index, reason))?;
            // Downstream, an offset is counted once and never again: one that repeats or goes back must not get there.
            if record.offset_delta < lowest_delta || record.offset_delta > self.last_offset_delta {
                return Err((index, "its offset is out of order or outside the batch"));
            }
            lowest_delta = record.offset_delta.saturating_add(1);
            let offset = self.base_offset + i64::from(record.offset_delta);
            if offset < from_offset {
                continue;
            }
            headers.clear();
            if record.headers != NO_HEADERS {
                read_headers(record.headers, &mut headers).ok_or((index, "its headers are malformed"))?;
            }
            visitor(RecordRef {
                offset,
                timestamp_ms: append_time_ms
                    .unwrap_or_else(|| self.base_timestamp_ms.saturating_add(record.timestamp_delta)),
                key: record.key,
                value: record.value,
                headers: &headers,
            });
        }
        if rest.is_empty() { Ok(()) } else { Err((self.record_count, "there are bytes behind the last record")) }
    }
}

/// Takes a record off the beginning.
#[inline(always)]
pub(super) fn take_record<'a>(rest: &mut &'a [u8]) -> Result<Laid<'a>, &'static str> {
    let mut body = take_bytes(rest).flatten().ok_or("its length is invalid, or the batch ends before it does")?;
    let laid = (|| {
        body = body.split_first()?.1; // Attributes: none are in use.
        Some(Laid {
            timestamp_delta: take_i64(&mut body)?,
            offset_delta: take_i32(&mut body)?,
            key: take_bytes(&mut body)?,
            value: take_bytes(&mut body)?,
            headers: body,
        })
    })();
    laid.ok_or("its time, offset, key or value is malformed")
}

/// Takes a length and as many bytes off the beginning; the inner `None` is null.
#[inline(always)]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_i32(rest)?;
    if length < 0 {
        return Some(None);
    }
    let (bytes, behind) = rest.split_at_checked(length as usize)?;
    *rest = behind;
    Some(Some(bytes))
}

/// Reads headers, which must end where the record does.
fn read_headers<'a>(mut rest: &'a [u8], headers: &mut Headers<'a>) -> Option<()> {
    let count = take_i32(&mut rest)?;
    for _ in 0..usize::try_from(count).ok()? {
        let name = take_bytes(&mut rest)??;
        headers.push((name, take_bytes(&mut rest)?));
    }
    rest.is_empty().then_some(())
}
