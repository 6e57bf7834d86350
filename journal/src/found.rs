//! Found: what a directory holds, before anything in it is mapped or changed.
//!
//! Labels are read by plain reads, lengths and the inode are asked for, and from that come the
//! facts of the identity table and, when it refuses, the words of the refusal: which file, what was
//! expected, what is there.

use std::io;
use std::path::{Path, PathBuf};

use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::files::{META_FILE, META_SLOTS, read_labels};
use crate::hot::{FoundRing, RingPlace};
use crate::identity::{IdentityFacts, Meta, RingFound, Segments};
use crate::label::{FORMAT_VERSION, Label, Labelled, META_MAGIC};
use crate::open::JournalOptions;
use crate::position::Geometry;
use crate::ring::HEADER_PAGE_BYTES;
use crate::segment::{
    SEGMENT_HEADER_BYTES, SEGMENT_LABEL_BYTES, SegmentLabel, SegmentLabelled, segment_file,
    segment_number,
};
use crate::storage::Storage;

/// What a directory holds, before anything is mapped.
#[derive(Debug)]
pub(crate) struct Found {
    dir: PathBuf,
    /// `None`: no file.
    pub(crate) meta: Option<Labelled>,
    /// Inode of the metadata; 0 without.
    meta_id: u64,
    segments: Vec<FoundSegment>,
    /// Without metadata: whether all segments are zeros behind their headers.
    is_unused: bool,
    /// `None` where it is not needed, or there is none.
    pub(crate) ring: Option<FoundRing>,
}

/// One file with a segment's name.
#[derive(Clone, Copy, Debug)]
struct FoundSegment {
    number: u64,
    len: u64,
    labelled: SegmentLabelled,
}

impl Found {
    pub(crate) fn look(
        dir: &Path,
        storage: &dyn Storage,
        place: &RingPlace,
    ) -> Result<Self, JournalError> {
        let io = |name: &str, doing| JournalError::io_owned(dir.join(name), doing);
        let meta = read_labels(storage, META_FILE, META_SLOTS, META_MAGIC)
            .map_err(io(META_FILE, "read it"))?;
        let meta_id = storage.id(META_FILE).map_err(io(META_FILE, "read its inode"))?.unwrap_or(0);
        let mut segments = Vec::new();
        for name in storage.list().map_err(io("", "list it"))? {
            if let Some(number) = segment_number(&name) {
                segments.push(look_at(storage, &name, number).map_err(io(&name, "read it"))?);
            }
        }
        segments.sort_unstable_by_key(|segment| segment.number);
        let mut found =
            Self { dir: dir.to_owned(), meta, meta_id, segments, is_unused: false, ring: None };
        if found.meta.is_none() {
            for segment in &found.segments {
                let name = segment_file(segment.number);
                found.is_unused = is_unused(storage, segment).map_err(io(&name, "read it"))?;
                if !found.is_unused {
                    break;
                }
            }
        }
        if let Some(label) = found.label().filter(|label| !label.is_stopped) {
            found.ring = place.look(&label)?;
        }
        Ok(found)
    }

    /// The metadata's label, where it is good.
    pub(crate) fn label(&self) -> Option<Label> {
        match &self.meta {
            Some(Labelled::Good(label, _)) => Some(label.clone()),
            Some(Labelled::Damaged | Labelled::OtherVersion(_)) | None => None,
        }
    }

