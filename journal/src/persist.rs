//! Persist: from the ring to the disk, a group at a time.
//!
//! ```text
//! ring [durable, appended) -> check every record -> write into the segment
//!      -> write the durable value so far into the segment's slot -> one sync -> durable = here
//! ```
//!
//! One step is one group: everything appended since the last one, at most to the end of the
//! segment. While a sync waits the next group grows, so a slow disk gets larger groups, not more
//! syncs. Each record's checksum and chain are checked once more before they go to the disk: memory
//! that went bad is found here and not at the next start.
//!
//! The first error of a write or a sync is the last thing this journal does: after a failed sync
//! the kernel may report success and have lost the bytes (measured), so nothing is tried again.
//!
//! When the next segment does not exist yet the step says so and changes nothing; the ring keeps
//! what is appended and the hot thread stops before it would overwrite any of it.

use std::io;
use std::sync::Arc;

use crate::bytes::{to_u64, to_usize};
use crate::files::{MetaFile, poison};
use crate::lock::DirectoryLock;
use crate::position::{Geometry, Position};
use crate::record::PAD_BYTES_MAX;
use crate::ring::{HEADER_PAGE_BYTES, RingBytes};
use crate::scan::{Tip, next_record};
use crate::segment::{DURABLE_SLOTS, Durable, SEGMENT_HEADER_BYTES, segment_file, sums_file};
use crate::storage::Storage;
use crate::sums::Sums;
use crate::watermarks::{Poison, Watermarks};

/// Most bytes of one group: what a power cut may leave in disorder, and what a slot may lag by.
pub const GROUP_BYTES_MAX: u64 = 8 << 20;
const _: () = assert!(GROUP_BYTES_MAX > PAD_BYTES_MAX && SEGMENT_HEADER_BYTES == HEADER_PAGE_BYTES);

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// Everything appended is on the disk.
    Nothing,
    /// So many bytes more are on the disk.
    Group(u64),
    /// The next segment does not exist yet.
    WaitsForSegment,
    /// The disk failed, now or before.
    Poisoned,
}

/// Copies a journal's ring to its segments. Holds the directory's lock.
///
/// Invariant: `[0, durable.position)` is on the disk, a chain that ends in `tip`.
#[derive(Debug)]
pub struct Persister {
    marks: Arc<Watermarks>,
    geometry: Geometry,
    durable: Durable,
    tip: Tip,
    buffer: Box<[u8]>,
    sums: Sums,
    /// The slot to write next, by the segment it is in.
    slot: usize,
    pub(crate) meta: MetaFile,
    _lock: Option<DirectoryLock>,
}

impl Persister {
    /// Goes on behind `tip`, which ends at `position` and is on the disk.
    pub(crate) fn new(
        storage: &dyn Storage,
        marks: Arc<Watermarks>,
        geometry: Geometry,
        (position, tip): (Position, Tip),
        meta: MetaFile,
        lock: Option<DirectoryLock>,
    ) -> io::Result<Self> {
        let durable = Durable { position, index: tip.index, crc: tip.crc };
        let sums = Sums::resume(storage, geometry, position)?;
        let slot = older_slot(storage, geometry.segment_of(position))?;
        marks.set_durable(position, tip.index);
        let len = to_usize(GROUP_BYTES_MAX.min(geometry.segment_bytes()));
        let buffer = vec![0; len].into();
        Ok(Self { marks, geometry, durable, tip, buffer, sums, slot, meta, _lock: lock })
    }

    /// Brings one group to the disk, if there is one.
    pub fn step(&mut self, storage: &mut dyn Storage, ring: &dyn RingBytes) -> Persisted {
        if self.marks.is_poisoned() {
            return Persisted::Poisoned;
        }
        let appended = self.marks.appended();
        assert!(appended >= self.durable.position, "the ring does not go back");
        if appended == self.durable.position {
            return Persisted::Nothing;
        }
        if self.geometry.segment_of(self.durable.position) >= self.marks.prepared() {
            return Persisted::WaitsForSegment;
        }
        match self.group(storage, ring, appended) {
            Ok(bytes) => Persisted::Group(bytes),
            Err(failure) => {
                self.marks.set_poison(failure);
                Persisted::Poisoned
            }
        }
    }

    /// What the parties of this journal tell each other.
    #[must_use]
    pub fn marks(&self) -> &Arc<Watermarks> {
        &self.marks
    }

