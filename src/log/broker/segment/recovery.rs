//! Opening a partition's segments, and finding out what in them is whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use super::{LOG_EXTENSION, Segment, sync_dir};
use crate::log::{
    broker::{
        BrokerError,
        batch::{self, BatchError, BatchHeader, MAX_BATCH_BYTES},
        index::Index,
        producers::Producers,
    },
    record::HEADER_BYTES,
};

/// What is behind a cut is moved aside under this ending, not deleted.
const CUT_EXTENSION: &str = "cut";
/// Bytes read at once while a segment is checked.
const SCAN_CHUNK_BYTES: usize = 1024 * 1024;

/// What was found in a partition's folder.
#[derive(Debug)]
pub struct Opened {
    /// Oldest first; the last one is ready to be appended to.
    pub segments: Vec<Segment>,
    /// The producers at the log's end.
    pub producers: Producers,
}

/// Opens a partition's segments, oldest first; the last one is ready to be appended to, and all is synced. Segments that lie
/// below `start`, the log's first offset, are left over from a deletion that was cut short, and go now.
///
/// Sealed segments are taken by their index; their batches are checked when they are read. The others (normally one) are
/// checked whole: what is not whole batches is cut off there, and said in the log.
///
/// # Errors
/// [`BrokerError::SealedSegmentCorrupt`] where a sealed segment is missing, shortened, or fails its check.
pub fn open_all(dir: &Path, start: i64, now_ms: i64) -> Result<Opened, BrokerError> {
    let mut segments = list(dir)?;
    let sealed = segments.iter().rposition(|(_, is_sealed)| *is_sealed).map_or(0, |at| at + 1);
    let mut opened: Vec<Segment> = Vec::with_capacity(segments.len() + 1);
    let rest = segments.split_off(sealed);
    for (mut segment, has_index) in segments {
        open_sealed(&mut segment, has_index)?;
        follows(opened.last(), &segment)?;
        opened.push(segment);
    }
    let sealed_end = match (opened.last(), rest.first()) {
        (Some(last), _) => last.index.next_offset,
        (None, Some((first, _))) => first.base_offset,
        (None, None) => start,
    };
    let mut producers = producers_of(dir, &opened, sealed_end, now_ms)?;
    let mut cut = false;
    for (mut segment, _) in rest {
        if cut {
            set_aside(&segment)?;
            continue;
        }
        if opened.len() > sealed {
            // A later segment exists, so the one before was complete: seal it, as would have been done at the roll.
            seal(dir, opened.last_mut(), &producers)?;
        }
        follows(opened.last(), &segment)?;
        cut = recover(&mut segment, &mut |header| producers.push(header, now_ms))?;
        opened.push(segment);
    }
    let end = opened.last().map_or(0, |last| last.index.next_offset);
    let live = opened.iter().position(|segment| segment.index.next_offset > start).unwrap_or(opened.len());
    let keep_active = live == opened.len() && end == start && opened.last().is_some_and(|last| !last.is_sealed());
    let dead: Vec<Segment> = opened.drain(..live - usize::from(keep_active)).collect();
    if let Some(first) = opened.first().filter(|first| first.base_offset > start) {
        return Err(first.corrupt(format!("the log should begin at offset {start}; a segment before it is missing")));
    }
    for segment in dead {
        segment.delete().map_err(|source| BrokerError::io("cannot delete", &segment.path, source))?;
    }
    if opened.last().is_none_or(Segment::is_sealed) {
        let segment = Segment::create(dir, end.max(start));
        opened.push(segment.map_err(|source| BrokerError::io("cannot make a segment in", dir, source))?);
    }
    sync_dir(dir).map_err(|e| BrokerError::io("cannot sync", dir, e))?;
    producers.expire(now_ms);
    Ok(Opened { segments: opened, producers })
}

/// The producers at the end of the sealed segments: as they were kept when the last one was sealed, or else found by walking
/// the segments behind the newest that was kept.
fn producers_of(dir: &Path, sealed: &[Segment], end: i64, now_ms: i64) -> Result<Producers, BrokerError> {
    let loaded =
        Producers::load(dir, end).map_err(|source| BrokerError::io("cannot read the producers in", dir, source));
    let (mut producers, from) = loaded?;
    if from == end || sealed.is_empty() {
        return Ok(producers);
    }
    for segment in sealed.iter().filter(|segment| segment.base_offset >= from) {
        let io = |source| BrokerError::io("cannot read", &segment.path, source);
        // Damage is told when it is read: what lies behind it here is producers that are not remembered.
        scan(&*segment.reader().map_err(io)?, segment.base_offset, &mut |header| producers.push(header, now_ms))
            .map_err(io)?;
    }
    producers.save(dir, end).map_err(|source| BrokerError::io("cannot write the producers in", dir, source))?;
    Ok(producers)
}

/// The segments by base offset, and whether each has an index; nothing is checked yet.
fn list(dir: &Path) -> Result<Vec<(Segment, bool)>, BrokerError> {
    let io = |source| BrokerError::io("cannot list", dir, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_none_or(|extension| extension != LOG_EXTENSION) {
            continue;
        }
        let Some(base_offset) = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok())
        else {
            continue;
        };
        let mut segment = Segment { base_offset, path, file: None, index: Index::new(base_offset), producers: None };
        let index = Index::load(&segment.index_path())
            .map_err(|source| BrokerError::io("cannot read", segment.index_path(), source))?;
        let is_sealed = index.is_some();
        if let Some(index) = index {
            segment.index = index;
        }
        found.push((segment, is_sealed));
    }
    found.sort_by_key(|(segment, _)| segment.base_offset);
    Ok(found)
}

