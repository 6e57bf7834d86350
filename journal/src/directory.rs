//! Directory: a journal on disk, and how it is created, opened and stopped.
//!
//! ```text
//! journal.lock   held by the one writer; holds its process id
//! journal.ring   header page (two label slots), then the ring
//! journal.meta   two label slots: the identity the ring must match, and the mark of a clean stop
//! torn-I-N.bin   bytes of a torn tail that began at index I, kept when it was dropped
//! ```
//!
//! The order of steps is what makes a kill between any two of them harmless. Creating: the ring is
//! built under another name, then renamed, and the metadata gets its name last. Opening: lock, look
//! (nothing changes up to here, so a refusal leaves all as it was), keep and zero a torn tail,
//! write metadata, then the ring's header; so the metadata is never behind the ring by a crash.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::bytes::{to_u64, to_usize};
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::found::{Found, file_id};
use crate::identity::Identity;
use crate::label::{LABEL_BYTES, Label, Labelled, META_MAGIC, RING_MAGIC, Uuid};
use crate::lock::DirectoryLock;
use crate::position::{Geometry, Position};
use crate::recover::{End, IncarnationChange, Recovery, Tail, TailFacts, Torn};
use crate::region::Region;
use crate::ring::{HEADER_PAGE_BYTES, Ring};
use crate::scan::{Behind, Scan, Tip, scan};
use crate::storage::{DirStorage, Storage};

/// Name of the ring file.
pub const RING_FILE: &str = "journal.ring";
/// Name of the metadata file.
pub const META_FILE: &str = "journal.meta";

const RING_FILE_NEW: &str = "journal.ring.new";
const META_FILE_NEW: &str = "journal.meta.new";
/// Bytes of the metadata file: one page a slot.
const META_FILE_BYTES: u64 = 8192;
/// Where the slots begin.
pub(crate) const META_SLOTS: [u64; 2] = [0, 4096];
pub(crate) const RING_SLOTS: [u64; 2] = [0, 2048];
/// Side files of one index: a kill while one is written leaves it, and the next takes a new name.
const SIDE_FILES_MAX: u32 = 1000;

/// How a journal is created or opened.
#[derive(Clone, Copy, Debug)]
pub struct RingOptions {
    /// Bytes of the ring: a power of two in [`crate::RING_BYTES_MIN`], [`crate::RING_BYTES_MAX`].
    pub ring_bytes: u64,
    /// The node that writes the journal.
    pub node_id: u32,
    /// The kernel's boot id; `None` reads it. Tests play a restart of the machine with it.
    pub boot_id: Option<Uuid>,
    /// Name of a new journal; `None` draws one.
    pub journal_uuid: Option<Uuid>,
    /// Take a directory that is a copy, under a new incarnation.
    pub accept_copy: bool,
    /// Lock the ring's pages in memory, as far as the system's limits allow.
    pub lock_memory: bool,
}

impl RingOptions {
    /// A ring of `ring_bytes` for a node; everything else as a program wants it.
    #[must_use]
    pub const fn new(ring_bytes: u64, node_id: u32) -> Self {
        Self {
            ring_bytes,
            node_id,
            boot_id: None,
            journal_uuid: None,
            accept_copy: false,
            lock_memory: true,
        }
    }
}

/// Incarnation a journal starts with. A wiped directory must not look like its former self, so it
/// is drawn with the uuid: 47 random bits above a counter of 16.
#[must_use]
pub const fn first_incarnation(journal_uuid: Uuid) -> u64 {
    let Some(first) = journal_uuid.0.first_chunk::<8>() else {
        return 1;
    };
    (u64::from_le_bytes(*first) >> 17 << 16) | 1
}

/// The open directory of a ring.
#[derive(Debug)]
pub(crate) struct Directory {
    dir: PathBuf,
    storage: DirStorage,
    /// The slot of the metadata file that holds the newest label.
    meta_slot: usize,
    _lock: DirectoryLock,
}

impl Ring {
    /// Creates a journal in `dir`, which is made if it does not exist and must not hold one.
    pub fn create(dir: &Path, options: &RingOptions) -> Result<(Self, Recovery), JournalError> {
        begin(dir, options, Some(true))
    }

    /// Opens the journal in `dir` and recovers it. What cannot be trusted is refused, and then
    /// nothing was changed.
    pub fn open(dir: &Path, options: &RingOptions) -> Result<(Self, Recovery), JournalError> {
        begin(dir, options, Some(false))
    }

