//! Reading and checking record batches (Kafka's format v2) without looking into their records.
//!
//! `log/record` has the layout of a batch.

use crate::log::record::{
    self, Attributes, CRC_AT, CRC_FROM, Compression, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, MAGIC_AT,
};

/// Most bytes of one batch, as Kafka's `message.max.bytes`, only larger: a laptop's topics have no one to set it.
pub const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// The leader epoch of every partition: there is one broker and no election.
pub const LEADER_EPOCH: i32 = 0;

/// What the broker needs to know of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes of the whole batch.
    pub size_bytes: usize,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: i32,
    /// Greatest time of its records, milliseconds since 1970.
    pub max_timestamp_ms: i64,
    /// Who produced it, where the producer is idempotent.
    pub stamp: Option<Stamp>,
}

/// What an idempotent producer puts on a batch, so that a resend can be told from new records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// From InitProducerId.
    pub producer_id: i64,
    /// Counts up where the producer begins its sequences anew.
    pub epoch: i16,
    /// Sequence of the first record; the others follow by one.
    pub sequence: i32,
}

impl BatchHeader {
    /// The offset that follows this batch.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }
}

/// Why bytes are not a batch that the log takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header or the length field asks for.
    #[error("the record batch is incomplete")]
    Incomplete,
    /// A message set of before Kafka 0.11.
    #[error("message format v{0} is not supported: only record batches (v2, Kafka 0.11 and later)")]
    Magic(u8),
    /// Larger than [`MAX_BATCH_BYTES`].
    #[error("the record batch has {0} bytes, more than the {MAX_BATCH_BYTES} that the embedded broker takes")]
    TooLarge(usize),
    /// The checksum differs.
    #[error("the record batch's crc32c does not match its bytes")]
    Crc,
    /// The header contradicts itself.
    #[error("the record batch's header is invalid: {0}")]
    Invalid(&'static str),
}

/// Reads the header at the start of `bytes`; the batch itself may be incomplete there.
pub fn read_header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    // The magic byte stands at the same place in all formats, so it is looked at first: it names the better error.
    let Some(&magic) = bytes.get(MAGIC_AT) else { return Err(BatchError::Incomplete) };
    if magic != MAGIC {
        return Err(BatchError::Magic(magic));
    }
    if bytes.len() < HEADER_BYTES {
        return Err(BatchError::Incomplete);
    }
    let length = i32_at(bytes, 8);
    let size_bytes = usize::try_from(length).map_err(|_| BatchError::Invalid("negative length"))? + LENGTH_PREFIX_BYTES;
    if size_bytes < HEADER_BYTES {
        return Err(BatchError::Invalid("length below the header's"));
    }
    if size_bytes > MAX_BATCH_BYTES {
        return Err(BatchError::TooLarge(size_bytes));
    }
    let last_offset_delta = i32_at(bytes, 23);
    if last_offset_delta < 0 {
        return Err(BatchError::Invalid("negative last offset delta"));
    }
    let base_offset = i64_at(bytes, 0);
    if base_offset.checked_add(i64::from(last_offset_delta) + 1).is_none() {
        return Err(BatchError::Invalid("offsets beyond 63 bits"));
    }
    Ok(BatchHeader {
        base_offset,
        size_bytes,
        last_offset_delta,
        max_timestamp_ms: i64_at(bytes, 35),
        stamp: stamp(bytes),
    })
}

fn stamp(bytes: &[u8]) -> Option<Stamp> {
    let producer_id = i64_at(bytes, 43);
    let (epoch, sequence) = (i16::from_be_bytes(array_at(bytes, 51)), i32_at(bytes, 53));
    (producer_id >= 0).then_some(Stamp { producer_id, epoch, sequence })
}

/// Reads the batch at the start of `bytes`, which must hold it whole, and compares its checksum.
pub fn read_checked(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = read_header(bytes)?;
    let batch = bytes.get(..header.size_bytes).ok_or(BatchError::Incomplete)?;
    if crc32c::crc32c(&batch[CRC_FROM..]) != i32_at(batch, CRC_AT) as u32 {
        return Err(BatchError::Crc);
    }
    Ok(header)
}

