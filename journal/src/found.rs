//! Found: what a directory holds, before anything in it is mapped or changed.
//!
//! Labels are read by plain reads, lengths and the inode are asked for, and from that come the
//! facts of the identity table and, when it refuses, the words of the refusal: which file, what was
//! expected, what is there.

use std::io;
use std::path::{Path, PathBuf};

use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::files::{META_FILE, META_SLOTS, RING_FILE, read_labels};
use crate::hot::{FoundRing, RingPlace};
use crate::identity::{IdentityFacts, Meta, RingFound, Segments};
use crate::label::{FORMAT_VERSION, Label, Labelled, META_MAGIC, Uuid};
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
    /// Also where it is not needed.
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
        if let Some(label) = found.label() {
            found.ring = place.look(&label)?;
            found.doubt(&label);
        }
        Ok(found)
    }

    /// Takes back what an older label says and a newer one may have changed: a ring with a later
    /// label was made after the stop, and nobody knows what a damaged slot said.
    fn doubt(&mut self, label: &Label) {
        let ring = self.ring.as_ref().map(|ring| &ring.labelled);
        let is_outrun = matches!(ring, Some(Labelled::Good(ring, _))
            if ring.journal_uuid == label.journal_uuid && ring.generation > label.generation);
        if let Some(Labelled::Good(label, _)) = &mut self.meta {
            label.is_stopped &= !is_outrun && !label.is_beside_damage;
            label.acks_durable &= !label.is_beside_damage;
        }
    }

    /// The metadata's label, where it is good.
    pub(crate) fn label(&self) -> Option<Label> {
        match &self.meta {
            Some(Labelled::Good(label, _)) => Some(label.clone()),
            Some(Labelled::Damaged | Labelled::OtherVersion(_)) | None => None,
        }
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

    pub(crate) fn facts(&self, options: &JournalOptions, boot_id: Uuid) -> IdentityFacts {
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
            ring: self.ring_found(&meta, boot_id),
            same_node: meta.node_id == options.node_id,
            meta_current: self.segments.iter().all(is_current) && ring_is_current,
            same_size: meta.ring_bytes == options.ring_bytes,
            same_file: meta.file_id == self.meta_id,
            copy_accepted: options.accept_copy,
            loss_accepted: options.accept_loss && good > 0,
        }
    }

    fn ring_found(&self, meta: &Label, boot_id: Uuid) -> RingFound {
        let Some(ring) = self.ring.as_ref().filter(|_| self.label().is_some()) else {
            return RingFound::Absent;
        };
        let found = match &ring.labelled {
            Labelled::Good(label, _) if label.journal_uuid != meta.journal_uuid => {
                return RingFound::Foreign;
            }
            Labelled::OtherVersion(_) => RingFound::OtherVersion,
            Labelled::Damaged => RingFound::Damaged,
            Labelled::Good(label, _) => {
                let is_whole = label.ring_bytes == meta.ring_bytes
                    && ring.len == HEADER_PAGE_BYTES + label.ring_bytes;
                if is_whole { RingFound::Good } else { RingFound::WrongLength }
            }
        };
        if meta.is_stopped {
            return RingFound::NotNeeded;
        }
        // Nobody waited for the disk to have it: after a power cut it may be anything.
        let is_bad = matches!(found, RingFound::Damaged | RingFound::WrongLength);
        if is_bad && meta.boot_id != boot_id { RingFound::Absent } else { found }
    }

    /// Whether the ring that was found is one that an operator had to accept as lost.
    pub(crate) fn is_ring_faulty(&self, boot_id: Uuid) -> bool {
        let meta = self.label().unwrap_or_default();
        match self.ring_found(&meta, boot_id) {
            RingFound::WrongLength | RingFound::Damaged | RingFound::Foreign => true,
            RingFound::Absent
            | RingFound::NotNeeded
            | RingFound::Good
            | RingFound::OtherVersion => false,
        }
    }

    /// Whether a ring is another journal's.
    pub(crate) fn is_foreign(&self, ring: &FoundRing) -> bool {
        let uuid = self.label().unwrap_or_default().journal_uuid;
        matches!(&ring.labelled, Labelled::Good(label, _) if label.journal_uuid != uuid)
    }

    /// Segments from the first faulty one on, and whether each is of this journal.
    pub(crate) fn faulty_segments(&self) -> impl Iterator<Item = (u64, bool)> + '_ {
        let (good, uuid) = (self.good_count(), self.label().unwrap_or_default().journal_uuid);
        let is_ours = move |segment: &FoundSegment| match segment.labelled {
            SegmentLabelled::Good(label) => label.journal_uuid == uuid,
            SegmentLabelled::Damaged | SegmentLabelled::OtherVersion(_) => true,
        };
        let faulty = self.segments.iter().filter(move |segment| segment.number >= good);
        faulty.map(move |segment| (segment.number, is_ours(segment)))
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
                path = ring.path.clone().unwrap_or_else(|| self.dir.join(RING_FILE));
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
        let has_front = self.good_count() > 0;
        Box::new(Refusal { kind, path, offset: None, expected, found, has_front }).into()
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
