//! One process per data folder.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use super::BrokerError;

/// Name of the lock file inside the folder.
const LOCK_FILE_NAME: &str = "LOCK";
/// Most bytes read of what the holder wrote into the lock file: its pid, and where it listens.
const HOLDER_MAX_BYTES: u64 = 128;

/// An exclusive hold on a folder, given back on drop. The system takes it back when the process dies, however it dies, so
/// that nothing has to be cleaned up after a crash.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
}

impl DataDirLock {
    /// Makes the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// [`BrokerError::Locked`] if another process (or this one) holds it, [`BrokerError::Io`] if the folder cannot be made or
    /// written.
    pub fn acquire(dir: &Path) -> Result<Self, BrokerError> {
        fs::create_dir_all(dir).map_err(|source| BrokerError::io("cannot make the folder", dir, source))?;
        let path = dir.join(LOCK_FILE_NAME);
        let io = |source| BrokerError::io("cannot lock", &path, source);
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The pid is a courtesy to the reader of the error; without it the refusal is the same.
                let read = file.take(HOLDER_MAX_BYTES).read_to_string(&mut holder);
                let pid = holder.lines().next().map(str::trim).filter(|pid| read.is_ok() && !pid.is_empty());
                let holder = pid.unwrap_or("unknown").to_owned();
                return Err(BrokerError::Locked { dir: dir.into(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { file })
    }

    /// Tells in the lock file where the holder's broker listens.
    pub(super) fn tell(&self, addr: SocketAddr) -> std::io::Result<()> {
        writeln!(&self.file, "{addr}")
    }
}

/// Where the broker of a folder listens, as the process `holder` tells in its lock file. What another process has left there is
/// no answer.
pub fn address_of(dir: &Path, holder: &str) -> Option<SocketAddr> {
    let mut told = String::new();
    File::open(dir.join(LOCK_FILE_NAME)).ok()?.take(HOLDER_MAX_BYTES).read_to_string(&mut told).ok()?;
    let mut lines = told.lines();
    let mut addr: SocketAddr = (lines.next()? == holder).then(|| lines.next())??.parse().ok()?;
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Some(addr)
}
