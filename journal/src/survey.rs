//! Survey: what the files of a journal hold, before any of them is changed.
//!
//! ```text
//! segments, from the first record on:  chain ... end of what the disk shows
//! ring, where that ends:               ... chain ... head
//! behind the head, in both:            nothing newer? a torn write? a newer record?
//! ```
//!
//! Nothing here writes. What it finds is judged by the table in `recover.rs` and mended by
//! `reopen.rs`.

use std::io;
use std::path::PathBuf;

use crate::bytes::to_usize;
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::files::RING_FILE;
use crate::hot::FoundRing;
use crate::label::{Label, Labelled, Uuid};
use crate::open::Context;
use crate::persist::read_slots;
use crate::position::{Geometry, Position};
use crate::record::{HEADER_BYTES, RECORD_BYTES_MAX};
use crate::recover::{End, Lost, Suspect, Torn};
use crate::region::Region;
use crate::ring::HEADER_PAGE_BYTES;
use crate::scan::{
    Behind, ChainError, Indexes, Step, Stored, Tip, next_record, read_segments, torn_bytes,
};
use crate::segment::{Durable, SEGMENT_HEADER_BYTES, segment_file};
use crate::storage::Storage;

/// What the files hold, before any of them is changed.
pub(crate) struct Survey {
    /// Where the chain ends in the segments, and its last record there.
    pub(crate) stored: (Position, Tip),
    /// Where it ends with the ring.
    pub(crate) head: Position,
    pub(crate) tip: Tip,
    pub(crate) error: ChainError,
    /// The newest value that a slot tells.
    pub(crate) durable: Durable,
    /// Every record known to have been on the disk is in the chain, unchanged.
    pub(crate) floor_reached: bool,
    /// Highest index that is known to have been on the disk.
    pub(crate) floor_index: u64,
    /// Where a floor should be, another record stands: the index, its checksum, the one found.
    changed: Option<(u64, u32, u32)>,
    pub(crate) segments: Behind,
    pub(crate) ring: Behind,
    /// Records in what an operator gives up as a whole.
    given_up: Indexes,
    /// Bytes behind the head in the ring that are neither zeros nor of its last round.
    pub(crate) torn_in_ring: u64,
    /// Where the ring is, when it was used.
    ring_path: Option<PathBuf>,
}

/// A ring that may be used.
pub(crate) struct UsableRing {
    pub(crate) region: Region,
    pub(crate) label: Label,
    pub(crate) slot: usize,
    /// Of the running kernel: all its stores are there.
    pub(crate) same_boot: bool,
    pub(crate) found: FoundRing,
}

/// Maps the ring that was found, where it may be used at all; what may not is given back.
pub(crate) fn take_ring(
    context: &mut Context<'_>,
    found: Option<FoundRing>,
    meta: &Label,
) -> Result<(Option<UsableRing>, Option<FoundRing>), JournalError> {
    let Some(found) = found else { return Ok((None, None)) };
    let Labelled::Good(label, slot) = found.labelled.clone() else {
        return Ok((None, Some(found)));
    };
    let len = HEADER_PAGE_BYTES + meta.ring_bytes;
    // What a clean stop left has nothing that the segments have not.
    let is_ours = !meta.is_stopped
        && label.journal_uuid == meta.journal_uuid
        && label.incarnation <= meta.incarnation
        && label.ring_bytes == meta.ring_bytes
        && found.len == len;
    if !is_ours {
        return Ok((None, Some(found)));
    }
    let same_boot = label.boot_id == context.boot_id || is_unborn(&label, meta, context.boot_id);
    let region = context.place.map(&found, len)?;
    Ok((Some(UsableRing { region, label, slot, same_boot, found }), None))
}

/// Whether a ring was made by a start of this boot that died when it had told the metadata and not
/// yet the ring: no record was stored since, and it has all that the start found.
fn is_unborn(label: &Label, meta: &Label, boot_id: Uuid) -> bool {
    label.boot_id == Uuid::default()
        && label.generation + 1 == meta.generation
        && meta.boot_id == boot_id
}

impl UsableRing {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.region.bytes()[to_usize(HEADER_PAGE_BYTES)..]
    }
}

