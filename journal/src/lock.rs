//! Lock: one writer a directory.
//!
//! Two processes that write one journal destroy it. The directory's lock file is locked first,
//! before anything else is looked at; the ring file itself is locked again when it is mapped, so
//! that a ring reached by another path is still refused. The kernel drops both locks when the
//! process dies. The lock file holds the owner's process id, for the message only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::error::JournalError;

/// Name of the lock file.
pub const LOCK_FILE: &str = "journal.lock";

/// Held as long as the journal is open.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Refused with the holder's process id when the directory is in use.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(JournalError::io(&path, "open the lock file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The id is a courtesy; without it the refusal still stands.
                let _ = (&file).take(16).read_to_string(&mut text);
                return Err(JournalError::InUse {
                    path,
                    holder: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(JournalError::io(&path, "lock it")(error));
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(JournalError::io(&path, "write the process id"))?;
        Ok(Self { _file: file })
    }
}
