//! Mend: what a start changes in the files that it found, before it goes on with them.
//!
//! What is dropped is first kept in a side file, on the disk, and only then overwritten: a kill at
//! any point leaves it to be found again. What is kept is written once more, because a page cache
//! shows bytes that a failed sync has lost; the same holds for names and for the sums.

use std::io;
use std::path::PathBuf;

use crate::bytes::to_usize;
use crate::error::JournalError;
use crate::files::{keep, keep_range, set_aside, write_again, zero_range};
use crate::found::Found;
use crate::hot::FoundRing;
use crate::open::Context;
use crate::persist::{clear_slots, write_slot};
use crate::position::{Geometry, Position};
use crate::ring::HEADER_PAGE_BYTES;
use crate::scan::{Behind, Tip};
use crate::segment::{Durable, segment_file, sums_file};
use crate::sums::Sums;
use crate::survey::{Survey, UsableRing};

/// Looks at what the operator gives up as a whole: segments from the first faulty one on, and a
/// ring that cannot be used. Returns the ring's bytes.
pub(crate) fn look_at_given_up(
    context: &mut Context<'_>,
    found: &Found,
    ring: Option<&FoundRing>,
    geometry: Geometry,
    survey: &mut Survey,
) -> Result<Vec<u8>, JournalError> {
    for (number, is_ours) in found.faulty_segments() {
        let name = segment_file(number);
        // Another journal's records are no loss of ours.
        if is_ours {
            let behind = Behind::of_file(context.storage, geometry, &name, &survey.tip)
                .map_err(context.io(&name, "read it"))?;
            survey.give_up(&behind.indexes);
        }
    }
    let Some(ring) = ring else { return Ok(Vec::new()) };
    let bytes = context.place.read(ring)?;
    if let Some(records) = bytes.get(to_usize(HEADER_PAGE_BYTES)..)
        && records.len() == to_usize(geometry.ring_bytes())
        && !found.is_foreign(ring)
    {
        let behind = Behind::of_ring(records, geometry, survey.head, &survey.tip);
        survey.give_up(&behind.indexes);
    }
    Ok(bytes)
}

/// Gives away the segments from the first faulty one on, and keeps the bytes of a ring that cannot
/// be used.
pub(crate) fn give_up(
    context: &mut Context<'_>,
    found: &Found,
    ring: &[u8],
    index: u64,
) -> Result<Vec<PathBuf>, JournalError> {
    let mut given = Vec::new();
    for (number, _) in found.faulty_segments() {
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
    if !ring.is_empty() {
        let kept = keep(context.storage, "lost", index, ring);
        given.push(context.dir.join(kept.map_err(context.io("", "keep the ring"))?));
    }
    Ok(given)
}

/// Keeps what is behind the chain in side files, on the disk, and only then zeroes it.
pub(crate) fn drop_tail(
    context: &mut Context<'_>,
    geometry: Geometry,
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
        let kept = kept.map_err(context.io("", "keep the torn tail"))?;
        torn.fill(0);
        return Ok(Some(kept));
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

/// Makes sure that the disk has what the directory shows, names and sums too, and returns where
/// that ends. After an accepted loss no older slot may tell of what is gone.
pub(crate) fn settle(
    context: &mut Context<'_>,
    geometry: Geometry,
    segment_count: u64,
    survey: &Survey,
    is_accepted: bool,
) -> Result<(Position, Tip), JournalError> {
    let (end, tip) = survey.stored;
    context.storage.sync_names().map_err(context.io("", "sync its names"))?;
    let from = survey.durable.position.min(end);
    write_again(context.storage, geometry, (from, end.since(from)))
        .map_err(context.io("", "write the newest records once more"))?;
    for segment in geometry.segment_of(from)..segment_count {
        Sums::mend(context.storage, geometry, segment, (from, end))
            .map_err(context.io(&sums_file(segment), "write it"))?;
    }
    if is_accepted {
        for segment in 0..segment_count {
            clear_slots(context.storage, segment)
                .map_err(context.io(&segment_file(segment), "clear its slots"))?;
        }
        let segment = geometry.segment_of(end);
        if segment < segment_count {
            let durable = Durable { position: end, index: tip.index, crc: tip.crc };
            write_slot(context.storage, segment, durable)
                .map_err(context.io(&segment_file(segment), "write its slot"))?;
        }
    }
    Ok((end, tip))
}
