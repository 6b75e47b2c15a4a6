//! What can be wrong with a record batch.

use super::codec::{CodecError, Compression};

/// Why a batch cannot be read. Reading it again does not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The first batch of the bytes is not there as a whole, so nothing can be read from them. A fetch has to ask for more
    /// bytes (KIP-74 promises the first batch whole, so this comes of a lower limit on the way or of a broken answer).
    #[error(
        "the first record batch needs {needed_bytes} bytes, and only {have_bytes} came: raise KAFKA_FETCH_MAX_PARTITION_BYTES"
    )]
    Incomplete {
        /// Bytes that the batch needs, as far as that can be told.
        needed_bytes: usize,
        /// Bytes that are there.
        have_bytes: usize,
    },
    /// A message set of before Kafka 0.11.
    #[error(
        "the records at offset {base_offset} have message format v{magic}, and only record batches (v2, Kafka 0.11 and later) can \
         be read: copy what is still needed into a new topic, or wait until the topic's retention has deleted them"
    )]
    OldFormat {
        /// Offset in the first field.
        base_offset: i64,
        /// The format, 0 or 1.
        magic: u8,
    },
    /// The header contradicts itself, or announces a format that does not exist.
    #[error("the record batch at offset {base_offset} has an invalid header: {reason}")]
    Header {
        /// Offset in the first field.
        base_offset: i64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The checksum differs: the bytes were damaged on their way or on the broker's disk.
    #[error(
        "the record batch at offset {base_offset} is damaged: its crc32c is {computed:08x} and should be {stored:08x}"
    )]
    Crc {
        /// Offset of its first record.
        base_offset: i64,
        /// As the batch says.
        stored: u32,
        /// As its bytes are.
        computed: u32,
    },
    /// The records cannot be decompressed.
    #[error("the record batch at offset {base_offset} cannot be decompressed ({compression}): {source}")]
    Codec {
        /// Offset of its first record.
        base_offset: i64,
        /// As the batch says.
        compression: Compression,
        /// Why.
        source: CodecError,
    },
    /// A record is not laid out as it should be. The records before it have been visited.
    #[error("the record batch at offset {base_offset} is malformed at its record number {index}: {reason}")]
    Malformed {
        /// Offset of its first record.
        base_offset: i64,
        /// Place in the batch, from 0.
        index: i32,
        /// What is wrong.
        reason: &'static str,
    },
}
