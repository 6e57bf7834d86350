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
//! When full: nothing may be overwritten before a persister has copied it, and there is none yet.
//! So the ring fills once; then `append` answers [`Full`] and changes nothing. `free_bytes` tells
//! before how much is certain to fit.

use crate::bytes::{to_u64, to_usize};
use crate::directory::Directory;
use crate::error::JournalError;
use crate::label::Label;
use crate::position::{Geometry, Position};
use crate::record::{
    HEADER_BYTES, Head, KIND_PAD, PAD_BYTES_MAX, PAYLOAD_BYTES_MAX, Record, payload_mut,
    record_bytes, seal,
};
use crate::region::Region;
use crate::scan::{Tip, next_record};

/// Bytes of the ring file before the first record.
pub(crate) const HEADER_PAGE_BYTES: u64 = 4096;

/// The journal, open for writing.
///
/// Invariants: `head` is a multiple of 8 and at most `ring_bytes`; its segment has nothing or at
/// least a header left; all bytes behind it are zero; `[0, head)` is a valid chain ending in `tip`.
#[derive(Debug)]
pub struct Ring {
    region: Region,
    geometry: Geometry,
    head: Position,
    tip: Tip,
    label: Label,
    /// `None` for a ring on the heap.
    directory: Option<Directory>,
}

/// Where an appended record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its index.
    pub index: u64,
    /// Its first byte.
    pub position: Position,
}

/// The record does not fit; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("journal full: {needed} bytes needed, {left} left")]
pub struct Full {
    /// Bytes the record needs, with the pad before it if it needs one.
    pub needed: u64,
    /// Bytes left in the ring.
    pub left: u64,
}

impl Ring {
    /// A ring in plain memory that no crash survives; for tests, benches and the simulator.
    pub fn heap(ring_bytes: u64) -> Result<Self, JournalError> {
        let geometry =
            Geometry::new(ring_bytes).ok_or(JournalError::RingBytes { found: ring_bytes })?;
        let region = Region::heap(HEADER_PAGE_BYTES + ring_bytes);
        let label = Label {
            ring_bytes,
            ..Label::default()
        };
        Ok(Self::from_parts(
            region,
            geometry,
            Position::ZERO,
            Tip::default(),
            label,
            None,
        ))
    }

    pub(crate) fn from_parts(
        region: Region,
        geometry: Geometry,
        head: Position,
        tip: Tip,
        label: Label,
        directory: Option<Directory>,
    ) -> Self {
        assert!(
            region.len() == HEADER_PAGE_BYTES + geometry.ring_bytes(),
            "the whole ring"
        );
        let ring = Self {
            region,
            geometry,
            head,
            tip,
            label,
            directory,
        };
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
        let fields = Fields {
            time,
            epoch,
            kind,
            flags,
            source,
        };
        self.append_fields(&fields, to_u64(payload.len()), |slot| {
            slot.copy_from_slice(payload);
        })
    }

