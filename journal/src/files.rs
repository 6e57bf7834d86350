//! Files: the names of a journal's directory, its metadata, and what is kept aside.
//!
//! ```text
//! journal.lock            held by the one writer; holds its process id
//! journal.meta            two label slots: whose journal, in what state, where its ring is
//! journal-K.seg           segment K; journal-K.sha256 beside it
//! journal.ring            the ring, where it is not in memory
//! torn-I-N.bin            a torn tail that began at index I, kept when it was dropped
//! lost-I-N.bin            the same for what an operator gave up
//! lost-N-journal-K.seg    a whole segment that was given up
//! ```

use std::io::{self, Error, ErrorKind};

use crate::bytes::{to_u64, to_usize};
use crate::label::{LABEL_BYTES, Label, Labelled, META_MAGIC, newest};
use crate::position::{Geometry, Position};
use crate::scan::read_segments;
use crate::segment::{SEGMENT_HEADER_BYTES, segment_file};
use crate::storage::Storage;
use crate::watermarks::Poison;

/// Name of the metadata file.
pub const META_FILE: &str = "journal.meta";
/// Name of the ring file where it is not in memory.
pub const RING_FILE: &str = "journal.ring";

pub(crate) const META_FILE_NEW: &str = "journal.meta.new";
/// Bytes of the metadata file: one page a slot.
pub(crate) const META_FILE_BYTES: u64 = 8192;
/// Where the slots begin.
pub(crate) const META_SLOTS: [u64; 2] = [0, 4096];
/// Where those of a ring's header page begin.
pub(crate) const RING_SLOTS: [u64; 2] = [0, 2048];
/// Side files of one index: a kill while one is written leaves it, and the next takes a new name.
const SIDE_FILES_MAX: u32 = 1000;
/// Bytes copied at once.
pub(crate) const COPY_BYTES: u64 = 1 << 20;

/// The metadata file, and the slot that holds the newest label.
#[derive(Debug)]
pub(crate) struct MetaFile {
    pub(crate) label: Label,
    pub(crate) slot: usize,
}

impl MetaFile {
    /// Writes the label into the other slot and waits for the disk.
    pub(crate) fn write(&mut self, storage: &mut dyn Storage) -> io::Result<()> {
        let slot = 1 - self.slot;
        self.label.generation += 1;
        write_slot(storage, META_FILE, slot, &self.label)?;
        self.slot = slot;
        Ok(())
    }
}

/// Writes a label into a slot of a metadata file and waits for the disk.
pub(crate) fn write_slot(
    storage: &mut dyn Storage,
    name: &str,
    slot: usize,
    label: &Label,
) -> io::Result<()> {
    storage.write_at(name, META_SLOTS[slot], &label.encode(META_MAGIC))?;
    storage.sync(name)
}

/// Reads both slots of a file; a slot beyond the file's end is a damaged one. `None`: no file.
pub(crate) fn read_labels(
    storage: &dyn Storage,
    name: &str,
    slots: [u64; 2],
    magic: [u8; 8],
) -> io::Result<Option<Labelled>> {
    if storage.len(name)?.is_none() {
        return Ok(None);
    }
    let mut labels = [[0; LABEL_BYTES]; 2];
    for (slot, label) in slots.into_iter().zip(&mut labels) {
        match storage.read_at(name, slot, label) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => *label = [0xff; LABEL_BYTES],
            result => result?,
        }
    }
    Ok(Some(newest([&labels[0], &labels[1]], magic)))
}

/// Keeps `bytes` in a new side file that is on the disk when this returns.
pub(crate) fn keep(
    storage: &mut dyn Storage,
    kind: &str,
    index: u64,
    bytes: &[u8],
) -> io::Result<String> {
    let name = side_file(storage, kind, index, to_u64(bytes.len()))?;
    storage.write_at(&name, 0, bytes)?;
    storage.sync(&name)?;
    storage.sync_names()?;
    Ok(name)
}

/// Keeps `len` bytes of the segments from `from` on in a new side file.
pub(crate) fn keep_range(
    storage: &mut dyn Storage,
    kind: &str,
    index: u64,
    geometry: Geometry,
    (from, len): (Position, u64),
) -> io::Result<String> {
    let name = side_file(storage, kind, index, len)?;
    let mut bytes = Vec::new();
    let mut done = 0;
    while done < len {
        let at = from.plus(done);
        let piece = geometry.segment_left(at).min(len - done).min(COPY_BYTES);
        bytes.resize(to_usize(piece), 0);
        read_segments(storage, geometry, at, &mut bytes)?;
        storage.write_at(&name, done, &bytes)?;
        done += piece;
    }
    storage.sync(&name)?;
    storage.sync_names()?;
    Ok(name)
}

/// Makes `len` bytes of the segments from `from` on zeros, on the disk.
pub(crate) fn zero_range(
    storage: &mut dyn Storage,
    geometry: Geometry,
    (from, len): (Position, u64),
) -> io::Result<()> {
    let zeros = vec![0; to_usize(len.min(COPY_BYTES))];
    let mut done = 0;
    while done < len {
        let at = from.plus(done);
        let left = geometry.segment_left(at).min(len - done);
        let piece = left.min(COPY_BYTES);
        let name = segment_file(geometry.segment_of(at));
        let offset = SEGMENT_HEADER_BYTES + geometry.segment_offset(at);
        storage.write_at(&name, offset, &zeros[..to_usize(piece)])?;
        if piece == left {
            storage.sync_data(&name)?;
        }
        done += piece;
    }
    Ok(())
}

/// Writes `len` bytes of the segments from `from` on once more and syncs them: what was found in
/// the page cache may never have reached the disk, and a sync that failed once may have said so to
/// somebody else.
pub(crate) fn write_again(
    storage: &mut dyn Storage,
    geometry: Geometry,
    (from, len): (Position, u64),
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut done = 0;
    while done < len {
        let at = from.plus(done);
        let left = geometry.segment_left(at).min(len - done);
        let piece = left.min(COPY_BYTES);
        bytes.resize(to_usize(piece), 0);
        read_segments(storage, geometry, at, &mut bytes)?;
        let name = segment_file(geometry.segment_of(at));
        let offset = SEGMENT_HEADER_BYTES + geometry.segment_offset(at);
        storage.write_at(&name, offset, &bytes)?;
        if piece == left {
            storage.sync_data(&name)?;
        }
        done += piece;
    }
    Ok(())
}

/// Gives a file away under a name that says it was given up.
pub(crate) fn set_aside(storage: &mut dyn Storage, name: &str) -> io::Result<String> {
    for count in 0..SIDE_FILES_MAX {
        let aside = format!("lost-{count}-{name}");
        if storage.len(&aside)?.is_none() {
            storage.rename(name, &aside)?;
            storage.sync_names()?;
            return Ok(aside);
        }
    }
    Err(Error::other(format!("{name}: {SIDE_FILES_MAX} files of this name were kept aside before")))
}

fn side_file(storage: &mut dyn Storage, kind: &str, index: u64, len: u64) -> io::Result<String> {
    for count in 0..SIDE_FILES_MAX {
        let name = format!("{kind}-{index}-{count}.bin");
        match storage.create(&name, len) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::other(format!("{SIDE_FILES_MAX} files {kind}-{index} were kept aside before")))
}

/// An error of the running journal's disk.
pub(crate) fn poison<'a>(
    file: &'a str,
    doing: &'static str,
) -> impl FnOnce(Error) -> Poison + use<'a> {
    move |error| Poison { file: file.to_owned(), doing, error: error.to_string() }
}
