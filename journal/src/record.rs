//! Record: one entry of the journal, the same bytes in the ring, on disk and to a standby.
//!
//! ```text
//!  0        4          8       16      24      28    30     31      32       36         40
//!  | crc32c | prev_crc | index | time  | epoch | len | kind | flags | source | reserved | payload
//! ```
//!
//! All fields are little-endian. `crc32c` covers byte 4 to the end, padding included, so each
//! record can be checked alone; `prev_crc` repeats the checksum of the record before, so the
//! records form a chain and a record left over from elsewhere does not fit. One pass over the bytes
//! pays for both.
//!
//! Decoding is total: any bytes give a record or the name of what is wrong. A length is believed
//! only after it was compared with the room to the segment's end. A pad is a record of kind
//! [`KIND_PAD`] whose payload is zeros; it ends exactly at the segment's end. No record leaves a
//! gap too small for a header: where one would, the pad comes first.

use std::sync::atomic::{AtomicU32, Ordering};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::bytes::{is_zero, to_u64, to_usize};

/// Bytes of a record before its payload.
pub const HEADER_BYTES: u64 = 40;

/// Largest record, header and padding included.
pub const RECORD_BYTES_MAX: u64 = 4096;

/// Largest payload of a record.
pub const PAYLOAD_BYTES_MAX: u64 = RECORD_BYTES_MAX - HEADER_BYTES;

/// Largest pad, header included: it also takes the gap, always below a header, that the largest
/// record would have left.
pub const PAD_BYTES_MAX: u64 = RECORD_BYTES_MAX + HEADER_BYTES - 8;

/// Kind of the record that fills a segment. All other kinds are the caller's.
pub const KIND_PAD: u8 = 255;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    crc: U32,
    prev_crc: U32,
    index: U64,
    time: U64,
    epoch: U32,
    len: U16,
    kind: u8,
    flags: u8,
    source: U32,
    reserved: U32,
}

const _: () = assert!(to_u64(size_of::<Header>()) == HEADER_BYTES && align_of::<Header>() == 1);
const _: () = assert!(std::mem::offset_of!(Header, crc) == 0);
const _: () = assert!(std::mem::offset_of!(Header, prev_crc) == CRC_END);
const _: () = assert!(std::mem::offset_of!(Header, index) == 8);
const _: () = assert!(std::mem::offset_of!(Header, time) == 16);
const _: () = assert!(std::mem::offset_of!(Header, epoch) == 24);
const _: () = assert!(std::mem::offset_of!(Header, len) == 28);
const _: () = assert!(std::mem::offset_of!(Header, kind) == 30);
const _: () = assert!(std::mem::offset_of!(Header, flags) == 31);
const _: () = assert!(std::mem::offset_of!(Header, source) == 32);
const _: () = assert!(std::mem::offset_of!(Header, reserved) == 36);
const _: () = assert!(PAD_BYTES_MAX <= u16::MAX as u64 && PAD_BYTES_MAX.is_multiple_of(8));

const CRC_END: usize = 4;
const HEADER_LEN: usize = size_of::<Header>();

/// One decoded record; `payload` borrows from the journal's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Place in the journal, from 1, without gaps.
    pub index: u64,
    /// The caller's time; nanoseconds in Tidegate. The journal does not interpret it.
    pub time: u64,
    /// The caller's epoch; never lower than in the record before.
    pub epoch: u32,
    /// The caller's record type, or [`KIND_PAD`].
    pub kind: u8,
    /// The caller's flags.
    pub flags: u8,
    /// The caller's source, for example a session.
    pub source: u32,
    /// At most [`PAYLOAD_BYTES_MAX`] bytes, without the padding.
    pub payload: &'a [u8],
    /// CRC-32C of the record.
    pub crc: u32,
    /// `crc` of the record before; 0 in the first.
    pub prev_crc: u32,
}

/// Why bytes are not a record. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Forty zero bytes where a header would be: nothing was written here.
    #[error("a record expected, zeros found")]
    Empty,
    /// Less than a header is left.
    #[error("{HEADER_BYTES} bytes of header expected, {found} bytes left")]
    Short {
        /// Bytes that are left.
        found: u64,
    },
    /// The length leads past what the kind or the segment allows.
    #[error("payload of at most {room} bytes expected, length {len} found")]
    TooLong {
        /// The payload length in the header.
        len: u16,
        /// The most it could be here.
        room: u64,
    },
    /// The reserved field is not zero.
    #[error("reserved field 0 expected, {found:#010x} found")]
    Reserved {
        /// What the field holds.
        found: u32,
    },
    /// Index 0 is never given out.
    #[error("index from 1 expected, 0 found")]
    ZeroIndex,
    /// The checksum does not match the bytes.
    #[error("crc32c {expected:#010x} expected, {found:#010x} found")]
    Crc {
        /// Computed over the bytes.
        expected: u32,
        /// Stored in the header.
        found: u32,
    },
    /// Padding or a pad's payload holds a set bit.
    #[error("zero padding expected, set bytes found")]
    Padding,
    /// A pad ends before its segment, or a record leaves less than a header of it.
    #[error("a record that leaves the segment 0 or at least a header expected, {left} bytes left")]
    Gap {
        /// Bytes between the record's end and the segment's.
        left: u64,
    },
}

