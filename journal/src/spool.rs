//! Spool: derived bytes from a ring to files, for as long as the disk is willing.
//!
//! ```text
//! ring [position, appended) -> copy -> was it overwritten meanwhile? -> segment, checksums of
//!      finished pieces, slot with the value so far -> one sync -> persisted = here
//! ```
//!
//! What is spooled can be made again from the journal, so this is the persister with the opposite
//! temper. It holds nobody up: what the ring overwrote before it was copied is a hole, and the next
//! piece goes on behind it. The first error of the disk ends it for the life of the process, is
//! told once, and stops nothing else. A full disk is no error: it is tried again with each step.
//!
//! At a start the stream is made again from its first byte. Where an earlier run had brought it to
//! the disk, pieces are compared by their checksums and not written again; a hole is filled; and
//! from the first piece that differs on, everything is written anew. So nothing is believed only
//! because it was found, and the work of a start is reading memory.
//!
//! A piece's checksum is written with its last bytes and below `known_to` believed only with data
//! that were synced before it, so that a power cut leaves pieces that match or pieces that are
//! refused (`SpoolReader`).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::bytes::{is_zero, to_u64, to_usize};
use crate::files::poison;
use crate::position::{Geometry, Position};
use crate::ring::RingBytes;
use crate::spool_file::{
    Persisted, Shape, SpoolIdentity, SpoolUseless, encode_crcs, is_unfinished, report_file,
    report_file_new, report_segment,
};
use crate::spool_marks::SpoolMarks;
use crate::storage::{DirStorage, Storage};
use crate::watermarks::Poison;

/// The directory of the reports, in the journal's.
pub const REPORTS_DIR: &str = "reports";
/// Most bytes of one step.
pub const SPOOL_GROUP_BYTES_MAX: u64 = 4 << 20;

/// What a spool is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct SpoolOptions {
    /// Whose bytes these are.
    pub identity: SpoolIdentity,
    /// Bytes of the ring; four segments. A power of two from [`crate::RING_BYTES_MIN`] on.
    pub ring_bytes: u64,
    /// A segment is not made when fewer bytes than this would be free behind it.
    pub low_water: u64,
}

/// What was found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolFound {
    /// Nothing.
    Nothing,
    /// Segments of this journal, on the disk up to this position.
    Resumed(Position),
    /// Segments of no use; all were removed.
    BegunAnew {
        /// The first of them that tells.
        file: String,
        /// What it tells.
        why: SpoolUseless,
    },
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolProgress {
    /// Nothing more can be done before more is appended.
    Nothing,
    /// So many bytes more are on the disk.
    Group(u64),
    /// So many bytes more were there from an earlier run.
    Known(u64),
    /// So many bytes were given up: the ring overwrote them, or some beside them, before they were
    /// copied.
    Lost(u64),
    /// From here on the disk held other bytes; they are written anew.
    Differed(Position),
    /// There is no room for the next segment.
    NoRoom,
    /// The disk failed, now or before; [`SpoolMarks::broken`] has the reason.
    Broken,
}

impl SpoolProgress {
    /// Whether another step may find more to do at once.
    #[must_use]
    pub const fn is_more(self) -> bool {
        match self {
            Self::Group(_) | Self::Known(_) | Self::Lost(_) | Self::Differed(_) => true,
            Self::Nothing | Self::NoRoom | Self::Broken => false,
        }
    }
}

/// Copies a ring of derived bytes to segments.
///
/// Invariants: everything below `position` is on the disk, a hole, or given up; `known_to` is the
/// start of a piece, and so is `position` below it; no checksum on the disk is set for a piece at
/// or above both; segments in `made` are whole files of ours.
#[derive(Debug)]
pub struct Spool {
    marks: Arc<SpoolMarks>,
    shape: Shape,
    position: Position,
    known_to: Position,
    /// Checksum of the piece at `position` so far; `None` at its start, or if it has a hole.
    crc: Option<u32>,
    made: BTreeSet<u64>,
    /// The slot that is written next, and the generation of the last one.
    slot: usize,
    generation: u64,
    low_water: u64,
    buffer: Box<[u8]>,
}