/// Offsets without a file are lost records, not a torn tail.
fn follows(previous: Option<&Segment>, segment: &Segment) -> Result<(), BrokerError> {
    match previous {
        Some(previous) if previous.index.next_offset != segment.base_offset => {
            let (from, to) = (previous.index.next_offset, segment.base_offset);
            Err(segment.corrupt(format!(
                "it should begin at offset {from} but begins at {to}; a segment before it is missing"
            )))
        }
        _ => Ok(()),
    }
}

fn open_sealed(segment: &mut Segment, has_index: bool) -> Result<(), BrokerError> {
    let io = |source| BrokerError::io("cannot read", &segment.path, source);
    if has_index {
        let len_bytes = fs::metadata(&segment.path).map_err(io)?.len();
        if len_bytes != segment.index.len_bytes {
            let whole = segment.index.len_bytes;
            return Err(segment.corrupt(format!("it has {len_bytes} bytes instead of {whole}")));
        }
        return Ok(());
    }
    // A later segment is sealed, so this one was: only its index is gone, and the log itself tells what stood there.
    let file = File::open(&segment.path).map_err(io)?;
    let (index, tear) = scan(&file, segment.base_offset, &mut |_| {}).map_err(io)?;
    if let Some(reason) = tear {
        return Err(segment.corrupt(format!("at byte {}: {reason}", index.len_bytes)));
    }
    index.save(&segment.index_path()).map_err(|e| BrokerError::io("cannot write", segment.index_path(), e))?;
    segment.index = index;
    Ok(())
}

fn seal(dir: &Path, segment: Option<&mut Segment>, producers: &Producers) -> Result<(), BrokerError> {
    let Some(segment) = segment else { return Ok(()) };
    let saved = producers.save(dir, segment.index.next_offset);
    saved.map_err(|source| BrokerError::io("cannot write the producers in", dir, source))?;
    let path = segment.index_path();
    segment.index.save(&path).map_err(|source| BrokerError::io("cannot write", path, source))?;
    segment.file = None;
    Ok(())
}

/// Checks a segment whole, cuts what is torn, and syncs the rest. `true` if something was cut.
fn recover(segment: &mut Segment, each: &mut dyn FnMut(&BatchHeader)) -> Result<bool, BrokerError> {
    let io = |source| BrokerError::io("cannot recover", &segment.path, source);
    let file = OpenOptions::new().read(true).write(true).open(&segment.path).map_err(io)?;
    let (index, tear) = scan(&file, segment.base_offset, each).map_err(io)?;
    if let Some(reason) = &tear {
        let file_bytes = file.metadata().map_err(io)?.len();
        tracing::warn!(
            segment = %segment.path.display(), at_byte = index.len_bytes, cut_bytes = file_bytes - index.len_bytes,
            next_offset = index.next_offset, %reason, "cut the log's torn tail"
        );
        file.set_len(index.len_bytes).map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    segment.index = index;
    segment.file = Some(Arc::new(file));
    Ok(tear.is_some())
}

/// A segment behind a cut: it was never synced as part of the log, so no reader has seen it.
fn set_aside(segment: &Segment) -> Result<(), BrokerError> {
    let aside = segment.path.with_extension(CUT_EXTENSION);
    tracing::warn!(segment = %segment.path.display(), kept_as = %aside.display(), "set aside a segment behind the torn tail");
    fs::rename(&segment.path, aside).map_err(|source| BrokerError::io("cannot move aside", &segment.path, source))
}

/// Walks a file's batches from its start and shows each. Returns the index of what is whole, and why it ends before the file does.
fn scan(file: &File, base_offset: i64, each: &mut dyn FnMut(&BatchHeader)) -> io::Result<(Index, Option<BatchError>)> {
    let file_bytes = file.metadata()?.len();
    let mut index = Index::new(base_offset);
    let mut chunk = Vec::new();
    let mut want_bytes = SCAN_CHUNK_BYTES;
    while index.len_bytes < file_bytes {
        let left_bytes = file_bytes - index.len_bytes;
        chunk.resize(want_bytes.min(usize::try_from(left_bytes).unwrap_or(want_bytes)), 0);
        file.read_exact_at(&mut chunk, index.len_bytes)?;
        let mut rest = &chunk[..];
        let stopped = loop {
            match batch::read_checked(rest) {
                Ok(header) if header.base_offset != index.next_offset => {
                    break BatchError::Invalid("its offset is not the one that follows");
                }
                Ok(header) => {
                    index.push(&header);
                    each(&header);
                    rest = &rest[header.size_bytes..];
                }
                Err(error) => break error,
            }
        };
        let at_end = chunk.len() as u64 == left_bytes;
        want_bytes = SCAN_CHUNK_BYTES;
        match stopped {
            BatchError::Incomplete if rest.is_empty() => {}
            // The chunk ended inside a batch: go on from its start, with all of it.
            BatchError::Incomplete if !at_end => {
                let whole = batch::read_header(rest).map_or(HEADER_BYTES, |header| header.size_bytes);
                want_bytes = whole.clamp(SCAN_CHUNK_BYTES, MAX_BATCH_BYTES);
            }
            error => return Ok((index, Some(error))),
        }
    }
    Ok((index, None))
}
