//! Sums: a SHA-256 over each whole mebibyte of a segment, in a file beside it.
//!
//! The records' checksums notice accidents; whoever changes a record on purpose computes them anew.
//! These sums can be copied elsewhere as evidence of what the journal said. The persister computes
//! them as the bytes pass; a piece that is not complete has 32 zero bytes. A segment smaller than a
//! mebibyte is one piece.

use sha2::{Digest as _, Sha256};
use std::io;

use crate::bytes::{is_zero, to_u64, to_usize};
use crate::position::{Geometry, Position};
use crate::scan::read_segments;
use crate::segment::sums_file;
use crate::storage::Storage;

/// Bytes of one sum.
pub(crate) const SUM_BYTES: u64 = 32;
const PIECE_BYTES_MAX: u64 = 1 << 20;

/// Bytes that one sum covers.
pub(crate) const fn piece_bytes(geometry: Geometry) -> u64 {
    if geometry.segment_bytes() < PIECE_BYTES_MAX {
        geometry.segment_bytes()
    } else {
        PIECE_BYTES_MAX
    }
}

/// Bytes of the file of sums.
pub(crate) const fn sums_bytes(geometry: Geometry) -> u64 {
    geometry.segment_bytes() / piece_bytes(geometry) * SUM_BYTES
}

/// The sum of the piece that is being written.
#[derive(Debug)]
pub(crate) struct Sums {
    geometry: Geometry,
    position: Position,
    hasher: Sha256,
}

impl Sums {
    /// Goes on at `position`: what its piece holds already is read again.
    pub(crate) fn resume(
        storage: &dyn Storage,
        geometry: Geometry,
        position: Position,
    ) -> io::Result<Self> {
        let in_piece = geometry.segment_offset(position) % piece_bytes(geometry);
        let mut hasher = Sha256::new();
        if in_piece > 0 {
            let mut bytes = vec![0; to_usize(in_piece)];
            let start = Position::new(position.get() - in_piece);
            read_segments(storage, geometry, start, &mut bytes)?;
            hasher.update(&bytes);
        }
        Ok(Self { geometry, position, hasher })
    }

    /// Takes the bytes that were written next and writes the sums of pieces they complete.
    pub(crate) fn add(&mut self, storage: &mut dyn Storage, mut bytes: &[u8]) -> io::Result<()> {
        let piece = piece_bytes(self.geometry);
        while !bytes.is_empty() {
            let offset = self.geometry.segment_offset(self.position);
            let left = piece - offset % piece;
            let (now, rest) = bytes.split_at(to_usize(left).min(bytes.len()));
            self.hasher.update(now);
            if to_u64(now.len()) == left {
                let sum = self.hasher.finalize_reset();
                let name = sums_file(self.geometry.segment_of(self.position));
                storage.write_at(&name, offset / piece * SUM_BYTES, &sum)?;
            }
            self.position = self.position.plus(to_u64(now.len()));
            bytes = rest;
        }
        Ok(())
    }

    /// Makes the sums of a segment those of its bytes, which end at `end`: the file is synced only
    /// when its segment is full, so a crash leaves sums of bytes that were lost, and bytes without
    /// a sum. A sum of a piece that ends at or below `durable` was right once and stays.
    pub(crate) fn mend(
        storage: &mut dyn Storage,
        geometry: Geometry,
        segment: u64,
        (durable, end): (Position, Position),
    ) -> io::Result<()> {
        let name = sums_file(segment);
        let mut sums = vec![0; to_usize(sums_bytes(geometry))];
        match storage.len(&name)? {
            Some(len) if len == sums_bytes(geometry) => storage.read_at(&name, 0, &mut sums)?,
            Some(_) => storage.remove(&name).and_then(|()| create(storage, &name, geometry))?,
            None => create(storage, &name, geometry)?,
        }
        let piece = piece_bytes(geometry);
        let mut bytes = vec![0; to_usize(piece)];
        let mut at = geometry.segment_start(segment);
        for sum in sums.chunks_mut(to_usize(SUM_BYTES)) {
            let next = at.plus(piece);
            if next > end {
                sum.fill(0);
            } else if next > durable || is_zero(sum) {
                read_segments(storage, geometry, at, &mut bytes)?;
                sum.copy_from_slice(&Sha256::digest(&bytes));
            }
            at = next;
        }
        storage.write_at(&name, 0, &sums)?;
        storage.sync(&name)
    }
}

fn create(storage: &mut dyn Storage, name: &str, geometry: Geometry) -> io::Result<()> {
    storage.create(name, sums_bytes(geometry))?;
    storage.sync_names()
}

/// What the sums of one segment say of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumsFound {
    /// Pieces whose sum is that of their bytes.
    pub matching: u64,
    /// Pieces with another sum, and the first of them: the position where it begins.
    pub differing: u64,
    /// See `differing`.
    pub first_differing: Option<Position>,
    /// Pieces that are not complete.
    pub open: u64,
    /// The file of sums is missing or short.
    pub is_missing: bool,
}

/// Compares the sums of a segment with its bytes.
pub(crate) fn check(
    storage: &dyn Storage,
    geometry: Geometry,
    segment: u64,
) -> io::Result<SumsFound> {
    let mut found = SumsFound::default();
    let name = sums_file(segment);
    let mut sums = vec![0; to_usize(sums_bytes(geometry))];
    match storage.len(&name)? {
        Some(len) if len == sums_bytes(geometry) => storage.read_at(&name, 0, &mut sums)?,
        Some(_) | None => return Ok(SumsFound { is_missing: true, ..found }),
    }
    let piece = piece_bytes(geometry);
    let mut bytes = vec![0; to_usize(piece)];
    let mut at = geometry.segment_start(segment);
    for sum in sums.chunks(to_usize(SUM_BYTES)) {
        if is_zero(sum) {
            found.open += 1;
        } else {
            read_segments(storage, geometry, at, &mut bytes)?;
            if Sha256::digest(&bytes).as_slice() == sum {
                found.matching += 1;
            } else {
                found.differing += 1;
                found.first_differing.get_or_insert(at);
            }
        }
        at = at.plus(piece);
    }
    Ok(found)
}
