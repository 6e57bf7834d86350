//! Create: a journal where there is none.
//!
//! The metadata gets its name last, and no record is written before: whatever a start finds without
//! it is a creation that was cut short, and is made anew. The first thing that is made is the
//! metadata's file under a passing name, with the journal's uuid in it, so that the next start also
//! finds the ring, which may be elsewhere. A creation that fails leaves nothing.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::JournalError;
use crate::files::{
    META_FILE, META_FILE_BYTES, META_FILE_NEW, META_SLOTS, MetaFile, read_labels, write_slot,
};
use crate::found::Found;
use crate::hot::{self, MadeRing, write_header};
use crate::label::{Label, Labelled, META_MAGIC, Uuid};
use crate::open::{Context, Journal, first_incarnation};
use crate::persist::Persister;
use crate::position::{Geometry, Position};
use crate::prepare::{Prepared, Preparer};
use crate::recover::Recovery;
use crate::ring::{HEADER_PAGE_BYTES, Ring, RingParts};
use crate::scan::Tip;
use crate::segment::{segment_file, sums_file};
use crate::storage::Storage;
use crate::watermarks::Watermarks;

/// Makes a journal, in place of what a creation that was cut short left.
pub(crate) fn create(
    mut context: Context<'_>,
    found: &Found,
    geometry: Geometry,
) -> Result<Journal, JournalError> {
    clear(&mut context, found)?;
    let options = context.options;
    let journal_uuid = options.journal_uuid.map_or_else(|| draw_uuid(&context.dir), Ok)?;
    let mut label = Label {
        generation: 1,
        journal_uuid,
        boot_id: context.boot_id,
        incarnation: first_incarnation(journal_uuid),
        ring_bytes: geometry.ring_bytes(),
        node_id: options.node_id,
        acks_durable: options.acks_durable,
        ..Label::default()
    };
    let mut path = None;
    let made = make(&mut context, geometry, &mut label, &mut path);
    let (made, preparer, marks) = match made {
        Ok(made) => made,
        Err(error) => {
            undo(&mut context, path.as_deref());
            return Err(error);
        }
    };
    let MadeRing { mut region, path, note } = made;
    if options.lock_memory {
        region.lock_memory();
    }
    let recovery = Recovery::created(label.incarnation, region.is_locked(), note);
    let end = (Position::ZERO, Tip::default());
    let meta = MetaFile { label: label.clone(), slot: 0 };
    let lock = context.lock.take();
    let persister = Persister::new(context.storage, Arc::clone(&marks), geometry, end, meta, lock)
        .map_err(context.io(&segment_file(0), "read it"))?;
    let ring = Ring::from_parts(RingParts {
        region,
        geometry,
        made_at: Position::ZERO,
        head: Position::ZERO,
        tip: Tip::default(),
        label,
        marks,
        path,
    });
    Ok(Journal { ring, persister, preparer, recovery })
}

/// Removes what an earlier creation left.
fn clear(context: &mut Context<'_>, found: &Found) -> Result<(), JournalError> {
    // Without metadata none of them is good.
    for (number, _) in found.faulty_segments() {
        for name in [segment_file(number), sums_file(number)] {
            remove(context, &name)?;
        }
    }
    let left = read_labels(context.storage, META_FILE_NEW, META_SLOTS, META_MAGIC)
        .map_err(context.io(META_FILE_NEW, "read it"))?;
    if let Some(Labelled::Good(label, _)) = left {
        context.place.remove_of(label.journal_uuid)?;
    }
    remove(context, META_FILE_NEW)
}

/// All that is on the disk of a new journal. The ring's path is told as soon as there is one.
fn make(
    context: &mut Context<'_>,
    geometry: Geometry,
    label: &mut Label,
    path: &mut Option<PathBuf>,
) -> Result<(MadeRing, Preparer, Arc<Watermarks>), JournalError> {
    let io = |context: &Context<'_>, doing| context.io(META_FILE, doing);
    context.storage.create(META_FILE_NEW, META_FILE_BYTES).map_err(io(context, "make it"))?;
    let id = context.storage.id(META_FILE_NEW).map_err(io(context, "read its inode"))?;
    label.file_id = id.unwrap_or(0);
    write_slot(context.storage, META_FILE_NEW, 0, label).map_err(io(context, "write it"))?;
    let mut made =
        context.place.make(label.journal_uuid, HEADER_PAGE_BYTES + geometry.ring_bytes())?;
    path.clone_from(&made.path);
    label.ring_path = made.path.as_ref().map_or_else(String::new, |p| p.display().to_string());
    write_header(&mut made.region, 0, label);
    let marks = Arc::new(Watermarks::default());
    let low = context.options.space_low_water;
    let mut preparer = Preparer::new(Arc::clone(&marks), geometry, label.clone(), 0, low);
    prepare_one(context.storage, &context.dir, &mut preparer, &marks)?;
    write_slot(context.storage, META_FILE_NEW, 0, label)
        .and_then(|()| context.storage.rename(META_FILE_NEW, META_FILE))
        .and_then(|()| context.storage.sync_names())
        .map_err(io(context, "write it"))?;
    Ok((made, preparer, marks))
}

/// Makes the first segment, so that there is always one to write to.
fn prepare_one(
    storage: &mut dyn Storage,
    dir: &Path,
    preparer: &mut Preparer,
    marks: &Watermarks,
) -> Result<(), JournalError> {
    while marks.prepared() == 0 {
        match preparer.step(storage) {
            Prepared::Piece | Prepared::Nothing => {}
            Prepared::NoRoom => {
                let full = Error::from(ErrorKind::StorageFull);
                let path = dir.join(segment_file(0));
                return Err(JournalError::io_owned(path, "make the first segment")(full));
            }
            Prepared::Poisoned => {
                let poison = marks.poison().cloned();
                let Some(poison) = poison else { unreachable!("a poisoned journal knows why") };
                return Err(JournalError::Poisoned(poison));
            }
        }
    }
    Ok(())
}

/// Removes all of a creation that failed, as far as the disk lets it: the error that is told is the
/// first.
fn undo(context: &mut Context<'_>, ring: Option<&Path>) {
    let new = format!("{}.new", segment_file(0));
    // The metadata goes first: without it the rest is a creation that was cut short.
    for name in [META_FILE, META_FILE_NEW, &segment_file(0), &new, &sums_file(0)] {
        let _ = context.storage.remove(name);
    }
    let _ = ring.map_or(Ok(()), hot::remove);
}

fn remove(context: &mut Context<'_>, name: &str) -> Result<(), JournalError> {
    match context.storage.remove(name) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(context.io(name, "remove it")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn draw_uuid(dir: &Path) -> Result<Uuid, JournalError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| JournalError::io(dir, "draw a uuid")(Error::other(error.to_string())))?;
    Ok(Uuid(bytes))
}
