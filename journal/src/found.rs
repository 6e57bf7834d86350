//! Found: what a directory holds, before anything in it is mapped or changed.
//!
//! Both labels are read by plain reads, the ring's length and inode are asked for, and from that
//! come the facts of the identity table and, when it refuses, the words of the refusal: which file,
//! what was expected, what is there.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::bytes::{is_zero, to_u64, to_usize};
use crate::directory::{META_FILE, META_SLOTS, RING_FILE, RING_SLOTS, RingOptions};
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::identity::{IdentityFacts, Meta, RingFile};
use crate::label::{FORMAT_VERSION, LABEL_BYTES, Label, Labelled, META_MAGIC, RING_MAGIC, newest};
use crate::ring::HEADER_PAGE_BYTES;
use crate::storage::{DirStorage, Storage};

/// What a directory holds, before anything is mapped.
pub(crate) struct Found {
    /// `None`: no file.
    pub(crate) meta: Option<Labelled>,
    pub(crate) ring: Option<Labelled>,
    ring_file_bytes: u64,
    /// Inode of the ring; 0 without one.
    file_id: u64,
    /// Without metadata: whether the ring is zeros behind its header page.
    is_unused: bool,
}

impl Found {
    pub(crate) fn look(dir: &Path, storage: &DirStorage) -> Result<Self, JournalError> {
        let meta = read_labels(storage, dir, META_FILE, META_SLOTS, META_MAGIC)?;
        let ring = read_labels(storage, dir, RING_FILE, RING_SLOTS, RING_MAGIC)?;
        let path = dir.join(RING_FILE);
        let bytes = storage
            .len(RING_FILE)
            .map_err(JournalError::io(&path, "read its length"))?;
        Ok(Self {
            meta,
            ring,
            ring_file_bytes: bytes.unwrap_or(0),
            file_id: if ring.is_some() { file_id(&path)? } else { 0 },
            is_unused: meta.is_none() && ring.is_some() && is_unused(storage, &path)?,
        })
    }

    fn labels(&self) -> (Label, Label) {
        let label = |labelled| match labelled {
            Some(Labelled::Good(label, _)) => label,
            Some(Labelled::Damaged | Labelled::OtherVersion(_)) | None => Label::default(),
        };
        (label(self.meta), label(self.ring))
    }

    pub(crate) fn facts(&self, options: &RingOptions) -> IdentityFacts {
        let (meta, ring) = self.labels();
        IdentityFacts {
            meta: match self.meta {
                None => Meta::Absent,
                Some(Labelled::Damaged) => Meta::Damaged,
                Some(Labelled::OtherVersion(_)) => Meta::OtherVersion,
                Some(Labelled::Good(..)) => Meta::Good,
            },
            ring: match self.ring {
                None => RingFile::Absent,
                Some(Labelled::Damaged) => RingFile::Damaged,
                Some(Labelled::OtherVersion(_)) => RingFile::OtherVersion,
                Some(Labelled::Good(label, _)) => {
                    if self.ring_file_bytes != HEADER_PAGE_BYTES + label.ring_bytes {
                        RingFile::WrongLength
                    } else if self.is_unused {
                        RingFile::Unused
                    } else {
                        RingFile::Good
                    }
                }
            },
            same_journal: meta.journal_uuid == ring.journal_uuid,
            same_node: meta.node_id == options.node_id && ring.node_id == options.node_id,
            meta_current: ring.incarnation <= meta.incarnation,
            same_file: meta.file_id == self.file_id,
            copy_accepted: options.accept_copy,
            same_size: ring.ring_bytes == options.ring_bytes,
        }
    }

