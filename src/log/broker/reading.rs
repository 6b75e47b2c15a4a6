//! Reading batches from a place in a segment, and noticing what is damaged there.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{
    batch::{self, BatchError, BatchHeader},
    index::INDEX_INTERVAL_BYTES,
};
use crate::log::record::HEADER_BYTES;

/// Why records were not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Below the log's start or beyond its end.
    #[error("the offset is outside the log")]
    OutOfRange,
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Gone,
    /// A batch in a sealed segment does not match its checksum.
    #[error("{} at byte {position}: {reason}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong.
        reason: BatchError,
    },
    /// The file system refused.
    #[error("cannot read the log: {0}")]
    Storage(#[from] io::Error),
}

/// Whole batches, as they lie in the log.
#[derive(Debug)]
pub struct Chunk {
    /// The batches; empty if there is nothing yet, or nothing that fits.
    pub bytes: Bytes,
    /// Where to read on.
    pub next_offset: i64,
}

impl Chunk {
    /// Nothing there at this offset.
    pub fn empty(offset: i64) -> Self {
        Self { bytes: Bytes::new(), next_offset: offset }
    }
}

/// A place in a segment to read from, taken under the lock and used without it.
pub struct Place {
    /// The segment.
    pub file: Arc<File>,
    /// Where it lies.
    pub path: PathBuf,
    /// Base offset and position of a batch at or before the one wanted.
    pub offset: i64,
    /// See `offset`.
    pub from: u64,
    /// End of what is visible.
    pub to: u64,
    /// Sealed segments were not checked when the log was opened, so their batches are as they are read.
    pub is_sealed: bool,
}

impl Place {
    /// Reads whole batches from the one that holds `offset`, at most `max_bytes` of them; with `at_least_one` the first comes
    /// whatever its size.
    pub fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> Result<Chunk, ReadError> {
        let visible_bytes = usize::try_from(self.to - self.from).unwrap_or(usize::MAX);
        // The batch may begin up to an index interval behind the self.
        let want_bytes = max_bytes.saturating_add(INDEX_INTERVAL_BYTES as usize).min(visible_bytes);
        let mut buffer = vec![0; want_bytes];
        self.file.read_exact_at(&mut buffer, self.from)?;

        let (mut at, mut expected) = (0, self.offset);
        while let Some(header) = self.header(&buffer, at, expected)? {
            if header.next_offset() > offset {
                break;
            }
            (at, expected) = (at + header.size_bytes, header.next_offset());
        }
        let (mut end, mut next_offset) = (at, expected);
        let damage = loop {
            match self.whole(&buffer, end, next_offset) {
                Ok(Some(header)) if end + header.size_bytes - at <= max_bytes => {
                    (end, next_offset) = (end + header.size_bytes, header.next_offset());
                }
                Ok(_) => break None,
                Err(error) => break Some(error),
            }
        };
        // What lies before the damage is handed out; who goes on from there is told.
        if end > at {
            return Ok(Chunk { bytes: Bytes::from(buffer).slice(at..end), next_offset });
        }
        match damage {
            Some(error) => Err(error),
            None if at_least_one => self.read_one(at, expected),
            None => Ok(Chunk::empty(offset)),
        }
    }

    /// The header at `at` in what was read from this place; `None` if the bytes end before it does.
    fn header(&self, buffer: &[u8], at: usize, expected_offset: i64) -> Result<Option<BatchHeader>, ReadError> {
        let Some(bytes) = buffer.get(at..) else { return Ok(None) };
        match batch::read_header(bytes) {
            // The checksum does not cover the offset, so that is checked by what it must be.
            Ok(header) if header.base_offset != expected_offset => {
                Err(self.corrupt(at, BatchError::Invalid("its offset is not the one that follows")))
            }
            Ok(header) => Ok(Some(header)),
            Err(BatchError::Incomplete) => Ok(None),
            Err(reason) => Err(self.corrupt(at, reason)),
        }
    }

    /// The same, but only if the batch is there whole, and checked where that is due.
    fn whole(&self, buffer: &[u8], at: usize, expected_offset: i64) -> Result<Option<BatchHeader>, ReadError> {
        let Some(header) = self.header(buffer, at, expected_offset)? else { return Ok(None) };
        let Some(bytes) = buffer.get(at..at + header.size_bytes) else { return Ok(None) };
        self.check(bytes, at)?;
        Ok(Some(header))
    }

    /// Reads the batch at `at`, which is larger than what was read or asked for.
    fn read_one(&self, at: usize, offset: i64) -> Result<Chunk, ReadError> {
        let position = self.from + at as u64;
        let mut bytes = vec![0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, position)?;
        let Some(header) = self.header(&bytes, 0, offset)? else {
            return Err(self.corrupt(at, BatchError::Incomplete));
        };
        if position + header.size_bytes as u64 > self.to {
            return Err(self.corrupt(at, BatchError::Incomplete));
        }
        bytes.resize(header.size_bytes, 0);
        self.file.read_exact_at(&mut bytes, position)?;
        self.check(&bytes, at)?;
        Ok(Chunk { bytes: Bytes::from(bytes), next_offset: header.next_offset() })
    }

    fn check(&self, bytes: &[u8], at: usize) -> Result<(), ReadError> {
        if self.is_sealed {
            batch::read_checked(bytes).map_err(|reason| self.corrupt(at, reason))?;
        }
        Ok(())
    }

    fn corrupt(&self, at: usize, reason: BatchError) -> ReadError {
        ReadError::Corrupt { path: self.path.clone(), position: self.from + at as u64, reason }
    }
}
