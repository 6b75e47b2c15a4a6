//! Taking records away from the log's start: by DeleteRecords, by retention, and with the whole topic.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Log, Partition};
use crate::log::broker::{
    BrokerError,
    index::write_atomically,
    producers::Producers,
    segment::{self, Segment},
};

/// Holds the log's first offset, as a number in digits. Where there is none, the log begins at 0.
const START_FILE_NAME: &str = "log-start";

/// Why records were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// Not an offset of the log.
    #[error("the offset is beyond the high watermark")]
    OutOfRange,
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Gone,
    /// The file system refused.
    #[error("cannot delete records: {0}")]
    Storage(#[from] io::Error),
}

/// What a topic keeps; -1 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`.
    pub age_ms: i64,
    /// `retention.bytes`.
    pub size_bytes: i64,
}

/// The log's first offset as it was kept.
pub fn load_start(dir: &Path) -> Result<i64, BrokerError> {
    let path = dir.join(START_FILE_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| BrokerError::MetadataUnusable { reason: "is not an offset in digits".into(), path }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(BrokerError::io("cannot read", path, source)),
    }
}

impl Partition {
    /// Deletes the records below `offset`, or all that are visible with -1, and returns the log's first offset. Once this is
    /// answered they stay deleted. The files of whole segments go at once; the rest of the log goes with its segment.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub fn delete_before(&self, offset: i64) -> Result<i64, TrimError> {
        let _upkeep = self.upkeep();
        let watermark = self.high_watermark();
        let offset = if offset == -1 { watermark } else { offset };
        if !(0..=watermark).contains(&offset) {
            return Err(TrimError::OutOfRange);
        }
        self.move_start(offset)
    }

    /// Deletes closed segments that are older or more than the topic keeps, and returns the log's first offset. The one that is
    /// written to is closed first if all in it is too old.
    ///
    /// A record's age counts from its own time or from when its segment was last written, whichever is later: sample data of
    /// last year is not gone before it was looked at.
    ///
    /// # Errors
    /// See [`TrimError`].
    pub fn retain(&self, retention: Retention, now_ms: i64) -> Result<i64, TrimError> {
        let _upkeep = self.upkeep();
        let (start, total_bytes, aged) = {
            let mut log = self.log();
            log.producers.expire(now_ms);
            let synced = log.segments.iter().filter(|s| s.index.next_offset <= self.high_watermark());
            let total_bytes: u64 = log.segments.iter().map(|segment| segment.index.len_bytes).sum();
            (log.start, total_bytes, synced.map(Aged::of).collect::<Vec<_>>())
        };
        let is_old = |segment: &&Aged| {
            retention.age_ms >= 0
                && segment.len_bytes > 0
                && now_ms.saturating_sub(segment.newest_ms()) > retention.age_ms
        };
        let old = aged.iter().take_while(is_old).count();
        let mut left_bytes = total_bytes - aged[..old].iter().map(|segment| segment.len_bytes).sum::<u64>();
        let mut drop = old;
        if let Ok(most_bytes) = u64::try_from(retention.size_bytes) {
            let is_too_much =
                |next: &&Aged, left_bytes: u64| !next.is_active && left_bytes - next.len_bytes >= most_bytes;
            while let Some(next) = aged.get(drop).filter(|next| is_too_much(next, left_bytes)) {
                left_bytes -= next.len_bytes;
                drop += 1;
            }
        }
        let Some(last) = drop.checked_sub(1).and_then(|at| aged.get(at)) else { return Ok(start) };
        let start = self.move_start(last.next_offset)?;
        tracing::info!(partition = %self, segments = drop, log_start = start, "deleted what the topic no longer keeps");
        Ok(start)
    }

    /// Takes the partition out of use for good. Who waits for its records is woken and told.
    pub fn retire(&self) {
        let _upkeep = self.upkeep();
        let mut log = self.log();
        log.is_gone = true;
        log.segments.clear();
        std::mem::drop(log);
        self.watermark.send_modify(|_| ());
    }

    /// Bytes of the log's files.
    pub fn size_bytes(&self) -> u64 {
        self.log().segments.iter().map(|segment| segment.index.len_bytes).sum()
    }

    /// Moves the start, durably, and then deletes what lies below. The caller holds the upkeep.
    fn move_start(&self, offset: i64) -> Result<i64, TrimError> {
        {
            let log = self.log();
            if log.is_gone {
                return Err(TrimError::Gone);
            }
            if offset <= log.start {
                return Ok(log.start);
            }
        }
        write_atomically(&self.dir.join(START_FILE_NAME), offset.to_string().as_bytes())?;
        let (dead, producers) = {
            let mut log = self.log();
            log.start = offset;
            if log.active()?.index.next_offset <= offset && log.active()?.index.len_bytes > 0 {
                // All is deleted: begin a new segment, so that the room is given back. All is synced then as well.
                self.roll(&mut log)?;
                let end = log.end();
                log.show(end);
            }
            log.take_dead()
        };
        // The files go only when the new segment's name is there to stay, and the producers are kept elsewhere.
        segment::sync_dir(&self.dir)?;
        if let Some((offset, producers)) = producers {
            producers.save(&self.dir, offset)?;
        }
        for segment in dead {
            if let Err(error) = segment.delete() {
                tracing::warn!(segment = %segment.path.display(), %error, "a deleted segment's file is left until the next start");
                break;
            }
        }
        Ok(offset)
    }
}

impl Log {
    /// Takes out the segments that lie below the start, and what was known of the producers at the last one's end if that is
    /// not in a file yet.
    fn take_dead(&mut self) -> (Vec<Segment>, Option<(i64, Producers)>) {
        let closed = self.segments.len().saturating_sub(1);
        let dead = self.segments[..closed].iter().take_while(|segment| segment.index.next_offset <= self.start).count();
        let mut dead: Vec<Segment> = self.segments.drain(..dead).collect();
        let producers = dead.last_mut().and_then(|last| Some((last.index.next_offset, last.producers.take()?)));
        (dead, producers)
    }
}

/// A segment as retention sees it.
struct Aged {
    next_offset: i64,
    len_bytes: u64,
    max_timestamp_ms: i64,
    is_active: bool,
    path: PathBuf,
}

impl Aged {
    fn of(segment: &Segment) -> Self {
        Self {
            next_offset: segment.index.next_offset,
            len_bytes: segment.index.len_bytes,
            max_timestamp_ms: segment.index.max_timestamp_ms,
            is_active: !segment.is_sealed(),
            path: segment.path.clone(),
        }
    }

    /// When its last record came, or its newest record's time.
    fn newest_ms(&self) -> i64 {
        let written = fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        // A file that cannot be looked at is kept.
        let Ok(written) = written else { return i64::MAX };
        let written_ms = written.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        self.max_timestamp_ms.max(written_ms)
    }
}
