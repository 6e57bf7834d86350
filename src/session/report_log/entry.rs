//! What stands in the ring: entries and pads, octet by octet.
//!
//! ```text
//!   0        4      8         16       24
//!   | session | len | number  | index  | frame ... | zeros to a multiple of 8
//!   | 2^32-1  | len | zeros to the end of the segment, or of the first word of all
//! ```
//!
//! `len` of an entry is its frame's; of a pad, all its octets. Positions are multiples of 8, so a
//! pad, which fills what is left, has at least that many. Little-endian.

use crate::limits::REPORT_BYTES_MAX;

/// Octets of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 24;
/// Octets of the longest entry; as many are always free behind the head while one is written.
pub const ENTRY_BYTES_MAX: usize = (ENTRY_HEADER_BYTES + REPORT_BYTES_MAX).next_multiple_of(ALIGN);

/// Octets of the shortest report, a NotApplied; entries are at least this long behind the header.
pub(super) const FRAME_BYTES_MIN: usize = 24;
/// Entries and pads begin at multiples of this.
pub(super) const ALIGN: usize = 8;
const PAD: u32 = u32::MAX;

/// The front of an entry, or of a pad.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) session: u32,
    pub(super) len: u32,
    pub(super) number: u64,
    pub(super) index: u64,
}

impl Header {
    /// Reads what stands at the front of `stored`; a pad may be shorter than a header, and there
    /// only its first word counts.
    #[inline]
    pub(super) fn read(stored: &[u8]) -> Self {
        Self {
            session: u32_at(stored, 0),
            len: u32_at(stored, 4),
            number: u64_at(stored, 8),
            index: u64_at(stored, 16),
        }
    }

    /// Octets of the pad; `None` for an entry.
    #[inline]
    pub(super) const fn pad_len(&self) -> Option<u32> {
        if self.session == PAD { Some(self.len) } else { None }
    }

    #[inline]
    pub(super) fn write(self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.session.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.index.to_le_bytes());
    }
}

/// Makes all of `out` one pad.
pub(super) fn write_pad(out: &mut [u8]) {
    let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.fill(0);
    out[..4].copy_from_slice(&PAD.to_le_bytes());
    out[4..8].copy_from_slice(&len.to_le_bytes());
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table above, as octets.
    #[test]
    fn entries_and_pads_are_laid_out_as_drawn() {
        let header = Header { session: 0x0102_0304, len: 5, number: 6, index: 0x0700 };
        let mut octets = [0xee; 26];
        header.write(&mut octets);
        assert_eq!(octets[..8], [4, 3, 2, 1, 5, 0, 0, 0]);
        assert_eq!(octets[8..], [6, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0xee, 0xee]);
        assert_eq!((Header::read(&octets), header.pad_len()), (header, None));

        for len in [8, 16, 40] {
            let mut pad = vec![0xee; len];
            write_pad(&mut pad);
            assert_eq!(pad[..5], [0xff, 0xff, 0xff, 0xff, u8::try_from(len).unwrap()]);
            assert!(pad[5..].iter().all(|octet| *octet == 0));
            assert_eq!(Header::read(&pad).pad_len(), u32::try_from(len).ok());
        }
    }
}
