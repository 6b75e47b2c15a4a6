//! What consumers have committed: offsets by group, kept over restarts.
//!
//! A file of JSON lines that is only appended to, and written anew when most of it is out of date. A commit survives the death
//! of the process once it is answered; a power cut may take back the newest ones, and then their consumer reads again.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{BrokerError, index::write_atomically};

/// Most committed offsets, all groups together.
pub const MAX_COMMITTED: usize = 100_000;
/// Longest text that a consumer may keep with an offset, as Kafka's `offset.metadata.max.bytes`.
pub const MAX_METADATA_BYTES: usize = 4_096;
/// Longest name of a group.
pub const MAX_GROUP_BYTES: usize = 249;
/// Bytes that may be out of date before the file is written anew, beside as much again as it had then.
const SLACK_BYTES: u64 = 256 * 1024;

const FILE_NAME: &str = "offsets.jsonl";

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Where the consumer reads on.
    pub offset: i64,
    /// Leader epoch of the record before it, -1 if the client did not say.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: String,
}

/// Why offsets were not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// More than [`MAX_COMMITTED`].
    #[error(
        "the embedded broker keeps at most {MAX_COMMITTED} committed offsets; delete groups that are not used any more"
    )]
    Full,
    /// The file system refused.
    #[error("cannot write committed offsets: {0}")]
    Storage(#[from] io::Error),
}

/// A partition by topic and number.
type At = (String, i32);
/// The offsets of one group.
pub type Group = BTreeMap<At, Committed>;

/// All committed offsets.
#[derive(Debug)]
pub struct Offsets {
    path: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    groups: BTreeMap<String, Group>,
    file: File,
    /// End of what is whole in the file.
    len_bytes: u64,
    /// The length at which it is written anew.
    rewrite_at_bytes: u64,
}

/// A line of the file: an offset, or that there is none any more.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    group: String,
    topic: String,
    partition: i32,
    committed: Option<Committed>,
}

impl Offsets {
    /// Reads the file in the broker's folder, or begins one.
    ///
    /// # Errors
    /// [`BrokerError::Io`]. A torn end is cut off and said in the log.
    pub fn open(dir: &Path) -> Result<Self, BrokerError> {
        let path = dir.join(FILE_NAME);
        let io = |source| BrokerError::io("cannot open", &path, source);
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(io)?;
        let (mut groups, mut whole_bytes) = (BTreeMap::new(), 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Line>(line).ok()) else {
                break;
            };
            apply(&mut groups, line);
            whole_bytes = whole_bytes_after(&bytes, whole_bytes);
        }
        if whole_bytes < bytes.len() {
            tracing::warn!(file = %path.display(), at_byte = whole_bytes, "cut the torn end of the committed offsets");
            file.set_len(whole_bytes as u64).map_err(io)?;
        }
        let len_bytes = whole_bytes as u64;
        let kept = Kept { groups, file, len_bytes, rewrite_at_bytes: len_bytes + SLACK_BYTES };
        Ok(Self { path, kept: Mutex::new(kept) })
    }

    /// Keeps offsets of a group: all of them, or none.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn commit(&self, group: &str, offsets: Vec<(At, Committed)>) -> Result<(), CommitError> {
        let mut kept = self.kept();
        let of_group = kept.groups.get(group);
        let new = offsets.iter().filter(|(at, _)| of_group.is_none_or(|group| !group.contains_key(at))).count();
        if kept.groups.values().map(BTreeMap::len).sum::<usize>() + new > MAX_COMMITTED {
            return Err(CommitError::Full);
        }
        let lines = offsets.into_iter().map(|((topic, partition), committed)| Line {
            group: group.to_owned(),
            topic,
            partition,
            committed: Some(committed),
        });
        self.append(&mut kept, lines.collect())
    }

    /// The offsets of a group, `None` if there is no such group.
    pub fn group(&self, group: &str) -> Option<Group> {
        self.kept().groups.get(group).cloned()
    }

    /// The names of all groups.
    pub fn groups(&self) -> Vec<String> {
        self.kept().groups.keys().cloned().collect()
    }

    /// Forgets a group; `false` if there was none.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn delete_group(&self, group: &str) -> Result<bool, CommitError> {
        self.forget(|of_group, _| of_group == group)
    }

    /// Forgets what was committed of a topic.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn delete_topic(&self, topic: &str) -> Result<bool, CommitError> {
        self.forget(|_, of_topic| of_topic == topic)
    }

    fn forget(&self, is_meant: impl Fn(&str, &str) -> bool) -> Result<bool, CommitError> {
        let mut kept = self.kept();
        let all = kept.groups.iter().flat_map(|(group, offsets)| offsets.keys().map(move |at| (group, at)));
        let meant = all.filter(|(group, (topic, _))| is_meant(group, topic));
        let lines: Vec<Line> = meant
            .map(|(group, (topic, partition))| Line {
                group: group.clone(),
                topic: topic.clone(),
                partition: *partition,
                committed: None,
            })
            .collect();
        let is_any = !lines.is_empty();
        self.append(&mut kept, lines)?;
        Ok(is_any)
    }

    fn append(&self, kept: &mut Kept, lines: Vec<Line>) -> Result<(), CommitError> {
        let mut bytes = Vec::new();
        for line in &lines {
            write_line(&mut bytes, line)?;
        }
        // At a known place: what a failed write left there is overwritten, or cut on opening.
        kept.file.write_all_at(&bytes, kept.len_bytes).inspect_err(|_| {
            // On a full disk this gives the room back; if it fails as well, the next write lies over it.
            let _ = kept.file.set_len(kept.len_bytes);
        })?;
        kept.len_bytes += bytes.len() as u64;
        lines.into_iter().for_each(|line| apply(&mut kept.groups, line));
        if kept.len_bytes > kept.rewrite_at_bytes
            && let Err(error) = self.rewrite(kept)
        {
            // All is in the file as it is; it is tried again when as much has come again.
            tracing::warn!(file = %self.path.display(), %error, "cannot write the committed offsets anew");
            kept.rewrite_at_bytes = kept.len_bytes + SLACK_BYTES;
        }
        Ok(())
    }

    fn rewrite(&self, kept: &mut Kept) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (group, offsets) in &kept.groups {
            for ((topic, partition), committed) in offsets {
                let (group, topic, committed) = (group.clone(), topic.clone(), Some(committed.clone()));
                write_line(&mut bytes, &Line { group, topic, partition: *partition, committed })?;
            }
        }
        write_atomically(&self.path, &bytes)?;
        kept.file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        kept.len_bytes = bytes.len() as u64;
        kept.rewrite_at_bytes = kept.len_bytes * 2 + SLACK_BYTES;
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole_bytes_after(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|byte| *byte == b'\n').map_or(from, |at| from + at + 1)
}

