//! Octets become a checked frame.
//!
//! A frame is `SOFH | SBE header | block | var data`. TCP delivers it in pieces, so [`split`] is
//! asked again and again with what has arrived so far. It must not wait for octets that can no
//! longer make the frame valid, and nobody may size a buffer by a length that a peer claims: the
//! length is judged as soon as its two octets are there, the encoding type after four, the block
//! length after six.
//!
//! A [`Frame`] exists only with its block wholly inside it. What the block means is the decoder's
//! work; a frame of an unknown template or schema is still a frame.
//!
//! ```text
//!  0        2        4             6            8          10        12         12 + blockLength
//!  | length | 0xEB50 | blockLength | templateId | schemaId | version | block .. | var data .. |
//!  |----- SOFH ------|------------------ SBE header -----------------|
//!  |--------------------------------- length ---------------------------------------------------|
//! ```

use thiserror::Error;

use super::layout::{ENCODING_TYPE, HEADER_BYTES, SBE_BYTES, SOFH_BYTES};

/// Why octets are not a frame. The connection cannot be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// The length does not even hold the headers.
    #[error("frame length: expected at least {expected}, came {came}")]
    TooShort {
        /// Octets of the headers.
        expected: usize,
        /// The length claimed.
        came: usize,
    },
    /// The length is above what the link takes.
    #[error("frame length: expected at most {expected}, came {came}")]
    TooLong {
        /// The limit of the link at this moment.
        expected: usize,
        /// The length claimed.
        came: usize,
    },
    /// Not SBE 1.0 little-endian, or not a SOFH at all.
    #[error("encoding type: expected {expected:#06x}, came {came:#06x}")]
    Encoding {
        /// [`ENCODING_TYPE`].
        expected: u16,
        /// What stands in its place.
        came: u16,
    },
    /// The block is longer than the frame around it.
    #[error("block length: expected at most {expected}, came {came}")]
    Block {
        /// Octets of the frame behind its headers.
        expected: usize,
        /// The block length claimed.
        came: usize,
    },
}

/// A whole frame whose headers agree with its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// templateId.
    pub template: u16,
    /// blockLength; the block is wholly inside the frame.
    pub block_length: u16,
    /// schemaId.
    pub schema_id: u16,
    /// version: what the sender knew.
    pub version: u16,
    sbe: &'a [u8],
    block: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame whose SBE header and body are `sbe`, as payloads without SOFH carry it; `None`
    /// when the header or the block does not fit.
    #[inline]
    #[must_use]
    pub fn from_sbe(sbe: &'a [u8]) -> Option<Self> {
        let (header, body) = sbe.split_first_chunk::<SBE_BYTES>()?;
        let [b0, b1, t0, t1, s0, s1, v0, v1] = *header;
        let block_length = u16::from_le_bytes([b0, b1]);
        let (block, rest) = body.split_at_checked(usize::from(block_length))?;
        Some(Self {
            template: u16::from_le_bytes([t0, t1]),
            block_length,
            schema_id: u16::from_le_bytes([s0, s1]),
            version: u16::from_le_bytes([v0, v1]),
            sbe,
            block,
            rest,
        })
    }

    /// The octets behind the SBE header: block and var data.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.sbe.get(SBE_BYTES..).unwrap_or_default()
    }

    /// SBE header and body.
    #[must_use]
    pub const fn sbe(&self) -> &'a [u8] {
        self.sbe
    }

    /// The block exactly as transmitted.
    #[must_use]
    pub const fn block(&self) -> &'a [u8] {
        self.block
    }

    /// The octets behind the block.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// The first frame of `buffer` and its octets in all; `None` when more octets are needed.
