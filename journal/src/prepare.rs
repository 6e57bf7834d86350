//! Prepare: segments made ahead of need, and an eye on the room that is left.
//!
//! A segment is allocated and written full of zeros before it is used: then a group's sync carries
//! nothing but its bytes, and a full disk is met here, two segments before anything waits for it.
//! The zeros go out in paced pieces so that they do not stand in front of the persister's sync. A
//! new file has the suffix `.new` until it is whole and synced, so a name that is there is a
//! segment that is whole.
//!
//! A full disk is no failure of what is written already: the unfinished file is removed, the
//! shortage told, and the segment tried again when there is room. Everything else is poison.

use std::io;
use std::sync::Arc;

use crate::bytes::to_usize;
use crate::files::poison;
use crate::label::Label;
use crate::position::Geometry;
use crate::segment::{SEGMENT_HEADER_BYTES, SegmentLabel, segment_file, sums_file};
use crate::storage::Storage;
use crate::sums::sums_bytes;
use crate::watermarks::{Poison, Watermarks};

/// Segments that are whole beyond the one being appended to.
pub const SEGMENTS_AHEAD: u64 = 2;
/// Zeros written in one step.
const PIECE_BYTES: u64 = 1 << 20;

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// Enough segments are there.
    Nothing,
    /// A piece of the next one.
    Piece,
    /// There is no room for the next one.
    NoRoom,
    /// The disk failed, now or before.
    Poisoned,
}

/// Makes a journal's segments.
#[derive(Debug)]
pub struct Preparer {
    marks: Arc<Watermarks>,
    geometry: Geometry,
    label: Label,
    /// The segment to be made next.
    next: u64,
    /// Bytes of it that are written, once it is begun.
    written: Option<u64>,
    /// The disk refused room that it said it had: a quota, or what a file system keeps for itself.
    is_refused: bool,
    /// Free bytes below which the disk counts as full.
    low_water: u64,
    zeros: Box<[u8]>,
}

impl Preparer {
    /// Segments `[0, segment_count)` exist.
    pub(crate) fn new(
        marks: Arc<Watermarks>,
        geometry: Geometry,
        label: Label,
        segment_count: u64,
        low_water: u64,
    ) -> Self {
        marks.set_prepared(segment_count);
        let zeros = vec![0; to_usize(PIECE_BYTES.min(geometry.segment_bytes()))].into();
        Self {
            marks,
            geometry,
            label,
            next: segment_count,
            written: None,
            is_refused: false,
            low_water,
            zeros,
        }
    }

    /// Does the next piece of work, if there is one, and looks at the room that is left.
    pub fn step(&mut self, storage: &mut dyn Storage) -> Prepared {
        if self.marks.is_poisoned() {
            return Prepared::Poisoned;
        }
        let done = match self.look_at_room(storage) {
            Ok(has_room) => self.work(storage, has_room),
            Err(failure) => Err(failure),
        };
        done.unwrap_or_else(|failure| {
            self.marks.set_poison(failure);
            Prepared::Poisoned
        })
    }

    /// Whether the persister cannot go on, or soon cannot, before a segment is there.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.next <= self.geometry.segment_of(self.marks.appended()) + 1
    }

    /// Tells a shortage below the mark, and its end above twice the mark. Returns whether the next
    /// segment fits.
    fn look_at_room(&self, storage: &dyn Storage) -> Result<bool, Poison> {
        let free = storage.free_bytes().map_err(poison("the directory", "ask for its room"))?;
        let needed = self.file_bytes() + sums_bytes(self.geometry);
        let has_room = self.written.is_some() || free >= needed;
        let is_needed = self.is_needed();
        if free < self.low_water || (is_needed && !has_room) {
            self.marks.set_space_short(true);
        } else if !self.is_refused && free >= self.low_water.saturating_mul(2) {
            self.marks.set_space_short(false);
        }
        Ok(has_room)
    }

    fn is_needed(&self) -> bool {
        self.next <= self.geometry.segment_of(self.marks.appended()) + SEGMENTS_AHEAD
    }

    fn file_bytes(&self) -> u64 {
        SEGMENT_HEADER_BYTES + self.geometry.segment_bytes()
    }

    fn work(&mut self, storage: &mut dyn Storage, has_room: bool) -> Result<Prepared, Poison> {
        if !self.is_needed() {
            return Ok(Prepared::Nothing);
        }
        if !has_room {
            return Ok(Prepared::NoRoom);
        }
        let (name, sums) = (segment_file(self.next), sums_file(self.next));
        let new = format!("{name}.new");
        let Some(written) = self.written else {
            return self.begin(storage, &new, &sums);
        };
        if written < self.file_bytes() {
            let len = (self.file_bytes() - written).min(self.zeros.len() as u64);
            return match storage.write_at(&new, written, &self.zeros[..to_usize(len)]) {
                Ok(()) => {
                    self.written = Some(written + len);
                    Ok(Prepared::Piece)
                }
                Err(error) => self.give_up(storage, &new, "write zeros", error),
            };
        }
        let Some(label) = SegmentLabel::of(&self.label, self.next) else {
            unreachable!("the label's ring has a size that a ring can have");
        };
        let named = storage
            .write_at(&new, 0, &label.encode())
            .and_then(|()| storage.sync(&new))
            .and_then(|()| storage.sync(&sums))
            .and_then(|()| storage.rename(&new, &name));
        if let Err(error) = named {
            return self.give_up(storage, &new, "finish it", error);
        }
        storage.sync_names().map_err(poison(&name, "sync its name"))?;
        (self.written, self.is_refused) = (None, false);
        self.next += 1;
        self.marks.set_prepared(self.next);
        Ok(Prepared::Piece)
    }

    /// Makes the files, whole in length. What an earlier attempt left is removed.
    fn begin(
        &mut self,
        storage: &mut dyn Storage,
        new: &str,
        sums: &str,
    ) -> Result<Prepared, Poison> {
        for name in [new, sums] {
            match storage.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(poison(name, "remove it")(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let made = storage
            .create(new, self.file_bytes())
            .and_then(|()| storage.create(sums, sums_bytes(self.geometry)));
        match made {
            Ok(()) => {
                // The header page is written last.
                self.written = Some(SEGMENT_HEADER_BYTES);
                Ok(Prepared::Piece)
            }
            Err(error) => self.give_up(storage, new, "make it", error),
        }
    }

    /// A full disk is waited for; anything else is poison.
    fn give_up(
        &mut self,
        storage: &mut dyn Storage,
        new: &str,
        doing: &'static str,
        error: io::Error,
    ) -> Result<Prepared, Poison> {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if !matches!(error.kind(), StorageFull | QuotaExceeded) {
            return Err(poison(new, doing)(error));
        }
        (self.written, self.is_refused) = (None, true);
        self.marks.set_space_short(true);
        // Their room is wanted; one that cannot even be removed is met again by the next attempt.
        for name in [new, &sums_file(self.next)] {
            let _ = storage.remove(name);
        }
        Ok(Prepared::NoRoom)
    }
}
