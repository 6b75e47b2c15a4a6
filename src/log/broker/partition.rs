//! The log of one partition, and appending to it.

mod intake;
mod lookup;
mod syncing;
mod trimming;

use std::{
    fmt, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI16, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

pub use trimming::{Retention, TrimError};

use super::{
    BrokerError,
    batch::{self, BatchError},
    now_ms,
    producers::{Producers, SequenceError},
    segment::{self, Segment},
};
use crate::log::record::Compression;

/// Why records were not appended. Nothing of them is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not batches that the log takes.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Larger than the topic's `max.message.bytes`.
    #[error("the record batch has {size_bytes} bytes, more than the topic's max.message.bytes of {most_bytes}")]
    TooLarge {
        /// Of the batch.
        size_bytes: usize,
        /// That the topic takes.
        most_bytes: u64,
    },
    /// Not what follows from its idempotent producer.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Gone,
    /// The disk is full or failing; what was written of them has been taken back.
    #[error("cannot write to the log: {0}")]
    Storage(#[from] io::Error),
    /// A sync failed before. What the disk holds is unknown until the log is opened and checked again.
    #[error("the log could not be synced before, so nothing is appended until the process is restarted: {0}")]
    Failed(String),
}

/// A partition's log.
#[derive(Debug)]
pub struct Partition {
    name: String,
    dir: PathBuf,
    /// Size at which a segment is full; like the next one from the topic's settings.
    segment_bytes: AtomicU64,
    max_batch_bytes: AtomicU64,
    /// Codec that batches are kept with, or [`intake::AS_PRODUCED`].
    compression: AtomicI16,
    log: Mutex<Log>,
    /// Held by who syncs or deletes, so that neither pulls the other's files away; readers and writers do not wait for it.
    upkeep: Mutex<()>,
    watermark: watch::Sender<i64>,
    sync_queued: AtomicBool,
}

#[derive(Debug)]
struct Log {
    /// Oldest first, never empty until the topic is deleted; the last one is written to.
    segments: Vec<Segment>,
    /// The first offset that is still held; it may lie within a segment.
    start: i64,
    /// Base offset of the segment that holds the high watermark, and the bytes of it that are below.
    visible_base: i64,
    visible_bytes: u64,
    /// Greatest time below the high watermark in that segment.
    visible_max_timestamp_ms: i64,
    /// A new segment's name is not synced yet.
    is_dir_dirty: bool,
    /// Bytes of a failed append may lie behind the end.
    has_torn_end: bool,
    failed: Option<String>,
    /// The topic was deleted, and its files with it.
    is_gone: bool,
    producers: Producers,
}

impl Partition {
    /// Opens or begins the log in `dir`, which exists. All that is whole is synced and visible then.
    pub fn open(topic: &str, number: i32, dir: &Path, segment_bytes: u64) -> Result<Self, BrokerError> {
        let start = trimming::load_start(dir)?;
        let segment::Opened { segments, producers } = segment::open_all(dir, start, now_ms())?;
        let mut log = Log {
            segments,
            start,
            visible_base: 0,
            visible_bytes: 0,
            visible_max_timestamp_ms: i64::MIN,
            is_dir_dirty: false,
            has_torn_end: false,
            failed: None,
            is_gone: false,
            producers,
        };
        let end = log.end();
        log.show(end);
        let end = end.map_or(0, |end| end.next_offset);
        Ok(Self {
            name: format!("{topic}:{number}"),
            dir: dir.into(),
            segment_bytes: AtomicU64::new(segment_bytes),
            max_batch_bytes: AtomicU64::new(batch::MAX_BATCH_BYTES as u64),
            compression: AtomicI16::new(intake::AS_PRODUCED),
            log: Mutex::new(log),
            upkeep: Mutex::new(()),
            watermark: watch::Sender::new(end),
            sync_queued: AtomicBool::new(false),
        })
    }

    /// Takes the topic's settings: when a segment is full, the largest batch, and with which codec batches are kept.
    pub fn set_limits(&self, segment_bytes: u64, max_batch_bytes: u64, compression: Option<Compression>) {
        self.compression.store(compression.map_or(intake::AS_PRODUCED, Compression::bits), Ordering::Relaxed);
        self.segment_bytes.store(segment_bytes, Ordering::Relaxed);
        self.max_batch_bytes.store(max_batch_bytes, Ordering::Relaxed);
    }

    /// The first offset that is still held.
    pub fn start(&self) -> i64 {
        self.log().start
    }

    /// One past the last record that is synced: what readers see as the end.
    pub fn high_watermark(&self) -> i64 {
        *self.watermark.borrow()
    }

    /// Tells when the high watermark moves.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.watermark.subscribe()
    }

    /// Appends a producer's batches and returns the offset of their first record. They are in the system's hands then
    /// (they survive the process), and visible after the next [`Self::sync`]. What an idempotent producer sends again is not
    /// stored again: it is answered with its first offset.
    pub fn append(&self, records: &[u8]) -> Result<i64, AppendError> {
        let (mut headers, mut records) = self.as_kept(records)?;

        let mut log = self.log();
        if log.is_gone {
            return Err(AppendError::Gone);
        }
        if let Some(reason) = &log.failed {
            return Err(AppendError::Failed(reason.clone()));
        }
        // At most one is stamped, and then it is alone.
        if let Some(stored_at) =
            headers.iter().find_map(|header| log.producers.check(header).transpose()).transpose()?
        {
            return Ok(stored_at);
        }
        log.trim_torn_end()?;
        self.roll_if_full(&mut log, records.len() as u64)?;
        let active = log.active()?;
        let first_offset = active.index.next_offset;
        let (mut next_offset, mut at) = (first_offset, 0);
        for header in &mut headers {
            header.base_offset = next_offset;
            if next_offset.checked_add(i64::from(header.last_offset_delta) + 1).is_none() {
                return Err(BatchError::Invalid("offsets beyond 63 bits").into());
            }
            next_offset = header.next_offset();
            batch::place(&mut records[at..], header.base_offset);
            at += header.size_bytes;
        }
        let (end, file) = (active.index.len_bytes, active.reader()?);
        if let Err(error) = file.write_all_at(&records, end) {
            log.has_torn_end = file.set_len(end).is_err();
            return Err(error.into());
        }
        let active = log.active()?;
        headers.iter().for_each(|header| active.index.push(header));
        if headers.iter().any(|header| header.stamp.is_some()) {
            let now_ms = now_ms();
            headers.iter().for_each(|header| log.producers.push(header, now_ms));
        }
        Ok(first_offset)
    }

    fn roll_if_full(&self, log: &mut Log, more_bytes: u64) -> io::Result<()> {
        let active = log.active()?;
        let is_full = active.index.len_bytes + more_bytes > self.segment_bytes.load(Ordering::Relaxed);
        if !is_full || active.index.len_bytes == 0 {
            return Ok(());
        }
        self.roll(log)
    }

    fn roll(&self, log: &mut Log) -> io::Result<()> {
        let producers = log.producers.clone();
        let active = log.active()?;
        let next = Segment::create(&self.dir, active.index.next_offset)?;
        active.producers = Some(producers);
        log.segments.push(next);
        log.is_dir_dirty = true;
        Ok(())
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // No code panics while it holds the lock with the log half changed.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upkeep(&self) -> MutexGuard<'_, ()> {
        self.upkeep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An end of the log that may become the high watermark.
#[derive(Clone, Copy)]
struct End {
    base_offset: i64,
    len_bytes: u64,
    max_timestamp_ms: i64,
    next_offset: i64,
}

impl Log {
    /// Where the log ends now.
    fn end(&self) -> Option<End> {
        self.segments.last().map(|active| End {
            base_offset: active.base_offset,
            len_bytes: active.index.len_bytes,
            max_timestamp_ms: active.index.max_timestamp_ms,
            next_offset: active.index.next_offset,
        })
    }

    /// Shows readers all up to there.
    fn show(&mut self, end: Option<End>) {
        let Some(end) = end else { return };
        (self.visible_base, self.visible_bytes) = (end.base_offset, end.len_bytes);
        self.visible_max_timestamp_ms = end.max_timestamp_ms;
    }

    /// Takes back what a failed append left, before anything else is written or the segment is left behind.
    fn trim_torn_end(&mut self) -> io::Result<()> {
        if self.has_torn_end {
            let active = self.active()?;
            active.reader()?.set_len(active.index.len_bytes)?;
            self.has_torn_end = false;
        }
        Ok(())
    }

    fn active(&mut self) -> io::Result<&mut Segment> {
        self.segments.last_mut().ok_or_else(|| io::Error::other("the log has no segment"))
    }
}

#[cfg(test)]
mod tests;
