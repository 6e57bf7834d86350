//! Label: whose file this is. The ring's header page and the metadata file hold the same 128 bytes.
//!
//! A ring that is found must be the one the directory last wrote: not a neighbour's, not an older
//! copy, not one that a power cut may have thinned out. Ring and metadata therefore carry the same
//! identity and are compared at every open.
//!
//! A label is rewritten in place while a kill may fall at any byte. So each file has two slots and
//! a write takes the one that does not hold the newest label: at every moment one slot is whole.
//! The newest of the slots with a matching checksum counts.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::{hex, is_zero};
use crate::position::Geometry;

/// Version of all formats of this crate. Magic, version and checksum keep their places in others.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of an encoded label.
pub(crate) const LABEL_BYTES: usize = 128;

/// First bytes of a slot in the ring's header page.
pub(crate) const RING_MAGIC: [u8; 8] = *b"TGRING\r\n";

/// First bytes of a slot in the metadata file.
pub(crate) const META_MAGIC: [u8; 8] = *b"TGMETA\r\n";

/// Sixteen random bytes that name a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Identity and state of a journal, as the ring's header page and the metadata file hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Counts the labels written; the higher one is the newer.
    pub generation: u64,
    /// Drawn when the journal was created.
    pub journal_uuid: Uuid,
    /// The kernel's boot id when the label was written.
    pub boot_id: Uuid,
    /// Rises whenever the journal may have lost something.
    pub incarnation: u64,
    /// Bytes of the ring, header page not included.
    pub ring_bytes: u64,
    /// Inode of the ring file: a copied directory has another.
    pub file_id: u64,
    /// The journal's last record at the latest clean stop; 0 before the first.
    pub stop_index: u64,
    /// Checksum of that record.
    pub stop_crc: u32,
    /// The node that writes this journal.
    pub node_id: u32,
    /// Whether the writer stopped cleanly and has not come back. Only the metadata tells.
    pub is_stopped: bool,
}

/// What two slots say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelled {
    /// Neither slot has a matching checksum.
    Damaged,
    /// A slot is valid but of this version, which is not ours.
    OtherVersion(u32),
    /// The newest label and the slot it is in, 0 or 1.
    Good(Label, usize),
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Slot {
    magic: [u8; 8],
    version: U32,
    crc: U32,
    generation: U64,
    journal_uuid: [u8; 16],
    boot_id: [u8; 16],
    incarnation: U64,
    ring_bytes: U64,
    base: U64,
    file_id: U64,
    stop_index: U64,
    stop_crc: U32,
    node_id: U32,
    is_stopped: U32,
    reserved: [u8; 20],
}

const _: () = assert!(size_of::<Slot>() == LABEL_BYTES);
const _: () = assert!(std::mem::offset_of!(Slot, crc) == 12);
const _: () = assert!(std::mem::offset_of!(Slot, journal_uuid) == 24);
const _: () = assert!(std::mem::offset_of!(Slot, incarnation) == 56);
const _: () = assert!(std::mem::offset_of!(Slot, file_id) == 80);
const _: () = assert!(std::mem::offset_of!(Slot, stop_crc) == 96);
const _: () = assert!(std::mem::offset_of!(Slot, reserved) == 108);

impl Label {
    pub(crate) fn encode(&self, magic: [u8; 8]) -> [u8; LABEL_BYTES] {
        let mut slot = Slot {
            magic,
            version: FORMAT_VERSION.into(),
            crc: U32::ZERO,
            generation: self.generation.into(),
            journal_uuid: self.journal_uuid.0,
            boot_id: self.boot_id.0,
            incarnation: self.incarnation.into(),
            ring_bytes: self.ring_bytes.into(),
            base: U64::ZERO,
            file_id: self.file_id.into(),
            stop_index: self.stop_index.into(),
            stop_crc: self.stop_crc.into(),
            node_id: self.node_id.into(),
            is_stopped: u32::from(self.is_stopped).into(),
            reserved: [0; 20],
        };
        slot.crc = checksum(&slot).into();
        let mut bytes = [0; LABEL_BYTES];
        bytes.copy_from_slice(slot.as_bytes());
        bytes
    }
}