    /// As [`Ring::append`], but `fill` writes the payload where it will stay: it gets
    /// `payload_bytes` bytes of unspecified content and must write all of them.
    #[inline]
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a record, in its order"
    )]
    pub fn append_with(
        &mut self,
        time: u64,
        epoch: u32,
        kind: u8,
        flags: u8,
        source: u32,
        payload_bytes: u64,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Appended, Full> {
        self.append_fields(
            &Fields {
                time,
                epoch,
                kind,
                flags,
                source,
            },
            payload_bytes,
            fill,
        )
    }

    /// Stops cleanly: writes the ring to its disk, then the mark that says so. A journal dropped
    /// without this reopens as after a kill.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.assert_invariants();
        let Some(mut directory) = self.directory.take() else {
            return Ok(());
        };
        directory.stop(&self.region, &mut self.label, self.tip.index, self.tip.crc)
    }

    /// The record at `position`, checked again. `None` when no record starts there.
    #[must_use]
    pub fn read(&self, position: Position) -> Option<Record<'_>> {
        let bytes = self.written_from(position)?;
        Record::decode(bytes, self.geometry.segment_left(position)).ok()
    }

    /// All records from `position` on, which must be the start of a record or the head; pads are
    /// among them. The bytes were checked when the ring was opened or written by this process, so
    /// no checksum is computed again.
    #[must_use]
    pub fn records_from(&self, position: Position) -> Records<'_> {
        Records {
            ring: self,
            position,
        }
    }

    /// All records, from the first.
    #[must_use]
    pub fn iter(&self) -> Records<'_> {
        self.records_from(self.base())
    }

    /// Position of the oldest record the ring holds.
    #[must_use]
    pub fn base(&self) -> Position {
        Position::ZERO
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
    /// much are taken, whatever pads fall between them. A little may fit beyond.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let pads = self.geometry.segments_left(self.head) * PAD_BYTES_MAX;
        (self.geometry.ring_bytes() - self.head.get()).saturating_sub(pads)
    }

    /// Bytes the ring can hold, pads included.
    #[must_use]
    pub fn ring_bytes(&self) -> u64 {
        self.geometry.ring_bytes()
    }

    /// Whose journal this is.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// Checks what is cheap to check of the invariants; the chain itself is checked in debug
    /// builds by [`Ring::assert_chain`].
    pub fn assert_invariants(&self) {
        assert!(self.head.get().is_multiple_of(8), "records are padded to 8");
        assert!(
            self.head.get() <= self.geometry.ring_bytes(),
            "head within the ring"
        );
        let left = self.geometry.segment_left(self.head);
        assert!(left >= HEADER_BYTES, "a pad fits, or the segment is fresh");
    }

    /// Checks the whole chain: for tests.
    pub fn assert_chain(&self) {
        self.assert_invariants();
        let (mut position, mut tip) = (Position::ZERO, Tip::default());
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
        assert!(
            position == self.head && tip == self.tip,
            "the chain ends at the head"
        );
    }

    #[inline]
    fn append_fields(
        &mut self,
        fields: &Fields,
        payload_bytes: u64,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Appended, Full> {
        assert!(
            payload_bytes <= PAYLOAD_BYTES_MAX,
            "payload within its bound"
        );
        assert!(fields.kind != KIND_PAD, "pads are the ring's own");
        assert!(fields.epoch >= self.tip.epoch, "the epoch never goes back");
        let size = record_bytes(payload_bytes);
        let segment_left = self.geometry.segment_left(self.head);
        let pad = if size == segment_left || size + HEADER_BYTES <= segment_left {
            0
        } else {
            segment_left
        };
        let (needed, left) = (pad + size, self.geometry.ring_bytes() - self.head.get());
        if needed > left {
            return Err(Full { needed, left });
        }
        if pad != 0 {
            let pad_fields = Fields {
                kind: KIND_PAD,
                flags: 0,
                source: 0,
                ..*fields
            };
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
        // No unpersisted byte is overwritten: everything behind the head was never written.
        assert!(
            self.head.get() + size <= self.geometry.ring_bytes(),
            "room for the record"
        );
        let start = to_usize(HEADER_PAGE_BYTES + self.head.get());
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
        self.tip = Tip {
            index,
            time: fields.time,
            epoch: fields.epoch,
            crc,
        };
        self.head = position.plus(size);
        Appended { index, position }
    }

    /// Written bytes from `position` on; `None` at or behind the head.
    fn written_from(&self, position: Position) -> Option<&[u8]> {
        if position >= self.head {
            return None;
        }
        let start = to_usize(HEADER_PAGE_BYTES + position.get());
        let end = to_usize(HEADER_PAGE_BYTES + self.head.get());
        self.region.bytes().get(start..end)
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
        ring.iter()
            .filter(|(_, record)| !record.is_pad())
            .map(twin)
            .collect()
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
            assert_eq!(
                (record.index, record.payload.len()),
                (found.index, size - 40)
            );
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
        assert_eq!(
            ring.append(1, 1, 1, 0, 0, &[]),
            Err(Full {
                needed: 40,
                left: 0
            })
        );
        assert_eq!(ring.last_index(), RING_BYTES_MIN / RECORD_BYTES_MAX);
        ring.assert_chain();

        let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
        while ring.append(1, 1, 1, 0, 0, &[7; 960]).is_ok() {}
        // The last segment holds eight records of 1000 bytes; the ninth would need a pad and then
        // a fifth segment.
        let (head, index) = (ring.head(), ring.last_index());
        assert_eq!(head.get(), RING_BYTES_MIN - 192);
        assert_eq!(
            ring.append(1, 1, 1, 0, 0, &[7; 960]),
            Err(Full {
                needed: 1192,
                left: 192
            })
        );
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
            steps in prop::collection::vec((0_u64..=PAYLOAD_BYTES_MAX, any::<bool>()), 1..60),
        ) {
            let mut ring = Ring::heap(RING_BYTES_MIN).unwrap();
            let mut twin = Vec::new();
            for (time, (len, in_place)) in (0_u64..).zip(steps) {
                // Half of the records are small, as most are in life.
                let len = if in_place { len / 32 } else { len };
                let byte = time.to_le_bytes()[0];
                let payload = vec![byte; to_usize(len)];
                let (free, head) = (ring.free_bytes(), ring.head());
                let appended = if in_place {
                    ring.append_with(time, 1, byte % 200, 0, 0, len, |slot| slot.fill(byte))
                } else {
                    ring.append(time, 1, byte % 200, 0, 0, &payload)
                };
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
