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
use crate::hot::FoundRing;
use crate::label::{Label, Labelled};
use crate::open::Context;
use crate::persist::read_slots;
use crate::position::{Geometry, Position};
use crate::record::{HEADER_BYTES, RECORD_BYTES_MAX};
use crate::recover::{End, Lost, Suspect, Torn};
use crate::region::Region;
use crate::ring::HEADER_PAGE_BYTES;
use crate::scan::{Behind, ChainError, Step, Stored, Tip, next_record, read_segments, torn_bytes};
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
    pub(crate) segments: Behind,
    pub(crate) ring: Behind,
    /// Bytes behind the head in the ring that are neither zeros nor of its last round.
    pub(crate) torn_in_ring: u64,
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

/// Maps the ring that was found, where it may be used at all.
pub(crate) fn take_ring(
    context: &mut Context<'_>,
    found: Option<FoundRing>,
    meta: &Label,
) -> Result<Option<UsableRing>, JournalError> {
    let Some(found) = found else { return Ok(None) };
    let Labelled::Good(label, slot) = found.labelled.clone() else { return Ok(None) };
    let len = HEADER_PAGE_BYTES + meta.ring_bytes;
    let is_ours = label.journal_uuid == meta.journal_uuid
        && label.incarnation <= meta.incarnation
        && label.ring_bytes == meta.ring_bytes
        && found.len == len;
    if !is_ours {
        return Ok(None);
    }
    let same_boot = label.boot_id == context.boot_id;
    let region = context.place.map(&found, len)?;
    Ok(Some(UsableRing { region, label, slot, same_boot, found }))
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
    if let Some(ring) = ring {
        (head, tip) = follow_ring(ring, geometry, head, tip, &mut floors);
    }
    let look = Behind::of_segments(storage, geometry, segment_count, head, &tip);
    let segments = look.map_err(context.io("", "read what is behind the chain"))?;
    let (mut behind_ring, mut torn) = (Behind::default(), 0);
    if let Some(ring) = ring.filter(|ring| ring.same_boot) {
        behind_ring = Behind::of_ring(ring.bytes(), geometry, head, &tip);
        torn = torn_in_ring(storage, ring.bytes(), geometry, (stored.position(), head))
            .map_err(context.io("", "read what the ring held before"))?;
    }
    Ok(Survey {
        stored: (stored.position(), stored.tip()),
        head,
        tip,
        error,
        durable,
        floor_reached: floors.iter().all(|floor| floor.is_reached),
        floor_index: floors.iter().map(|floor| floor.index).max().unwrap_or(0),
        segments,
        ring: behind_ring,
        torn_in_ring: torn,
    })
}

/// A record that is known to have been on the disk.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) index: u64,
    crc: u32,
    pub(crate) is_reached: bool,
}

impl Floor {
    /// The floors that metadata and slots tell.
    pub(crate) fn of(meta: &Label, durable: &Durable) -> [Self; 2] {
        [(meta.floor_index, meta.floor_crc), (durable.index, durable.crc)]
            .map(|(index, crc)| Self { index, crc, is_reached: index == 0 })
    }

    /// The chain has come to `tip`.
    pub(crate) fn look(&mut self, tip: &Tip) {
        self.is_reached |= self.index == tip.index && self.crc == tip.crc;
    }
}

/// Goes on in the ring where the segments' chain ended.
fn follow_ring(
    ring: &UsableRing,
    geometry: Geometry,
    from: Position,
    mut tip: Tip,
    floors: &mut [Floor],
) -> (Position, Tip) {
    let mut head = from;
    if from < ring.label.base {
        return (head, tip);
    }
    while head.since(from) < geometry.ring_bytes() {
        let start = to_usize(geometry.ring_offset(head));
        let limit = geometry.segment_left(head);
        let bytes = &ring.bytes()[start..start + to_usize(limit)];
        let Ok(record) = next_record(bytes, limit, &tip) else { break };
        tip = Tip::of(&record);
        for floor in &mut *floors {
            floor.look(&tip);
        }
        head = head.plus(record.bytes());
    }
    (head, tip)
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

    pub(crate) fn lost(&self, side_files: Vec<PathBuf>, is_accepted: bool) -> Option<Lost> {
        let last_known = self.segments.last_index.max(self.ring.last_index).max(self.floor_index);
        is_accepted.then(|| Lost {
            position: self.head,
            first_index: self.tip.index + 1,
            last_known_index: last_known.max(self.tip.index),
            whole_records: self.segments.valid_count.max(self.ring.valid_count),
            bytes: self.segments.used.max(self.torn_in_ring),
            side_files,
        })
    }

    pub(crate) fn suspect(&self, geometry: Geometry) -> Suspect {
        let known = self.segments.last_index.max(self.ring.last_index).max(self.floor_index);
        let most = self.tip.index.max(known) + geometry.ring_bytes() / HEADER_BYTES;
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
                    "in the ring".to_owned()
                };
                (
                    format!("record {next}, or nothing newer behind record {}", self.tip.index),
                    format!("\"{}\", and a valid record {index} behind it {place}", self.error),
                )
            }
            (_, _) => (
                format!("all records up to {}, which were on the disk", self.floor_index),
                format!("\"{}\" behind record {}", self.error, self.tip.index),
            ),
        };
        let path = context.dir.join(segment_file(geometry.segment_of(self.head)));
        let offset = Some(SEGMENT_HEADER_BYTES + geometry.segment_offset(self.head));
        Box::new(Refusal { kind, path, offset, expected, found }).into()
    }
}
