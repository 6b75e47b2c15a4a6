//! The log of one partition: appending, syncing, reading.

use std::{
    fmt, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    BrokerError,
    batch::{self, BatchError},
    reading::{Chunk, Place, ReadError},
    segment::{self, Segment},
};

/// Bytes read at once while looking for a time.
const TIME_SCAN_BYTES: usize = 1024 * 1024;

/// Why records were not appended. Nothing of them is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The bytes are not batches that the log takes.
    #[error(transparent)]
    Batch(#[from] BatchError),
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
    segment_bytes: u64,
    log: Mutex<Log>,
    watermark: watch::Sender<i64>,
    sync_queued: AtomicBool,
}

#[derive(Debug)]
struct Log {
    /// Oldest first, never empty; the last one is written to.
    segments: Vec<Segment>,
    /// Base offset of the segment that holds the high watermark, and the bytes of it that are below.
    visible_base: i64,
    visible_bytes: u64,
    /// A new segment's name is not synced yet.
    is_dir_dirty: bool,
    /// Bytes of a failed append may lie behind the end.
    has_torn_end: bool,
    failed: Option<String>,
}

impl Partition {
    /// Opens or begins the log in `dir`, which exists. All that is whole is synced and visible then.
    pub fn open(topic: &str, number: i32, dir: &Path, segment_bytes: u64) -> Result<Self, BrokerError> {
        let segments = segment::open_all(dir)?;
        let (visible_base, visible_bytes, end) =
            segments.last().map_or((0, 0, 0), |s| (s.base_offset, s.index.len_bytes, s.index.next_offset));
        let log = Log { segments, visible_base, visible_bytes, is_dir_dirty: false, has_torn_end: false, failed: None };
        Ok(Self {
            name: format!("{topic}:{number}"),
            dir: dir.into(),
            segment_bytes,
            log: Mutex::new(log),
            watermark: watch::Sender::new(end),
            sync_queued: AtomicBool::new(false),
        })
    }

    /// The first offset that is still held.
    pub fn start(&self) -> i64 {
        self.log().segments.first().map_or(0, |segment| segment.base_offset)
    }

    /// One past the last record that is synced: what readers see as the end.
    pub fn high_watermark(&self) -> i64 {
        *self.watermark.borrow()
    }

    /// Tells when the high watermark moves.
    pub fn watch(&self) -> watch::Receiver<i64> {
        self.watermark.subscribe()
    }

    /// Marks the partition as waiting for a sync. `false` if it was already.
    pub fn queue_sync(&self) -> bool {
        !self.sync_queued.swap(true, Ordering::AcqRel)
    }

