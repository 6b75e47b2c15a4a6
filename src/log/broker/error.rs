//! What can keep the broker from starting or ending well.

use std::{io, net::SocketAddr, path::PathBuf};

/// An error of the embedded broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Another process holds the data folder.
    #[error(
        "{} is in use by another process (pid {holder}): stop that one, or set DATA_DIR to another folder",
        dir.display()
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// What the lock file says about its holder.
        holder: String,
    },
    /// The file system refused something.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A segment that was complete and synced is not what was written: the disk or someone else changed it.
    #[error(
        "the log segment {} is damaged: {reason}; it was complete before, so this is not a torn write. Restore the file from a \
         backup, or move the data folder away to begin anew",
        path.display()
    )]
    SealedSegmentCorrupt {
        /// The segment's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file that names the topics is absent though logs are there, or cannot be read.
    #[error("the broker's topic list {} {reason}; restore it from a backup, or move the data folder away to begin anew", path.display())]
    MetadataUnusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} for Kafka clients: {source}; set KAFKA_LISTEN to a free address")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// One of the broker's own threads could not be started, or ended by a panic.
    #[error("the broker's {thread} thread {reason}")]
    Thread {
        /// Which thread.
        thread: &'static str,
        /// What happened to it.
        reason: String,
    },
}

impl BrokerError {
    /// Wraps an IO error with what was being done to which path.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}
