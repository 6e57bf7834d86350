//! Segment: a file that holds a fixed stretch of the journal, and how far the disk had it.
//!
//! Segment k holds the positions `[k * S, (k + 1) * S)` of the journal, the same bytes on every
//! node, behind a header page that is this node's own. The header says whose segment it is and
//! which, so that one that was exchanged, copied or put back from elsewhere is noticed. Two slots
//! in it tell a position that was on the disk: each group of the persister writes the value that
//! the group before reached, and its own sync carries it. So the slots never run ahead of the disk,
//! cost no sync of their own, and lag by one group.
//!
//! A segment is made in full before it gets its name: blocks allocated, zeros written, synced. From
//! then on nothing of the file changes but bytes, and a sync has no metadata to carry.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::is_zero;
use crate::label::{FORMAT_VERSION, Label, Uuid, checksum_holds, slot_checksum};
use crate::position::{Geometry, Position};

/// Bytes of a segment file before the first record.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;

/// First bytes of a segment.
const MAGIC: [u8; 8] = *b"TGSEGM\r\n";
/// Bytes of the header that says whose segment this is.
pub(crate) const SEGMENT_LABEL_BYTES: usize = 128;
/// Where the durable slots begin: sectors of their own.
pub(crate) const DURABLE_SLOTS: [u64; 2] = [1024, 2048];
/// Bytes of a durable slot.
pub(crate) const DURABLE_BYTES: usize = 48;

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".seg";

/// The file of a segment.
#[must_use]
pub fn segment_file(segment: u64) -> String {
    format!("{PREFIX}{segment:08}{SUFFIX}")
}

/// The checksums beside a segment.
#[must_use]
pub fn sums_file(segment: u64) -> String {
    format!("{PREFIX}{segment:08}.sha256")
}

/// The segment whose file has this name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
    (segment_file(number) == name).then_some(number)
}

/// Whose segment a file is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentLabel {
    pub(crate) journal_uuid: Uuid,
    pub(crate) incarnation: u64,
    pub(crate) number: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) node_id: u32,
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentLabelled {
    Damaged,
    OtherVersion(u32),
    Good(SegmentLabel),
}

/// A place that was on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    pub(crate) position: Position,
    /// The record that ends there; 0 for none.
    pub(crate) index: u64,
    /// Its checksum.
    pub(crate) crc: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    journal_uuid: [u8; 16],
    incarnation: U64,
    number: U64,
    segment_bytes: U64,
    node_id: U32,
    reserved: [u8; 68],
}

const _: () = assert!(size_of::<Header>() == SEGMENT_LABEL_BYTES);
const _: () = assert!(std::mem::offset_of!(Header, crc) == 12);
const _: () = assert!(std::mem::offset_of!(Header, number) == 40);
const _: () = assert!(std::mem::offset_of!(Header, reserved) == 60);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct DurableSlot {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    position: U64,
    index: U64,
    record_crc: U32,
    reserved: [u8; 12],
}

const DURABLE_MAGIC: [u8; 8] = *b"TGDURA\r\n";
const _: () = assert!(size_of::<DurableSlot>() == DURABLE_BYTES);
const _: () = assert!(std::mem::offset_of!(DurableSlot, crc) == 12);

impl SegmentLabel {
    /// The label of a segment of the journal that `label` names.
    pub(crate) fn of(label: &Label, number: u64) -> Option<Self> {
        let geometry = Geometry::new(label.ring_bytes)?;
        Some(Self {
            journal_uuid: label.journal_uuid,
            incarnation: label.incarnation,
            number,
            segment_bytes: geometry.segment_bytes(),
            node_id: label.node_id,
        })
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_LABEL_BYTES] {
        let mut header = Header {
            magic: MAGIC,
            version: FORMAT_VERSION.into(),
            crc: U32::ZERO,
            journal_uuid: self.journal_uuid.0,
            incarnation: self.incarnation.into(),
            number: self.number.into(),
            segment_bytes: self.segment_bytes.into(),
            node_id: self.node_id.into(),
            reserved: [0; 68],
        };
        header.crc = slot_checksum(header.as_bytes()).into();
        let mut bytes = [0; SEGMENT_LABEL_BYTES];
        bytes.copy_from_slice(header.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_LABEL_BYTES]) -> SegmentLabelled {
        let Ok(header) = Header::ref_from_bytes(bytes) else { return SegmentLabelled::Damaged };
        if header.magic != MAGIC || !checksum_holds(bytes) {
            return SegmentLabelled::Damaged;
        }
        if header.version.get() != FORMAT_VERSION {
            return SegmentLabelled::OtherVersion(header.version.get());
        }
        if !is_zero(&header.reserved) {
            return SegmentLabelled::Damaged;
        }
        SegmentLabelled::Good(Self {
            journal_uuid: Uuid(header.journal_uuid),
            incarnation: header.incarnation.get(),
            number: header.number.get(),
            segment_bytes: header.segment_bytes.get(),
            node_id: header.node_id.get(),
        })
    }
}

impl Durable {
    pub(crate) fn encode(&self) -> [u8; DURABLE_BYTES] {
        let mut slot = DurableSlot {
            magic: DURABLE_MAGIC,
            version: FORMAT_VERSION.into(),
            crc: U32::ZERO,
            position: self.position.get().into(),
            index: self.index.into(),
            record_crc: self.crc.into(),
            reserved: [0; 12],
        };
        slot.crc = slot_checksum(slot.as_bytes()).into();
        let mut bytes = [0; DURABLE_BYTES];
        bytes.copy_from_slice(slot.as_bytes());
        bytes
    }

    /// `None`: never written, or not to its end.
    pub(crate) fn decode(bytes: &[u8; DURABLE_BYTES]) -> Option<Self> {
        let slot = DurableSlot::ref_from_bytes(bytes).ok()?;
        let is_good = slot.magic == DURABLE_MAGIC
            && checksum_holds(bytes)
            && slot.version.get() == FORMAT_VERSION
            && is_zero(&slot.reserved);
        is_good.then(|| Self {
            position: Position::new(slot.position.get()),
            index: slot.index.get(),
            crc: slot.record_crc.get(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> SegmentLabel {
        SegmentLabel {
            journal_uuid: Uuid([7; 16]),
            incarnation: 9,
            number: 3,
            segment_bytes: 8192,
            node_id: 2,
        }
    }

    #[test]
    fn names_go_both_ways() {
        assert_eq!(segment_file(12), "journal-00000012.seg");
        assert_eq!(sums_file(12), "journal-00000012.sha256");
        for number in [0, 12, 99_999_999, 100_000_000] {
            assert_eq!(segment_number(&segment_file(number)), Some(number));
        }
        for name in ["journal-12.seg", "journal-.seg", "journal-+0000001.seg", "journal.meta"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = label().encode();
        assert_eq!(SegmentLabel::decode(&good), SegmentLabelled::Good(label()));
        for bit in 0..SEGMENT_LABEL_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentLabel::decode(&bytes), SegmentLabelled::Damaged, "bit {bit}");
        }
        let durable = Durable { position: Position::new(4096), index: 31, crc: 5 };
        let good = durable.encode();
        assert_eq!(Durable::decode(&good), Some(durable));
        assert_eq!(Durable::decode(&[0; DURABLE_BYTES]), None);
        for bit in 0..DURABLE_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Durable::decode(&bytes), None, "bit {bit}");
        }
    }
}
