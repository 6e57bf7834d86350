//! Label: whose journal this is. The metadata file and the ring's header page hold the same fields.
//!
//! A ring that is found must be the one the directory last wrote: not a neighbour's, not an older
//! copy, not one that a restart of the machine may have thinned out. Ring and metadata therefore
//! carry the same identity and are compared at every open. The metadata also holds the *floor*: a
//! record that is known to be on the disk, so that a journal cut below it, or an older copy of a
//! segment, is noticed.
//!
//! A label is rewritten in place while a kill may fall at any byte. So each file has two slots and
//! a write takes the one that does not hold the newest label: at every moment one slot is whole.
//! The newest of the slots with a matching checksum counts. Beside a slot that is neither empty nor
//! whole, what only the newest label could say is not believed: that the writer stopped, that it
//! acknowledged only what was on the disk.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::{hex, is_zero};
use crate::position::{Geometry, Position};

/// Version of all formats of this crate. Magic, version and checksum keep their places in others.
pub const FORMAT_VERSION: u32 = 2;

/// Bytes of an encoded label.
pub(crate) const LABEL_BYTES: usize = 512;

/// As it was in the first version.
const LABEL_BYTES_V1: usize = 128;

/// Longest path of a ring, in bytes.
pub const RING_PATH_BYTES_MAX: usize = 384;

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

/// Identity and state of a journal, as the metadata file and the ring's header page hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Counts the labels written; the higher one is the newer.
    pub generation: u64,
    /// Drawn when the journal was created.
    pub journal_uuid: Uuid,
    /// The kernel's boot id when the label was written.
    pub boot_id: Uuid,
    /// Rises whenever the journal may have lost something.
    pub incarnation: u64,
    /// Bytes of the ring, header page not included: four segments.
    pub ring_bytes: u64,
    /// In a ring: the first position it holds; it was made when the journal stood there.
    pub base: Position,
    /// Inode of the metadata file: a copied directory has another.
    pub file_id: u64,
    /// A record that is on the disk: the last one of a full segment or of a clean stop. 0: none.
    pub floor_index: u64,
    /// Checksum of that record.
    pub floor_crc: u32,
    /// The node that writes this journal.
    pub node_id: u32,
    /// Whether the writer stopped cleanly and has not come back. Only the metadata tells.
    pub is_stopped: bool,
    /// Whether the writer acknowledges only what is on the disk.
    pub acks_durable: bool,
    /// The incarnation at which acknowledged records may last have been lost; 0: never.
    pub suspect_incarnation: u64,
    /// Where the ring is.
    pub ring_path: String,
    /// Not stored: the other slot is damaged, and may have held a newer label.
    pub is_beside_damage: bool,
}

/// What two slots say together.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    floor_index: U64,
    floor_crc: U32,
    node_id: U32,
    is_stopped: u8,
    acks_durable: u8,
    suspect_incarnation: U64,
    reserved: [u8; 12],
    path_len: U16,
    path: [u8; RING_PATH_BYTES_MAX],
}

const _: () = assert!(size_of::<Slot>() == LABEL_BYTES);
const _: () = assert!(std::mem::offset_of!(Slot, crc) == 12);
const _: () = assert!(std::mem::offset_of!(Slot, journal_uuid) == 24);
const _: () = assert!(std::mem::offset_of!(Slot, incarnation) == 56);
const _: () = assert!(std::mem::offset_of!(Slot, file_id) == 80);
const _: () = assert!(std::mem::offset_of!(Slot, floor_crc) == 96);
const _: () = assert!(std::mem::offset_of!(Slot, is_stopped) == 104);
const _: () = assert!(std::mem::offset_of!(Slot, path_len) == 126);
const _: () = assert!(std::mem::offset_of!(Slot, path) == 128);

impl Label {
    /// A path beyond [`RING_PATH_BYTES_MAX`] is a fault of the program: it is checked before.
    pub(crate) fn encode(&self, magic: [u8; 8]) -> [u8; LABEL_BYTES] {
        let text = self.ring_path.as_bytes();
        assert!(text.len() <= RING_PATH_BYTES_MAX, "the ring's path fits its label");
        let mut path = [0; RING_PATH_BYTES_MAX];
        path[..text.len()].copy_from_slice(text);
        let mut slot = Slot {
            magic,
            version: FORMAT_VERSION.into(),
            crc: U32::ZERO,
            generation: self.generation.into(),
            journal_uuid: self.journal_uuid.0,
            boot_id: self.boot_id.0,
            incarnation: self.incarnation.into(),
            ring_bytes: self.ring_bytes.into(),
            base: self.base.get().into(),
            file_id: self.file_id.into(),
            floor_index: self.floor_index.into(),
            floor_crc: self.floor_crc.into(),
            node_id: self.node_id.into(),
            is_stopped: u8::from(self.is_stopped),
            acks_durable: u8::from(self.acks_durable),
            suspect_incarnation: self.suspect_incarnation.into(),
            reserved: [0; 12],
            path_len: u16::try_from(text.len()).unwrap_or(0).into(),
            path,
        };
        slot.crc = slot_checksum(slot.as_bytes()).into();
        let mut bytes = [0; LABEL_BYTES];
        bytes.copy_from_slice(slot.as_bytes());
        bytes
    }
}