impl Spool {
    /// Makes the directory of the reports in the journal's, if it is not there.
    pub fn directory(dir: &Path) -> io::Result<DirStorage> {
        let reports = dir.join(REPORTS_DIR);
        match std::fs::create_dir(&reports) {
            Ok(()) => std::fs::File::open(dir)?.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(DirStorage::new(&reports))
    }

    /// Looks at what is there and removes what is of no use. The stream begins at 0 again.
    pub fn open(
        storage: &mut dyn Storage,
        options: &SpoolOptions,
    ) -> io::Result<(Self, SpoolFound)> {
        let SpoolOptions { identity, ring_bytes, low_water } = *options;
        let geometry = Geometry::new(ring_bytes).ok_or_else(|| {
            let text = format!("expected a ring of a power of two of bytes, found {ring_bytes}");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let shape = Shape::new(identity, geometry);
        let group = SPOOL_GROUP_BYTES_MAX.min(geometry.segment_bytes());
        let mut spool = Self {
            marks: Arc::default(),
            shape,
            position: Position::ZERO,
            known_to: Position::ZERO,
            crc: None,
            made: BTreeSet::new(),
            slot: 0,
            generation: 0,
            low_water,
            buffer: vec![0; to_usize(group)].into(),
        };
        for name in storage.list()?.iter().filter(|name| is_unfinished(name)) {
            storage.remove(name)?;
        }
        let found = spool.look(storage)?;
        Ok((spool, found))
    }

    /// One step: at most a group of bytes, at most to the end of a segment. `ring` has the stream's
    /// byte at `position` in its place `position mod ring_bytes`.
    pub fn step(&mut self, storage: &mut dyn Storage, ring: &dyn RingBytes) -> SpoolProgress {
        if self.marks.is_broken() {
            return SpoolProgress::Broken;
        }
        let done = self.work(storage, ring);
        self.or_broken(done)
    }

    /// The stream was made again and ends at `end`: what an earlier run had beyond it, of records
    /// that the journal no longer has, is removed. Everything below was stepped over before.
    pub fn truncate_to(&mut self, storage: &mut dyn Storage, end: Position) -> SpoolProgress {
        if self.marks.is_broken() {
            return SpoolProgress::Broken;
        }
        if end >= self.known_to {
            return SpoolProgress::Nothing;
        }
        let cut = self.shape.piece_start(end);
        // It may have stepped over a piece of which the ring lost the front.
        let is_behind = self.position.since(end) < self.shape.piece_bytes();
        assert!(is_behind, "the stream ends behind what was copied of it");
        let done = self.forget_from(storage, cut).map(|()| SpoolProgress::Differed(cut));
        self.or_broken(done)
    }

    /// Removes every segment, for a day that is over. The stream goes on where it is; the piece
    /// that is being written has a hole then. A start that makes the stream again writes it again.
    pub fn remove_all(&mut self, storage: &mut dyn Storage) -> SpoolProgress {
        if self.marks.is_broken() {
            return SpoolProgress::Broken;
        }
        (self.known_to, self.crc) = (Position::ZERO, None);
        let done = self.remove_from(storage, 0).map(|()| SpoolProgress::Nothing);
        self.or_broken(done)
    }

    /// What the writer of the ring and this spool tell each other.
    #[must_use]
    pub fn marks(&self) -> &Arc<SpoolMarks> {
        &self.marks
    }

    /// Below this, pieces are from an earlier run and compared.
    #[must_use]
    pub fn known_to(&self) -> Position {
        self.known_to
    }

    fn or_broken(&self, done: Result<SpoolProgress, Poison>) -> SpoolProgress {
        done.unwrap_or_else(|failure| {
            self.marks.set_broken(failure);
            SpoolProgress::Broken
        })
    }

    /// Whose segments are there, how far they reach, and what of the last one is not to be believed.
    fn look(&mut self, storage: &mut dyn Storage) -> io::Result<SpoolFound> {
        let names = storage.list()?;
        self.made = names.iter().filter_map(|name| report_segment(name)).collect();
        let Some(last) = self.made.last().copied() else { return Ok(SpoolFound::Nothing) };
        for number in self.made.clone() {
            if let Err(why) = self.shape.judge(storage, number)? {
                for number in std::mem::take(&mut self.made).into_iter().rev() {
                    storage.remove(&report_file(number))?;
                }
                storage.sync_names()?;
                return Ok(SpoolFound::BegunAnew { file: report_file(number), why });
            }
        }
        // Everything in front of a segment was on the disk, or given up, before it got its name.
        let mut persisted = self.shape.geometry.segment_start(last);
        if let Some((newest, slot)) = self.shape.newest_slot(storage, last)? {
            persisted = newest.position;
            (self.generation, self.slot) = (newest.generation, 1 - slot);
        }
        self.known_to = self.shape.piece_start(persisted);
        if self.shape.geometry.segment_of(self.known_to) == last {
            self.clear_crcs(storage, self.known_to)?;
        }
        Ok(SpoolFound::Resumed(persisted))
    }

    fn work(
        &mut self,
        storage: &mut dyn Storage,
        ring: &dyn RingBytes,
    ) -> Result<SpoolProgress, Poison> {
        let appended = self.marks.appended();
        if let Some(lost) = self.pass_lost(appended) {
            return Ok(lost);
        }
        let is_known = self.position < self.known_to;
        let left = appended.since(self.position);
        let piece_bytes = self.shape.piece_bytes();
        let group = to_u64(self.buffer.len()).min(self.geometry().segment_left(self.position));
        let (least, most) = if is_known { (piece_bytes, piece_bytes) } else { (1, group) };
        if left < least {
            return Ok(SpoolProgress::Nothing);
        }
        let len = left.min(most);
        let place = self.geometry().ring_offset(self.position);
        let bytes = &mut self.buffer[..to_usize(len)];
        ring.read_ring(place, bytes).map_err(poison("the report ring", "read it"))?;
        // Only now: an overwriting that began during the copy has moved the mark before.
        if let Some(lost) = self.pass_lost(appended) {
            return Ok(lost);
        }
        let progress = if is_known { self.compare(storage)? } else { self.write(storage, len)? };
        self.publish(appended);
        Ok(progress)
    }

    /// Steps over what the ring has overwritten, to the start of a piece that it has whole.
    fn pass_lost(&mut self, appended: Position) -> Option<SpoolProgress> {
        let lost_to = self.marks.lost_to();
        let lost = lost_to.since(self.position);
        if lost == 0 {
            return None;
        }
        let from = self.position;
        let in_piece = lost_to.get() % self.shape.piece_bytes();
        let to_next = if in_piece == 0 { 0 } else { self.shape.piece_left(lost_to) };
        (self.position, self.crc) = (lost_to.plus(to_next), None);
        self.publish(appended);
        Some(SpoolProgress::Lost(self.position.since(from)))
    }

    fn publish(&self, appended: Position) {
        // What was skipped may not even be appended yet.
        self.marks.set_persisted(self.position.min(appended).max(self.marks.persisted()));
    }

    /// Looks whether the piece in the buffer is on the disk, and fills it in where it is not.
    fn compare(&mut self, storage: &mut dyn Storage) -> Result<SpoolProgress, Poison> {
        let piece_bytes = self.shape.piece_bytes();
        let segment = self.geometry().segment_of(self.position);
        let name = report_file(segment);
        let offset = self.shape.crc_offset(self.position);
        let mut stored = [0; 4];
        if self.made.contains(&segment) {
            storage.read_at(&name, offset, &mut stored).map_err(poison(&name, "read it"))?;
        }
        let bytes = &self.buffer[..to_usize(piece_bytes)];
        let crc = self.shape.crc_of(self.shape.piece_of(self.position), bytes).to_le_bytes();
        let progress = if stored == crc {
            SpoolProgress::Known(piece_bytes)
        } else if is_zero(&stored) {
            if !self.make_segment(storage, segment)? {
                return Ok(SpoolProgress::NoRoom);
            }
            // A later start believes a checksum below `known_to`, so its bytes go first.
            let bytes = &self.buffer[..to_usize(piece_bytes)];
            for (offset, bytes) in [(self.shape.byte_offset(self.position), bytes), (offset, &crc)]
            {
                storage.write_at(&name, offset, bytes).map_err(poison(&name, "write it"))?;
                storage.sync_data(&name).map_err(poison(&name, "sync it"))?;
            }
            SpoolProgress::Group(piece_bytes)
        } else {
            self.forget_from(storage, self.position)?;
            return Ok(SpoolProgress::Differed(self.position));
        };
        self.position = self.position.plus(piece_bytes);
        Ok(progress)
    }

    /// Brings the first `len` bytes of the buffer to the disk, as one group.
    fn write(&mut self, storage: &mut dyn Storage, len: u64) -> Result<SpoolProgress, Poison> {
        let segment = self.geometry().segment_of(self.position);
        if !self.make_segment(storage, segment)? {
            return Ok(SpoolProgress::NoRoom);
        }
        let name = report_file(segment);
        let crcs_at = self.shape.crc_offset(self.position);
        let (crcs, crc) = self.finished_pieces(len);
        let bytes = &self.buffer[..to_usize(len)];
        let write = poison(&name, "write it");
        storage.write_at(&name, self.shape.byte_offset(self.position), bytes).map_err(write)?;
        let write = poison(&name, "write its checksums");
        storage.write_at(&name, crcs_at, &encode_crcs(&crcs)).map_err(write)?;
        self.write_slot(storage, &name, self.position)?;
        storage.sync_data(&name).map_err(poison(&name, "sync it"))?;
        self.crc = crc;
        self.position = self.position.plus(len);
        Ok(SpoolProgress::Group(len))
    }

    /// Checksums of the pieces that the first `len` bytes of the buffer finish, as they are stored,
    /// and of the one behind them so far.
    fn finished_pieces(&self, len: u64) -> (Vec<u32>, Option<u32>) {
        let (mut finished, mut crc) = (Vec::new(), self.crc);
        let mut done = 0;
        while done < len {
            let at = self.position.plus(done);
            let left = self.shape.piece_left(at);
            if left == self.shape.piece_bytes() {
                crc = Some(self.shape.crc_begin(self.shape.piece_of(at)));
            }
            let now = left.min(len - done);
            let bytes = &self.buffer[to_usize(done)..to_usize(done + now)];
            crc = crc.map(|crc| crc32c::crc32c_append(crc, bytes));
            if now == left {
                finished.push(crc.take().map_or(0, Shape::crc_end));
            }
            done += now;
        }
        (finished, crc)
    }

    /// Makes the file of a segment, unless it is there; false when there is no room for it.
    fn make_segment(&mut self, storage: &mut dyn Storage, segment: u64) -> Result<bool, Poison> {
        if self.made.contains(&segment) {
            return Ok(true);
        }
        let (name, new) = (report_file(segment), report_file_new(segment));
        let file_bytes = self.shape.file_bytes();
        let free = storage.free_bytes().map_err(poison(&name, "ask for room for it"))?;
        let has_room = free >= self.low_water.saturating_add(file_bytes);
        let created = match has_room.then(|| storage.create(&new, file_bytes)) {
            None => false,
            Some(Err(error)) if error.kind() == io::ErrorKind::StorageFull => false,
            Some(done) => done.map_err(poison(&new, "create it")).map(|()| true)?,
        };
        self.marks.set_space_short(!created);
        if created {
            let label = self.shape.label(segment);
            storage.write_at(&new, 0, &label).map_err(poison(&new, "write its label"))?;
            storage.sync(&new).map_err(poison(&new, "sync it"))?;
            storage.rename(&new, &name).map_err(poison(&name, "name it"))?;
            storage.sync_names().map_err(poison(&name, "sync its name"))?;
            self.made.insert(segment);
        }
        Ok(created)
    }

    fn write_slot(
        &mut self,
        storage: &mut dyn Storage,
        name: &str,
        position: Position,
    ) -> Result<(), Poison> {
        self.generation += 1;
        let persisted = Persisted { position, generation: self.generation };
        persisted.write(storage, name, self.slot).map_err(poison(name, "write its slot"))?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    /// Takes back what an earlier run had at or above `cut`, the start of a piece.
    fn forget_from(&mut self, storage: &mut dyn Storage, cut: Position) -> Result<(), Poison> {
        let segment = self.geometry().segment_of(cut);
        self.remove_from(storage, segment + 1)?;
        if self.made.contains(&segment) {
            let name = report_file(segment);
            self.clear_crcs(storage, cut).map_err(poison(&name, "clear its checksums"))?;
            self.write_slot(storage, &name, cut)?;
            storage.sync_data(&name).map_err(poison(&name, "sync it"))?;
        }
        self.known_to = cut;
        Ok(())
    }

    /// Removes segments, the last one first, so that what is left after a kill has no gap.
    fn remove_from(&mut self, storage: &mut dyn Storage, first: u64) -> Result<(), Poison> {
        let removed = self.made.split_off(&first);
        for segment in removed.iter().rev() {
            let name = report_file(*segment);
            storage.remove(&name).map_err(poison(&name, "remove it"))?;
        }
        match removed.first() {
            Some(segment) => {
                storage.sync_names().map_err(poison(&report_file(*segment), "sync its removal"))
            }
            None => Ok(()),
        }
    }

    /// No piece from the one of `from` to the end of its segment counts as finished.
    fn clear_crcs(&self, storage: &mut dyn Storage, from: Position) -> io::Result<()> {
        let name = report_file(self.geometry().segment_of(from));
        let offset = self.shape.crc_offset(from);
        let mut stored = vec![0; to_usize(self.shape.crcs_left(from))];
        storage.read_at(&name, offset, &mut stored)?;
        if !is_zero(&stored) {
            stored.fill(0);
            storage.write_at(&name, offset, &stored)?;
            storage.sync_data(&name)?;
        }
        Ok(())
    }

    const fn geometry(&self) -> Geometry {
        self.shape.geometry
    }
}
