//! Ring: the journal in memory, appended to by one thread with plain stores.
//!
//! A record must outlive the process that wrote it the moment `append` returns, and the hot thread
//! may not pay a system call for that. So the ring is a mapped file: a store is in the page cache
//! at once and the kernel keeps it when the process dies. Every page is present and locked before
//! the first append, so a store never waits for a fault.
//!
//! An append writes header and payload, computes one checksum, and stores it last: a process killed
//! in between leaves bytes whose checksum does not match, which recovery drops. It costs no
//! allocation and no system call. Where a record would not fit its segment, or would leave a gap
//! smaller than a header, a pad fills the segment first and takes an index of its own.
//!
//! The ring goes round: a position lies at its remainder, and what was written a ring before is
//! overwritten. Not before it is on the disk: `append` stores nothing above the durable position
//! plus the ring, which is the one assertion at the one store. When the persister is that far
//! behind, `append` answers [`Full`] and changes nothing; `free_bytes` tells before how much is
//! certain to fit. The three segments before the one being written are always whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::{to_u64, to_usize};
use crate::error::JournalError;
use crate::label::Label;
use crate::position::{Geometry, Position};
use crate::record::{
    HEADER_BYTES, Head, KIND_PAD, PAD_BYTES_MAX, PAYLOAD_BYTES_MAX, Record, payload_mut,
    record_bytes, seal,
};
use crate::region::Region;
use crate::scan::{Tip, next_record};
use crate::watermarks::Watermarks;

/// Bytes of the ring file before the first record.
pub(crate) const HEADER_PAGE_BYTES: u64 = 4096;

/// The bytes of a ring for somebody else than the hot thread: by plain reads of its file, or of a
/// ring in memory where one thread plays all parts.
pub trait RingBytes {
    /// Fills `into` with the bytes from place `at` of the ring on, in `[0, ring_bytes)`.
    fn read_ring(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

/// The journal, open for writing.
///
/// Invariants: `base <= head`; `head` is a multiple of 8 and at most `bound`, the durable position
/// plus the ring; its segment has nothing or at least a header left; `[base, head)` is a valid
/// chain ending in `tip`.
#[derive(Debug)]
pub struct Ring {
    region: Region,
    geometry: Geometry,
    /// The ring was made when the journal stood here; nothing before was ever in it.
    made_at: Position,
    head: Position,
    /// Nothing is stored at or above: durable + ring, as last looked at.
    bound: Position,
    tip: Tip,
    label: Label,
    marks: Arc<Watermarks>,
    /// `None` for a ring on the heap.
    path: Option<PathBuf>,
}

/// Where an appended record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// Its first byte.
    pub position: Position,
}

/// The record does not fit before older ones are on the disk; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal ring full: {needed} bytes needed, {left} free until more is on the disk")]
pub struct Full {
    /// Bytes the record needs, with the pad before it if it needs one.
    pub needed: u64,
    /// Bytes free in the ring.
    pub left: u64,
}

/// What an open ring is made of.
pub(crate) struct RingParts {
    pub(crate) region: Region,
    pub(crate) geometry: Geometry,
    pub(crate) made_at: Position,
    pub(crate) head: Position,
    pub(crate) tip: Tip,
    pub(crate) label: Label,
    pub(crate) marks: Arc<Watermarks>,
    pub(crate) path: Option<PathBuf>,
}

impl Ring {
    /// A ring in plain memory that no crash survives and nobody persists, so that it fills once;
    /// for tests and benches.
    pub fn heap(ring_bytes: u64) -> Result<Self, JournalError> {
        let geometry =
            Geometry::new(ring_bytes).ok_or(JournalError::RingBytes { found: ring_bytes })?;
        Ok(Self::from_parts(RingParts {
            region: Region::heap(HEADER_PAGE_BYTES + ring_bytes),
            geometry,
            made_at: Position::ZERO,
            head: Position::ZERO,
            tip: Tip::default(),
            label: Label { ring_bytes, ..Label::default() },
            marks: Arc::default(),
            path: None,
        }))
    }

