//! Reopen: from the files of a journal to one that can be written.
//!
//! ```text
//! survey   chain through the segments, on in the ring; what is behind; the floor   (reads only)
//! judge    the recovery table
//! mend     keep aside and zero what is dropped; write once more what the disk may not have
//! begin    the ring (as it is, or made anew from the segments), metadata, the ring's header
//! ```
//!
//! A segment's bytes above the last durable value are in the page cache and perhaps nowhere else: a
//! sync that failed may have told somebody who is dead. So they are written and synced once more
//! before they count as on the disk.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bytes::to_usize;
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::files::{META_FILE, MetaFile, keep, keep_range, set_aside, write_again, zero_range};
use crate::found::Found;
use crate::hot::{FoundRing, write_header};
use crate::label::{Label, Labelled, Uuid};
use crate::open::{Context, Journal};
use crate::persist::{Persister, clear_slots, read_slots};
use crate::position::{Geometry, Position};
use crate::prepare::Preparer;
use crate::record::{HEADER_BYTES, RECORD_BYTES_MAX};
use crate::recover::{End, IncarnationChange, Lost, Recovery, Suspect, Tail, TailFacts, Torn};
use crate::region::Region;
use crate::ring::{HEADER_PAGE_BYTES, Ring, RingParts};
use crate::scan::{Behind, ChainError, Step, Stored, Tip, next_record, read_segments, torn_bytes};
use crate::segment::{Durable, SEGMENT_HEADER_BYTES, segment_file, sums_file};
use crate::storage::Storage;
use crate::sums::Sums;
use crate::watermarks::Watermarks;

/// What the files hold, before any of them is changed.
struct Survey {
    /// Where the chain ends in the segments, and its last record there.
    stored: (Position, Tip),
    /// Where it ends with the ring.
    head: Position,
    tip: Tip,
    error: ChainError,
    /// The newest value that a slot tells.
    durable: Durable,
    /// Every record known to have been on the disk is in the chain, unchanged.
    floor_reached: bool,
    /// Highest index that is known to have been on the disk.
    floor_index: u64,
    segments: Behind,
    ring: Behind,
    /// Bytes behind the head in the ring that are neither zeros nor of its last round.
    torn_in_ring: u64,
}

/// A ring that may be used.
struct UsableRing {
    region: Region,
    label: Label,
    slot: usize,
    /// Of the running kernel: all its stores are there.
    same_boot: bool,
    found: FoundRing,
}

