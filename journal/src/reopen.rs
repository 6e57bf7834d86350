//! Reopen: from the files of a journal to one that can be written.
//!
//! ```text
//! survey   chain through the segments, on in the ring; what is behind (`survey.rs`: reads only)
//! judge    the recovery table
//! tell     a loss goes into the metadata before anything is dropped
//! mend     keep aside, then zero; write once more what the disk may not have (`mend.rs`)
//! begin    the ring (as it is, or made anew from the segments), metadata, the ring's header
//! ```
//!
//! A segment's bytes above the last durable value are in the page cache and perhaps nowhere else: a
//! sync that failed may have told somebody who is dead. So they are written and synced once more
//! before they count as on the disk.

use std::path::PathBuf;
use std::sync::Arc;

use crate::bytes::to_usize;
use crate::error::JournalError;
use crate::files::{COPY_BYTES, META_FILE, MetaFile};
use crate::found::Found;
use crate::hot::{FoundRing, write_header};
use crate::label::{Label, Labelled, Uuid};
use crate::mend::{drop_tail, give_up, look_at_given_up, settle};
use crate::open::{Context, Journal};
use crate::persist::Persister;
use crate::position::{Geometry, Position};
use crate::prepare::Preparer;
use crate::recover::{IncarnationChange, Recovery, Tail, TailFacts};
use crate::region::Region;
use crate::ring::{HEADER_PAGE_BYTES, Ring, RingParts};
use crate::scan::{Tip, read_segments};
use crate::segment::segment_file;
use crate::survey::{Survey, UsableRing, survey, take_ring};
use crate::watermarks::Watermarks;

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
    let ring_faulty = found.is_ring_faulty(context.boot_id);
    let (mut ring, leftover) = take_ring(&mut context, found.ring.take(), &meta)?;
    let mut survey = survey(&context, geometry, segment_count, &meta, ring.as_ref())?;
    let faulty_ring = leftover.as_ref().filter(|_| ring_faulty);
    let kept_ring = look_at_given_up(&mut context, &found, faulty_ring, geometry, &mut survey)?;
    let gives_up = faulty_ring.is_some() || found.faulty_segments().next().is_some();
    let judged = judge(&context, geometry, &meta, &survey, ring.as_ref(), gives_up)?;
    let change = copy.or(judged.change);
    let may_have_lost = judged.may_have_lost || copy.is_some();
    let is_accepted = judged.change == Some(IncarnationChange::AcceptedLoss);
    let (mut meta, mut meta_slot) = (meta, meta_slot);
    if change.is_some() {
        // One more where a damaged slot may have held the next.
        meta.incarnation += 1 + u64::from(meta.is_beside_damage);
        meta.suspect_incarnation =
            if may_have_lost { meta.incarnation } else { meta.suspect_incarnation };
    }
    if change.is_some() && (judged.drop_torn || gives_up) {
        tell(&mut context, &mut meta, &mut meta_slot)?;
    }
    let set_aside = give_up(&mut context, &found, &kept_ring, survey.tip.index + 1)?;
    let dropped = if judged.drop_torn {
        drop_tail(&mut context, geometry, &survey, ring.as_mut(), is_accepted)?
    } else {
        Vec::new()
    };
    let end = settle(&mut context, geometry, segment_count, &survey, is_accepted)?;
    let label = next_label(&context, meta, &end.1, is_accepted)?;
    let recovery = Recovery {
        case: judged.case,
        last_index: survey.tip.index,
        last_time: survey.tip.time,
        last_epoch: survey.tip.epoch,
        durable_index: end.1.index,
        torn: survey.torn(&dropped, judged.drop_torn && !is_accepted),
        accepted: survey.lost([set_aside.clone(), dropped].concat(), is_accepted),
        set_aside,
        suspect: may_have_lost.then(|| survey.suspect(geometry)),
        incarnation: label.incarnation,
        incarnation_changed: change,
        clean: judged.clean,
        memory_locked: false,
        ring_note: None,
    };
    let parts = Begun { meta_slot, label, end, segment_count };
    start(context, geometry, &survey, (ring, leftover), parts, recovery)
}

/// Tells the metadata before anything is dropped: a start that dies in between must not be followed
/// by one that finds nothing amiss.
fn tell(
    context: &mut Context<'_>,
    meta: &mut Label,
    meta_slot: &mut usize,
) -> Result<(), JournalError> {
    meta.is_stopped = false;
    let mut file = MetaFile { label: meta.clone(), slot: *meta_slot };
    file.write(context.storage).map_err(context.io(META_FILE, "write it"))?;
    (meta.generation, *meta_slot) = (file.label.generation, file.slot);
    Ok(())
}

/// What the metadata says from now on; `stored` is the last record on the disk.
fn next_label(
    context: &Context<'_>,
    meta: Label,
    stored: &Tip,
    is_accepted: bool,
) -> Result<Label, JournalError> {
    // What was vouched for may be what is lost.
    let floor =
        if is_accepted { (stored.index, stored.crc) } else { (meta.floor_index, meta.floor_crc) };
    let id = context.storage.id(META_FILE).map_err(context.io(META_FILE, "read its inode"))?;
    Ok(Label {
        generation: meta.generation + 1,
        boot_id: context.boot_id,
        floor_index: floor.0,
        floor_crc: floor.1,
        is_stopped: false,
        acks_durable: context.options.acks_durable,
        file_id: id.unwrap_or(0),
        is_beside_damage: false,
        ..meta
    })
}

