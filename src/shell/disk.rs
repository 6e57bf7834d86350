//! Disk: the journal's other half, on threads of its own.
//!
//! ```text
//! persister   ring -> segment, one sync a group; looks again every interval
//! preparer    segments two ahead, a piece at a time; looks at the room that is left
//! ```
//!
//! The hot thread tells them nothing but how far it has appended, and reads how far they are: they
//! poll, so it never wakes a sleeper, and the disk is never on its path. Each works on a handle of
//! the directory of its own. After the first failure they do nothing more; the hot thread sees it
//! in the watermarks.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use journal::{
    DirStorage, JournalError, Persisted, Persister, Prepared, Preparer, Ring, RingBytes, RingFile,
    close,
};

/// How long the preparer waits between two pieces of zeros that nobody waits for: it leaves the
/// disk to the persister.
const PIECE_PAUSE: Duration = Duration::from_millis(2);
/// How often the preparer looks whether there is something to do.
const PREPARER_INTERVAL: Duration = Duration::from_millis(10);

/// Persister and preparer of an open journal.
pub struct Disk {
    dir: PathBuf,
    storage: DirStorage,
    persister: Persister,
    preparer: Preparer,
}

/// The same, while they work.
pub struct DiskThreads {
    dir: PathBuf,
    /// Both threads stop when it is dropped.
    stop: Sender<()>,
    persister: JoinHandle<Persister>,
    preparer: JoinHandle<Preparer>,
}

impl Disk {
    pub(super) fn new(dir: &Path, persister: Persister, preparer: Preparer) -> Self {
        Self { dir: dir.to_owned(), storage: DirStorage::new(dir), persister, preparer }
    }

    /// One step of each, for who has no threads. False when there was nothing to do.
    pub fn step(&mut self, ring: &dyn RingBytes) -> bool {
        let prepared = self.preparer.step(&mut self.storage);
        let persisted = self.persister.step(&mut self.storage, ring);
        prepared == Prepared::Piece || matches!(persisted, Persisted::Group(_))
    }

    /// Starts both threads; `ring` is the ring's file, and the persister looks at it each
    /// `interval`.
    pub fn start(self, ring: &Path, interval: Duration) -> io::Result<DiskThreads> {
        let Self { dir, persister, preparer, .. } = self;
        let ring = RingFile::open(ring)?;
        let (stop, stopped) = bounded(0);
        let (storage, stopped_too) = (DirStorage::new(&dir), stopped.clone());
        let persister = thread::Builder::new()
            .name("persister".to_owned())
            .spawn(move || persist(persister, storage, &ring, &stopped, interval))?;
        let storage = DirStorage::new(&dir);
        let preparer = thread::Builder::new()
            .name("preparer".to_owned())
            .spawn(move || prepare(preparer, storage, &stopped_too))?;
        Ok(DiskThreads { dir, stop, persister, preparer })
    }

    /// Brings everything to the disk, marks a clean stop, and removes the ring.
    pub(super) fn close(mut self, ring: Ring) -> Result<(), JournalError> {
        close(&mut self.storage, &self.dir, ring, self.persister, self.preparer)
    }
}

impl DiskThreads {
    /// Stops both threads. `None` when one ended by an assertion.
    #[must_use]
    pub fn stop(self) -> Option<Disk> {
        drop(self.stop);
        let (persister, preparer) = (self.persister.join(), self.preparer.join());
        Some(Disk::new(&self.dir, persister.ok()?, preparer.ok()?))
    }
}

fn persist(
    mut persister: Persister,
    mut storage: DirStorage,
    ring: &RingFile,
    stopped: &Receiver<()>,
    interval: Duration,
) -> Persister {
    loop {
        if matches!(persister.step(&mut storage, ring), Persisted::Group(_)) {
            continue;
        }
        if is_stopped(stopped, interval) {
            return persister;
        }
    }
}

fn prepare(mut preparer: Preparer, mut storage: DirStorage, stopped: &Receiver<()>) -> Preparer {
    loop {
        let pause = match preparer.step(&mut storage) {
            Prepared::Piece if preparer.is_waited_for() => continue,
            Prepared::Piece => PIECE_PAUSE,
            Prepared::Nothing | Prepared::NoRoom | Prepared::Poisoned => PREPARER_INTERVAL,
        };
        if is_stopped(stopped, pause) {
            return preparer;
        }
    }
}

/// Waits; true when the other end is gone.
fn is_stopped(stopped: &Receiver<()>, pause: Duration) -> bool {
    stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected)
}