/// Follows the chain as far as it goes and looks at what is behind it.
pub(crate) fn survey(
    context: &Context<'_>,
    geometry: Geometry,
    segment_count: u64,
    meta: &Label,
    ring: Option<&UsableRing>,
) -> Result<Survey, JournalError> {
    let storage: &dyn Storage = context.storage;
    let durable = newest_durable(storage, segment_count).map_err(context.io("", "read slots"))?;
    let mut floors = Floor::of(meta, &durable);
    let mut stored = Stored::new(geometry, segment_count);
    let error = loop {
        match stored.step(storage) {
            Ok(Step::Record(_)) => floors.iter_mut().for_each(|floor| floor.look(&stored.tip())),
            Ok(Step::Break(error)) => break error,
            Ok(Step::End) => break ChainError::NoSegment,
            Err(error) => {
                let name = segment_file(geometry.segment_of(stored.position()));
                return Err(context.io(&name, "read it")(error));
            }
        }
    };
    let (mut head, mut tip) = (stored.position(), stored.tip());
    let mut error_in_ring = None;
    if let Some(ring) = ring {
        (head, tip, error_in_ring) = follow_ring(ring, geometry, head, tip, &mut floors);
    }
    let look = Behind::of_segments(storage, geometry, segment_count, head, &tip);
    let segments = look.map_err(context.io("", "read what is behind the chain"))?;
    let (mut behind_ring, mut torn) = (Behind::default(), 0);
    if let Some(ring) = ring.filter(|ring| ring.same_boot) {
        behind_ring = Behind::of_ring(ring.bytes(), geometry, head, &tip);
        torn = torn_in_ring(storage, ring.bytes(), geometry, (stored.position(), head))
            .map_err(context.io("", "read what the ring held before"))?;
    }
    let is_in_ring = head > stored.position() || segments.used == 0;
    Ok(Survey {
        stored: (stored.position(), stored.tip()),
        head,
        tip,
        error: error_in_ring.filter(|_| is_in_ring).unwrap_or(error),
        durable,
        floor_reached: floors.iter().all(|floor| floor.is_reached),
        floor_index: floors.iter().map(|floor| floor.index).max().unwrap_or(0),
        changed: floors.iter().find_map(Floor::changed),
        segments,
        ring: behind_ring,
        given_up: Indexes::default(),
        torn_in_ring: torn,
        ring_path: ring.map(|ring| ring.found.path.clone().unwrap_or_else(|| RING_FILE.into())),
    })
}

/// A record that is known to have been on the disk.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) index: u64,
    crc: u32,
    pub(crate) is_reached: bool,
    /// Checksum of another record with its index.
    other: Option<u32>,
}

impl Floor {
    /// The floors that metadata and slots tell.
    pub(crate) fn of(meta: &Label, durable: &Durable) -> [Self; 2] {
        [(meta.floor_index, meta.floor_crc), (durable.index, durable.crc)]
            .map(|(index, crc)| Self { index, crc, is_reached: index == 0, other: None })
    }

    /// The chain has come to `tip`.
    pub(crate) fn look(&mut self, tip: &Tip) {
        if self.index == tip.index {
            self.is_reached |= self.crc == tip.crc;
            self.other = (self.crc != tip.crc).then_some(tip.crc);
        }
    }

    fn changed(&self) -> Option<(u64, u32, u32)> {
        self.other.map(|other| (self.index, self.crc, other))
    }
}

/// Goes on in the ring where the segments' chain ended, and says why it goes no further; nothing
/// where the ring does not reach back so far.
fn follow_ring(
    ring: &UsableRing,
    geometry: Geometry,
    from: Position,
    mut tip: Tip,
    floors: &mut [Floor],
) -> (Position, Tip, Option<ChainError>) {
    let mut head = from;
    if from < ring.label.base {
        return (head, tip, None);
    }
    while head.since(from) < geometry.ring_bytes() {
        let start = to_usize(geometry.ring_offset(head));
        let limit = geometry.segment_left(head);
        let bytes = &ring.bytes()[start..start + to_usize(limit)];
        let record = match next_record(bytes, limit, &tip) {
            Ok(record) => record,
            Err(error) => return (head, tip, Some(error)),
        };
        tip = Tip::of(&record);
        for floor in &mut *floors {
            floor.look(&tip);
        }
        head = head.plus(record.bytes());
    }
    (head, tip, None)
}

/// What a store left behind the head of a ring: bytes that are neither zeros nor what the ring held
/// a round before, which the segments have up to `stored_end`. Behind that are records that are in
/// the ring alone, and no store reached them.
pub(crate) fn torn_in_ring(
    storage: &dyn Storage,
    ring: &[u8],
    geometry: Geometry,
    (stored_end, head): (Position, Position),
) -> io::Result<u64> {
    let untouched = stored_end.plus(geometry.ring_bytes()).since(head);
    let len = geometry.segment_left(head).min(RECORD_BYTES_MAX).min(untouched);
    if len == 0 {
        // The ring is full to its last byte, and a segment for the next may not exist.
        return Ok(0);
    }
    let bytes = &ring[to_usize(geometry.ring_offset(head))..][..to_usize(len)];
    let Some(before) = head.get().checked_sub(geometry.ring_bytes()) else {
        return Ok(torn_bytes(bytes, None));
    };
    let mut old = vec![0; bytes.len()];
    read_segments(storage, geometry, Position::new(before), &mut old)?;
    Ok(torn_bytes(bytes, Some(&old)))
}

