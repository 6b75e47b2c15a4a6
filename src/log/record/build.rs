//! Building a batch for a Produce request.

use super::{
    batch::{Batch, CRC_AT, CRC_FROM, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, MAX_BATCH_BYTES},
    codec::{CodecError, Compression, Compressor, trim},
    error::RecordError,
    varint,
};
use crate::log::{OutRecord, RecordRef};

const PRODUCER_AT: usize = 43;
/// Most bytes that a record takes beside its key, value and headers, and a header beside its name and value.
const RECORD_OVERHEAD_BYTES: usize = 32;
const HEADER_OVERHEAD_BYTES: usize = 10;

/// Who produces a batch, for idempotence (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

/// No idempotence.
pub const NO_PRODUCER: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };

impl Producer {
    /// The same producer behind a batch of `records`. Sequence numbers begin at 0 again after 2^31 - 1.
    pub fn after(self, records: i32) -> Self {
        let next = (i64::from(self.base_sequence) + i64::from(records)) & i64::from(i32::MAX);
        Self { base_sequence: next as i32, ..self }
    }
}

/// How a batch is built.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// Codec of the records.
    pub compression: Compression,
    /// Who produces it; can be changed later by [`stamp`].
    pub producer: Producer,
    /// Time of records without one, milliseconds since 1970.
    pub now_ms: i64,
}

/// Why a batch was not built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A batch needs a record.
    #[error("a record batch needs at least one record")]
    Empty,
    /// More than [`MAX_BATCH_BYTES`].
    #[error(
        "the record batch would have {size_bytes} bytes, and at most {MAX_BATCH_BYTES} are possible: send fewer records at once"
    )]
    TooLarge {
        /// Its size before compression, roughly.
        size_bytes: usize,
    },
    /// The compressor failed.
    #[error("the record batch cannot be compressed ({compression}): {source}")]
    Codec {
        /// The codec.
        compression: Compression,
        /// Why.
        source: CodecError,
    },
}

/// What can be put into a batch.
pub trait AsRecord {
    /// Its time, milliseconds since 1970; `now_ms` if it has none.
    fn time_ms(&self, now_ms: i64) -> i64;
    /// Key bytes.
    fn key(&self) -> Option<&[u8]>;
    /// Value bytes.
    fn value(&self) -> Option<&[u8]>;
    /// Headers in order.
    fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> + Clone;
}

impl AsRecord for OutRecord {
    fn time_ms(&self, now_ms: i64) -> i64 {
        self.timestamp_ms.unwrap_or(now_ms)
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        self.headers.iter().map(|(name, value)| (name.as_bytes(), Some(&value[..])))
    }
}

impl AsRecord for RecordRef<'_> {
    fn time_ms(&self, _now_ms: i64) -> i64 {
        self.timestamp_ms
    }

    fn key(&self) -> Option<&[u8]> {
        self.key
    }

    fn value(&self) -> Option<&[u8]> {
        self.value
    }

    fn headers(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        self.headers.iter().copied()
    }
}

/// Builds batches one after the other, with the same buffers.
#[derive(Default)]
pub struct Builder {
    raw: Vec<u8>,
    compressor: Compressor,
}

impl Builder {
    /// Appends a batch of the records, in their order and with offsets from 0, to `out`.
    ///
    /// # Errors
    /// There is no record, or too much of them; `out` is as before then.
    pub fn build<R: AsRecord>(
        &mut self,
        records: &[R],
        options: &BuildOptions,
        out: &mut Vec<u8>,
    ) -> Result<(), BuildError> {
        let Some(first) = records.first() else { return Err(BuildError::Empty) };
        let size_bytes = HEADER_BYTES + records.iter().map(most_bytes).sum::<usize>();
        if size_bytes > MAX_BATCH_BYTES {
            return Err(BuildError::TooLarge { size_bytes });
        }
        let at = out.len();
        out.resize(at + HEADER_BYTES, 0);
        let base_time_ms = first.time_ms(options.now_ms);
        if options.compression == Compression::None {
            out.reserve(size_bytes);
            put_records(records, base_time_ms, options.now_ms, out);
        } else {
            self.raw.clear();
            self.raw.reserve(size_bytes);
            put_records(records, base_time_ms, options.now_ms, &mut self.raw);
            let compressed = self.compressor.compress(options.compression, &self.raw, out);
            trim(&mut self.raw);
            if let Err(source) = compressed {
                out.truncate(at);
                return Err(BuildError::Codec { compression: options.compression, source });
            }
        }
        // What cannot be compressed grows a little.
        if out.len() - at > MAX_BATCH_BYTES {
            out.truncate(at);
            return Err(BuildError::TooLarge { size_bytes });
        }
        let max_time_ms = records.iter().map(|record| record.time_ms(options.now_ms)).max().unwrap_or(base_time_ms);
        put_header(&mut out[at..], records.len() as i32, (base_time_ms, max_time_ms), options);
        Ok(())
    }
}

