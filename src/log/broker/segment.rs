//! Segment files.

mod recovery;

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use recovery::{Opened, open_all};

use super::{BrokerError, index::Index, producers::Producers};

const LOG_EXTENSION: &str = "log";
const INDEX_EXTENSION: &str = "index";

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
    /// What was known of the producers at its end; kept while it is full and not yet sealed.
    pub producers: Option<Producers>,
}

impl Segment {
    /// Makes an empty segment. Its name is durable once the folder is synced.
    pub fn create(dir: &Path, base_offset: i64) -> io::Result<Self> {
        let path = dir.join(format!("{base_offset:020}.{LOG_EXTENSION}"));
        // Only an empty file of a roll that failed can be there: what it is to hold has not been written yet.
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
        Ok(Self { base_offset, path, file: Some(Arc::new(file)), index: Index::new(base_offset), producers: None })
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

    /// Whether it is full, synced and never written again.
    pub fn is_sealed(&self) -> bool {
        self.file.is_none()
    }

    /// Deletes its files; the log first, so that no index stands for a log that is half gone.
    ///
    /// # Errors
    /// The file system's; what is gone already is no error.
    pub fn delete(&self) -> io::Result<()> {
        for path in [&self.path, &self.index_path()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn corrupt(&self, reason: impl Into<String>) -> BrokerError {
        BrokerError::SealedSegmentCorrupt { path: self.path.clone(), reason: reason.into() }
    }
}

/// Makes the names in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
