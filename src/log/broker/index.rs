//! Where in a segment an offset or a time is found: a sparse index, in memory, kept in a file once the segment is sealed.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use super::batch::BatchHeader;

/// Bytes of log between two entries. A read scans at most this far, plus one batch.
pub const INDEX_INTERVAL_BYTES: u64 = 32 * 1024;

const FILE_MAGIC: &[u8; 8] = b"SGINDEX1";
const FIXED_BYTES: usize = 8 + 8 + 8 + 8;
const ENTRY_BYTES: usize = 24;
const CRC_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: i64,
    position: u64,
    /// Greatest time before this entry's batch: a running maximum, so that it can be searched.
    max_timestamp_before_ms: i64,
}

/// The sparse index of one segment, with what is known of the segment as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Bytes of whole, checked batches.
    pub len_bytes: u64,
    /// Offset that follows the segment's last batch.
    pub next_offset: i64,
    /// Greatest time in the segment, `i64::MIN` if it is empty.
    pub max_timestamp_ms: i64,
    entries: Vec<Entry>,
}

impl Index {
    /// The index of an empty segment.
    pub fn new(base_offset: i64) -> Self {
        Self { len_bytes: 0, next_offset: base_offset, max_timestamp_ms: i64::MIN, entries: Vec::new() }
    }

    /// Adds the batch that follows.
    pub fn push(&mut self, header: &BatchHeader) {
        if self.entries.last().is_none_or(|last| self.len_bytes - last.position >= INDEX_INTERVAL_BYTES) {
            self.entries.push(Entry {
                offset: header.base_offset,
                position: self.len_bytes,
                max_timestamp_before_ms: self.max_timestamp_ms,
            });
        }
        self.len_bytes += header.size_bytes as u64;
        self.next_offset = header.next_offset();
        self.max_timestamp_ms = self.max_timestamp_ms.max(header.max_timestamp_ms);
    }

    /// A batch at or before the one that holds `offset`: its base offset and its position. `None` in an empty segment.
    pub fn before(&self, offset: i64) -> Option<(i64, u64)> {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entries.get(after.checked_sub(1)?).map(|entry| (entry.offset, entry.position))
    }

    /// The base offset of a batch at or before the first one with a time not below `timestamp_ms`; `None` if all are older.
    pub fn offset_before_time(&self, timestamp_ms: i64) -> Option<i64> {
        let after = self.entries.partition_point(|entry| entry.max_timestamp_before_ms < timestamp_ms);
        (self.max_timestamp_ms >= timestamp_ms).then(|| self.entries.get(after.checked_sub(1)?).map(|e| e.offset))?
    }

    /// Writes the index beside its segment: under another name first, synced, then renamed.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.entries.len() * ENTRY_BYTES + CRC_BYTES);
        bytes.extend_from_slice(FILE_MAGIC);
        bytes.extend_from_slice(&self.len_bytes.to_be_bytes());
        bytes.extend_from_slice(&self.next_offset.to_be_bytes());
        bytes.extend_from_slice(&self.max_timestamp_ms.to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.offset.to_be_bytes());
            bytes.extend_from_slice(&entry.position.to_be_bytes());
            bytes.extend_from_slice(&entry.max_timestamp_before_ms.to_be_bytes());
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        write_atomically(path, &bytes)
    }

    /// Reads what [`Self::save`] wrote; `None` if there is no such file or it is not whole.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) || !body.starts_with(FILE_MAGIC) {
            return None;
        }
        let mut words = body[FILE_MAGIC.len()..].chunks_exact(8).map_while(|word| word.try_into().ok());
        let mut word = || words.next().map(i64::from_be_bytes);
        let (len_bytes, next_offset, max_timestamp_ms) = (word()? as u64, word()?, word()?);
        let mut entries = Vec::with_capacity(body.len() / ENTRY_BYTES);
        while let Some(offset) = word() {
            entries.push(Entry { offset, position: word()? as u64, max_timestamp_before_ms: word()? });
        }
        Some(Self { len_bytes, next_offset, max_timestamp_ms, entries })
    }
}

/// Replaces a file whole: after a crash either the old or the new one is there. The folder is synced too.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let written = File::create(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&draft, path)) {
        // On a full disk the piece would take room that others need; the error is the first one either way.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_offsets_and_times_and_survives_its_file() {
        let mut index = Index::new(100);
        for at in 0..1_000_i64 {
            let header = BatchHeader {
                base_offset: 100 + at * 2,
                size_bytes: 5_000,
                last_offset_delta: 1,
                max_timestamp_ms: at,
                stamp: None,
            };
            index.push(&header);
        }
        for at in [0_i64, 1, 7, 500, 999] {
            let (true_position, found) = (at as u64 * 5_000, index.before(100 + at * 2 + 1).unwrap().1);
            assert!(found <= true_position && true_position - found < INDEX_INTERVAL_BYTES + 5_000, "{at}: {found}");
            let found = index.before(index.offset_before_time(at).unwrap()).unwrap().1;
            assert!(found <= true_position && true_position - found < INDEX_INTERVAL_BYTES + 5_000, "{at}: {found}");
        }
        assert_eq!(index.offset_before_time(1_000), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.index");
        assert_eq!(Index::load(&path).unwrap(), None);
        index.save(&path).unwrap();
        assert_eq!(Index::load(&path).unwrap().as_ref(), Some(&index));
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Index::load(&path).unwrap(), None, "a damaged index is no index");
    }
}