/// Reads both slots of a file that starts its slots with `magic`.
pub(crate) fn newest(slots: [&[u8]; 2], magic: [u8; 8]) -> Labelled {
    let mut answer = Labelled::Damaged;
    for (place, bytes) in slots.into_iter().enumerate() {
        let Ok((slot, _)) = Slot::ref_from_prefix(bytes) else {
            continue;
        };
        if slot.magic != magic || slot.crc.get() != checksum(slot) {
            continue;
        }
        if slot.version.get() != FORMAT_VERSION {
            return Labelled::OtherVersion(slot.version.get());
        }
        let Some(label) = decode(slot) else { continue };
        answer = match answer {
            Labelled::Good(best, _) if best.generation >= label.generation => answer,
            Labelled::Good(..) | Labelled::Damaged | Labelled::OtherVersion(_) => {
                Labelled::Good(label, place)
            }
        };
    }
    answer
}

/// `None` when a field is out of its range although the checksum matches.
fn decode(slot: &Slot) -> Option<Label> {
    let is_stopped = match slot.is_stopped.get() {
        0 => false,
        1 => true,
        _ => return None,
    };
    // The base stays 0 until there are segments to move it.
    let in_range = Geometry::new(slot.ring_bytes.get()).is_some()
        && slot.base == U64::ZERO
        && is_zero(&slot.reserved);
    in_range.then(|| Label {
        generation: slot.generation.get(),
        journal_uuid: Uuid(slot.journal_uuid),
        boot_id: Uuid(slot.boot_id),
        incarnation: slot.incarnation.get(),
        ring_bytes: slot.ring_bytes.get(),
        file_id: slot.file_id.get(),
        stop_index: slot.stop_index.get(),
        stop_crc: slot.stop_crc.get(),
        node_id: slot.node_id.get(),
        is_stopped,
    })
}

/// CRC-32C of the slot without the checksum's own field.
fn checksum(slot: &Slot) -> u32 {
    let (before, rest) = slot.as_bytes().split_at(12);
    crc32c::crc32c_append(crc32c::crc32c(before), &rest[4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(generation: u64) -> Label {
        Label {
            generation,
            journal_uuid: Uuid([0x11; 16]),
            boot_id: Uuid([0x22; 16]),
            incarnation: 3,
            ring_bytes: 32_768,
            file_id: 4,
            stop_index: 5,
            stop_crc: 6,
            node_id: 7,
            is_stopped: true,
        }
    }

    #[test]
    fn the_newest_whole_slot_counts() {
        let old = label(1).encode(RING_MAGIC);
        let new = label(2).encode(RING_MAGIC);
        let torn = {
            let mut bytes = new;
            bytes[64..].copy_from_slice(&old[64..]);
            bytes[20] = 9;
            bytes
        };
        let none = [0; LABEL_BYTES];
        let meta = label(9).encode(META_MAGIC);
        let other = {
            let mut slot = Slot::read_from_bytes(&new).unwrap();
            slot.version = 2.into();
            slot.crc = checksum(&slot).into();
            let mut bytes = none;
            bytes.copy_from_slice(slot.as_bytes());
            bytes
        };
        for (name, slots, expected) in [
            ("first", [&old, &none], Labelled::Good(label(1), 0)),
            ("newer second", [&old, &new], Labelled::Good(label(2), 1)),
            ("newer first", [&new, &old], Labelled::Good(label(2), 0)),
            ("newer torn", [&old, &torn], Labelled::Good(label(1), 0)),
            ("nothing", [&none, &none], Labelled::Damaged),
            ("only torn", [&torn, &none], Labelled::Damaged),
            ("other file", [&meta, &none], Labelled::Damaged),
            ("other version", [&old, &other], Labelled::OtherVersion(2)),
        ] {
            assert_eq!(newest([slots[0], slots[1]], RING_MAGIC), expected, "{name}");
        }
        assert_eq!(newest([&new[..100], &[]], RING_MAGIC), Labelled::Damaged);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = label(2).encode(META_MAGIC);
        for bit in 0..LABEL_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                newest([&bytes, &[]], META_MAGIC),
                Labelled::Damaged,
                "bit {bit}"
            );
        }
    }
}
