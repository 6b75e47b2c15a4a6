//! redb's errors in the words of the seam.

use redb::{DatabaseError, Error, StorageError};

use crate::store::StoreError;

/// What a failure to open means.
pub(super) fn open_error(doing: &str, error: &DatabaseError) -> StoreError {
    let doing = doing.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::Refused {
            doing,
            reason: "another process has it open: stop that one, or choose another DATA_DIR".to_owned(),
        },
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Corrupt { doing, reason: format!("this is no store file: {io}") }
        }
        DatabaseError::Storage(StorageError::Io(io)) => {
            StoreError::Refused { doing, reason: format!("{io}: check that the folder exists and may be written") }
        }
        other => StoreError::Corrupt { doing, reason: other.to_string() },
    }
}

/// What a failed transaction means.
pub(super) fn store_error(doing: &str, error: &Error) -> StoreError {
    let doing = doing.to_owned();
    match error {
        Error::Io(io) => StoreError::Unavailable { doing, reason: format!("the disk failed ({io}): is it full?") },
        Error::PreviousIo => StoreError::Refused {
            doing,
            reason: "the disk failed earlier, and the file takes no more writes: mend the disk and start again"
                .to_owned(),
        },
        other => StoreError::Corrupt { doing, reason: other.to_string() },
    }
}
