//! Segment files: opening them, and finding out what in them is whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BrokerError,
    batch::{self, BatchError, HEADER_BYTES, MAX_BATCH_BYTES},
    index::Index,
};

const LOG_EXTENSION: &str = "log";
const INDEX_EXTENSION: &str = "index";
/// What is behind a cut is moved aside under this ending, not deleted.
const CUT_EXTENSION: &str = "cut";
/// Bytes read at once while a segment is checked.
const SCAN_CHUNK_BYTES: usize = 1024 * 1024;

/// One file of a partition's log.
#[derive(Debug)]
pub struct Segment {
    /// Offset of its first record; its name.
    pub base_offset: i64,
    /// Where it lies.
    pub path: PathBuf,
    /// Open while the segment is written or not yet synced. A sealed one is opened for each read, so that the number of open
    /// files does not grow with the log.
    pub file: Option<Arc<File>>,
    /// Where things are in it.
    pub index: Index,
}

impl Segment {
    /// Makes an empty segment. Its name is durable once the folder is synced.
    pub fn create(dir: &Path, base_offset: i64) -> io::Result<Self> {
        let path = dir.join(format!("{base_offset:020}.{LOG_EXTENSION}"));
        // Only an empty file of a roll that failed can be there: what it is to hold has not been written yet.
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
        Ok(Self { base_offset, path, file: Some(Arc::new(file)), index: Index::new(base_offset) })
    }

    /// Where the index goes that marks the segment as sealed: whole, synced and never written again.
    pub fn index_path(&self) -> PathBuf {
        self.path.with_extension(INDEX_EXTENSION)
    }

    /// A handle to read with.
    pub fn reader(&self) -> io::Result<Arc<File>> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => File::open(&self.path).map(Arc::new),
        }
    }

    fn corrupt(&self, reason: impl Into<String>) -> BrokerError {
        BrokerError::SealedSegmentCorrupt { path: self.path.clone(), reason: reason.into() }
    }
}

/// Opens a partition's segments, oldest first; the last one is ready to be appended to, and all is synced.
///
/// Sealed segments are taken by their index; their batches are checked when they are read. The others (normally one) are
/// checked whole: what is not whole batches is cut off there, and said in the log.
///
/// # Errors
/// [`BrokerError::SealedSegmentCorrupt`] where a sealed segment is missing, shortened, or fails its check.
pub fn open_all(dir: &Path) -> Result<Vec<Segment>, BrokerError> {
    let mut segments = list(dir)?;
    let sealed = segments.iter().rposition(|(_, is_sealed)| *is_sealed).map_or(0, |at| at + 1);
    let mut opened: Vec<Segment> = Vec::with_capacity(segments.len() + 1);
    let rest = segments.split_off(sealed);
    for (mut segment, has_index) in segments {
        open_sealed(&mut segment, has_index)?;
        follows(opened.last(), &segment)?;
        opened.push(segment);
    }
    let mut cut = false;
    for (mut segment, _) in rest {
        if cut {
            set_aside(&segment)?;
            continue;
        }
        if opened.len() > sealed {
            // A later segment exists, so the one before was complete: seal it, as would have been done at the roll.
            seal(opened.last_mut())?;
        }
        follows(opened.last(), &segment)?;
        cut = recover(&mut segment)?;
        opened.push(segment);
    }
    if opened.last().is_none_or(|last| last.file.is_none()) {
        let base_offset = opened.last().map_or(0, |last| last.index.next_offset);
        opened
            .push(Segment::create(dir, base_offset).map_err(|e| BrokerError::io("cannot make a segment in", dir, e))?);
    }
    sync_dir(dir).map_err(|e| BrokerError::io("cannot sync", dir, e))?;
    Ok(opened)
}

/// Makes the names in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
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
        let mut segment = Segment { base_offset, path, file: None, index: Index::new(base_offset) };
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
    let (index, tear) = scan(&file, segment.base_offset).map_err(io)?;
    if let Some(reason) = tear {
        return Err(segment.corrupt(format!("at byte {}: {reason}", index.len_bytes)));
    }
    index.save(&segment.index_path()).map_err(|e| BrokerError::io("cannot write", segment.index_path(), e))?;
    segment.index = index;
    Ok(())
}

fn seal(segment: Option<&mut Segment>) -> Result<(), BrokerError> {
    let Some(segment) = segment else { return Ok(()) };
    let path = segment.index_path();
    segment.index.save(&path).map_err(|source| BrokerError::io("cannot write", path, source))?;
    segment.file = None;
    Ok(())
}

/// Checks a segment whole, cuts what is torn, and syncs the rest. `true` if something was cut.
fn recover(segment: &mut Segment) -> Result<bool, BrokerError> {
    let io = |source| BrokerError::io("cannot recover", &segment.path, source);
    let file = OpenOptions::new().read(true).write(true).open(&segment.path).map_err(io)?;
    let (index, tear) = scan(&file, segment.base_offset).map_err(io)?;
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

/// Walks a file's batches from its start. Returns the index of what is whole, and why it ends before the file does.
fn scan(file: &File, base_offset: i64) -> io::Result<(Index, Option<BatchError>)> {
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
