//! Kafka's record batches (format v2) as bytes: read, checked, decompressed, visited, filtered by transaction, built.
//!
//! Pure and synchronous: bytes in, borrowed records out. Layout of a batch, big-endian: base offset 8, length 4 (of what
//! follows), leader epoch 4, magic 1, crc 4 (CRC-32C of what follows), attributes 2, last offset delta 4, base timestamp 8,
//! max timestamp 8, producer id 8, producer epoch 2, base sequence 4, record count 4, records (compressed as a whole).
//! See <https://kafka.apache.org/documentation/#recordbatch>.

mod batch;
mod build;
mod codec;
mod error;
mod recompress;
mod transaction;
mod varint;
mod visit;

pub use batch::{Attributes, Batch, Batches, HEADER_BYTES, MAX_BATCH_BYTES, batches};
pub(in crate::log) use batch::{CRC_AT, CRC_FROM, LENGTH_PREFIX_BYTES, MAGIC, MAGIC_AT};
pub use build::{AsRecord, BuildError, BuildOptions, Builder, NO_PRODUCER, Producer, stamp};
pub use codec::{CodecError, Compression, MAX_DECOMPRESSED_BYTES, MAX_RETAINED_BYTES, Scratch};
pub use error::RecordError;
pub(in crate::log) use recompress::recompress;
pub use transaction::{AbortedFilter, AbortedTransaction, Marker};
