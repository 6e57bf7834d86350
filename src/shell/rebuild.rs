//! Rebuild: the report log once more, while a journal is replayed and there is nobody to tell.
//!
//! The reports of a long journal go round the log's ring many times, and each must reach the disk,
//! or be found there, before the ring comes round to it. No thread copies yet, so the replay does:
//! whenever half of the ring is not on the disk, it steps the spool until it has nothing to do. A
//! disk that fails, or has no room, holds no start up: the reports then end there.

use crate::engine::outbox::ReportSink;
use crate::session::report_log::ReportLog;
use crate::vocabulary::event::Event;
use crate::vocabulary::units::{Index, Seq, SessionIdx};
use journal::{Position, Spool, Storage};

/// Takes every report of a replay into the log, and on to the disk where there is one.
pub struct Rebuild<'a> {
    log: &'a mut ReportLog,
    spool: Option<(&'a mut Spool, &'a mut dyn Storage)>,
    /// The log's head at which a disk without room is asked again.
    asked_again_at: u64,
}

impl<'a> Rebuild<'a> {
    /// Without a disk for reports.
    #[must_use]
    pub fn new(log: &'a mut ReportLog) -> Self {
        Self { log, spool: None, asked_again_at: 0 }
    }

    /// The reports go to the disk, too: to be said before the first of them. The log tells this
    /// spool from now on how far it is.
    pub fn spool_to(&mut self, spool: &'a mut Spool, storage: &'a mut dyn Storage) {
        assert!(self.log.spool().is_none(), "a log has one spool");
        self.log.attach(spool.marks());
        self.spool = Some((spool, storage));
    }

    /// The replay is done, and these are all reports there are: brings the rest to the disk, and
    /// removes what it has beyond them.
    pub fn finish(mut self) {
        self.step_spool();
        let end = Position::new(self.log.head());
        if let Some((spool, storage)) = &mut self.spool {
            spool.truncate_to(*storage, end);
        }
        self.step_spool();
    }

    fn step_spool(&mut self) {
        if let Some((spool, storage)) = &mut self.spool {
            self.log.publish();
            while spool.step(*storage, self.log.region()).is_more() {}
        }
        self.asked_again_at = self.log.head() + self.log.size() as u64 / 8;
    }
}

impl ReportSink for Rebuild<'_> {
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8] {
        let is_behind = self.log.unpersisted_bytes() > self.log.size() as u64 / 2;
        if is_behind && self.log.head() >= self.asked_again_at {
            self.step_spool();
        }
        self.log.append(session, number, index, len)
    }

    fn logon(&mut self, _: Index, _: &Event) {}
}
