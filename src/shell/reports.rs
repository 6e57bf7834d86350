//! Reports: the disk of the report log, opened at a start, and the thread that writes to it.
//!
//! Derived data: a replay makes every report again, so nothing here is ever believed against the
//! journal, and nothing that fails here ends the node. A disk that fails ends the reports on it,
//! and is told once.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use journal::{
    DirStorage, RegionReader, RingBytes, Spool, SpoolFound, SpoolIdentity, SpoolOptions,
};

use super::activate::Opened;
use super::rebuild::Rebuild;
use crate::config::Local;

/// How often the thread looks for reports: nobody waits for them, and a group costs a sync.
const INTERVAL: Duration = Duration::from_millis(10);

/// The spool of the reports, and its directory.
pub struct ReportDisk {
    spool: Spool,
    storage: DirStorage,
}

/// The same, while it works.
pub struct ReportThread {
    /// The thread stops when it is dropped.
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ReportDisk {
    /// Looks at what is there for the journal that was opened; what is of no use is removed.
    pub fn open(local: &Local, opened: &Opened) -> io::Result<(Self, SpoolFound)> {
        let mut storage = Spool::directory(&local.data_dir)?;
        let options = SpoolOptions {
            identity: SpoolIdentity::of(opened.label()),
            ring_bytes: local.report_ring_bytes,
            low_water: local.space_low_water,
        };
        let (spool, found) = Spool::open(&mut storage, &options)?;
        Ok((Self { spool, storage }, found))
    }

    /// The reports of a replay go to this disk.
    pub fn rebuild<'a>(&'a mut self, rebuild: &mut Rebuild<'a>) {
        rebuild.spool_to(&mut self.spool, &mut self.storage);
    }

    /// One step, for who has no thread. False when there was nothing to do.
    pub fn step(&mut self, ring: &dyn RingBytes) -> bool {
        self.spool.step(&mut self.storage, ring).is_more()
    }

    /// Starts the thread; `ring` reads the log's memory.
    pub fn start(self, ring: RegionReader) -> io::Result<ReportThread> {
        let (stop, stopped) = bounded(0);
        let thread = thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || write(self, &ring, &stopped))?;
        Ok(ReportThread { stop, thread })
    }
}

impl ReportThread {
    /// Brings the last reports to the disk and ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        // An assertion in derived data has said what there is to say.
        let _ = self.thread.join();
    }
}

fn write(mut disk: ReportDisk, ring: &RegionReader, stopped: &Receiver<()>) {
    loop {
        // Once it is broken a step does nothing; the hot thread sees that, and tells.
        if disk.spool.step(&mut disk.storage, ring).is_more() {
            continue;
        }
        if stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Disconnected) {
            while disk.spool.step(&mut disk.storage, ring).is_more() {}
            return;
        }
    }
}
