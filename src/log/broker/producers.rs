//! What a partition remembers of its idempotent producers, so that a batch that is sent again is not stored again.
//!
//! As in Kafka: the last five batches of each producer id; one of them that comes again is answered with the offset of its
//! first storing, any other must go on where the last one ended. See KIP-98 and KIP-360.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
};

use bytes::{Buf, BufMut};

use super::{batch::BatchHeader, index::write_atomically};

/// Batches remembered of one producer: what a client may have in flight at once (`max.in.flight.requests.per.connection`).
pub const REMEMBERED_BATCHES: usize = 5;
/// Most producers remembered by one partition; for one more the one that was silent longest is forgotten.
pub const MAX_PRODUCERS: usize = 2_000;
/// How long a silent producer is remembered, as Kafka's `producer.id.expiration.ms`.
pub const PRODUCER_EXPIRY_MS: i64 = 24 * 60 * 60 * 1_000;

const SNAPSHOT_EXTENSION: &str = "producers";
const SNAPSHOT_MAGIC: &[u8; 8] = b"SGPRODU1";
const CRC_BYTES: usize = 4;

/// Why a batch does not follow what its producer sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Something is missing before it, or it was stored so long ago that it is not remembered.
    #[error("out of order: producer {producer_id} sent sequence {sequence} where {expected} follows")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// What it sent.
        sequence: i32,
        /// What would follow.
        expected: i32,
    },
    /// The producer has begun anew since.
    #[error("producer {producer_id} sent epoch {epoch}, and has sent epoch {current} before")]
    Epoch {
        /// The producer.
        producer_id: i64,
        /// What it sent.
        epoch: i16,
        /// The newest epoch seen.
        current: i16,
    },
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// When it last stored something, by the broker's clock: records may carry any time.
    seen_ms: i64,
    /// Oldest first, never empty, at most [`REMEMBERED_BATCHES`].
    batches: VecDeque<Batch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Producers {
    /// Whether a batch may be stored. `Some` is the offset at which it was stored before.
    ///
    /// A producer that is not known may begin anywhere, as in Kafka since 2.5 (KIP-360): it has outlived its memory here, and
    /// refusing it would only make it begin anew.
    ///
    /// # Errors
    /// See [`SequenceError`].
    pub fn check(&self, header: &BatchHeader) -> Result<Option<i64>, SequenceError> {
        let Some(stamp) = header.stamp else { return Ok(None) };
        let Some(producer) = self.by_id.get(&stamp.producer_id) else { return Ok(None) };
        if stamp.epoch < producer.epoch {
            let (epoch, current) = (stamp.epoch, producer.epoch);
            return Err(SequenceError::Epoch { producer_id: stamp.producer_id, epoch, current });
        }
        let expected = if stamp.epoch > producer.epoch {
            0
        } else {
            let last_sequence = advance(stamp.sequence, header.last_offset_delta);
            let is_same = |batch: &&Batch| (batch.sequence, batch.last_sequence) == (stamp.sequence, last_sequence);
            if let Some(batch) = producer.batches.iter().find(is_same) {
                return Ok(Some(batch.base_offset));
            }
            producer.batches.back().map_or(0, |batch| advance(batch.last_sequence, 1))
        };
        if stamp.sequence == expected {
            return Ok(None);
        }
        Err(SequenceError::OutOfOrder { producer_id: stamp.producer_id, sequence: stamp.sequence, expected })
    }

    /// Remembers a batch that was stored.
    pub fn push(&mut self, header: &BatchHeader, now_ms: i64) {
        let Some(stamp) = header.stamp else { return };
        if self.by_id.len() >= MAX_PRODUCERS && !self.by_id.contains_key(&stamp.producer_id) {
            self.forget_one(now_ms);
        }
        let begun = || Producer { epoch: stamp.epoch, seen_ms: now_ms, batches: VecDeque::new() };
        let producer = self.by_id.entry(stamp.producer_id).or_insert_with(begun);
        if producer.epoch != stamp.epoch {
            *producer = begun();
        }
        producer.seen_ms = now_ms;
        if producer.batches.len() == REMEMBERED_BATCHES {
            producer.batches.pop_front();
        }
        let last_sequence = advance(stamp.sequence, header.last_offset_delta);
        producer.batches.push_back(Batch { sequence: stamp.sequence, last_sequence, base_offset: header.base_offset });
    }

    /// Forgets who was silent for [`PRODUCER_EXPIRY_MS`].
    pub fn expire(&mut self, now_ms: i64) {
        self.by_id.retain(|_, producer| now_ms.saturating_sub(producer.seen_ms) <= PRODUCER_EXPIRY_MS);
    }

    fn forget_one(&mut self, now_ms: i64) {
        self.expire(now_ms);
        if self.by_id.len() >= MAX_PRODUCERS {
            let oldest = self.by_id.iter().min_by_key(|(_, producer)| producer.seen_ms).map(|(id, _)| *id);
            oldest.and_then(|id| self.by_id.remove(&id));
        }
    }

    /// Keeps what is known at the end of the log up to `offset`, and then drops older such files.
    ///
    /// # Errors
    /// The file system's.
    pub fn save(&self, dir: &Path, offset: i64) -> io::Result<()> {
        write_atomically(&dir.join(format!("{offset:020}.{SNAPSHOT_EXTENSION}")), &self.to_bytes())?;
        for (_, path) in snapshots(dir)?.into_iter().filter(|(of, _)| *of < offset) {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// The newest of what was kept that is whole and not beyond `offset`, and the offset from which the log has to be walked.
    ///
    /// # Errors
    /// The file system's.
    pub fn load(dir: &Path, offset: i64) -> io::Result<(Self, i64)> {
        let mut found = snapshots(dir)?;
        found.retain(|(of, _)| *of <= offset);
        found.sort_by_key(|(of, _)| std::cmp::Reverse(*of));
        for (of, path) in found {
            if let Some(producers) = Self::parse(&fs::read(&path)?) {
                return Ok((producers, of));
            }
        }
        Ok((Self::default(), 0))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = SNAPSHOT_MAGIC.to_vec();
        for (id, producer) in &self.by_id {
            bytes.put_i64(*id);
            bytes.put_i16(producer.epoch);
            bytes.put_i64(producer.seen_ms);
            bytes.put_u8(producer.batches.len() as u8);
            for batch in &producer.batches {
                bytes.put_i32(batch.sequence);
                bytes.put_i32(batch.last_sequence);
                bytes.put_i64(batch.base_offset);
            }
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(SNAPSHOT_MAGIC.as_slice())?;
        let mut by_id = HashMap::new();
        while !rest.is_empty() {
            let id = rest.try_get_i64().ok()?;
            let (epoch, seen_ms) = (rest.try_get_i16().ok()?, rest.try_get_i64().ok()?);
            let mut batches = VecDeque::new();
            for _ in 0..rest.try_get_u8().ok()? {
                let (sequence, last_sequence) = (rest.try_get_i32().ok()?, rest.try_get_i32().ok()?);
                batches.push_back(Batch { sequence, last_sequence, base_offset: rest.try_get_i64().ok()? });
            }
            by_id.insert(id, Producer { epoch, seen_ms, batches });
        }
        Some(Self { by_id })
    }
}

fn snapshots(dir: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_one = path.extension().is_some_and(|extension| extension == SNAPSHOT_EXTENSION);
        if let (true, Some(Ok(offset))) = (is_one, path.file_stem().and_then(|stem| stem.to_str()).map(str::parse)) {
            found.push((offset, path));
        }
    }
    Ok(found)
}

/// Sequences go from 0 to `i32::MAX` and begin again at 0.
fn advance(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) % (i64::from(i32::MAX) + 1)) as i32
}

#[cfg(test)]
mod tests;