/// Changes who produces the batch at the beginning of `bytes`, so that a resend under a new producer id needs no building.
///
/// # Errors
/// As [`Batch::read`]: never for what [`Builder::build`] has built.
pub fn stamp(bytes: &mut [u8], producer: Producer) -> Result<(), RecordError> {
    let size_bytes = Batch::read(bytes)?.bytes.len();
    let batch = &mut bytes[..size_bytes];
    put_producer(batch, producer);
    seal(batch);
    Ok(())
}

fn most_bytes(record: &impl AsRecord) -> usize {
    let header =
        |(name, value): (&[u8], Option<&[u8]>)| HEADER_OVERHEAD_BYTES + name.len() + value.map_or(0, <[u8]>::len);
    RECORD_OVERHEAD_BYTES
        + record.key().map_or(0, <[u8]>::len)
        + record.value().map_or(0, <[u8]>::len)
        + record.headers().map(header).sum::<usize>()
}

fn put_header(batch: &mut [u8], count: i32, (base_time_ms, max_time_ms): (i64, i64), options: &BuildOptions) {
    let length = (batch.len() - LENGTH_PREFIX_BYTES) as i32;
    // The base offset is 0: the broker gives it.
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1_i32).to_be_bytes()); // leader epoch: unknown
    batch[16] = MAGIC;
    batch[21..23].copy_from_slice(&options.compression.bits().to_be_bytes());
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&base_time_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&max_time_ms.to_be_bytes());
    put_producer(batch, options.producer);
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    seal(batch);
}

fn put_producer(batch: &mut [u8], producer: Producer) {
    batch[PRODUCER_AT..51].copy_from_slice(&producer.id.to_be_bytes());
    batch[51..53].copy_from_slice(&producer.epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&producer.base_sequence.to_be_bytes());
}

/// Writes the checksum that the bytes have now.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}

fn put_records<R: AsRecord>(records: &[R], base_time_ms: i64, now_ms: i64, out: &mut Vec<u8>) {
    for (delta, record) in records.iter().enumerate() {
        let time_delta = record.time_ms(now_ms).wrapping_sub(base_time_ms);
        put_record(record, time_delta, delta as i64, out);
    }
}

/// See [`super::visit`] for the layout.
fn put_record(record: &impl AsRecord, time_delta: i64, offset_delta: i64, out: &mut Vec<u8>) {
    let headers = record.headers();
    let sized = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len());
    let header_bytes: usize = headers.clone().map(|(name, value)| sized(Some(name)) + sized(value)).sum();
    let size_bytes = 1
        + varint::size(time_delta)
        + varint::size(offset_delta)
        + sized(record.key())
        + sized(record.value())
        + varint::size(headers.len() as i64)
        + header_bytes;
    varint::put(size_bytes as i64, out);
    out.push(0);
    varint::put(time_delta, out);
    varint::put(offset_delta, out);
    put_bytes(record.key(), out);
    put_bytes(record.value(), out);
    varint::put(headers.len() as i64, out);
    for (name, value) in headers {
        put_bytes(Some(name), out);
        put_bytes(value, out);
    }
}

fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => {
            varint::put(bytes.len() as i64, out);
            out.extend_from_slice(bytes);
        }
        None => varint::put(-1, out),
    }
}