    /// Opens the journal in `dir`, or creates one where there is none.
    pub fn open_or_create(
        dir: &Path,
        options: &RingOptions,
    ) -> Result<(Self, Recovery), JournalError> {
        begin(dir, options, None)
    }
}

impl Directory {
    /// Writes the ring to its disk, then the mark of a clean stop.
    pub(crate) fn stop(
        &mut self,
        region: &Region,
        label: &mut Label,
        index: u64,
        crc: u32,
    ) -> Result<(), JournalError> {
        let path = self.dir.join(RING_FILE);
        region.sync().map_err(JournalError::io(&path, "write it to disk"))?;
        label.generation += 1;
        (label.stop_index, label.stop_crc, label.is_stopped) = (index, crc, true);
        self.write_meta(label)
    }

    fn write_meta(&mut self, label: &Label) -> Result<(), JournalError> {
        let slot = 1 - self.meta_slot;
        let path = self.dir.join(META_FILE);
        write_slot(&mut self.storage, META_FILE, slot, label)
            .map_err(JournalError::io(&path, "write it"))?;
        self.meta_slot = slot;
        Ok(())
    }

    /// Keeps `bytes` in a new side file and returns its path.
    fn keep_torn(&mut self, index: u64, bytes: &[u8]) -> Result<PathBuf, JournalError> {
        for count in 0..SIDE_FILES_MAX {
            let name = format!("torn-{index}-{count}.bin");
            let path = self.dir.join(&name);
            let kept = keep(&mut self.storage, &name, bytes);
            match kept {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(JournalError::io(&path, "keep the torn tail")(error)),
            }
        }
        let full = Error::other("too many side files of this index");
        Err(JournalError::io(&self.dir, "keep the torn tail")(full))
    }
}

/// Writes a label into a slot of the metadata file and waits for the disk.
fn write_slot(
    storage: &mut impl Storage,
    name: &str,
    slot: usize,
    label: &Label,
) -> std::io::Result<()> {
    storage.write_at(name, META_SLOTS[slot], &label.encode(META_MAGIC))?;
    storage.sync(name)
}

fn keep(storage: &mut impl Storage, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    storage.create(name, to_u64(bytes.len()))?;
    storage.write_at(name, 0, bytes)?;
    storage.sync(name)?;
    storage.sync_names()
}

/// `create`: whether a journal must be absent, must be present, or may be either.
fn begin(
    dir: &Path,
    options: &RingOptions,
    create: Option<bool>,
) -> Result<(Ring, Recovery), JournalError> {
    let geometry = Geometry::new(options.ring_bytes)
        .ok_or(JournalError::RingBytes { found: options.ring_bytes })?;
    if create == Some(false) && !dir.is_dir() {
        return Err(JournalError::NoJournal { dir: dir.to_owned() });
    }
    std::fs::create_dir_all(dir).map_err(JournalError::io(dir, "make the directory"))?;
    let lock = DirectoryLock::acquire(dir)?;
    let storage = DirStorage::new(dir);
    let boot_id = options.boot_id.map_or_else(read_boot_id, Ok)?;
    let found = Found::look(dir, &storage)?;
    let directory = Directory { dir: dir.to_owned(), storage, meta_slot: 0, _lock: lock };
    match found.facts(options).judge().verdict() {
        Identity::Create | Identity::CreateAgain if create == Some(false) => {
            Err(JournalError::NoJournal { dir: dir.to_owned() })
        }
        Identity::Create | Identity::CreateAgain => {
            create_new(directory, options, geometry, boot_id)
        }
        Identity::Open(_) | Identity::Refuse(_) if create == Some(true) => {
            Err(JournalError::AlreadyExists { dir: dir.to_owned() })
        }
        Identity::Open(change) => open_found(directory, options, &found, boot_id, change),
        Identity::Refuse(kind) => Err(found.refusal(kind, dir, options)),
    }
}