/// Checks the batch at the start of what a producer sent.
pub fn read_produced(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = read_checked(bytes)?;
    if i32_at(bytes, 57) != header.last_offset_delta.saturating_add(1) {
        return Err(BatchError::Invalid("the record count does not fit the last offset delta"));
    }
    if header.stamp.is_some_and(|stamp| stamp.epoch < 0 || stamp.sequence < 0) {
        return Err(BatchError::Invalid("a producer id without an epoch and a sequence"));
    }
    let attributes = Attributes(i16::from_be_bytes(array_at(bytes, 21)));
    if attributes.is_transactional() || attributes.is_control() {
        return Err(BatchError::Invalid("transactions are not supported"));
    }
    Ok(header)
}

/// Compresses batches anew that were checked; those that are so already stay as they are.
pub fn recompress(bytes: &[u8], compression: Compression) -> Result<Vec<u8>, BatchError> {
    let mut kept = Vec::with_capacity(bytes.len());
    for batch in record::batches(bytes) {
        let batch = batch.map_err(|_| BatchError::Incomplete)?;
        let failed =
            |_| BatchError::Invalid("its records cannot be decompressed, or take too much as the topic keeps them");
        record::recompress(&batch, compression, &mut kept).map_err(failed)?;
    }
    Ok(kept)
}

/// Gives the batch at the start of `bytes` its place in the log. Both fields lie before what the checksum covers.
pub fn place(bytes: &mut [u8], base_offset: i64) {
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&LEADER_EPOCH.to_be_bytes());
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}

/// Callers have checked that the header is there.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A valid batch of `count` records with `payload` in place of their bytes, which the broker never reads.
    pub fn batch(count: i32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[8..12].copy_from_slice(&((HEADER_BYTES - LENGTH_PREFIX_BYTES + payload.len()) as i32).to_be_bytes());
        bytes[MAGIC_AT] = MAGIC;
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[27..35].copy_from_slice(&1_000_i64.to_be_bytes());
        bytes[35..43].copy_from_slice(&1_000_i64.to_be_bytes());
        bytes[43..57].fill(0xff);
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(payload);
        seal(&mut bytes);
        bytes
    }

    /// The same from an idempotent producer.
    pub fn stamped(count: i32, producer_id: i64, epoch: i16, sequence: i32) -> Vec<u8> {
        let mut bytes = batch(count, b"records");
        bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Writes the checksum that the bytes have now.
    pub fn seal(bytes: &mut [u8]) {
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn what_producers_may_send() {
        let edit = |at: usize, value: &[u8]| {
            let mut bytes = batch(3, b"records");
            bytes[at..at + value.len()].copy_from_slice(value);
            seal(&mut bytes);
            bytes
        };
        let mut flipped = batch(3, b"records");
        flipped[63] ^= 1;
        let table: [(&str, Vec<u8>, Option<BatchError>); 11] = [
            ("good", batch(3, b"records"), None),
            ("idempotent", stamped(3, 7, 0, 12), None),
            (
                "no sequence",
                stamped(3, 7, 0, -1),
                Some(BatchError::Invalid("a producer id without an epoch and a sequence")),
            ),
            ("empty", vec![], Some(BatchError::Incomplete)),
            ("cut", batch(3, b"records")[..66].to_vec(), Some(BatchError::Incomplete)),
            ("old format", edit(16, &[1]), Some(BatchError::Magic(1))),
            ("flipped bit", flipped, Some(BatchError::Crc)),
            (
                "count",
                edit(57, &[0, 0, 0, 9]),
                Some(BatchError::Invalid("the record count does not fit the last offset delta")),
            ),
            ("negative delta", edit(23, &[0xff; 4]), Some(BatchError::Invalid("negative last offset delta"))),
            ("transactional", edit(21, &[0, 0x10]), Some(BatchError::Invalid("transactions are not supported"))),
            ("too large", edit(8, &i32::MAX.to_be_bytes()), Some(BatchError::TooLarge(i32::MAX as usize + 12))),
        ];
        for (name, bytes, wrong) in table {
            assert_eq!(read_produced(&bytes).err(), wrong, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), v2 in any::<bool>()) {
            let mut bytes = bytes;
            if v2 && bytes.len() > MAGIC_AT {
                bytes[MAGIC_AT] = MAGIC;
            }
            let _ = read_produced(&bytes);
        }
    }
}
