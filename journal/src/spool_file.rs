//! The files of a spool: a segment of derived bytes, and what is needed to believe a part of it.
//!
//! ```text
//! 0                    4096                table end             file end
//! | label, two slots   | crc of each piece | segment bytes ...   |
//! ```
//!
//! Segment k holds the positions `[k * S, (k + 1) * S)` of the stream, `S` being a quarter of the
//! ring it comes from. It is cut into pieces of 64 KiB (or is one piece, if it is smaller). A piece
//! is believed by itself: its checksum also covers whose it is and which, so that an older file, a
//! neighbour's, or a write that went astray does not match. A checksum of 0 says that the piece is
//! not finished, or has a hole.
//!
//! The slots tell a position below which everything was on the disk, as in the journal's segments:
//! they never run ahead of the disk and lag by one group.

use std::io;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::{is_zero, to_u64};
use crate::label::{FORMAT_VERSION, Label, Uuid, checksum_holds, slot_checksum};
use crate::position::{Geometry, Position};
use crate::storage::Storage;

/// Bytes of a piece, the unit that can be believed and read by itself; a smaller segment is one.
pub const SPOOL_PIECE_BYTES: u64 = 64 << 10;

/// Bytes of the label and the slots, and unit of the table's length.
const PAGE_BYTES: u64 = 4096;
const CRC_BYTES: u64 = 4;
const LABEL_MAGIC: [u8; 8] = *b"TGREPT\r\n";
const LABEL_BYTES: usize = 64;
const SLOT_MAGIC: [u8; 8] = *b"TGSPOL\r\n";
const SLOT_BYTES: usize = 40;
/// Sectors of their own.
const SLOTS: [u64; 2] = [1024, 2048];

const PREFIX: &str = "report-";
const SUFFIX: &str = ".seg";
const SUFFIX_NEW: &str = ".seg.new";

/// The file of a segment of reports.
#[must_use]
pub fn report_file(segment: u64) -> String {
    format!("{PREFIX}{segment:08}{SUFFIX}")
}

/// Its name before it is whole.
pub(crate) fn report_file_new(segment: u64) -> String {
    format!("{PREFIX}{segment:08}{SUFFIX_NEW}")
}

pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX_NEW)
}

/// The segment whose file has this name.
pub(crate) fn report_segment(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    (report_file(number) == name).then_some(number)
}

/// Whose derived bytes these are. Another journal's say nothing about ours, and another incarnation
/// may have lost records that the reports on the disk tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolIdentity {
    /// The journal they are derived from.
    pub journal_uuid: Uuid,
    /// Its incarnation.
    pub incarnation: u64,
}

impl SpoolIdentity {
    /// Of the open journal with this label.
    #[must_use]
    pub fn of(label: &Label) -> Self {
        Self { journal_uuid: label.journal_uuid, incarnation: label.incarnation }
    }
}

/// Why the segments that were found are of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolUseless {
    /// They belong to another journal.
    #[error("of journal {found}, {expected} expected")]
    OtherJournal {
        /// Ours.
        expected: Uuid,
        /// Theirs.
        found: Uuid,
    },
    /// The journal may have lost records since.
    #[error("of incarnation {found}, {expected} expected")]
    OtherIncarnation {
        /// Ours.
        expected: u64,
        /// Theirs.
        found: u64,
    },
    /// They come from a ring of another size.
    #[error("a segment of {found} bytes, {expected} expected")]
    OtherSize {
        /// Ours.
        expected: u64,
        /// Theirs.
        found: u64,
    },
    /// Another version of this program wrote them.
    #[error("of format version {found}, {FORMAT_VERSION} expected")]
    OtherVersion {
        /// Theirs.
        found: u32,
    },
    /// One has another number in it than in its name.
    #[error("numbered {found} inside")]
    OtherNumber {
        /// The number inside.
        found: u64,
    },
    /// One is shorter or longer than it was made.
    #[error("a file of {found} bytes, {expected} expected")]
    Length {
        /// As it is made.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// One has no label.
    #[error("without a whole label")]
    Damaged,
}

/// Sizes and identity of a spool's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) geometry: Geometry,
    identity: SpoolIdentity,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SegmentLabel {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    journal_uuid: [u8; 16],
    incarnation: U64,
    number: U64,
    segment_bytes: U64,
    reserved: [u8; 8],
}