fn write_line(bytes: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *bytes, line)?;
    bytes.push(b'\n');
    Ok(())
}

fn apply(groups: &mut BTreeMap<String, Group>, line: Line) {
    let at = (line.topic, line.partition);
    match line.committed {
        Some(committed) => {
            groups.entry(line.group).or_default().insert(at, committed);
        }
        None => {
            if let Some(offsets) = groups.get_mut(&line.group) {
                offsets.remove(&at);
                if offsets.is_empty() {
                    groups.remove(&line.group);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn committed(offset: i64) -> Committed {
        Committed { offset, leader_epoch: -1, metadata: "m".into() }
    }

    fn at(topic: &str, partition: i32) -> At {
        (topic.to_owned(), partition)
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_and_a_torn_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        offsets.commit("a", vec![(at("t", 0), committed(5)), (at("t", 1), committed(6))]).unwrap();
        offsets.commit("b", vec![(at("u", 0), committed(7))]).unwrap();
        offsets.commit("a", vec![(at("t", 0), committed(8))]).unwrap();
        assert!(offsets.delete_topic("u").unwrap() && !offsets.delete_group("b").unwrap());
        let path = dir.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        for torn in [&b""[..], b"{\"group\":\"a\"", b"\0\0\0\0", b"{}\n{}\n"] {
            fs::write(&path, [&whole, torn].concat()).unwrap();
            let offsets = Offsets::open(dir.path()).unwrap();
            assert_eq!(offsets.groups(), ["a"]);
            let group = offsets.group("a").unwrap();
            assert_eq!((&group[&at("t", 0)], &group[&at("t", 1)]), (&committed(8), &committed(6)));
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn the_file_stays_small_and_the_number_is_capped() {
        let dir = tempfile::tempdir().unwrap();
        let offsets = Offsets::open(dir.path()).unwrap();
        for offset in 0..20_000 {
            offsets.commit("group", vec![(at("topic", 0), committed(offset))]).unwrap();
        }
        let len_bytes = fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        assert!(len_bytes < 2 * SLACK_BYTES, "{len_bytes}");
        let all = (0..MAX_COMMITTED as i32).map(|partition| (at("t", partition), committed(1))).collect();
        assert!(matches!(offsets.commit("many", all), Err(CommitError::Full)));
        drop(offsets);
        let offsets = Offsets::open(dir.path()).unwrap();
        assert_eq!(offsets.group("group").unwrap()[&at("topic", 0)], committed(19_999));
        assert_eq!(offsets.groups(), ["group"]);
    }
}
