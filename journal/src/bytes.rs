//! Widths: the two places where a length of memory meets a width of the format.
//!
//! State and formats count in `u64`; slices are indexed by `usize`. The crate is for 64-bit
//! machines, which the assertion below states, so neither direction can lose a bit.

use std::fmt::Write as _;

const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// A count of bytes as an index of memory.
#[expect(
    clippy::cast_possible_truncation,
    reason = "asserted above: usize has 64 bits"
)]
pub(crate) const fn to_usize(count: u64) -> usize {
    count as usize
}

/// A length of memory as a count of bytes.
pub(crate) const fn to_u64(length: usize) -> u64 {
    length as u64
}

/// Whether all bytes are zero; a comparison of memory, which is fast in every build.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; 4096] = [0; 4096];
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Length of `bytes` without its trailing zeros, rounded up to 8.
pub(crate) fn used_bytes(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    for chunk in bytes.rchunks(4096) {
        let start = end - chunk.len();
        if !is_zero(chunk) {
            let last = chunk.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            return (start + last + 1).next_multiple_of(8).min(bytes.len());
        }
        end = start;
    }
    0
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_bytes_ends_behind_the_last_set_byte() {
        for (set, expected) in [(None, 0), (Some(0), 8), (Some(7), 8), (Some(8), 16)] {
            let mut bytes = vec![0_u8; 12_288];
            if let Some(at) = set {
                bytes[at] = 1;
            }
            assert_eq!(used_bytes(&bytes), expected, "{set:?}");
            assert_eq!(is_zero(&bytes), set.is_none());
        }
        for at in [4095, 4096, 12_287] {
            let mut bytes = vec![0_u8; 12_288];
            bytes[at] = 0x80;
            assert_eq!(used_bytes(&bytes), (at + 1).next_multiple_of(8));
        }
    }
}