///
/// `bytes_max` is the longest frame that the link takes now; it is at most the size of the buffer
/// that the caller reads into.
#[inline]
pub fn split(buffer: &[u8], bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some(&[l0, l1]) = buffer.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    if length < HEADER_BYTES {
        return Err(FrameError::TooShort {
            expected: HEADER_BYTES,
            came: length,
        });
    }
    if length > bytes_max {
        return Err(FrameError::TooLong {
            expected: bytes_max,
            came: length,
        });
    }
    let Some(&[_, _, e0, e1]) = buffer.first_chunk() else {
        return Ok(None);
    };
    let encoding = u16::from_le_bytes([e0, e1]);
    if encoding != ENCODING_TYPE {
        return Err(FrameError::Encoding {
            expected: ENCODING_TYPE,
            came: encoding,
        });
    }
    let Some(&[_, _, _, _, b0, b1]) = buffer.first_chunk() else {
        return Ok(None);
    };
    let (block, block_max) = (
        usize::from(u16::from_le_bytes([b0, b1])),
        length - HEADER_BYTES,
    );
    if block > block_max {
        return Err(FrameError::Block {
            expected: block_max,
            came: block,
        });
    }
    let frame = buffer.get(SOFH_BYTES..length).and_then(Frame::from_sbe);
    Ok(frame.map(|frame| (frame, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row a buffer: what has arrived, and what is known about it.
    #[track_caller]
    fn check(buffer: &[u8], expected: Result<Option<usize>, FrameError>) {
        assert_eq!(
            split(buffer, 64).map(|found| found.map(|(_, length)| length)),
            expected
        );
    }

    #[test]
    fn a_bad_header_is_refused_as_soon_as_it_shows() {
        let short = |came| Err(FrameError::TooShort { expected: 12, came });
        let long = |came| Err(FrameError::TooLong { expected: 64, came });
        let encoding = |came| {
            Err(FrameError::Encoding {
                expected: 0xEB50,
                came,
            })
        };
        let block = |expected, came| Err(FrameError::Block { expected, came });
        check(&[], Ok(None));
        check(&[12], Ok(None));
        check(&[12, 0], Ok(None));
        check(&[0, 0], short(0));
        check(&[11, 0], short(11));
        check(&[64, 0], Ok(None));
        check(&[65, 0], long(65));
        check(&[0xFF, 0xFF], long(65_535));
        check(&[12, 0, 0x50], Ok(None));
        check(&[12, 0, 0x50, 0xEB], Ok(None));
        check(&[12, 0, 0xEB, 0x50], encoding(0x50EB));
        // The 6-octet SOFH in network order is not taken (ruling F31).
        check(&[0, 0, 0, 20, 0xEB, 0x50], short(0));
        check(&[12, 0, 0x50, 0xEB, 0, 0], Ok(None));
        check(&[12, 0, 0x50, 0xEB, 1, 0], block(0, 1));
        check(&[20, 0, 0x50, 0xEB, 9, 0], block(8, 9));
        check(&[12, 0, 0x50, 0xEB, 0, 0, 10, 0, 1, 0, 2], Ok(None));
        check(&[12, 0, 0x50, 0xEB, 0, 0, 10, 0, 1, 0, 2, 0], Ok(Some(12)));
        check(
            &[12, 0, 0x50, 0xEB, 0, 0, 10, 0, 1, 0, 2, 0, 99],
            Ok(Some(12)),
        );
    }

    #[test]
    fn a_frame_shows_its_parts() {
        let octets = [
            15, 0, 0x50, 0xEB, 1, 0, 10, 0, 0xA1, 0x0F, 2, 0, 7, 8, 9, 99,
        ];
        let (frame, length) = split(&octets, 64).unwrap().unwrap();
        assert_eq!(length, 15);
        assert_eq!(
            (
                frame.template,
                frame.block_length,
                frame.schema_id,
                frame.version
            ),
            (10, 1, 4001, 2)
        );
        assert_eq!(
            (frame.sbe(), frame.body(), frame.block(), frame.rest()),
            (&octets[4..15], &[7, 8, 9][..], &[7][..], &[8, 9][..])
        );
    }

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        let said = |buffer| split(buffer, 64).unwrap_err().to_string();
        assert_eq!(said(&[65, 0]), "frame length: expected at most 64, came 65");
        assert_eq!(
            said(&[16, 0, 1, 2]),
            "encoding type: expected 0xeb50, came 0x0201"
        );
    }
}
