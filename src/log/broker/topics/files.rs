//! The partitions' folders: opening them together, and deleting them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use super::saved::{self, Saved};
use crate::log::broker::{BrokerError, partition::Partition};

/// Threads that open partitions: each partition syncs what it recovered, and syncs that run together share the disk's
/// work, so that a start with many partitions is quick.
const OPENING_THREADS: usize = 16;

/// Opens partitions, in order; one result each.
pub fn open_together(dir: &Path, all: &[(&str, i32)], segment_bytes: u64) -> Vec<Result<Partition, BrokerError>> {
    let open = |(name, number): &(&str, i32)| {
        Partition::open(name, *number, &partition_dir(dir, name, *number), segment_bytes)
    };
    let share = all.len().div_ceil(OPENING_THREADS).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> =
            all.chunks(share).map(|part| scope.spawn(move || part.iter().map(open).collect::<Vec<_>>())).collect();
        let failed = || vec![Err(BrokerError::Thread { thread: "opening", reason: "has panicked".to_owned() })];
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
    })
}

/// Deletes the files of topics that are out of the list already.
pub fn finish_deletions(dir: &Path, saved: &mut Saved) -> Result<(), BrokerError> {
    if saved.deleting.is_empty() {
        return Ok(());
    }
    for (name, partitions) in &saved.deleting {
        for number in 0..*partitions {
            let dir = partition_dir(dir, name, number);
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BrokerError::io("cannot delete", dir, error));
                }
                _ => {}
            }
        }
    }
    let mut next = saved.clone();
    next.deleting.clear();
    saved::save(dir, &next)?;
    *saved = next;
    Ok(())
}

/// Where a partition lies.
pub fn partition_dir(dir: &Path, topic: &str, number: i32) -> PathBuf {
    dir.join(format!("{topic}-{number}"))
}