    /// The parts' watermarks must say what is on the disk; `appended` is set here.
    pub(crate) fn from_parts(parts: RingParts) -> Self {
        let RingParts { region, geometry, made_at, head, tip, label, marks, path } = parts;
        assert!(region.len() == HEADER_PAGE_BYTES + geometry.ring_bytes(), "the whole ring");
        let bound = marks.durable().plus(geometry.ring_bytes());
        marks.set_appended(head);
        let ring = Self { region, geometry, made_at, head, bound, tip, label, marks, path };
        ring.assert_invariants();
        ring
    }

    /// Appends one record. `payload` is at most [`PAYLOAD_BYTES_MAX`] bytes, `kind` not
    /// [`KIND_PAD`], and `epoch` not below the last one: anything else is a fault of the program.
    #[inline]
    pub fn append(
        &mut self,
        time: u64,
        epoch: u32,
        kind: u8,
        flags: u8,
        source: u32,
        payload: &[u8],
    ) -> Result<Appended, Full> {
        let fields = Fields { time, epoch, kind, flags, source };
        self.append_fields(&fields, to_u64(payload.len()), |slot| {
            slot.copy_from_slice(payload);
        })
    }

    /// The record at `position`, checked again. `None` when no record starts there.
    #[must_use]
    pub fn read(&self, position: Position) -> Option<Record<'_>> {
        let bytes = self.written_from(position)?;
        Record::decode(bytes, self.geometry.segment_left(position)).ok()
    }