    pub(crate) fn refusal(
        &self,
        kind: RefusalKind,
        dir: &Path,
        options: &RingOptions,
    ) -> JournalError {
        let (meta, ring) = self.labels();
        let version = |labelled| match labelled {
            Some(Labelled::OtherVersion(version)) => format!("version {version}"),
            Some(Labelled::Good(..) | Labelled::Damaged) | None => "no version".to_owned(),
        };
        let our_version = || format!("version {FORMAT_VERSION}");
        let whole = || "a slot with a matching checksum".to_owned();
        let (file, expected, found) = match kind {
            RefusalKind::MetadataMissing => {
                (META_FILE, "the metadata file".to_owned(), "none".to_owned())
            }
            RefusalKind::MetadataDamaged => (META_FILE, whole(), "none".to_owned()),
            RefusalKind::MetadataVersion => (META_FILE, our_version(), version(self.meta)),
            RefusalKind::RingMissing => (
                RING_FILE,
                format!("the ring of journal {}", meta.journal_uuid),
                "none".to_owned(),
            ),
            RefusalKind::RingDamaged => (RING_FILE, whole(), "none".to_owned()),
            RefusalKind::RingVersion => (RING_FILE, our_version(), version(self.ring)),
            RefusalKind::RingLength => (
                RING_FILE,
                format!("{} bytes", HEADER_PAGE_BYTES + ring.ring_bytes),
                format!("{} bytes", self.ring_file_bytes),
            ),
            RefusalKind::ForeignRing => (
                RING_FILE,
                format!("journal {}", meta.journal_uuid),
                format!("journal {}", ring.journal_uuid),
            ),
            RefusalKind::ForeignNode => (
                RING_FILE,
                format!("node {}", options.node_id),
                format!("node {} (metadata: node {})", ring.node_id, meta.node_id),
            ),
            RefusalKind::MetadataOlder => (
                META_FILE,
                format!("incarnation {} or later", ring.incarnation),
                format!("incarnation {}", meta.incarnation),
            ),
            RefusalKind::Copied => (
                RING_FILE,
                format!("the file that was written, inode {}", meta.file_id),
                format!("inode {}", self.file_id),
            ),
            RefusalKind::RingBytesChanged => (
                RING_FILE,
                format!("{} bytes", options.ring_bytes),
                format!("{} bytes", ring.ring_bytes),
            ),
            RefusalKind::Corrupt | RefusalKind::LostTail => {
                unreachable!("refused by the scan, not by the labels")
            }
        };
        Box::new(Refusal {
            kind,
            path: dir.join(file),
            offset: None,
            expected,
            found,
        })
        .into()
    }
}

/// Reads both slots of a file; a slot beyond the file's end is no slot. `None`: no file.
pub(crate) fn read_labels(
    storage: &impl Storage,
    dir: &Path,
    name: &str,
    slots: [u64; 2],
    magic: [u8; 8],
) -> Result<Option<Labelled>, JournalError> {
    let path = dir.join(name);
    if storage
        .len(name)
        .map_err(JournalError::io(&path, "read its length"))?
        .is_none()
    {
        return Ok(None);
    }
    let mut labels = [[0; LABEL_BYTES]; 2];
    for (slot, label) in slots.into_iter().zip(&mut labels) {
        match storage.read_at(name, slot, label) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => *label = [0; LABEL_BYTES],
            result => result.map_err(JournalError::io(&path, "read it"))?,
        }
    }
    Ok(Some(newest([&labels[0], &labels[1]], magic)))
}

/// The newest label of a directory's ring and of its metadata, for readers.
pub(crate) fn read_both(dir: &Path) -> Result<(Option<Labelled>, Option<Labelled>), JournalError> {
    let storage = DirStorage::new(dir);
    Ok((
        read_labels(&storage, dir, RING_FILE, RING_SLOTS, RING_MAGIC)?,
        read_labels(&storage, dir, META_FILE, META_SLOTS, META_MAGIC)?,
    ))
}

fn is_unused(storage: &DirStorage, path: &Path) -> Result<bool, JournalError> {
    let fail = || JournalError::io(path, "read it");
    let len = storage.len(RING_FILE).map_err(fail())?.unwrap_or(0);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = HEADER_PAGE_BYTES;
    while offset < len {
        let piece = to_usize(len - offset).min(buffer.len());
        storage
            .read_at(RING_FILE, offset, &mut buffer[..piece])
            .map_err(fail())?;
        if !is_zero(&buffer[..piece]) {
            return Ok(false);
        }
        offset += to_u64(piece);
    }
    Ok(true)
}

/// The file's inode.
pub(crate) fn file_id(path: &Path) -> Result<u64, JournalError> {
    let metadata = std::fs::metadata(path).map_err(JournalError::io(path, "read its inode"))?;
    Ok(metadata.ino())
}