fn create_new(
    mut directory: Directory,
    options: &RingOptions,
    geometry: Geometry,
    boot_id: Uuid,
) -> Result<(Ring, Recovery), JournalError> {
    let dir = directory.dir.clone();
    for name in [RING_FILE_NEW, META_FILE_NEW, RING_FILE] {
        match directory.storage.remove(name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(JournalError::io(&dir.join(name), "remove it")(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let ring_new = dir.join(RING_FILE_NEW);
    let mut region = Region::map_file(&ring_new, HEADER_PAGE_BYTES + geometry.ring_bytes(), true)?;
    let journal_uuid = options.journal_uuid.map_or_else(|| draw_uuid(&dir), Ok)?;
    let label = Label {
        generation: 1,
        journal_uuid,
        boot_id,
        incarnation: first_incarnation(journal_uuid),
        ring_bytes: geometry.ring_bytes(),
        file_id: file_id(&ring_new)?,
        node_id: options.node_id,
        ..Label::default()
    };
    write_header(&mut region, 0, &label);
    // Only this page: a page that was synced faults again at its next store.
    region
        .sync_front(HEADER_PAGE_BYTES)
        .map_err(JournalError::io(&ring_new, "write it to disk"))?;
    let storage = &mut directory.storage;
    storage
        .rename(RING_FILE_NEW, RING_FILE)
        .and_then(|()| storage.sync_names())
        .and_then(|()| storage.create(META_FILE_NEW, META_FILE_BYTES))
        .and_then(|()| write_slot(storage, META_FILE_NEW, 0, &label))
        .and_then(|()| storage.rename(META_FILE_NEW, META_FILE))
        .and_then(|()| storage.sync_names())
        .map_err(JournalError::io(&dir, "name the new files"))?;
    if options.lock_memory {
        region.lock_memory();
    }
    let recovery = Recovery {
        case: "created",
        records: 0,
        last_index: 0,
        last_time: 0,
        last_epoch: 0,
        torn: None,
        incarnation: label.incarnation,
        incarnation_changed: None,
        clean: true,
        memory_locked: region.is_locked(),
    };
    let (head, tip) = (Position::ZERO, Tip::default());
    Ok((Ring::from_parts(region, geometry, head, tip, label, Some(directory)), recovery))
}

/// Opens a directory whose identity was judged good.
fn open_found(
    mut directory: Directory,
    options: &RingOptions,
    found: &Found,
    boot_id: Uuid,
    copy: Option<IncarnationChange>,
) -> Result<(Ring, Recovery), JournalError> {
    let path = directory.dir.join(RING_FILE);
    let (Labelled::Good(meta, meta_slot), Some(Labelled::Good(header, ring_slot))) =
        (found.meta.unwrap_or(Labelled::Damaged), found.ring)
    else {
        unreachable!("the identity table opens only where both labels are good");
    };
    let geometry = Geometry::new(header.ring_bytes)
        .ok_or(JournalError::RingBytes { found: header.ring_bytes })?;
    let mut region = Region::map_file(&path, HEADER_PAGE_BYTES + geometry.ring_bytes(), false)?;
    let scanned = scan(&region.bytes()[to_usize(HEADER_PAGE_BYTES)..], geometry, meta.stop_index);
    let facts = TailFacts {
        end: match scanned.behind {
            Behind::Nothing => End::Zero,
            Behind::Torn { .. } => End::Torn,
            Behind::Valid { .. } => End::Valid,
        },
        floor_reached: scanned.crc_at_floor == Some(meta.stop_crc),
        same_boot: header.boot_id == boot_id,
        // An open writes the metadata first: behind the ring's header, its newest label was lost,
        // and an older one tells of an earlier stop.
        is_stopped: meta.is_stopped && meta.generation >= header.generation,
    };
    let row = facts.judge();
    let (change, clean) = match row.verdict {
        Tail::Keep { change, clean, .. } => (copy.or(change), clean),
        Tail::Refuse(kind) => return Err(tail_refusal(kind, path, &scanned, &meta)),
    };
    directory.meta_slot = meta_slot;
    let torn = drop_torn(&mut directory, &mut region, &scanned)?;
    let label = Label {
        generation: meta.generation.max(header.generation) + 1,
        boot_id,
        incarnation: meta.incarnation + u64::from(change.is_some()),
        file_id: file_id(&path)?,
        is_stopped: false,
        ..meta
    };
    directory.write_meta(&label)?;
    write_header(&mut region, 1 - ring_slot, &label);
    if options.lock_memory {
        region.lock_memory();
    }
    let recovery = Recovery {
        case: row.label,
        records: scanned.tip.index,
        last_index: scanned.tip.index,
        last_time: scanned.tip.time,
        last_epoch: scanned.tip.epoch,
        torn,
        incarnation: label.incarnation,
        incarnation_changed: change,
        clean,
        memory_locked: region.is_locked(),
    };
    let (head, tip) = (scanned.head, scanned.tip);
    Ok((Ring::from_parts(region, geometry, head, tip, label, Some(directory)), recovery))
}

/// Moves a torn tail to a side file: first kept and synced there, then zeroed here.
fn drop_torn(
    directory: &mut Directory,
    region: &mut Region,
    scanned: &Scan,
) -> Result<Option<Torn>, JournalError> {
    let Behind::Torn { error, bytes } = scanned.behind else {
        return Ok(None);
    };
    let start = to_usize(HEADER_PAGE_BYTES + scanned.head.get());
    let tail = &mut region.bytes_mut()[start..][..to_usize(bytes)];
    let index = scanned.tip.index + 1;
    let side_file = directory.keep_torn(index, tail)?;
    tail.fill(0);
    Ok(Some(Torn { position: scanned.head, index, bytes, error, side_file }))
}

fn tail_refusal(kind: RefusalKind, path: PathBuf, scanned: &Scan, meta: &Label) -> JournalError {
    let (expected, found) = match scanned.behind {
        Behind::Valid { error, at, index } => (
            format!("record {} or zeros to the end", scanned.tip.index + 1),
            format!(
                "\"{error}\", and a valid record {index} behind it at byte {}",
                HEADER_PAGE_BYTES + at.get()
            ),
        ),
        Behind::Nothing | Behind::Torn { .. } => (
            format!("record {} with crc32c {:#010x}", meta.stop_index, meta.stop_crc),
            match scanned.crc_at_floor {
                Some(crc) => format!("that record with crc32c {crc:#010x}"),
                None => format!("an end after record {}", scanned.tip.index),
            },
        ),
    };
    let offset = Some(HEADER_PAGE_BYTES + scanned.head.get());
    Box::new(Refusal { kind, path, offset, expected, found }).into()
}

fn write_header(region: &mut Region, slot: usize, label: &Label) {
    let start = to_usize(RING_SLOTS[slot]);
    region.bytes_mut()[start..][..LABEL_BYTES].copy_from_slice(&label.encode(RING_MAGIC));
}

fn draw_uuid(dir: &Path) -> Result<Uuid, JournalError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| JournalError::io(dir, "draw a uuid")(Error::other(error.to_string())))?;
    Ok(Uuid(bytes))
}

/// The kernel draws a new one at each start of the machine.
fn read_boot_id() -> Result<Uuid, JournalError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(JournalError::io(path, "read it"))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16)
        .map(|number| Uuid(number.to_be_bytes()))
        .map_err(|error| JournalError::io(path, "understand it")(Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::found::read_labels;
    use crate::storage::{MemoryStorage, PageFate};

    fn label(generation: u64) -> Label {
        Label { generation, ring_bytes: crate::RING_BYTES_MIN, ..Label::default() }
    }

    /// Power is cut while a label is written, whatever reached the medium: the metadata says the
    /// old label or the new one, never nothing.
    #[test]
    fn a_power_cut_leaves_the_old_label_or_the_new() {
        for generation in 2..6 {
            for fate in [PageFate::Old, PageFate::New, PageFate::Torn(0), PageFate::Torn(600)] {
                let mut storage = MemoryStorage::new();
                storage.create(META_FILE, META_FILE_BYTES).unwrap();
                storage.sync_names().unwrap();
                for written in 1..generation {
                    let slot = usize::from(written % 2 == 0);
                    write_slot(&mut storage, META_FILE, slot, &label(written)).unwrap();
                }
                let slot = usize::from(generation % 2 == 0);
                let bytes = label(generation).encode(META_MAGIC);
                storage.write_at(META_FILE, META_SLOTS[slot], &bytes).unwrap();
                storage.cut_power(|_, _| fate);
                let dir = Path::new("");
                let found = read_labels(&storage, dir, META_FILE, META_SLOTS, META_MAGIC);
                let Ok(Some(Labelled::Good(found, _))) = found else { panic!("{found:?}") };
                let is_new = matches!(fate, PageFate::New | PageFate::Torn(600));
                assert_eq!(found, label(generation - u64::from(!is_new)), "{fate:?}");
            }
        }
    }
}