const _: () = assert!(size_of::<SegmentLabel>() == LABEL_BYTES);
const _: () = assert!(std::mem::offset_of!(SegmentLabel, crc) == 12);
const _: () = assert!(std::mem::offset_of!(SegmentLabel, incarnation) == 32);
const _: () = assert!(std::mem::offset_of!(SegmentLabel, reserved) == 56);

/// A position below which everything was on the disk; the higher generation is the newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Persisted {
    pub(crate) position: Position,
    pub(crate) generation: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Slot {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    position: U64,
    generation: U64,
    reserved: [u8; 8],
}

const _: () = assert!(size_of::<Slot>() == SLOT_BYTES);
const _: () = assert!(std::mem::offset_of!(Slot, crc) == 12);

impl Shape {
    pub(crate) const fn new(identity: SpoolIdentity, geometry: Geometry) -> Self {
        Self { geometry, identity }
    }

    pub(crate) const fn piece_bytes(&self) -> u64 {
        let segment_bytes = self.geometry.segment_bytes();
        if segment_bytes < SPOOL_PIECE_BYTES { segment_bytes } else { SPOOL_PIECE_BYTES }
    }

    pub(crate) const fn piece_of(&self, position: Position) -> u64 {
        position.get() / self.piece_bytes()
    }

    /// Bytes from `position` to the end of its piece, in `[1, piece_bytes]`.
    pub(crate) const fn piece_left(&self, position: Position) -> u64 {
        self.piece_bytes() - position.get() % self.piece_bytes()
    }

    /// The start of the piece that `position` is in.
    pub(crate) const fn piece_start(&self, position: Position) -> Position {
        Position::new(position.get() - position.get() % self.piece_bytes())
    }

    /// Where the bytes of `position` stand in the file of its segment.
    pub(crate) const fn byte_offset(&self, position: Position) -> u64 {
        PAGE_BYTES + self.table_bytes() + self.geometry.segment_offset(position)
    }

    /// Where the checksum of the piece of `position` stands in the file of its segment.
    pub(crate) const fn crc_offset(&self, position: Position) -> u64 {
        PAGE_BYTES + self.geometry.segment_offset(position) / self.piece_bytes() * CRC_BYTES
    }

    /// Bytes of the checksums from the piece of `position` to the last of its segment.
    pub(crate) const fn crcs_left(&self, position: Position) -> u64 {
        let pieces = self.geometry.segment_left(position).div_ceil(self.piece_bytes());
        pieces * CRC_BYTES
    }

    const fn table_bytes(&self) -> u64 {
        let pieces = self.geometry.segment_bytes() / self.piece_bytes();
        (pieces * CRC_BYTES).next_multiple_of(PAGE_BYTES)
    }

    pub(crate) const fn file_bytes(&self) -> u64 {
        PAGE_BYTES + self.table_bytes() + self.geometry.segment_bytes()
    }

    /// The checksum of a piece before its first byte.
    pub(crate) fn crc_begin(&self, piece: u64) -> u32 {
        let crc = crc32c::crc32c(&self.identity.journal_uuid.0);
        let crc = crc32c::crc32c_append(crc, &self.identity.incarnation.to_le_bytes());
        crc32c::crc32c_append(crc, &piece.to_le_bytes())
    }

    /// A checksum as it is stored: 0 has a meaning of its own.
    pub(crate) const fn crc_end(crc: u32) -> u32 {
        if crc == 0 { 1 } else { crc }
    }

    /// The checksum of a whole piece, as it is stored.
    pub(crate) fn crc_of(&self, piece: u64, bytes: &[u8]) -> u32 {
        Self::crc_end(crc32c::crc32c_append(self.crc_begin(piece), bytes))
    }

    pub(crate) fn label(&self, number: u64) -> [u8; LABEL_BYTES] {
        let mut label = SegmentLabel {
            magic: LABEL_MAGIC,
            version: FORMAT_VERSION.into(),
            crc: U32::ZERO,
            journal_uuid: self.identity.journal_uuid.0,
            incarnation: self.identity.incarnation.into(),
            number: number.into(),
            segment_bytes: self.geometry.segment_bytes().into(),
            reserved: [0; 8],
        };
        label.crc = slot_checksum(label.as_bytes()).into();
        let mut bytes = [0; LABEL_BYTES];
        bytes.copy_from_slice(label.as_bytes());
        bytes
    }