    /// All records from `position` on, which must be the start of a record in the ring or the
    /// head; pads are among them. The bytes were checked when the ring was opened or written by
    /// this process, so no checksum is computed again.
    #[must_use]
    pub fn records_from(&self, position: Position) -> Records<'_> {
        assert!(position >= self.base(), "older records are in the segments");
        Records { ring: self, position }
    }

    /// All records that the ring holds, from its base.
    #[must_use]
    pub fn iter(&self) -> Records<'_> {
        self.records_from(self.base())
    }

    /// Position of the oldest record the ring surely holds: where a segment begins, or the oldest
    /// that is not on the disk.
    #[must_use]
    pub fn base(&self) -> Position {
        self.made_at.max(self.geometry.ring_base(self.head).min(self.marks.durable()))
    }

    /// Position behind the last record: where the next one goes, or the pad before it.
    #[must_use]
    pub fn head(&self) -> Position {
        self.head
    }

    /// Index of the last record; 0 when there is none.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.tip.index
    }

    /// Time of the last record; 0 when there is none.
    #[must_use]
    pub fn last_time(&self) -> u64 {
        self.tip.time
    }

    /// Epoch of the last record; 0 when there is none.
    #[must_use]
    pub fn last_epoch(&self) -> u32 {
        self.tip.epoch
    }

    /// Checksum of the last record; 0 when there is none.
    #[must_use]
    pub fn last_crc(&self) -> u32 {
        self.tip.crc
    }

    /// Bytes of records that are certain to fit: any records whose [`record_bytes`] sum to this
    /// much are taken, whatever pads fall between them. A little may fit beyond, and more once the
    /// persister gets on.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let bound = self.marks.durable().plus(self.geometry.ring_bytes());
        let pads = self.geometry.segment_ends(self.head, bound) * PAD_BYTES_MAX;
        bound.since(self.head).saturating_sub(pads)
    }

    /// Bytes that are appended and not on the disk.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        self.head.since(self.marks.durable())
    }

    /// Bytes the ring can hold, pads included.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        self.geometry.ring_bytes()
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Whose journal this is.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// What the parties of this journal tell each other.
    #[must_use]
    pub fn marks(&self) -> &Arc<Watermarks> {
        &self.marks
    }

    /// Where the ring file is; `None` for a ring on the heap.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    /// Whether its pages are locked in memory.
    #[must_use]
    pub fn is_memory_locked(&self) -> bool {
        self.region.is_locked()
    }

    /// Gives the memory back: what a process that is killed here leaves.
    #[must_use]
    pub fn into_region(self) -> Region {
        self.region
    }

    /// Checks what is cheap to check of the invariants; the chain itself is checked by
    /// [`Ring::assert_chain`].
    pub fn assert_invariants(&self) {
        assert!(self.head.get().is_multiple_of(8), "records are padded to 8");
        assert!(self.base() <= self.head && self.head <= self.bound, "head within its bounds");
        let left = self.geometry.segment_left(self.head);
        assert!(left >= HEADER_BYTES, "a pad fits, or the segment is fresh");
    }

    /// Checks the whole chain that the ring holds: for tests.
    pub fn assert_chain(&self) {
        self.assert_invariants();
        let mut position = self.base();
        let before = |record: &Record<'_>| Tip {
            index: record.index - 1,
            crc: record.prev_crc,
            ..Tip::default()
        };
        let mut tip = self.read(position).as_ref().map_or(self.tip, before);
        while let Some(bytes) = self.written_from(position) {
            let limit = self.geometry.segment_left(position);
            match next_record(bytes, limit, &tip) {
                Ok(record) => {
                    tip = Tip::of(&record);
                    position = position.plus(record.bytes());
                }
                Err(error) => panic!("at {position}: {error}"),
            }
        }
        assert!(position == self.head && tip == self.tip, "the chain ends at the head");
    }

    #[inline]
    fn append_fields(
        &mut self,
        fields: &Fields,
        payload_bytes: u64,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Appended, Full> {
        assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "payload within its bound");
        assert!(fields.kind != KIND_PAD, "pads are the ring's own");
        assert!(fields.epoch >= self.tip.epoch, "the epoch never goes back");
        let size = record_bytes(payload_bytes);
        let segment_left = self.geometry.segment_left(self.head);
        let pad = if size == segment_left || size + HEADER_BYTES <= segment_left {
            0
        } else {
            segment_left
        };
        let needed = pad + size;
        if needed > self.bound.since(self.head) {
            self.bound = self.marks.durable().plus(self.geometry.ring_bytes());
            let left = self.bound.since(self.head);
            if needed > left {
                return Err(Full { needed, left });
            }
        }
        if pad != 0 {
            let pad_fields = Fields { kind: KIND_PAD, flags: 0, source: 0, ..*fields };
            self.store(&pad_fields, pad - HEADER_BYTES, |slot| slot.fill(0));
        }
        Ok(self.store(fields, payload_bytes, fill))
    }

    /// The one place that writes records.
    #[inline]
    fn store(
        &mut self,
        fields: &Fields,
        payload_bytes: u64,
        fill: impl FnOnce(&mut [u8]),
    ) -> Appended {
        let size = record_bytes(payload_bytes);
        assert!(self.head.plus(size) <= self.bound, "no byte is overwritten before it is durable");
        let start = to_usize(HEADER_PAGE_BYTES + self.geometry.ring_offset(self.head));
        let slot = &mut self.region.bytes_mut()[start..][..to_usize(size)];
        fill(payload_mut(slot, payload_bytes));
        let index = self.tip.index + 1;
        let crc = seal(
            slot,
            &Head {
                prev_crc: self.tip.crc,
                index,
                time: fields.time,
                epoch: fields.epoch,
                kind: fields.kind,
                flags: fields.flags,
                source: fields.source,
                payload_bytes,
            },
        );
        let position = self.head;
        self.tip = Tip { index, time: fields.time, epoch: fields.epoch, crc };
        self.head = position.plus(size);
        self.marks.set_appended(self.head);
        Appended { index, position }
    }

    /// Written bytes from `position` to the end of its segment; `None` at or behind the head, and
    /// before the base.
    fn written_from(&self, position: Position) -> Option<&[u8]> {
        if position >= self.head || position < self.base() {
            return None;
        }
        let start = to_usize(HEADER_PAGE_BYTES + self.geometry.ring_offset(position));
        let len = self.head.since(position).min(self.geometry.segment_left(position));
        self.region.bytes().get(start..start + to_usize(len))
    }
}