    /// Appends a producer's batches and returns the offset of their first record. They are in the system's hands then
    /// (they survive the process), and visible after the next [`Self::sync`].
    pub fn append(&self, records: &[u8]) -> Result<i64, AppendError> {
        let mut headers = Vec::with_capacity(1);
        let mut rest = records;
        while headers.is_empty() || !rest.is_empty() {
            let header = batch::read_produced(rest)?;
            rest = &rest[header.size_bytes..];
            headers.push(header);
        }
        let mut records = records.to_vec();

        let mut log = self.log();
        if let Some(reason) = &log.failed {
            return Err(AppendError::Failed(reason.clone()));
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
        Ok(first_offset)
    }

    fn roll_if_full(&self, log: &mut Log, more_bytes: u64) -> io::Result<()> {
        let active = log.active()?;
        let is_full = active.index.len_bytes + more_bytes > self.segment_bytes;
        if !is_full || active.index.len_bytes == 0 {
            return Ok(());
        }
        let next = Segment::create(&self.dir, active.index.next_offset)?;
        log.segments.push(next);
        log.is_dir_dirty = true;
        Ok(())
    }

    /// Syncs what was appended until now and moves the high watermark there; segments that are full are sealed.
    ///
    /// # Errors
    /// After a failed sync the system may have dropped what it could not write, so that the log takes no more records until it
    /// is opened and checked anew.
    pub fn sync(&self) -> io::Result<()> {
        // Cleared before the end is read: what is appended from here on asks for a sync of its own.
        self.sync_queued.store(false, Ordering::Release);
        let (files, end, is_dir_dirty) = {
            let mut log = self.log();
            if log.failed.is_some() {
                return Ok(());
            }
            let is_dir_dirty = std::mem::take(&mut log.is_dir_dirty);
            let unsynced = log.segments.iter().filter(|segment| segment.base_offset >= log.visible_base);
            let files: Vec<_> = unsynced.filter_map(|s| Some((s.base_offset, s.file.clone()?))).collect();
            let active = log.active()?;
            (files, (active.base_offset, active.index.len_bytes, active.index.next_offset), is_dir_dirty)
        };
        let synced = files.iter().try_for_each(|(_, file)| file.sync_data());
        let synced = synced.and_then(|()| if is_dir_dirty { segment::sync_dir(&self.dir) } else { Ok(()) });
        if let Err(error) = synced {
            self.log().failed = Some(error.to_string());
            return Err(error);
        }
        files
            .iter()
            .filter(|(base_offset, _)| *base_offset != end.0)
            .for_each(|(base_offset, _)| self.seal(*base_offset));
        {
            let mut log = self.log();
            (log.visible_base, log.visible_bytes) = (end.0, end.1);
        }
        self.watermark.send_replace(end.2);
        Ok(())
    }

    /// Marks a full and synced segment as sealed, by its index file.
    fn seal(&self, base_offset: i64) {
        let found = self
            .log()
            .segments
            .iter()
            .find(|s| s.base_offset == base_offset)
            .map(|s| (s.index_path(), s.index.clone()));
        let Some((path, index)) = found else { return };
        match index.save(&path) {
            Ok(()) => {
                let mut log = self.log();
                if let Some(segment) = log.segments.iter_mut().find(|s| s.base_offset == base_offset) {
                    segment.file = None;
                }
            }
            // The segment is whole and synced all the same; the next start checks it and tries again.
            Err(error) => tracing::warn!(index = %path.display(), %error, "cannot write a segment's index"),
        }
    }

    /// Reads whole batches from the one that holds `offset`, at most `max_bytes` of them; with `at_least_one` the first comes
    /// whatever its size. Nothing beyond the high watermark is read.
    pub fn read(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> Result<Chunk, ReadError> {
        let Some(place) = self.find(offset)? else { return Ok(Chunk::empty(offset)) };
        place.read(offset, max_bytes, at_least_one)
    }

    /// The first batch that holds a record not older than `timestamp_ms`: its base offset and its greatest time. Batches are
    /// not unpacked, so the very record may be some offsets on. `None` if all visible records are older.
    pub fn offset_at_time(&self, timestamp_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        let found = self.log().segments.iter().find_map(|segment| segment.index.offset_before_time(timestamp_ms));
        let Some(mut offset) = found else { return Ok(None) };
        loop {
            let chunk = self.read(offset, TIME_SCAN_BYTES, true)?;
            let mut rest = &chunk.bytes[..];
            while let Ok(header) = batch::read_header(rest) {
                if header.max_timestamp_ms >= timestamp_ms {
                    return Ok(Some((header.base_offset, header.max_timestamp_ms)));
                }
                rest = &rest[header.size_bytes.min(rest.len())..];
            }
            if chunk.bytes.is_empty() {
                return Ok(None);
            }
            offset = chunk.next_offset;
        }
    }

    fn find(&self, offset: i64) -> Result<Option<Place>, ReadError> {
        let log = self.log();
        let (Some(first), Some(last)) = (log.segments.first(), log.segments.last()) else { return Ok(None) };
        // A producer may ask for the offset that it was just answered, before that is synced: it waits, it is not refused.
        if offset < first.base_offset || offset > last.index.next_offset {
            return Err(ReadError::OutOfRange);
        }
        if offset >= self.high_watermark() {
            return Ok(None);
        }
        let at = log.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
        let segment = &log.segments[at];
        let to = if segment.base_offset == log.visible_base { log.visible_bytes } else { segment.index.len_bytes };
        let Some((batch_offset, from)) = segment.index.before(offset) else { return Ok(None) };
        let (file, path, is_sealed) = (segment.reader()?, segment.path.clone(), segment.file.is_none());
        Ok(Some(Place { file, path, offset: batch_offset, from, to, is_sealed }))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // No code panics while it holds the lock with the log half changed.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Log {
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
