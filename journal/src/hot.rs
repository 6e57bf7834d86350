//! Hot: where the mapped ring is, and how it is found again.
//!
//! A mapping of a disk file that is written back costs the storing thread 70-320 us at p99.9
//! (measured), one in memory 0.7 us. So the ring is a file on a memory file system, named for its
//! journal; where there is none, or no room, it is in the data directory, and somebody is told.
//! The metadata holds its path: a ring is found again although the configuration has changed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::bytes::to_usize;
use crate::error::JournalError;
use crate::files::{RING_FILE, RING_SLOTS};
use crate::label::{LABEL_BYTES, Label, Labelled, RING_MAGIC, RING_PATH_BYTES_MAX, Uuid, newest};
use crate::region::Region;
use crate::ring::HEADER_PAGE_BYTES;

/// Where rings are made and looked for.
#[derive(Debug)]
pub(crate) enum RingPlace {
    /// In `hot` if that can be, else in the data directory.
    Directory { hot: Option<PathBuf>, data: PathBuf },
    /// In memory of this process, where a simulated kill leaves it.
    Memory(Option<Region>),
}

/// A ring as found.
#[derive(Debug)]
pub(crate) struct FoundRing {
    /// `None` in memory.
    pub(crate) path: Option<PathBuf>,
    /// Bytes of the file.
    pub(crate) len: u64,
    pub(crate) labelled: Labelled,
}

/// A new ring.
pub(crate) struct MadeRing {
    pub(crate) region: Region,
    pub(crate) path: Option<PathBuf>,
    /// Why it is not where it was asked to be, or not in memory.
    pub(crate) note: Option<String>,
}

/// The file of a journal's ring in a directory that many share.
#[must_use]
pub fn ring_file(journal_uuid: Uuid) -> String {
    format!("tidegate-{journal_uuid}")
}

impl RingPlace {
    /// The ring that the metadata names, or one where it would be made now.
    pub(crate) fn look(&self, meta: &Label) -> Result<Option<FoundRing>, JournalError> {
        let (hot, data) = match self {
            Self::Directory { hot, data } => (hot, data),
            Self::Memory(region) => {
                return Ok(region.as_ref().map(|region| FoundRing {
                    path: None,
                    len: region.len(),
                    labelled: read_label(region.bytes()),
                }));
            }
        };
        let named = (!meta.ring_path.is_empty()).then(|| PathBuf::from(&meta.ring_path));
        let in_hot = hot.as_ref().map(|dir| dir.join(ring_file(meta.journal_uuid)));
        for path in [named, in_hot, Some(data.join(RING_FILE))].into_iter().flatten() {
            if path.is_file() {
                return look_at(&path).map(Some);
            }
        }
        Ok(None)
    }

    /// Maps a ring that was found, of `ring_bytes`.
    pub(crate) fn map(&mut self, found: &FoundRing, len: u64) -> Result<Region, JournalError> {
        match (self, &found.path) {
            (Self::Memory(region), _) => match region.take() {
                Some(region) => Ok(region),
                None => unreachable!("it was found a moment ago"),
            },
            (Self::Directory { .. }, Some(path)) => Ok(Region::map_file(path, len, false)?),
            (Self::Directory { .. }, None) => unreachable!("a file has a path"),
        }
    }

    /// All bytes of a ring that was found and cannot be used. One that is in use is refused.
    pub(crate) fn read(&self, found: &FoundRing) -> Result<Vec<u8>, JournalError> {
        match (self, &found.path) {
            (_, _) if found.len == 0 => Ok(Vec::new()),
            (Self::Memory(region), _) => {
                Ok(region.as_ref().map_or_else(Vec::new, |region| region.bytes().to_vec()))
            }
            (Self::Directory { .. }, Some(path)) => {
                Ok(Region::map_file(path, found.len, false)?.bytes().to_vec())
            }
            (Self::Directory { .. }, None) => unreachable!("a file has a path"),
        }
    }

