//! Making what was appended durable, and with that visible.

use std::{io, sync::atomic::Ordering};

use super::Partition;
use crate::log::broker::segment;

impl Partition {
    /// Marks the partition as waiting for a sync. `false` if it was already.
    pub fn queue_sync(&self) -> bool {
        !self.sync_queued.swap(true, Ordering::AcqRel)
    }

    /// Syncs what was appended until now and moves the high watermark there; segments that are full are sealed.
    ///
    /// # Errors
    /// After a failed sync the system may have dropped what it could not write, so that the log takes no more records until it
    /// is opened and checked anew.
    pub fn sync(&self) -> io::Result<()> {
        // Cleared before the end is read: what is appended from here on asks for a sync of its own.
        self.sync_queued.store(false, Ordering::Release);
        let _upkeep = self.upkeep();
        let (files, end, is_dir_dirty) = {
            let mut log = self.log();
            let (false, None, Some(end)) = (log.is_gone, &log.failed, log.end()) else { return Ok(()) };
            let is_dir_dirty = std::mem::take(&mut log.is_dir_dirty);
            let unsynced = log.segments.iter().filter(|segment| segment.base_offset >= log.visible_base);
            let files: Vec<_> = unsynced.filter_map(|s| Some((s.base_offset, s.file.clone()?))).collect();
            (files, end, is_dir_dirty)
        };
        let synced = files.iter().try_for_each(|(_, file)| file.sync_data());
        let synced = synced.and_then(|()| if is_dir_dirty { segment::sync_dir(&self.dir) } else { Ok(()) });
        if let Err(error) = synced {
            self.log().failed = Some(error.to_string());
            return Err(error);
        }
        files
            .iter()
            .filter(|(base_offset, _)| *base_offset != end.base_offset)
            .for_each(|(base_offset, _)| self.seal(*base_offset));
        self.log().show(Some(end));
        self.watermark.send_replace(end.next_offset);
        Ok(())
    }

    /// Marks a full and synced segment as sealed, by its index file; what is known of the producers at its end goes first.
    fn seal(&self, base_offset: i64) {
        let found = {
            let mut log = self.log();
            let segment = log.segments.iter_mut().find(|segment| segment.base_offset == base_offset);
            segment.map(|segment| (segment.index_path(), segment.index.clone(), segment.producers.take()))
        };
        let Some((path, index, producers)) = found else { return };
        let saved = producers.map_or(Ok(()), |producers| producers.save(&self.dir, index.next_offset));
        match saved.and_then(|()| index.save(&path)) {
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
}
