//! Reading what a spool has written: whole pieces, each believed by its own checksum.
//!
//! For a side thread, beside the spool that goes on writing. A piece is whole, or it is not there
//! yet (or never will be: a hole), or it is damaged; nothing but the first gives bytes. There is no
//! look at labels: the checksum covers whose piece it is and which.

use std::io;

use crate::bytes::{to_u64, to_usize};
use crate::position::{Geometry, Position};
use crate::spool_file::{Shape, SpoolIdentity, report_file};
use crate::storage::Storage;

/// What reading a piece gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceRead {
    /// The bytes, as they were in the ring.
    Whole,
    /// It is not on the disk: not finished, never written whole, or its segment was removed.
    Absent,
    /// It is not what was written.
    Damaged,
}

/// Reads pieces of a spool's segments.
#[derive(Clone, Copy, Debug)]
pub struct SpoolReader {
    shape: Shape,
}

impl SpoolReader {
    /// For the segments of a ring of this size; `None` when no ring has it.
    #[must_use]
    pub fn new(identity: SpoolIdentity, ring_bytes: u64) -> Option<Self> {
        Geometry::new(ring_bytes).map(|geometry| Self { shape: Shape::new(identity, geometry) })
    }

    /// Bytes of a piece: what `read_piece` fills.
    #[must_use]
    pub const fn piece_bytes(&self) -> u64 {
        self.shape.piece_bytes()
    }

    /// The piece that holds the stream's byte at `position`; it begins at its number times
    /// [`SpoolReader::piece_bytes`].
    #[must_use]
    pub const fn piece_of(&self, position: Position) -> u64 {
        self.shape.piece_of(position)
    }

    /// Reads a piece into the front of `into`, which has room for one. What is in `into` is not to
    /// be looked at unless the piece is whole.
    pub fn read_piece(
        &self,
        storage: &dyn Storage,
        piece: u64,
        into: &mut [u8],
    ) -> io::Result<PieceRead> {
        assert!(to_u64(into.len()) >= self.piece_bytes(), "room for a piece");
        let Some(start) = piece.checked_mul(self.piece_bytes()).map(Position::new) else {
            return Ok(PieceRead::Absent);
        };
        let name = report_file(self.shape.geometry.segment_of(start));
        let bytes = &mut into[..to_usize(self.piece_bytes())];
        let mut stored = [0; 4];
        // The checksum first: it is written after the bytes.
        let read = storage
            .read_at(&name, self.shape.crc_offset(start), &mut stored)
            .and_then(|()| storage.read_at(&name, self.shape.byte_offset(start), bytes));
        match read {
            Ok(()) if stored == [0; 4] => Ok(PieceRead::Absent),
            Ok(()) if u32::from_le_bytes(stored) == self.shape.crc_of(piece, bytes) => {
                Ok(PieceRead::Whole)
            }
            Ok(()) => Ok(PieceRead::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PieceRead::Absent),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(PieceRead::Damaged),
            Err(error) => Err(error),
        }
    }
}
