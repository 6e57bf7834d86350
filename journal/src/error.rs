//! Errors: why a journal is not opened, always with what was expected, what came, and a way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::position::{RING_BYTES_MAX, RING_BYTES_MIN};
use crate::region::RegionError;
use crate::scan::ChainError;
use crate::watermarks::Poison;

/// Why a journal could not be created, opened or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused a step.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The step.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The ring's memory could not be had.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Another open journal holds the directory.
    #[error("{}: in use by {}", path.display(), Holder(*holder))]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The holder's process id, if it could be read.
        holder: Option<u32>,
    },
    /// The configured size is none a ring can have.
    #[error("ring_bytes {found}: a power of two in [{RING_BYTES_MIN}, {RING_BYTES_MAX}] expected")]
    RingBytes {
        /// The configured size.
        found: u64,
    },
    /// The directory holds no journal.
    #[error("{}: a journal expected, none found", dir.display())]
    NoJournal {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds a journal already.
    #[error("{}: a directory without a journal expected, one found", dir.display())]
    AlreadyExists {
        /// The directory.
        dir: PathBuf,
    },
    /// There is a journal, and it cannot be trusted.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// A record that was good when the journal was opened is not any more.
    #[error("{}: it changed since it was checked: {error}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ChainError,
    },
    /// The disk failed while the journal was running.
    #[error("the journal's disk failed: {0}")]
    Poisoned(Poison),
    /// A stop found no room to bring all of the ring to the disk; the ring is kept.
    #[error(
        "{}: no room for the next segment: make room and start the node again on the \
         same machine before it restarts; the ring keeps {bytes} bytes that are not on the disk",
        dir.display()
    )]
    NoRoom {
        /// The directory.
        dir: PathBuf,
        /// Bytes of records that are in the ring alone.
        bytes: u64,
    },
}

impl JournalError {
    pub(crate) fn io_owned(
        path: PathBuf,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        move |source| Self::Io { path, doing, source }
    }

    pub(crate) fn io<'a>(
        path: &'a Path,
        doing: &'static str,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("an unknown process"),
        }
    }
}

/// A journal that is there but not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Which rule refused.
    pub kind: RefusalKind,
    /// The file the rule looked at.
    pub path: PathBuf,
    /// Byte of that file, where one can be named.
    pub offset: Option<u64>,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// Something whole is in front of the fault, so that going on without the rest is possible.
    pub has_front: bool,
}

impl Refusal {
    /// What an operator can do.
    #[must_use]
    pub const fn way_out(&self) -> &'static str {
        if self.kind.is_acceptable() && !self.has_front {
            "Nothing was changed. Restore the file from a copy. There is nothing whole in front of \
             it to go on with: if there is no copy, move the directory away and start with an \
             empty one; what it held is then lost."
        } else {
            self.kind.way_out()
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        let (what, way_out) = (self.kind.what(), self.way_out());
        write!(f, ": {what}: {} expected, {} found. {way_out}", self.expected, self.found)
    }
}

/// The rules that refuse a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Segments with records, and no metadata beside them.
    MetadataMissing,
    /// Neither slot of the metadata file is whole.
    MetadataDamaged,
    /// Metadata of another format version.
    MetadataVersion,
    /// A segment or the ring has a later incarnation than the metadata.
    MetadataOlder,
    /// A segment before others is not there.
    SegmentMissing,
    /// A segment's header is damaged.
    SegmentDamaged,
    /// A segment of another format version.
    SegmentVersion,
    /// A segment file is shorter or longer than its journal's are.
    SegmentLength,
    /// A segment of another journal.
    ForeignSegment,
    /// A segment under the name of another one.
    SegmentMisplaced,
    /// Neither slot of the ring's header page is whole.
    RingDamaged,
    /// A ring of another format version.
    RingVersion,
    /// The ring file is shorter or longer than its header says.
    RingLength,
    /// The ring belongs to another journal than the metadata.
    ForeignRing,
    /// The journal belongs to another node.
    ForeignNode,
    /// The directory is a copy of the one that was written.
    Copied,
    /// The ring has another size than configured.
    RingBytesChanged,
    /// Valid records follow a bad one.
    Corrupt,
    /// The chain ends before a record that was on the disk, or that record has changed.
    LostTail,
}

impl RefusalKind {
    /// One line: what is wrong.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::MetadataMissing => "segments with records but no metadata",
            Self::MetadataDamaged => "damaged metadata",
            Self::MetadataVersion => "metadata of another format version",
            Self::MetadataOlder => "metadata older than the journal",
            Self::SegmentMissing => "a segment is missing",
            Self::SegmentDamaged => "damaged segment header",
            Self::SegmentVersion => "segment of another format version",
            Self::SegmentLength => "segment file of the wrong length",
            Self::ForeignSegment => "segment of another journal",
            Self::SegmentMisplaced => "segment under another one's name",
            Self::RingDamaged => "damaged ring header",
            Self::RingVersion => "ring of another format version",
            Self::RingLength => "ring file of the wrong length",
            Self::ForeignRing => "ring of another journal",
            Self::ForeignNode => "journal of another node",
            Self::Copied => "a copy of a journal",
            Self::RingBytesChanged => "journal of another ring size than configured",
            Self::Corrupt => "valid records behind a bad one",
            Self::LostTail => "records that were on the disk are gone",
        }
    }

    /// Whether an operator may go on without what is damaged or missing.
    #[must_use]
    pub const fn is_acceptable(self) -> bool {
        match self {
            Self::SegmentMissing
            | Self::SegmentDamaged
            | Self::SegmentLength
            | Self::ForeignSegment
            | Self::SegmentMisplaced
            | Self::RingDamaged
            | Self::RingLength
            | Self::ForeignRing
            | Self::Corrupt
            | Self::LostTail => true,
            Self::MetadataMissing
            | Self::MetadataDamaged
            | Self::MetadataVersion
            | Self::MetadataOlder
            | Self::SegmentVersion
            | Self::RingVersion
            | Self::ForeignNode
            | Self::Copied
            | Self::RingBytesChanged => false,
        }
    }

    /// One or two sentences: what an operator can do.
    #[must_use]
    pub const fn way_out(self) -> &'static str {
        match self {
            Self::MetadataVersion | Self::SegmentVersion | Self::RingVersion => {
                "Run the program version that wrote the journal."
            }
            Self::ForeignNode => "Correct the node id or the data directory in the configuration.",
            Self::RingBytesChanged => {
                "Set the size of the ring back; a journal's segments cannot change theirs."
            }
            Self::Copied => {
                "If the original will never run again, accept the copy (--accept-copy): it takes \
                 the original's ring, where that is still in memory, and continues under a new \
                 incarnation. Otherwise start with the original directory."
            }
            Self::MetadataOlder => "Put the files that belong together back into the directory.",
            Self::MetadataMissing | Self::MetadataDamaged => {
                "Nothing was changed. Keep the directory for inspection with the journal tools, \
                 then restore it from a copy, or move it away and start with an empty one: what \
                 it held is then lost."
            }
            Self::SegmentMissing
            | Self::SegmentDamaged
            | Self::SegmentLength
            | Self::ForeignSegment
            | Self::SegmentMisplaced
            | Self::RingDamaged
            | Self::RingLength
            | Self::ForeignRing
            | Self::Corrupt
            | Self::LostTail => {
                "Nothing was changed. Restore the file from a copy; or, if there is none, start \
                 once with --accept-loss: the journal is cut there, what is behind is kept aside \
                 and told, and acknowledged orders may be gone."
            }
        }
    }
}