    fn group(
        &mut self,
        storage: &mut dyn Storage,
        ring: &dyn RingBytes,
        appended: Position,
    ) -> Result<u64, Poison> {
        let from = self.durable.position;
        let segment = self.geometry.segment_of(from);
        let left = self.geometry.segment_left(from);
        let len = appended.since(from).min(left).min(to_u64(self.buffer.len()));
        let is_cut = len < appended.since(from).min(left);
        let bytes = &mut self.buffer[..to_usize(len)];
        ring.read_ring(self.geometry.ring_offset(from), bytes)
            .map_err(poison("the ring", "read it"))?;
        let tip = check(bytes, from, is_cut, self.geometry, self.tip)?;
        let bytes = &self.buffer[..to_usize(tip.1)];
        let name = segment_file(segment);
        let offset = SEGMENT_HEADER_BYTES + self.geometry.segment_offset(from);
        let slot = DURABLE_SLOTS[self.slot];
        storage.write_at(&name, offset, bytes).map_err(poison(&name, "write it"))?;
        self.sums.add(storage, bytes).map_err(poison(&sums_file(segment), "write it"))?;
        storage
            .write_at(&name, slot, &self.durable.encode())
            .map_err(poison(&name, "write its slot"))?;
        storage.sync_data(&name).map_err(poison(&name, "sync it"))?;
        let (tip, len) = tip;
        self.slot = 1 - self.slot;
        self.tip = tip;
        self.durable = Durable { position: from.plus(len), index: tip.index, crc: tip.crc };
        if len == left {
            self.roll(storage, segment)?;
        }
        self.marks.set_durable(self.durable.position, tip.index);
        Ok(len)
    }

    /// A segment is full: its sums are synced, and the metadata names its last record, so that an
    /// older copy of it is noticed for ever after.
    fn roll(&mut self, storage: &mut dyn Storage, segment: u64) -> Result<(), Poison> {
        let sums = sums_file(segment);
        storage.sync(&sums).map_err(poison(&sums, "sync it"))?;
        self.slot = 0;
        let label = &mut self.meta.label;
        (label.floor_index, label.floor_crc) = (self.tip.index, self.tip.crc);
        self.meta.write(storage).map_err(poison(crate::files::META_FILE, "write it"))
    }

    /// Marks a clean stop at everything that was appended, which must be on the disk.
    pub(crate) fn mark_stop(&mut self, storage: &mut dyn Storage) -> io::Result<()> {
        assert!(self.marks.appended() == self.durable.position, "all of it is on the disk");
        let label = &mut self.meta.label;
        (label.floor_index, label.floor_crc) = (self.tip.index, self.tip.crc);
        label.is_stopped = true;
        self.meta.write(storage)
    }
}

/// Checks the records of a group. Returns the last one and the bytes up to its end: all of them,
/// unless the buffer cut the last record off.
fn check(
    bytes: &[u8],
    from: Position,
    is_cut: bool,
    geometry: Geometry,
    mut tip: Tip,
) -> Result<(Tip, u64), Poison> {
    let mut at = 0;
    while at < bytes.len() {
        let position = from.plus(to_u64(at));
        match next_record(&bytes[at..], geometry.segment_left(position), &tip) {
            Ok(record) => {
                tip = Tip::of(&record);
                at += to_usize(record.bytes());
            }
            Err(_) if is_cut && at > 0 && to_u64(bytes.len() - at) < PAD_BYTES_MAX => break,
            Err(error) => {
                return Err(Poison {
                    file: "the ring".to_owned(),
                    doing: "persist it",
                    error: format!("memory changed under record {}: {error}", tip.index + 1),
                });
            }
        }
    }
    Ok((tip, to_u64(at)))
}

/// Takes back what the slots of a segment tell.
pub(crate) fn clear_slots(storage: &mut dyn Storage, segment: u64) -> io::Result<()> {
    if read_slots(storage, segment)? == [None; 2] {
        return Ok(());
    }
    let name = segment_file(segment);
    for place in DURABLE_SLOTS {
        storage.write_at(&name, place, &[0; crate::segment::DURABLE_BYTES])?;
    }
    storage.sync(&name)
}

/// Writes a value that is on the disk into a slot and waits for it.
pub(crate) fn write_slot(
    storage: &mut dyn Storage,
    segment: u64,
    durable: Durable,
) -> io::Result<()> {
    let name = segment_file(segment);
    storage.write_at(&name, DURABLE_SLOTS[0], &durable.encode())?;
    storage.sync(&name)
}

/// The slot of a segment that does not hold its newest durable value.
fn older_slot(storage: &dyn Storage, segment: u64) -> io::Result<usize> {
    let found = read_slots(storage, segment)?;
    let position = |slot: Option<Durable>| slot.map(|durable| durable.position);
    Ok(usize::from(position(found[0]) > position(found[1])))
}

/// What the slots of a segment say; nothing where there is no such file.
pub(crate) fn read_slots(storage: &dyn Storage, segment: u64) -> io::Result<[Option<Durable>; 2]> {
    let name = segment_file(segment);
    let mut found = [None; 2];
    if storage.len(&name)?.is_none() {
        return Ok(found);
    }
    for (place, slot) in DURABLE_SLOTS.into_iter().zip(&mut found) {
        let mut bytes = [0; crate::segment::DURABLE_BYTES];
        match storage.read_at(&name, place, &mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read.map(|()| *slot = Durable::decode(&bytes))?,
        }
    }
    Ok(found)
}