    /// Whether the file of a segment is ours and whole.
    pub(crate) fn judge(
        &self,
        storage: &dyn Storage,
        number: u64,
    ) -> io::Result<Result<(), SpoolUseless>> {
        let name = report_file(number);
        let mut bytes = [0; LABEL_BYTES];
        match storage.read_at(&name, 0, &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Err(SpoolUseless::Damaged));
            }
            read => read?,
        }
        let (expected, found) = (self.file_bytes(), storage.len(&name)?.unwrap_or(0));
        let length = SpoolUseless::Length { expected, found };
        let judged = self.judge_label(&bytes, number);
        Ok(judged.and(if found == expected { Ok(()) } else { Err(length) }))
    }

    fn judge_label(&self, bytes: &[u8; LABEL_BYTES], number: u64) -> Result<(), SpoolUseless> {
        let Ok(label) = SegmentLabel::ref_from_bytes(bytes) else {
            return Err(SpoolUseless::Damaged);
        };
        let (expected, found) = (self.identity, Uuid(label.journal_uuid));
        let segment_bytes = self.geometry.segment_bytes();
        if label.magic != LABEL_MAGIC || !checksum_holds(bytes) {
            Err(SpoolUseless::Damaged)
        } else if label.version.get() != FORMAT_VERSION {
            Err(SpoolUseless::OtherVersion { found: label.version.get() })
        } else if !is_zero(&label.reserved) {
            Err(SpoolUseless::Damaged)
        } else if found != expected.journal_uuid {
            Err(SpoolUseless::OtherJournal { expected: expected.journal_uuid, found })
        } else if label.incarnation.get() != expected.incarnation {
            let (expected, found) = (expected.incarnation, label.incarnation.get());
            Err(SpoolUseless::OtherIncarnation { expected, found })
        } else if label.segment_bytes.get() != segment_bytes {
            let found = label.segment_bytes.get();
            Err(SpoolUseless::OtherSize { expected: segment_bytes, found })
        } else if label.number.get() != number {
            Err(SpoolUseless::OtherNumber { found: label.number.get() })
        } else {
            Ok(())
        }
    }

    /// The newest slot of a segment and its place, if one is whole and speaks of this segment.
    pub(crate) fn newest_slot(
        &self,
        storage: &dyn Storage,
        number: u64,
    ) -> io::Result<Option<(Persisted, usize)>> {
        let start = number * self.geometry.segment_bytes();
        let range = start..=start + self.geometry.segment_bytes();
        let mut newest: Option<(Persisted, usize)> = None;
        for (place, offset) in SLOTS.into_iter().enumerate() {
            let mut bytes = [0; SLOT_BYTES];
            storage.read_at(&report_file(number), offset, &mut bytes)?;
            let Some(found) = Persisted::decode(&bytes) else { continue };
            let is_newer = newest.is_none_or(|(best, _)| found.generation > best.generation);
            if is_newer && range.contains(&found.position.get()) {
                newest = Some((found, place));
            }
        }
        Ok(newest)
    }
}

impl Persisted {
    /// Writes it into a slot of a segment.
    pub(crate) fn write(
        self,
        storage: &mut dyn Storage,
        name: &str,
        slot: usize,
    ) -> io::Result<()> {
        storage.write_at(name, SLOTS[slot], &self.encode())
    }

    fn encode(self) -> [u8; SLOT_BYTES] {
        let mut slot = Slot {
            magic: SLOT_MAGIC,
            version: FORMAT_VERSION.into(),
            crc: U32::ZERO,
            position: self.position.get().into(),
            generation: self.generation.into(),
            reserved: [0; 8],
        };
        slot.crc = slot_checksum(slot.as_bytes()).into();
        let mut bytes = [0; SLOT_BYTES];
        bytes.copy_from_slice(slot.as_bytes());
        bytes
    }

    /// `None`: never written, or not to its end.
    fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Self> {
        let slot = Slot::ref_from_bytes(bytes).ok()?;
        let is_good = slot.magic == SLOT_MAGIC
            && checksum_holds(bytes)
            && slot.version.get() == FORMAT_VERSION
            && is_zero(&slot.reserved);
        is_good.then(|| Self {
            position: Position::new(slot.position.get()),
            generation: slot.generation.get(),
        })
    }
}

/// Checksums as they are stored, one behind the other.
pub(crate) fn encode_crcs(crcs: &[u32]) -> Vec<u8> {
    debug_assert!(CRC_BYTES == to_u64(size_of::<u32>()));
    crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect()
}
