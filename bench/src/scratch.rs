//! Scratch: a directory for a journal that is gone afterwards.
//!
//! It lies where the system keeps temporary files, which may be a disk or memory; either way the
//! hot thread stores into the page cache, and what differs is the kernel writing back behind it.

use std::path::Path;

use journal::{Journal, JournalOptions};
use tempfile::TempDir;

/// A directory, removed when dropped.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// Makes it. A machine without room for it cannot be measured.
    pub(crate) fn new() -> Self {
        match tempfile::Builder::new().prefix("tidegate-bench").tempdir() {
            Ok(directory) => Self(directory),
            Err(error) => panic!("a temporary directory for a journal: {error}"),
        }
    }

    /// As [`Scratch::new`], in a file system without a disk; `None` where there is none.
    pub(crate) fn in_memory() -> Option<Self> {
        tempfile::Builder::new().prefix("tidegate-bench").tempdir_in("/dev/shm").ok().map(Self)
    }

    /// A new journal in it: mapped, pre-faulted, locked as far as the limits allow.
    pub(crate) fn journal(&self, ring_bytes: u64) -> Journal {
        match Journal::create(self.path(), &JournalOptions::new(ring_bytes, 1)) {
            Ok(journal) => journal,
            Err(error) => panic!("a journal of {ring_bytes} bytes: {error}"),
        }
    }

    /// The same with its ring in another directory.
    pub(crate) fn journal_in(&self, hot: &Self, ring_bytes: u64) -> Journal {
        let hot_dir = Some(hot.path().to_owned());
        let options = JournalOptions { hot_dir, ..JournalOptions::new(ring_bytes, 1) };
        match Journal::create(self.path(), &options) {
            Ok(journal) => journal,
            Err(error) => panic!("a journal of {ring_bytes} bytes: {error}"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