/// Opens a directory whose identity was judged good; `copy` when it is an accepted copy.
pub(crate) fn reopen(
    mut context: Context<'_>,
    mut found: Found,
    geometry: Geometry,
    copy: Option<IncarnationChange>,
) -> Result<Journal, JournalError> {
    let Some(Labelled::Good(meta, meta_slot)) = found.meta.take() else {
        unreachable!("the identity table opens only where the metadata is good");
    };
    found.meta = Some(Labelled::Good(meta.clone(), meta_slot));
    let segment_count = found.good_count();
    let mut ring = take_ring(&mut context, found.ring.take(), &meta)?;
    let survey = survey(&context, geometry, segment_count, &meta, ring.as_ref())?;
    let has_ring = ring.as_ref().is_some_and(|ring| ring.same_boot);
    let facts = TailFacts {
        end: survey.end(has_ring),
        floor_reached: survey.floor_reached,
        is_stopped: meta.is_stopped,
        has_ring,
        same_boot: meta.boot_id == context.boot_id,
        acks_durable: meta.acks_durable,
    };
    let row = facts.judge();
    let accepts = context.options.accept_loss && survey.tip.index > 0;
    let (verdict, case) = match row.verdict {
        Tail::Refuse(kind) if !accepts => return Err(survey.refusal(kind, &context, geometry)),
        Tail::Refuse(_) => {
            let change = Some(IncarnationChange::AcceptedLoss);
            let keep = Tail::Keep { drop_torn: true, change, may_have_lost: true, clean: false };
            (keep, "loss accepted")
        }
        keep @ Tail::Keep { .. } => (keep, row.label),
    };
    let Tail::Keep { drop_torn, change, may_have_lost, clean } = verdict else {
        unreachable!("refusals have returned")
    };
    let change = copy.or(change);
    let is_accepted = change == Some(IncarnationChange::AcceptedLoss);
    let side_files = give_up(&mut context, &found, segment_count)?;
    let dropped = if drop_torn {
        drop_tail(&mut context, geometry, segment_count, &survey, ring.as_mut(), is_accepted)?
    } else {
        Vec::new()
    };
    let end = settle(&mut context, geometry, &survey)?;
    let label = Label {
        generation: meta.generation + 1,
        boot_id: context.boot_id,
        incarnation: meta.incarnation + u64::from(change.is_some()),
        floor_index: meta.floor_index.min(survey.tip.index),
        floor_crc: if meta.floor_index <= survey.tip.index {
            meta.floor_crc
        } else {
            survey.tip.crc
        },
        is_stopped: false,
        acks_durable: context.options.acks_durable,
        suspect_incarnation: if may_have_lost || copy.is_some() {
            meta.incarnation + 1
        } else {
            meta.suspect_incarnation
        },
        file_id: context
            .storage
            .id(META_FILE)
            .map_err(context.io(META_FILE, "read its inode"))?
            .unwrap_or(0),
        ..meta
    };
    let recovery = Recovery {
        case,
        last_index: survey.tip.index,
        last_time: survey.tip.time,
        last_epoch: survey.tip.epoch,
        durable_index: end.1.index,
        torn: survey.torn(&dropped, drop_torn && !is_accepted),
        accepted: survey.lost([side_files, dropped].concat(), is_accepted),
        suspect: (may_have_lost || copy.is_some()).then(|| survey.suspect(geometry)),
        incarnation: label.incarnation,
        incarnation_changed: change,
        clean,
        memory_locked: false,
        ring_note: None,
    };
    let parts = Begun { meta_slot, label, end, segment_count };
    start(context, geometry, &survey, ring, parts, recovery)
}

/// Maps the ring that was found, where it may be used at all.
fn take_ring(
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
    fn bytes(&self) -> &[u8] {
        &self.region.bytes()[to_usize(HEADER_PAGE_BYTES)..]
    }
}