    /// Numbers of all files with a segment's name.
    pub(crate) fn segment_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments.iter().map(|segment| segment.number)
    }

    /// How many segments from the first on are what they should be.
    pub(crate) fn good_count(&self) -> u64 {
        let label = self.label().unwrap_or_default();
        let expected = (0..).zip(&self.segments);
        let is_good = |(number, segment): &(u64, &FoundSegment)| {
            segment.fault(*number, &label) == Segments::Good
        };
        to_u64(expected.take_while(is_good).count())
    }

    /// The first fault among the segments, and the number at which it stands.
    fn fault(&self) -> (Segments, u64) {
        let label = self.label().unwrap_or_default();
        let good = self.good_count();
        match self.segments.get(to_usize(good)) {
            None if self.segments.is_empty() => (Segments::None, 0),
            None => (Segments::Good, good),
            Some(segment) => (segment.fault(good, &label), good),
        }
    }

    pub(crate) fn facts(&self, options: &JournalOptions) -> IdentityFacts {
        let meta = self.label().unwrap_or_default();
        let (fault, good) = self.fault();
        let segments = match (self.is_unused, fault) {
            (true, _) => Segments::Unused,
            (false, fault) => fault,
        };
        let is_current = |segment: &FoundSegment| match segment.labelled {
            SegmentLabelled::Good(label) => {
                label.journal_uuid != meta.journal_uuid || label.incarnation <= meta.incarnation
            }
            SegmentLabelled::Damaged | SegmentLabelled::OtherVersion(_) => true,
        };
        let ring_is_current = match self.ring.as_ref().map(|ring| &ring.labelled) {
            Some(Labelled::Good(label, _)) => {
                label.journal_uuid != meta.journal_uuid || label.incarnation <= meta.incarnation
            }
            Some(Labelled::Damaged | Labelled::OtherVersion(_)) | None => true,
        };
        IdentityFacts {
            meta: match self.meta {
                None => Meta::Absent,
                Some(Labelled::Damaged) => Meta::Damaged,
                Some(Labelled::OtherVersion(_)) => Meta::OtherVersion,
                Some(Labelled::Good(..)) => Meta::Good,
            },
            segments,
            ring: self.ring_found(&meta),
            same_node: meta.node_id == options.node_id,
            meta_current: self.segments.iter().all(is_current) && ring_is_current,
            same_size: meta.ring_bytes == options.ring_bytes,
            same_file: meta.file_id == self.meta_id,
            copy_accepted: options.accept_copy,
            loss_accepted: options.accept_loss && good > 0,
        }
    }

    fn ring_found(&self, meta: &Label) -> RingFound {
        if meta.is_stopped || self.label().is_none() {
            return RingFound::NotNeeded;
        }
        let Some(ring) = &self.ring else { return RingFound::Absent };
        match &ring.labelled {
            Labelled::Damaged => RingFound::Damaged,
            Labelled::OtherVersion(_) => RingFound::OtherVersion,
            Labelled::Good(label, _) if label.journal_uuid != meta.journal_uuid => {
                RingFound::Foreign
            }
            Labelled::Good(label, _) => {
                let is_whole = label.ring_bytes == meta.ring_bytes
                    && ring.len == HEADER_PAGE_BYTES + label.ring_bytes;
                if is_whole { RingFound::Good } else { RingFound::WrongLength }
            }
        }
    }

    pub(crate) fn refusal(&self, kind: RefusalKind, options: &JournalOptions) -> JournalError {
        let meta = self.label().unwrap_or_default();
        let version = |labelled: Option<&Labelled>| match labelled {
            Some(Labelled::OtherVersion(version)) => format!("version {version}"),
            Some(Labelled::Good(..) | Labelled::Damaged) | None => "no version".to_owned(),
        };
        let ours = || format!("version {FORMAT_VERSION}");
        let whole = || "a slot with a matching checksum".to_owned();
        let none = || "none".to_owned();
        let (_, at) = self.fault();
        let segment = self.segments.get(to_usize(at));
        let mut path = self.dir.join(META_FILE);
        let (expected, found) = match kind {
            RefusalKind::MetadataMissing => ("the metadata file".to_owned(), none()),
            RefusalKind::MetadataDamaged => (whole(), none()),
            RefusalKind::MetadataVersion => (ours(), version(self.meta.as_ref())),
            RefusalKind::ForeignNode => {
                (format!("node {}", options.node_id), format!("node {}", meta.node_id))
            }
            RefusalKind::Copied => (
                format!("the file that was written, inode {}", meta.file_id),
                format!("inode {}", self.meta_id),
            ),
            RefusalKind::RingBytesChanged => {
                (format!("{} bytes", options.ring_bytes), format!("{} bytes", meta.ring_bytes))
            }
            RefusalKind::MetadataOlder => (
                format!("incarnation {} or later", self.incarnation_max()),
                format!("incarnation {}", meta.incarnation),
            ),
            RefusalKind::RingDamaged
            | RefusalKind::RingVersion
            | RefusalKind::RingLength
            | RefusalKind::ForeignRing => {
                let Some(ring) = &self.ring else { unreachable!("a ring was found") };
                path = ring.path.clone().unwrap_or_default();
                match (kind, &ring.labelled) {
                    (RefusalKind::RingVersion, labelled) => (ours(), version(Some(labelled))),
                    (RefusalKind::ForeignRing, Labelled::Good(label, _)) => (
                        format!("journal {}", meta.journal_uuid),
                        format!("journal {}", label.journal_uuid),
                    ),
                    (RefusalKind::RingLength, _) => (
                        format!("{} bytes", HEADER_PAGE_BYTES + meta.ring_bytes),
                        format!("{} bytes", ring.len),
                    ),
                    (_, _) => (whole(), none()),
                }
            }
            RefusalKind::SegmentMissing
            | RefusalKind::SegmentDamaged
            | RefusalKind::SegmentVersion
            | RefusalKind::SegmentLength
            | RefusalKind::ForeignSegment
            | RefusalKind::SegmentMisplaced => {
                path = self.dir.join(segment_file(at));
                segment_words(kind, at, segment, &meta)
            }
            RefusalKind::Corrupt | RefusalKind::LostTail => {
                unreachable!("refused by the scan, not by the labels")
            }
        };
        Box::new(Refusal { kind, path, offset: None, expected, found }).into()
    }

    fn incarnation_max(&self) -> u64 {
        let of_segment = |segment: &FoundSegment| match segment.labelled {
            SegmentLabelled::Good(label) => label.incarnation,
            SegmentLabelled::Damaged | SegmentLabelled::OtherVersion(_) => 0,
        };
        let of_ring = match self.ring.as_ref().map(|ring| &ring.labelled) {
            Some(Labelled::Good(label, _)) => label.incarnation,
            Some(Labelled::Damaged | Labelled::OtherVersion(_)) | None => 0,
        };
        self.segments.iter().map(of_segment).max().unwrap_or(0).max(of_ring)
    }
}

