//! Walk: every record of an open journal, the old ones from the segments, the newest from the ring.
//!
//! A start replays the whole journal, and the ring holds only its end. The segments are read up to
//! the ring's base, where a record begins, and from there on nothing is read from the disk.

use std::path::Path;

use crate::error::JournalError;
use crate::position::Position;
use crate::record::Record;
use crate::ring::{Records, Ring};
use crate::scan::{Step, Stored};
use crate::segment::segment_file;
use crate::storage::Storage;

/// The records of an open journal in order, pads among them.
#[derive(Debug)]
pub struct Walk<'a, S> {
    dir: &'a Path,
    storage: &'a S,
    ring: &'a Ring,
    stored: Stored,
    newest: Option<Records<'a>>,
}

impl<'a, S: Storage> Walk<'a, S> {
    /// From the first record on; `dir` is for messages.
    #[must_use]
    pub fn new(ring: &'a Ring, storage: &'a S, dir: &'a Path) -> Self {
        let geometry = ring.geometry();
        let segment_count = geometry.segment_of(ring.base()) + 1;
        let stored = Stored::new(geometry, segment_count);
        Self { dir, storage, ring, stored, newest: None }
    }

    /// The next record with its position.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the walk")]
    pub fn next(&mut self) -> Result<Option<(Position, Record<'_>)>, JournalError> {
        let position = self.stored.position();
        let base = self.ring.base();
        if let Some(newest) = &mut self.newest {
            return Ok(newest.next());
        }
        if position >= base {
            // What the persister brought to the disk since does not matter: the ring has it too.
            let newest = self.newest.insert(self.ring.records_from(position));
            return Ok(newest.next());
        }
        let path = || self.dir.join(segment_file(self.ring.geometry().segment_of(position)));
        match self.stored.step(self.storage) {
            Ok(Step::Record(at)) => Ok(Some((at, self.stored.record(at)))),
            Ok(Step::Break(error)) => Err(JournalError::Changed { path: path(), error }),
            Ok(Step::End) => unreachable!("the segments reach to the ring's base"),
            Err(error) => Err(JournalError::io_owned(path(), "read it")(error)),
        }
    }
}
