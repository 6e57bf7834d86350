//! Scan: how far a journal's bytes are a chain of records, and what comes behind its end.
//!
//! The longest valid chain from the first record is what the journal holds. Where it breaks there
//! are three worlds. Zeros to the end: nobody wrote further. Bytes, but no record among them: a
//! write that a crash cut short. A valid record further on: something in between was lost or
//! changed, and nothing may be dropped silently.
//!
//! The third world is looked for at every eighth byte from the break. A client's payload may look
//! like a header, so the checksum decides, and a record counts only if its index is higher than the
//! last good one's and its epoch not lower. What is left is a payload that contains, whole, a
//! record with such an index: whoever plants one, and has his own record torn by a crash in the
//! nanoseconds before its checksum is stored, makes the journal refuse to start; he cannot make it
//! drop or accept anything.

use crate::bytes::{is_zero, to_u64, to_usize, used_bytes};
use crate::position::{Geometry, Position};
use crate::record::{PAD_BYTES_MAX, Record, RecordError};

/// The last record of a chain. All zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) index: u64,
    pub(crate) time: u64,
    pub(crate) epoch: u32,
    pub(crate) crc: u32,
}

impl Tip {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        Self { index: record.index, time: record.time, epoch: record.epoch, crc: record.crc }
    }
}

/// Why bytes are not the next record of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// They are no record at all.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A valid record, but not the next one.
    #[error("index {expected} expected, {found} found")]
    Index {
        /// One more than the record before.
        expected: u64,
        /// In the record.
        found: u64,
    },
    /// A valid record that follows another one than ours.
    #[error("prev_crc {expected:#010x} expected, {found:#010x} found")]
    PrevCrc {
        /// The checksum of the record before.
        expected: u32,
        /// In the record.
        found: u32,
    },
    /// The epoch goes back.
    #[error("epoch of at least {last} expected, {found} found")]
    Epoch {
        /// In the record before.
        last: u32,
        /// In the record.
        found: u32,
    },
}

/// Reads the record at the start of `bytes` if it continues the chain that ends with `tip`.
pub(crate) fn next_record<'a>(
    bytes: &'a [u8],
    limit: u64,
    tip: &Tip,
) -> Result<Record<'a>, ChainError> {
    let record = Record::decode(bytes, limit)?;
    if record.index != tip.index + 1 {
        return Err(ChainError::Index { expected: tip.index + 1, found: record.index });
    }
    if record.prev_crc != tip.crc {
        return Err(ChainError::PrevCrc { expected: tip.crc, found: record.prev_crc });
    }
    if record.epoch < tip.epoch {
        return Err(ChainError::Epoch { last: tip.epoch, found: record.epoch });
    }
    Ok(record)
}

/// What lies behind the end of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Zeros, or the ring's end.
    Nothing,
    /// Bytes without a valid record among them.
    Torn { error: ChainError, bytes: u64 },
    /// A valid record that does not follow.
    Valid { error: ChainError, at: Position, index: u64 },
}

/// The longest valid chain of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) head: Position,
    pub(crate) tip: Tip,
    /// Checksum of the record with the index asked for, where the chain has it.
    pub(crate) crc_at_floor: Option<u32>,
    pub(crate) behind: Behind,
}

/// Scans a whole ring, header page not included. `floor` is the index whose checksum is wanted.
pub(crate) fn scan(ring: &[u8], geometry: Geometry, floor: u64) -> Scan {
    assert!(to_u64(ring.len()) == geometry.ring_bytes(), "the whole ring is scanned");
    let mut head = Position::ZERO;
    let mut tip = Tip::default();
    let mut crc_at_floor = (floor == 0).then_some(0);
    let behind = loop {
        if head.get() == geometry.ring_bytes() {
            break Behind::Nothing;
        }
        match next_record(&ring[to_usize(head.get())..], geometry.segment_left(head), &tip) {
            Ok(record) => {
                tip = Tip::of(&record);
                head = head.plus(record.bytes());
                if tip.index == floor {
                    crc_at_floor = Some(tip.crc);
                }
            }
            Err(error) => {
                break look_behind(&ring[to_usize(head.get())..], geometry, head, &tip, error);
            }
        }
    };
    Scan { head, tip, crc_at_floor, behind }
}

/// Judges `rest`, the ring from `head` to its end, where the chain broke with `error`.
pub(crate) fn look_behind(
    rest: &[u8],
    geometry: Geometry,
    head: Position,
    tip: &Tip,
    error: ChainError,
) -> Behind {
    let used = used_bytes(rest);
    if used == 0 {
        return Behind::Nothing;
    }
    // From the break itself: a whole record there follows another one than ours.
    for start in (0..used).step_by(8) {
        let bytes = &rest[start..];
        // Most of what is behind a break is zeros; a record never starts with sixteen of them.
        if is_zero(&bytes[..bytes.len().min(16)]) {
            continue;
        }
        let at = head.plus(to_u64(start));
        let bytes = &bytes[..bytes.len().min(to_usize(PAD_BYTES_MAX))];
        if let Ok(record) = Record::decode(bytes, geometry.segment_left(at))
            && record.index > tip.index
            && record.epoch >= tip.epoch
        {
            return Behind::Valid { error, at, index: record.index };
        }
    }
    Behind::Torn { error, bytes: to_u64(used) }
}