impl FoundSegment {
    /// What is wrong with it at place `number` of the journal that `label` names.
    fn fault(&self, number: u64, label: &Label) -> Segments {
        if self.number != number {
            return Segments::Missing;
        }
        match self.labelled {
            SegmentLabelled::Damaged => Segments::Damaged,
            SegmentLabelled::OtherVersion(_) => Segments::OtherVersion,
            SegmentLabelled::Good(own) if own.journal_uuid != label.journal_uuid => {
                Segments::Foreign
            }
            SegmentLabelled::Good(own) if own.number != number => Segments::Misplaced,
            SegmentLabelled::Good(_) if self.len != file_bytes(label) => Segments::WrongLength,
            SegmentLabelled::Good(_) => Segments::Good,
        }
    }
}

/// Bytes of a segment file of the journal that `label` names.
pub(crate) fn file_bytes(label: &Label) -> u64 {
    SEGMENT_HEADER_BYTES + Geometry::new(label.ring_bytes).map_or(0, Geometry::segment_bytes)
}

fn segment_words(
    kind: RefusalKind,
    number: u64,
    segment: Option<&FoundSegment>,
    meta: &Label,
) -> (String, String) {
    let labelled = segment.map(|segment| segment.labelled);
    let len = segment.map_or(0, |segment| segment.len);
    match (kind, labelled) {
        (RefusalKind::SegmentMissing, _) => {
            let found = segment.map_or_else(
                || "no segment at all".to_owned(),
                |next| format!("none, and {} behind it", segment_file(next.number)),
            );
            (format!("segment {number} of journal {}", meta.journal_uuid), found)
        }
        (RefusalKind::SegmentVersion, Some(SegmentLabelled::OtherVersion(version))) => {
            (format!("version {FORMAT_VERSION}"), format!("version {version}"))
        }
        (RefusalKind::ForeignSegment, Some(SegmentLabelled::Good(own))) => (
            format!("a segment of journal {}", meta.journal_uuid),
            format!("one of journal {}", own.journal_uuid),
        ),
        (RefusalKind::SegmentMisplaced, Some(SegmentLabelled::Good(own))) => {
            (format!("segment {number}"), format!("segment {}", own.number))
        }
        (RefusalKind::SegmentLength, _) => {
            (format!("{} bytes", file_bytes(meta)), format!("{len} bytes"))
        }
        (_, _) => ("a header with a matching checksum".to_owned(), format!("none in {len} bytes")),
    }
}

fn look_at(storage: &dyn Storage, name: &str, number: u64) -> io::Result<FoundSegment> {
    let len = storage.len(name)?.unwrap_or(0);
    let mut bytes = [0; SEGMENT_LABEL_BYTES];
    let labelled = match storage.read_at(name, 0, &mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => SegmentLabelled::Damaged,
        read => read.map(|()| SegmentLabel::decode(&bytes))?,
    };
    Ok(FoundSegment { number, len, labelled })
}

fn is_unused(storage: &dyn Storage, segment: &FoundSegment) -> io::Result<bool> {
    let name = segment_file(segment.number);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = SEGMENT_HEADER_BYTES;
    while offset < segment.len {
        let piece = to_usize(segment.len - offset).min(buffer.len());
        storage.read_at(&name, offset, &mut buffer[..piece])?;
        if !is_zero(&buffer[..piece]) {
            return Ok(false);
        }
        offset += to_u64(piece);
    }
    Ok(true)
}