/// Bytes of a record with a payload of `payload_bytes`, header and padding included.
#[must_use]
pub const fn record_bytes(payload_bytes: u64) -> u64 {
    (HEADER_BYTES + payload_bytes).next_multiple_of(8)
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`; `limit` is the distance to the segment's end.
    /// `bytes` may be shorter or longer than that. Never reads beyond either.
    pub fn decode(bytes: &'a [u8], limit: u64) -> Result<Self, RecordError> {
        let room = limit.min(to_u64(bytes.len()));
        let short = RecordError::Short { found: room };
        if room < HEADER_BYTES {
            return Err(short);
        }
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| short)?;
        if is_zero(header.as_bytes()) {
            return Err(RecordError::Empty);
        }
        let len = header.len.get();
        let size = record_bytes(u64::from(len));
        let size_max = if header.kind == KIND_PAD { PAD_BYTES_MAX } else { RECORD_BYTES_MAX };
        if size > size_max.min(room) {
            return Err(RecordError::TooLong { len, room: size_max.min(room) - HEADER_BYTES });
        }
        if header.reserved.get() != 0 {
            return Err(RecordError::Reserved { found: header.reserved.get() });
        }
        if header.index.get() == 0 {
            return Err(RecordError::ZeroIndex);
        }
        let whole = bytes.get(..to_usize(size)).ok_or(short)?;
        let expected = crc32c::crc32c(&whole[CRC_END..]);
        if header.crc.get() != expected {
            return Err(RecordError::Crc { expected, found: header.crc.get() });
        }
        let (payload, padding) = whole[HEADER_LEN..].split_at(usize::from(len));
        if !is_zero(padding) || (header.kind == KIND_PAD && !is_zero(payload)) {
            return Err(RecordError::Padding);
        }
        let left = limit - size;
        if left != 0 && (header.kind == KIND_PAD || left < HEADER_BYTES) {
            return Err(RecordError::Gap { left });
        }
        Ok(Self::from_parts(header, payload))
    }

    /// Reads a record whose bytes were checked before: no checksum pass. `None` where not even the
    /// lengths fit.
    pub(crate) fn view(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(bytes).ok()?;
        let payload = rest.get(..usize::from(header.len.get()))?;
        Some(Self::from_parts(header, payload))
    }

    /// Writes the record to `out`, which must be exactly [`Record::bytes`] long, and returns its
    /// checksum. `self.crc` is not read.
    pub fn encode(&self, out: &mut [u8]) -> u32 {
        assert!(to_u64(out.len()) == self.bytes(), "the slot fits the record");
        out[HEADER_LEN..][..self.payload.len()].copy_from_slice(self.payload);
        seal(
            out,
            &Head {
                prev_crc: self.prev_crc,
                index: self.index,
                time: self.time,
                epoch: self.epoch,
                kind: self.kind,
                flags: self.flags,
                source: self.source,
                payload_bytes: to_u64(self.payload.len()),
            },
        )
    }

    /// Bytes of the whole record: add it to the record's position for that of the next.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        record_bytes(to_u64(self.payload.len()))
    }

    /// Whether this record only fills a segment.
    #[must_use]
    pub fn is_pad(&self) -> bool {
        self.kind == KIND_PAD
    }

    fn from_parts(header: &Header, payload: &'a [u8]) -> Self {
        Self {
            index: header.index.get(),
            time: header.time.get(),
            epoch: header.epoch.get(),
            kind: header.kind,
            flags: header.flags,
            source: header.source.get(),
            payload,
            crc: header.crc.get(),
            prev_crc: header.prev_crc.get(),
        }
    }
}

/// What goes into a header beside the checksum.
pub(crate) struct Head {
    pub(crate) prev_crc: u32,
    pub(crate) index: u64,
    pub(crate) time: u64,
    pub(crate) epoch: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) source: u32,
    pub(crate) payload_bytes: u64,
}

/// The payload's place in a record's slot.
pub(crate) fn payload_mut(slot: &mut [u8], payload_bytes: u64) -> &mut [u8] {
    &mut slot[HEADER_LEN..][..to_usize(payload_bytes)]
}

/// Finishes a slot that holds its payload: header, zero padding, and last the checksum, by a store
/// that no earlier one can overtake. Whoever finds a matching checksum finds the whole record.
pub(crate) fn seal(slot: &mut [u8], head: &Head) -> u32 {
    let max = if head.kind == KIND_PAD { PAD_BYTES_MAX } else { RECORD_BYTES_MAX };
    assert!(record_bytes(head.payload_bytes) <= max, "payload within its bound");
    assert!(to_u64(slot.len()) == record_bytes(head.payload_bytes), "the slot fits the record");
    // Stored as whole words: the checksum reads words, and a load that spans two younger stores
    // waits for both to reach the cache.
    let words: [U64; 5] = [
        u64::from(head.prev_crc) << 32,
        head.index,
        head.time,
        u64::from(head.epoch)
            | head.payload_bytes << 32
            | u64::from(head.kind) << 48
            | u64::from(head.flags) << 56,
        u64::from(head.source),
    ]
    .map(U64::new);
    let (front, payload) = slot.split_at_mut(HEADER_LEN);
    front.copy_from_slice(words.as_bytes());
    payload[to_usize(head.payload_bytes)..].fill(0);
    let crc = crc32c::crc32c(&slot[CRC_END..]);
    if let Ok(word) = AtomicU32::mut_from_bytes(&mut slot[..CRC_END]) {
        word.store(crc.to_le(), Ordering::Release);
    } else {
        // Only a buffer of the caller's own can be unaligned; nobody else reads that one.
        slot[..CRC_END].copy_from_slice(&crc.to_le_bytes());
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::RecordError::{Crc, Gap, Reserved, TooLong, ZeroIndex};
    use super::*;
    use proptest::prelude::*;

    fn sample(payload: &[u8]) -> Record<'_> {
        Record {
            index: 7,
            time: 11,
            epoch: 3,
            kind: 1,
            flags: 2,
            source: 9,
            payload,
            crc: 0,
            prev_crc: 0xdead_beef,
        }
    }

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut out = vec![0xff; to_usize(record.bytes())];
        record.encode(&mut out);
        out
    }

    /// Overwrites `bytes` at `at` and makes the checksum match again.
    fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[at..][..with.len()].copy_from_slice(with);
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn each_defect_has_its_name() {
        type Row = (&'static str, Vec<u8>, u64, Result<(), RecordError>);
        let good = encoded(&sample(b"hello"));
        let pad = encoded(&Record { kind: KIND_PAD, ..sample(&[0; 24]) });
        let crc = u32::from_le_bytes(good[..4].try_into().unwrap());
        let (expected, found) = (crc, crc ^ 1);
        let wrong = {
            let mut bytes = good.clone();
            bytes[0] ^= 1;
            bytes
        };
        #[rustfmt::skip]
        let rows: [Row; 15] = [
            ("good",            good.clone(),               4096, Ok(())),
            ("good to the end", good.clone(),               48,   Ok(())),
            ("header then fits",good.clone(),               88,   Ok(())),
            ("gap of 8",        good.clone(),               56,   Err(Gap { left: 8 })),
            ("gap of 32",       good.clone(),               80,   Err(Gap { left: 32 })),
            ("pad to the end",  pad.clone(),                64,   Ok(())),
            ("pad too early",   pad.clone(),                128,  Err(Gap { left: 64 })),
            ("pad with a bit",  patched(&pad, 50, &[1]),    64,   Err(RecordError::Padding)),
            ("padding with bit",patched(&good, 47, &[1]),   4096, Err(RecordError::Padding)),
            ("reserved",        patched(&good, 36, &[1]),   4096, Err(Reserved { found: 1 })),
            ("index 0",         patched(&good, 8, &[0]),    4096, Err(ZeroIndex)),
            ("length",          patched(&good, 28, &[9]),   4096, Err(TooLong { len: 9, room: 8 })),
            ("limit",           good.clone(),               40,   Err(TooLong { len: 5, room: 0 })),
            ("crc",             wrong,                      4096, Err(Crc { expected, found })),
            ("zeros",           vec![0; 48],                4096, Err(RecordError::Empty)),
        ];
        for (label, bytes, limit, expected) in rows {
            assert_eq!(Record::decode(&bytes, limit).map(|_| ()), expected, "{label}");
        }
        let short = Err(RecordError::Short { found: 39 });
        assert_eq!(Record::decode(&good[..39], 4096).map(|_| ()), short);
        assert_eq!(Record::decode(&good, 39).map(|_| ()), short);
    }

    #[test]
    fn a_length_beyond_the_largest_record_is_refused_before_it_is_used() {
        let bytes = patched(&encoded(&sample(&[7; 4056])), 28, &4057_u16.to_le_bytes());
        let room = PAYLOAD_BYTES_MAX;
        let expected = Err(TooLong { len: 4057, room });
        assert_eq!(Record::decode(&[&bytes[..], &[0; 4096]].concat(), 8192), expected);
        let bytes = patched(&encoded(&sample(&[7; 8])), 28, &u16::MAX.to_le_bytes());
        assert!(Record::decode(&[bytes, vec![0; 100_000]].concat(), 1 << 30).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_value(bytes in prop::collection::vec(any::<u8>(), 0..200), limit: u64) {
            let _ = Record::decode(&bytes, limit);
            let _ = Record::view(&bytes);
        }

        #[test]
        fn what_is_encoded_is_decoded(
            index in 1_u64.., time: u64, epoch: u32, kind in 0_u8..255, flags: u8, source: u32,
            prev_crc: u32, payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let record = Record {
                index, time, epoch, kind, flags, source, prev_crc, payload: &payload, crc: 0,
            };
            let mut bytes = vec![0xaa; to_usize(record.bytes())];
            let crc = record.encode(&mut bytes);
            let found = Record::decode(&bytes, 4096).unwrap();
            prop_assert_eq!(found, Record { crc, ..record });
            prop_assert_eq!(Record::view(&bytes), Some(found));
        }
    }
}