impl RingBytes for Ring {
    fn read_ring(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let start = to_usize(HEADER_PAGE_BYTES + at);
        let bytes = self.region.bytes().get(start..start + into.len());
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A ring file, read by another thread while the hot one stores to its mapping.
#[derive(Debug)]
pub struct RingFile {
    file: File,
}

impl RingFile {
    /// Opens the file of an open ring.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }
}

impl RingBytes for RingFile {
    fn read_ring(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, HEADER_PAGE_BYTES + at)
    }
}

/// What an append is given beside its payload.
#[derive(Clone, Copy)]
struct Fields {
    time: u64,
    epoch: u32,
    kind: u8,
    flags: u8,
    source: u32,
}

/// The records of a ring from a position to the head. Knows at any time where it is, so that it can
/// be dropped before an append and made anew after it.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    ring: &'a Ring,
    position: Position,
}

impl Records<'_> {
    /// Position of the next record, or the head.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Position, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let record = Record::view(self.ring.written_from(self.position)?)?;
        let position = self.position;
        self.position = position.plus(record.bytes());
        Some((position, record))
    }
}

impl<'a> IntoIterator for &'a Ring {
    type Item = (Position, Record<'a>);
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::RING_BYTES_MIN;
    use crate::record::RECORD_BYTES_MAX;
    use proptest::prelude::*;

    /// What the ring must hold, as a plain list.
    #[derive(Debug, PartialEq)]
    struct Twin {
        index: u64,
        position: u64,
        time: u64,
        kind: u8,
        payload: Vec<u8>,
    }

    fn held(ring: &Ring) -> Vec<Twin> {
        let twin = |(position, record): (Position, Record<'_>)| Twin {
            index: record.index,
            position: position.get(),
            time: record.time,
            kind: record.kind,
            payload: record.payload.to_vec(),
        };
        ring.iter().filter(|(_, record)| !record.is_pad()).map(twin).collect()
    }

    #[test]
    fn pads_fall_where_the_table_says() {
        // Segments of 8192 bytes. Bytes of the records before, then of one more record, and the
        // position it gets.
        for (before, size, position) in [
            (vec![], 4096, 0),
            (vec![4096], 4096, 4096),
            (vec![4096, 4096], 40, 8192),
            (vec![4096, 4056], 40, 8152),
            (vec![4096, 4056], 48, 8192),
            // A gap of 8 to 32 bytes is too small for a pad's header: the pad comes first.
            (vec![4096], 4088, 8192),
            (vec![4096], 4064, 8192),
            (vec![4096], 4056, 4096),
            (vec![4096, 1000], 4096, 8192),
        ] {
            let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
            for size in &before {
                ring.append(1, 1, 1, 0, 0, &vec![1; size - 40]).unwrap();
            }
            let found = ring.append(2, 1, 1, 0, 0, &vec![2; size - 40]).unwrap();
            assert_eq!(found.position.get(), position, "{before:?} {size}");
            ring.assert_chain();
            let record = ring.read(found.position).unwrap();
            assert_eq!((record.index, record.payload.len()), (found.index, size - 40));
            assert_eq!(record.crc, ring.last_crc());
            assert!(ring.read(found.position.plus(8)).is_none());
            assert!(ring.read(ring.head()).is_none());
        }
    }

    #[test]
    fn a_full_ring_says_so_and_changes_nothing() {
        let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
        while ring.append(1, 1, 1, 0, 0, &[7; 4056]).is_ok() {}
        assert_eq!((ring.head().get(), ring.free_bytes()), (RING_BYTES_MIN, 0));
        assert_eq!(ring.append(1, 1, 1, 0, 0, &[]), Err(Full { needed: 40, left: 0 }));
        assert_eq!(ring.last_index(), RING_BYTES_MIN / RECORD_BYTES_MAX);
        assert_eq!((ring.base().get(), ring.lag_bytes()), (0, RING_BYTES_MIN));
        ring.assert_chain();
        // One segment on the disk: two more of the largest records fit, over the oldest.
        ring.marks().set_durable(Position::new(8192), 2);
        assert_eq!(ring.append(1, 1, 1, 0, 0, &[8; 4056]).unwrap().position.get(), RING_BYTES_MIN);
        assert_eq!(ring.append(1, 1, 1, 0, 0, &[8; 4056]).unwrap().index, 10);
        assert_eq!(ring.append(1, 1, 1, 0, 0, &[]), Err(Full { needed: 40, left: 0 }));
        assert_eq!(ring.marks().appended(), ring.head());
        ring.assert_chain();

        let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
        while ring.append(1, 1, 1, 0, 0, &[7; 960]).is_ok() {}
        // The last segment holds eight records of 1000 bytes; the ninth would need a pad and then
        // a fifth segment.
        let (head, index) = (ring.head(), ring.last_index());
        assert_eq!(head.get(), RING_BYTES_MIN - 192);
        assert_eq!(ring.append(1, 1, 1, 0, 0, &[7; 960]), Err(Full { needed: 1192, left: 192 }));
        assert_eq!((ring.head(), ring.last_index()), (head, index));
        assert!(ring.append(1, 1, 1, 0, 0, &[7; 152]).is_ok());
        ring.assert_chain();
    }

    #[test]
    #[should_panic(expected = "the epoch never goes back")]
    fn an_epoch_that_goes_back_is_a_fault_of_the_program() {
        let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
        ring.append(1, 2, 1, 0, 0, &[]).unwrap();
        let _ = ring.append(1, 1, 1, 0, 0, &[]);
    }

    #[test]
    #[should_panic(expected = "payload within its bound")]
    fn a_payload_beyond_its_bound_is_a_fault_of_the_program() {
        let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
        let _ = ring.append(1, 1, 1, 0, 0, &[0; 4057]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
        #[test]
        fn the_ring_holds_what_a_list_would(
            steps in prop::collection::vec(
                (0_u64..=PAYLOAD_BYTES_MAX, any::<bool>(), 0_u8..4), 1..120),
        ) {
            let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
            let mut twin: Vec<Twin> = Vec::new();
            for (time, (len, is_small, persist)) in (0_u64..).zip(steps) {
                if persist == 0 {
                    // The disk has everything but the last record.
                    let (at, index) = twin.last().map_or((0, 0), |t| (t.position, t.index - 1));
                    ring.marks().set_durable(Position::new(at), index);
                }
                // Half of the records are small, as most are in life.
                let len = if is_small { len / 32 } else { len };
                let byte = time.to_le_bytes()[0];
                let payload = vec![byte; to_usize(len)];
                let (free, head) = (ring.free_bytes(), ring.head());
                let appended = ring.append(time, 1, byte % 200, 0, 0, &payload);
                if let Ok(Appended { index, position }) = appended {
                    let position = position.get();
                    twin.push(Twin { index, position, time, kind: byte % 200, payload });
                } else {
                    prop_assert!(record_bytes(len) > free, "free_bytes is a promise");
                    prop_assert_eq!(ring.head(), head);
                }
                ring.assert_invariants();
            }
            ring.assert_chain();
            let base = ring.base().get();
            twin.retain(|record| record.position >= base);
            prop_assert_eq!(held(&ring), twin);
        }

        #[test]
        fn what_free_bytes_promises_fits(first in 0_u64..30_000, len in 0..=PAYLOAD_BYTES_MAX) {
            let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
            while ring.head().get() < first && ring.append(1, 1, 1, 0, 0, &[1; 300]).is_ok() {}
            let mut promised = ring.free_bytes();
            while promised >= record_bytes(len) {
                promised -= record_bytes(len);
                prop_assert!(ring.append(1, 1, 1, 0, 0, &vec![1; to_usize(len)]).is_ok());
            }
        }
    }
}