/// Follows the chain as far as it goes and looks at what is behind it.
fn survey(
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
    fn end(&self, has_ring: bool) -> End {
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
    fn torn(&self, side_files: &[PathBuf], is_dropped: bool) -> Option<Torn> {
        is_dropped.then(|| Torn {
            position: self.head,
            index: self.tip.index + 1,
            bytes: self.segments.used.max(self.torn_in_ring),
            error: self.error,
            side_files: side_files.to_vec(),
        })
    }

    fn lost(&self, side_files: Vec<PathBuf>, is_accepted: bool) -> Option<Lost> {
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

    fn suspect(&self, geometry: Geometry) -> Suspect {
        let known = self.segments.last_index.max(self.ring.last_index).max(self.floor_index);
        let most = self.tip.index.max(known) + geometry.ring_bytes() / HEADER_BYTES;
        Suspect { after_index: self.tip.index, to_index: most }
    }

    fn refusal(
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

/// Gives away the segments from the first faulty one on.
fn give_up(
    context: &mut Context<'_>,
    found: &Found,
    segment_count: u64,
) -> Result<Vec<PathBuf>, JournalError> {
    let mut given = Vec::new();
    for number in found.segment_numbers().filter(|number| *number >= segment_count) {
        let name = segment_file(number);
        let aside = set_aside(context.storage, &name).map_err(context.io(&name, "set it aside"))?;
        given.push(context.dir.join(aside));
        let sums = sums_file(number);
        match context.storage.remove(&sums) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(context.io(&sums, "remove it")(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(given)
}

/// Keeps what is behind the chain in side files, on the disk, and only then zeroes it.
fn drop_tail(
    context: &mut Context<'_>,
    geometry: Geometry,
    segment_count: u64,
    survey: &Survey,
    ring: Option<&mut UsableRing>,
    is_accepted: bool,
) -> Result<Vec<PathBuf>, JournalError> {
    let (kind, index) = (if is_accepted { "lost" } else { "torn" }, survey.tip.index + 1);
    let mut names = Vec::new();
    let tail = (survey.head, survey.segments.used);
    if tail.1 > 0 {
        let kept = keep_range(context.storage, kind, index, geometry, tail);
        names.push(kept.map_err(context.io("", "keep the tail"))?);
    }
    if let Some(ring) = ring.filter(|ring| ring.same_boot) {
        let len = if is_accepted { geometry.ring_bytes() } else { survey.torn_in_ring };
        let from = geometry.ring_base(survey.head).min(survey.stored.0).max(ring.label.base);
        let chain = (from, survey.head, len);
        names.extend(drop_in_ring(context, geometry, chain, ring, (kind, index))?);
    }
    if tail.1 > 0 {
        zero_range(context.storage, geometry, tail).map_err(context.io("", "zero the tail"))?;
    }
    for segment in geometry.segment_of(survey.head)..segment_count {
        let from = geometry.segment_start(segment).max(survey.head);
        Sums::clear_from(context.storage, geometry, from)
            .map_err(context.io(&sums_file(segment), "clear it"))?;
    }
    if is_accepted {
        for segment in 0..segment_count {
            clear_slots(context.storage, segment, survey.head)
                .map_err(context.io(&segment_file(segment), "clear its slots"))?;
        }
    }
    Ok(names.into_iter().map(|name| context.dir.join(name)).collect())
}

/// The same in the ring: a torn record, or all of it that does not belong to the chain.
fn drop_in_ring(
    context: &mut Context<'_>,
    geometry: Geometry,
    (from, head, len): (Position, Position, u64),
    ring: &mut UsableRing,
    (kind, index): (&str, u64),
) -> Result<Option<String>, JournalError> {
    if len == 0 {
        return Ok(None);
    }
    let bytes = &mut ring.region.bytes_mut()[to_usize(HEADER_PAGE_BYTES)..];
    let start = to_usize(geometry.ring_offset(head));
    if len < geometry.ring_bytes() {
        let torn = &mut bytes[start..start + to_usize(len)];
        let kept = keep(context.storage, kind, index, torn);
        torn.fill(0);
        return kept.map(Some).map_err(context.io("", "keep the torn tail"));
    }
    // All but the chain's own bytes, [from, head).
    let kept = keep(context.storage, kind, index, bytes);
    let kept = kept.map_err(context.io("", "keep the ring"))?;
    let end = from.plus(geometry.ring_bytes());
    let mut at = head;
    while at < end {
        let piece = geometry.segment_left(at).min(end.since(at));
        bytes[to_usize(geometry.ring_offset(at))..][..to_usize(piece)].fill(0);
        at = at.plus(piece);
    }
    Ok(Some(kept))
}

/// Makes sure that the disk has what the segments show, and returns where that ends.
fn settle(
    context: &mut Context<'_>,
    geometry: Geometry,
    survey: &Survey,
) -> Result<(Position, Tip), JournalError> {
    let (end, tip) = survey.stored;
    let from = survey.durable.position.min(end);
    write_again(context.storage, geometry, (from, end.since(from)))
        .map_err(context.io("", "write the newest records once more"))?;
    Ok((end, tip))
}

/// What the last steps need beside the survey.
struct Begun {
    meta_slot: usize,
    label: Label,
    /// Where the disk ends.
    end: (Position, Tip),
    segment_count: u64,
}

fn start(
    mut context: Context<'_>,
    geometry: Geometry,
    survey: &Survey,
    ring: Option<UsableRing>,
    begun: Begun,
    mut recovery: Recovery,
) -> Result<Journal, JournalError> {
    let Begun { meta_slot, mut label, end, segment_count } = begun;
    let made = open_ring(&mut context, geometry, survey, ring, &label)?;
    let OpenRing { mut region, path, made_at, header_slot, note } = made;
    label.base = made_at;
    label.ring_path = path.as_ref().map_or_else(String::new, |path| path.display().to_string());
    if let Some(slot) = header_slot.new {
        // Until the metadata says what this start found, the new ring must not pass for one that
        // has all of the stores: it is of no boot.
        let unborn = Label {
            generation: label.generation - 1,
            boot_id: Uuid::default(),
            incarnation: 0,
            ..label.clone()
        };
        write_header(&mut region, slot, &unborn);
    }
    let mut meta = MetaFile { label: label.clone(), slot: meta_slot };
    meta.label.generation -= 1;
    meta.write(context.storage).map_err(context.io(META_FILE, "write it"))?;
    write_header(&mut region, header_slot.then, &label);
    if context.options.lock_memory {
        region.lock_memory();
    }
    (recovery.memory_locked, recovery.ring_note) = (region.is_locked(), note);
    let marks = Arc::new(Watermarks::default());
    let lock = context.lock.take();
    let persister = Persister::new(context.storage, Arc::clone(&marks), geometry, end, meta, lock)
        .map_err(context.io("", "read the newest segment"))?;
    let low = context.options.space_low_water;
    let preparer = Preparer::new(Arc::clone(&marks), geometry, label.clone(), segment_count, low);
    let (head, tip) = (survey.head, survey.tip);
    let parts = RingParts { region, geometry, made_at, head, tip, label, marks, path };
    Ok(Journal { ring: Ring::from_parts(parts), persister, preparer, recovery })
}

struct OpenRing {
    region: Region,
    path: Option<PathBuf>,
    made_at: Position,
    header_slot: HeaderSlot,
    note: Option<String>,
}

/// Which slots of the ring's header page are written.
struct HeaderSlot {
    /// In a new ring: before the metadata.
    new: Option<usize>,
    /// After it.
    then: usize,
}

/// The ring of the same boot as it is; otherwise a new one with the newest segments in it, and what
/// an older ring had beyond them.
fn open_ring(
    context: &mut Context<'_>,
    geometry: Geometry,
    survey: &Survey,
    ring: Option<UsableRing>,
    label: &Label,
) -> Result<OpenRing, JournalError> {
    let (stored_end, head) = (survey.stored.0, survey.head);
    let mut beyond = Vec::new();
    match ring {
        Some(ring) if ring.same_boot && ring.label.base <= stored_end => {
            return Ok(OpenRing {
                region: ring.region,
                path: ring.found.path,
                made_at: ring.label.base,
                header_slot: HeaderSlot { new: None, then: 1 - ring.slot },
                note: None,
            });
        }
        Some(ring) => {
            let mut at = stored_end;
            while at < head {
                let piece = geometry.segment_left(at).min(head.since(at));
                let start = to_usize(geometry.ring_offset(at));
                beyond.push((at, ring.bytes()[start..start + to_usize(piece)].to_vec()));
                at = at.plus(piece);
            }
            let UsableRing { region, found, .. } = ring;
            drop(region);
            context.place.remove(&found)?;
        }
        None => {}
    }
    let len = HEADER_PAGE_BYTES + geometry.ring_bytes();
    let made = context.place.make(label.journal_uuid, len)?;
    let mut region = made.region;
    let made_at = geometry.ring_base(head).min(stored_end);
    let bytes = &mut region.bytes_mut()[to_usize(HEADER_PAGE_BYTES)..];
    let mut at = made_at;
    while at < stored_end {
        let piece = geometry.segment_left(at).min(stored_end.since(at));
        let place = &mut bytes[to_usize(geometry.ring_offset(at))..][..to_usize(piece)];
        let name = segment_file(geometry.segment_of(at));
        read_segments(context.storage, geometry, at, place)
            .map_err(context.io(&name, "read it"))?;
        at = at.plus(piece);
    }
    for (at, piece) in beyond {
        bytes[to_usize(geometry.ring_offset(at))..][..piece.len()].copy_from_slice(&piece);
    }
    Ok(OpenRing {
        region,
        path: made.path,
        made_at,
        header_slot: HeaderSlot { new: Some(0), then: 1 },
        note: made.note,
    })
}