/// What the recovery table says, a loss that the operator accepts included.
struct Judged {
    case: &'static str,
    drop_torn: bool,
    change: Option<IncarnationChange>,
    may_have_lost: bool,
    clean: bool,
}

fn judge(
    context: &Context<'_>,
    geometry: Geometry,
    meta: &Label,
    survey: &Survey,
    ring: Option<&UsableRing>,
    gives_up: bool,
) -> Result<Judged, JournalError> {
    let has_ring = ring.is_some_and(|ring| ring.same_boot);
    let facts = TailFacts {
        end: survey.end(has_ring),
        floor_reached: survey.floor_reached,
        // A chain that goes on behind the record of the stop was written after it.
        is_stopped: meta.is_stopped && survey.tip.index <= meta.floor_index,
        has_ring,
        same_boot: meta.boot_id == context.boot_id,
        acks_durable: meta.acks_durable,
    };
    let row = facts.judge();
    let accepted = Judged {
        case: "loss accepted",
        drop_torn: true,
        change: Some(IncarnationChange::AcceptedLoss),
        may_have_lost: true,
        clean: false,
    };
    match row.verdict {
        // The ring has all that was in what is given up; otherwise the table cannot know of it.
        Tail::Keep { .. } if gives_up && !has_ring => Ok(accepted),
        Tail::Keep { drop_torn, change, may_have_lost, clean } => {
            Ok(Judged { case: row.label, drop_torn, change, may_have_lost, clean })
        }
        // Nothing is left of a journal whose first record is bad: that is no loss to go on with.
        Tail::Refuse(_) if context.options.accept_loss && survey.tip.index > 0 => Ok(accepted),
        Tail::Refuse(kind) => Err(survey.refusal(kind, context, geometry)),
    }
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
    (ring, leftover): (Option<UsableRing>, Option<FoundRing>),
    begun: Begun,
    mut recovery: Recovery,
) -> Result<Journal, JournalError> {
    let Begun { meta_slot, mut label, end, segment_count } = begun;
    if let Some(leftover) = leftover {
        context.place.remove(&leftover)?;
    }
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

/// The ring of the same boot; otherwise a new one, with what an older ring had beyond the segments.
/// The bytes that the segments have too are theirs: those were checked, and the ring is read by
/// others without another check.
fn open_ring(
    context: &mut Context<'_>,
    geometry: Geometry,
    survey: &Survey,
    ring: Option<UsableRing>,
    label: &Label,
) -> Result<OpenRing, JournalError> {
    let (stored_end, head) = (survey.stored.0, survey.head);
    let oldest = geometry.ring_base(head).min(stored_end);
    let mut open = match ring {
        Some(ring) if ring.same_boot && ring.label.base <= stored_end => OpenRing {
            region: ring.region,
            path: ring.found.path,
            made_at: ring.label.base,
            header_slot: HeaderSlot { new: None, then: 1 - ring.slot },
            note: None,
        },
        ring => make_ring(context, geometry, survey, ring, label)?,
    };
    let bytes = &mut open.region.bytes_mut()[to_usize(HEADER_PAGE_BYTES)..];
    let mut stored = Vec::new();
    let mut at = open.made_at.max(oldest);
    while at < stored_end {
        let piece = geometry.segment_left(at).min(stored_end.since(at)).min(COPY_BYTES);
        stored.resize(to_usize(piece), 0);
        let name = segment_file(geometry.segment_of(at));
        read_segments(context.storage, geometry, at, &mut stored)
            .map_err(context.io(&name, "read it"))?;
        let place = &mut bytes[to_usize(geometry.ring_offset(at))..][..to_usize(piece)];
        if *place != *stored {
            place.copy_from_slice(&stored);
        }
        at = at.plus(piece);
    }
    Ok(open)
}

/// A new ring, with the records of an older one that are in no segment.
fn make_ring(
    context: &mut Context<'_>,
    geometry: Geometry,
    survey: &Survey,
    older: Option<UsableRing>,
    label: &Label,
) -> Result<OpenRing, JournalError> {
    let (stored_end, head) = (survey.stored.0, survey.head);
    let mut beyond = Vec::new();
    if let Some(ring) = older {
        let mut at = stored_end;
        while at < head {
            let piece = geometry.segment_left(at).min(head.since(at));
            let start = to_usize(geometry.ring_offset(at));
            beyond.push((start, ring.bytes()[start..start + to_usize(piece)].to_vec()));
            at = at.plus(piece);
        }
        let UsableRing { region, found, .. } = ring;
        drop(region);
        context.place.remove(&found)?;
    }
    let len = HEADER_PAGE_BYTES + geometry.ring_bytes();
    let made = context.place.make(label.journal_uuid, len)?;
    let mut region = made.region;
    let bytes = &mut region.bytes_mut()[to_usize(HEADER_PAGE_BYTES)..];
    for (start, piece) in beyond {
        bytes[start..][..piece.len()].copy_from_slice(&piece);
    }
    Ok(OpenRing {
        region,
        path: made.path,
        made_at: geometry.ring_base(head).min(stored_end),
        header_slot: HeaderSlot { new: Some(0), then: 1 },
        note: made.note,
    })
}
