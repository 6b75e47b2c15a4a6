//! The header of a batch, and the batches of a fetch response one after the other.

use super::{codec::Compression, error::RecordError};

/// Bytes of a batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Most bytes of one batch. A broker's `message.max.bytes` is 1 MiB by default and rarely above 32; a length beyond this is
/// taken for damage.
pub const MAX_BATCH_BYTES: usize = 128 * 1024 * 1024;

/// Bytes of a batch that its length field does not count.
pub(in crate::log) const LENGTH_PREFIX_BYTES: usize = 12;
pub(in crate::log) const MAGIC: u8 = 2;
pub(in crate::log) const MAGIC_AT: usize = 16;
pub(in crate::log) const CRC_AT: usize = 17;
/// Where the bytes begin that the checksum covers.
pub(in crate::log) const CRC_FROM: usize = 21;

/// A batch's attribute bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    /// Codec of the records; `None` where the bits name none that exists.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_bits(self.0 & 0x07)
    }

    /// Whether every record has the time at which the broker took the batch (`message.timestamp.type=LogAppendTime`).
    pub fn is_log_append_time(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// Whether the batch holds a marker of the broker (the end of a transaction) instead of records.
    pub fn is_control(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// Whether the base timestamp is the time at which compaction may drop the batch's tombstones.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & 0x40 != 0
    }
}

/// A record batch, its records still as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Offset of the first record that the batch had when it was produced.
    pub base_offset: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// Checksum as the batch says it.
    pub crc: u32,
    /// Attribute bits.
    pub attributes: Attributes,
    /// Offset of the last record that the batch had when it was produced, minus the base offset.
    pub last_offset_delta: i32,
    /// What the records' times are told from, milliseconds since 1970.
    pub base_timestamp_ms: i64,
    /// The latest time, milliseconds since 1970.
    pub max_timestamp_ms: i64,
    /// Id of an idempotent producer, or -1.
    pub producer_id: i64,
    /// Epoch of an idempotent producer, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Records that the batch has now: compaction may have taken some, even all.
    pub record_count: i32,
    /// The whole batch.
    pub bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch at the beginning of `bytes`, which may go on behind it.
    ///
    /// # Errors
    /// [`RecordError::Incomplete`] where `bytes` end before the batch does, [`RecordError::OldFormat`] or
    /// [`RecordError::Header`] where it is none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let incomplete = |needed_bytes| RecordError::Incomplete { needed_bytes, have_bytes: bytes.len() };
        // The magic byte stands at the same place in all formats, so it is looked at first: it names the better error.
        let Some(start) = bytes.first_chunk::<{ MAGIC_AT + 1 }>() else { return Err(incomplete(HEADER_BYTES)) };
        let base_offset = i64::from_be_bytes(field(start, 0));
        let invalid = |reason| RecordError::Header { base_offset, reason };
        match start[MAGIC_AT] {
            MAGIC => {}
            magic @ (0 | 1) => return Err(RecordError::OldFormat { base_offset, magic }),
            _ => return Err(invalid("its message format is none that exists (magic byte)")),
        }
        let length = i32::from_be_bytes(field(start, 8));
        let size_bytes = usize::try_from(length).map_err(|_| invalid("negative length"))? + LENGTH_PREFIX_BYTES;
        if size_bytes < HEADER_BYTES {
            return Err(invalid("its length is less than a header's"));
        }
        if size_bytes > MAX_BATCH_BYTES {
            return Err(invalid("its length is absurd (more than 128 MiB)"));
        }
        let bytes = bytes.get(..size_bytes).ok_or_else(|| incomplete(size_bytes))?;
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Err(incomplete(HEADER_BYTES)) };
        let batch = Self {
            base_offset,
            leader_epoch: i32::from_be_bytes(field(header, 12)),
            crc: u32::from_be_bytes(field(header, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(header, 21))),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp_ms: i64::from_be_bytes(field(header, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            record_count: i32::from_be_bytes(field(header, 57)),
            bytes,
        };
        batch.check_header().map_err(invalid)?;
        Ok(batch)
    }

    fn check_header(&self) -> Result<(), &'static str> {
        if self.base_offset < 0 {
            return Err("negative base offset");
        }
        if self.last_offset_delta < 0 {
            return Err("negative last offset delta");
        }
        if self.base_offset.checked_add(i64::from(self.last_offset_delta) + 1).is_none() {
            return Err("offsets beyond 63 bits");
        }
        // More records than offsets would double some of them.
        if self.record_count < 0 || i64::from(self.record_count) > i64::from(self.last_offset_delta) + 1 {
            return Err("its record count does not fit its last offset delta");
        }
        Ok(())
    }

    /// The offset that follows this batch, whether or not the last of its records is still there.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Compares the checksum with the bytes.
    ///
    /// # Errors
    /// [`RecordError::Crc`] where they differ.
    pub fn check_crc(&self) -> Result<(), RecordError> {
        let computed = crc32c::crc32c(&self.bytes[CRC_FROM..]);
        if computed == self.crc {
            return Ok(());
        }
        Err(RecordError::Crc { base_offset: self.base_offset, stored: self.crc, computed })
    }

    /// The records as they came: compressed, where the attributes say so.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// The batches that `bytes` hold one after the other, as a fetch response has them.
///
/// A last batch that is cut off ends them silently, as KIP-74 wants it; if it is the first, there is nothing to read and the
/// only item is [`RecordError::Incomplete`]. Nothing follows an error.
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes, is_first: true }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
    is_first: bool,
}

impl<'a> Batches<'a> {
    /// What has not been read yet; at the end, the batch that was cut off.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Batch::read(self.rest) {
            Ok(batch) => {
                self.rest = &self.rest[batch.bytes.len()..];
                self.is_first = false;
                Some(Ok(batch))
            }
            Err(RecordError::Incomplete { .. }) if !self.is_first => None,
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// A field of a header that is there.
fn field<const N: usize, const H: usize>(header: &[u8; H], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[at..at + N]);
    field
}