/// Reads both slots of a file that starts its slots with `magic`.
pub(crate) fn newest(slots: [&[u8]; 2], magic: [u8; 8]) -> Labelled {
    let mut answer = Labelled::Damaged;
    for (place, bytes) in slots.into_iter().enumerate() {
        let Some(version) = version_of(bytes, magic) else { continue };
        if version != FORMAT_VERSION {
            return Labelled::OtherVersion(version);
        }
        let Some(label) = decode(bytes) else { continue };
        let is_newer = match &answer {
            Labelled::Good(best, _) => label.generation > best.generation,
            Labelled::Damaged | Labelled::OtherVersion(_) => true,
        };
        if is_newer {
            answer = Labelled::Good(label, place);
        }
    }
    if let Labelled::Good(label, place) = &mut answer {
        let other = slots[1 - *place];
        label.is_beside_damage = !is_zero(other) && decode_whole(other, magic).is_none();
    }
    answer
}

fn decode_whole(bytes: &[u8], magic: [u8; 8]) -> Option<Label> {
    version_of(bytes, magic).and_then(|_| decode(bytes))
}

/// The version of a slot whose checksum matches; version 1 had slots of 128 bytes.
fn version_of(bytes: &[u8], magic: [u8; 8]) -> Option<u32> {
    let is_whole = |len: usize| bytes.get(..len).is_some_and(checksum_holds);
    if !bytes.starts_with(&magic) || !(is_whole(LABEL_BYTES) || is_whole(LABEL_BYTES_V1)) {
        return None;
    }
    bytes.get(8..)?.first_chunk().map(|version| u32::from_le_bytes(*version))
}

/// `None` when a field is out of its range although the checksum matches.
fn decode(bytes: &[u8]) -> Option<Label> {
    let (slot, _) = Slot::ref_from_prefix(bytes).ok()?;
    let path = slot.path.get(..usize::from(slot.path_len.get()))?;
    let in_range = Geometry::new(slot.ring_bytes.get()).is_some()
        && slot.is_stopped <= 1
        && slot.acks_durable <= 1
        && is_zero(&slot.reserved);
    in_range.then(|| Label {
        generation: slot.generation.get(),
        journal_uuid: Uuid(slot.journal_uuid),
        boot_id: Uuid(slot.boot_id),
        incarnation: slot.incarnation.get(),
        ring_bytes: slot.ring_bytes.get(),
        base: Position::new(slot.base.get()),
        file_id: slot.file_id.get(),
        floor_index: slot.floor_index.get(),
        floor_crc: slot.floor_crc.get(),
        node_id: slot.node_id.get(),
        is_stopped: slot.is_stopped == 1,
        acks_durable: slot.acks_durable == 1,
        suspect_incarnation: slot.suspect_incarnation.get(),
        ring_path: String::from_utf8_lossy(path).into_owned(),
        is_beside_damage: false,
    })
}

/// CRC-32C of a slot without the checksum's own field, which all files of this crate keep at 12.
pub(crate) fn slot_checksum(slot: &[u8]) -> u32 {
    let (before, rest) = slot.split_at(slot.len().min(12));
    crc32c::crc32c_append(crc32c::crc32c(before), rest.get(4..).unwrap_or(&[]))
}

/// Whether the checksum at byte 12 is that of the slot.
pub(crate) fn checksum_holds(slot: &[u8]) -> bool {
    let stored = slot.get(12..).and_then(<[u8]>::first_chunk).map(|crc| u32::from_le_bytes(*crc));
    stored == Some(slot_checksum(slot))
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
            base: Position::new(8192),
            file_id: 4,
            floor_index: 5,
            floor_crc: 6,
            node_id: 7,
            is_stopped: true,
            acks_durable: true,
            suspect_incarnation: 3,
            ring_path: "/dev/shm/tidegate-11".to_owned(),
            is_beside_damage: false,
        }
    }

    fn beside_damage(label: Label) -> Label {
        Label { is_beside_damage: true, ..label }
    }

    /// A slot of another version, whole.
    fn of_version(version: u32, len: usize) -> Vec<u8> {
        let mut bytes = label(2).encode(RING_MAGIC)[..len].to_vec();
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        let crc = slot_checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
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
        let (later, earlier) = (of_version(3, LABEL_BYTES), of_version(1, LABEL_BYTES_V1));
        for (name, slots, expected) in [
            ("first", [&old[..], &none], Labelled::Good(label(1), 0)),
            ("newer second", [&old, &new], Labelled::Good(label(2), 1)),
            ("newer first", [&new, &old], Labelled::Good(label(2), 0)),
            ("newer torn", [&old, &torn], Labelled::Good(beside_damage(label(1)), 0)),
            ("nothing", [&none, &none], Labelled::Damaged),
            ("only torn", [&torn, &none], Labelled::Damaged),
            ("other file", [&meta, &none], Labelled::Damaged),
            ("later version", [&old, &later], Labelled::OtherVersion(3)),
            ("first version", [&earlier, &none], Labelled::OtherVersion(1)),
        ] {
            assert_eq!(newest(slots, RING_MAGIC), expected, "{name}");
        }
        assert_eq!(newest([&new[..100], &[]], RING_MAGIC), Labelled::Damaged);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = label(2).encode(META_MAGIC);
        for bit in 0..LABEL_BYTES * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(newest([&bytes, &[]], META_MAGIC), Labelled::Damaged, "bit {bit}");
        }
    }
}