    /// Makes a ring file of `len` bytes, zeros.
    pub(crate) fn make(&mut self, uuid: Uuid, len: u64) -> Result<MadeRing, JournalError> {
        let (hot, data) = match self {
            Self::Directory { hot, data } => (hot, data),
            Self::Memory(_) => {
                return Ok(MadeRing { region: Region::heap(len), path: None, note: None });
            }
        };
        let mut note = None;
        if let Some(dir) = hot {
            let path = dir.join(ring_file(uuid));
            match try_make(dir, &path, len) {
                Ok(region) => {
                    let note = (!is_in_memory(dir)).then(|| not_in_memory(dir));
                    return Ok(MadeRing { region, path: Some(path), note });
                }
                Err(why) => note = Some(format!("the ring is in the data directory: {why}")),
            }
        }
        let path = data.join(RING_FILE);
        remove(&path)?;
        let region = Region::map_file(&path, len, true)?;
        let note = note.or_else(|| (!is_in_memory(data)).then(|| not_in_memory(data)));
        Ok(MadeRing { region, path: Some(path), note })
    }

    /// Removes the ring of a journal that nobody will open: only a creation that was cut short had
    /// its name.
    pub(crate) fn remove_of(&mut self, uuid: Uuid) -> Result<(), JournalError> {
        match self {
            Self::Directory { hot: Some(hot), .. } => remove(&hot.join(ring_file(uuid))),
            Self::Directory { hot: None, .. } | Self::Memory(_) => Ok(()),
        }
    }

    /// Removes a ring that is not needed any more.
    pub(crate) fn remove(&mut self, found: &FoundRing) -> Result<(), JournalError> {
        match (self, &found.path) {
            (Self::Memory(region), _) => *region = None,
            (Self::Directory { .. }, Some(path)) => remove(path)?,
            (Self::Directory { .. }, None) => {}
        }
        Ok(())
    }
}

/// Removes a file; that there is none is as good.
pub(crate) fn remove(path: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(JournalError::io(path, "remove it")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn try_make(dir: &Path, path: &Path, len: u64) -> Result<Region, String> {
    if path.as_os_str().len() > RING_PATH_BYTES_MAX {
        return Err(format!(
            "{}: a path of at most {RING_PATH_BYTES_MAX} bytes expected, {} found",
            path.display(),
            path.as_os_str().len()
        ));
    }
    if !dir.is_absolute() {
        return Err(format!("{}: an absolute path expected", dir.display()));
    }
    remove(path).map_err(|error| error.to_string())?;
    Region::map_file(path, len, true).map_err(|error| {
        // A file that was made and could not be filled takes room for nothing.
        let _ = std::fs::remove_file(path);
        error.to_string()
    })
}

fn is_in_memory(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

fn not_in_memory(dir: &Path) -> String {
    format!(
        "the ring is in {}, which is not in memory: a store may wait for the disk, and a power cut \
         leaves pages of it in any order",
        dir.display()
    )
}

fn look_at(path: &Path) -> Result<FoundRing, JournalError> {
    let fail = |doing| JournalError::io(path, doing);
    let file = std::fs::File::open(path).map_err(fail("open it"))?;
    let len = file.metadata().map_err(fail("read its length"))?.len();
    let mut page = Vec::new();
    (&file).take(HEADER_PAGE_BYTES).read_to_end(&mut page).map_err(fail("read it"))?;
    page.resize(to_usize(HEADER_PAGE_BYTES), 0);
    Ok(FoundRing { path: Some(path.to_owned()), len, labelled: read_label(&page) })
}

/// The newest label of a ring's header page.
fn read_label(page: &[u8]) -> Labelled {
    let slot = |at: u64| page.get(to_usize(at)..).and_then(|rest| rest.get(..LABEL_BYTES));
    newest(RING_SLOTS.map(|at| slot(at).unwrap_or(&[])), RING_MAGIC)
}

/// Writes a label into a slot of a ring's header page.
pub(crate) fn write_header(region: &mut Region, slot: usize, label: &Label) {
    let start = to_usize(RING_SLOTS[slot]);
    region.bytes_mut()[start..][..LABEL_BYTES].copy_from_slice(&label.encode(RING_MAGIC));
}