/// The newest value that the slots of the segments tell.
pub(crate) fn newest_durable(storage: &dyn Storage, segment_count: u64) -> io::Result<Durable> {
    let mut newest = Durable::default();
    for segment in 0..segment_count {
        for slot in read_slots(storage, segment)?.into_iter().flatten() {
            if slot.position > newest.position {
                newest = slot;
            }
        }
    }
    Ok(newest)
}

impl Survey {
    pub(crate) fn end(&self, has_ring: bool) -> End {
        let is_valid = self.segments.valid.is_some() || (has_ring && self.ring.valid.is_some());
        if is_valid {
            End::Valid
        } else if self.segments.used > 0 || self.torn_in_ring > 0 {
            End::Torn
        } else {
            End::Zero
        }
    }

    /// How far something was written behind the chain, and where.
    pub(crate) fn torn(&self, side_files: &[PathBuf], is_dropped: bool) -> Option<Torn> {
        is_dropped.then(|| Torn {
            position: self.head,
            index: self.tip.index + 1,
            bytes: self.segments.used.max(self.torn_in_ring),
            error: self.error,
            side_files: side_files.to_vec(),
        })
    }

    /// Takes account of what is given up as a whole file.
    pub(crate) fn give_up(&mut self, indexes: &Indexes) {
        self.given_up.extend(indexes);
    }

    /// All newer records that were seen anywhere.
    fn indexes(&self) -> Indexes {
        let mut indexes = self.segments.indexes.clone();
        indexes.extend(&self.ring.indexes);
        indexes.extend(&self.given_up);
        indexes
    }

    pub(crate) fn lost(&self, side_files: Vec<PathBuf>, is_accepted: bool) -> Option<Lost> {
        let indexes = self.indexes();
        let last_known = indexes.max().max(self.floor_index);
        let used = self.segments.used.max(self.ring.reach).max(self.torn_in_ring);
        is_accepted.then(|| Lost {
            position: self.head,
            first_index: self.tip.index + 1,
            last_known_index: last_known.max(self.tip.index),
            whole_records: indexes.count(),
            bytes: used,
            side_files,
        })
    }

    pub(crate) fn suspect(&self, geometry: Geometry) -> Suspect {
        let known = self.indexes().max().max(self.floor_index).max(self.tip.index);
        let most = known + geometry.ring_bytes() / HEADER_BYTES;
        Suspect { after_index: self.tip.index, to_index: most }
    }

    pub(crate) fn refusal(
        &self,
        kind: RefusalKind,
        context: &Context<'_>,
        geometry: Geometry,
    ) -> JournalError {
        let next = self.tip.index + 1;
        let (expected, found) = match (self.segments.valid.or(self.ring.valid), kind) {
            (Some((at, index)), RefusalKind::Corrupt) => {
                let place = if self.segments.valid.is_some() {
                    let file = segment_file(geometry.segment_of(at));
                    let byte = SEGMENT_HEADER_BYTES + geometry.segment_offset(at);
                    format!("at byte {byte} of {file}")
                } else {
                    let byte = HEADER_PAGE_BYTES + geometry.ring_offset(at);
                    format!("at byte {byte} of the ring")
                };
                // The order of writes says so: what was told as on the disk is in front.
                let is_of_a_cut = self.floor_reached && self.ring_path.is_none();
                let hint = if is_of_a_cut {
                    ", where a power cut in the middle of a group can leave this too,"
                } else {
                    ""
                };
                (
                    format!("record {next}, or nothing newer behind record {}", self.tip.index),
                    format!(
                        "\"{}\", and a valid record {index} behind it {place}{hint}",
                        self.error
                    ),
                )
            }
            (_, _) => match self.changed {
                Some((index, crc, other)) => (
                    format!("record {index} as it was on the disk, with crc32c {crc:#010x},"),
                    format!("another record {index}, with crc32c {other:#010x},"),
                ),
                None => (
                    format!("all records up to {}, which were on the disk,", self.floor_index),
                    format!("an end behind record {} (\"{}\")", self.tip.index, self.error),
                ),
            },
        };
        let is_in_ring = self.segments.used == 0 && self.ring.valid.is_some();
        let (path, byte) = match &self.ring_path {
            Some(path) if is_in_ring => {
                (path.clone(), HEADER_PAGE_BYTES + geometry.ring_offset(self.head))
            }
            Some(_) | None => (
                context.dir.join(segment_file(geometry.segment_of(self.head))),
                SEGMENT_HEADER_BYTES + geometry.segment_offset(self.head),
            ),
        };
        // Where a changed record stands is not known: its checksum is of the chain in front of it.
        let offset = (kind == RefusalKind::Corrupt || self.changed.is_none()).then_some(byte);
        let has_front = self.tip.index > 0;
        Box::new(Refusal { kind, path, offset, expected, found, has_front }).into()
    }
}
