//! Identity: whether the files of a directory belong together and to us. Judged before the ring is
//! mapped, from both labels and the ring's length, by a table with exactly one row for every
//! combination of facts.

use crate::error::RefusalKind;
use crate::recover::IncarnationChange;

/// The metadata file as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meta {
    Absent,
    Damaged,
    OtherVersion,
    Good,
}

/// The ring file as found. `Unused` is a good header before nothing but zeros; it is only told
/// apart from `Good` when there is no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingFile {
    Absent,
    Damaged,
    OtherVersion,
    WrongLength,
    Unused,
    Good,
}

/// All that is known before the ring is mapped. The comparisons mean something only while both
/// files are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a decision table")]
pub(crate) struct IdentityFacts {
    pub(crate) meta: Meta,
    pub(crate) ring: RingFile,
    /// Both labels name one journal.
    pub(crate) same_journal: bool,
    /// Both labels name the configured node.
    pub(crate) same_node: bool,
    /// The ring's incarnation is not above the metadata's.
    pub(crate) meta_current: bool,
    /// The ring file is the inode the metadata names.
    pub(crate) same_file: bool,
    /// The configuration accepts a copy.
    pub(crate) copy_accepted: bool,
    /// The ring has the configured size.
    pub(crate) same_size: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nothing is here.
    Create,
    /// A creation was cut short before the first record could be written.
    CreateAgain,
    /// Map and scan.
    Open(Option<IncarnationChange>),
    Refuse(RefusalKind),
}

pub(crate) struct IdentityCase {
    label: &'static str,
    holds: fn(IdentityFacts) -> bool,
    verdict: Identity,
}

const fn case(
    label: &'static str,
    holds: fn(IdentityFacts) -> bool,
    verdict: Identity,
) -> IdentityCase {
    IdentityCase {
        label,
        holds,
        verdict,
    }
}

const fn refuse(kind: RefusalKind) -> Identity {
    Identity::Refuse(kind)
}

/// Both files are there, readable and of our version; `Unused` counts as good beside metadata.
fn pair(facts: IdentityFacts) -> bool {
    facts.meta == Meta::Good && matches!(facts.ring, RingFile::Good | RingFile::Unused)
}

/// Both belong to one journal of this node, and the metadata is current.
fn ours(facts: IdentityFacts) -> bool {
    pair(facts) && facts.same_journal && facts.same_node && facts.meta_current
}

pub(crate) const IDENTITY_CASES: [IdentityCase; 20] = [
    case(
        "no journal",
        |f| f.meta == Meta::Absent && f.ring == RingFile::Absent,
        Identity::Create,
    ),
    // The metadata gets its name last, and no record is written before.
    case(
        "creation cut short",
        |f| f.meta == Meta::Absent && f.ring == RingFile::Unused,
        Identity::CreateAgain,
    ),
    case(
        "metadata gone",
        |f| f.meta == Meta::Absent && f.ring == RingFile::Good,
        refuse(RefusalKind::MetadataMissing),
    ),
    case(
        "metadata gone, ring damaged",
        |f| f.meta == Meta::Absent && f.ring == RingFile::Damaged,
        refuse(RefusalKind::RingDamaged),
    ),
    case(
        "metadata gone, ring of another version",
        |f| f.meta == Meta::Absent && f.ring == RingFile::OtherVersion,
        refuse(RefusalKind::RingVersion),
    ),
    case(
        "metadata gone, ring length",
        |f| f.meta == Meta::Absent && f.ring == RingFile::WrongLength,
        refuse(RefusalKind::RingLength),
    ),
    case(
        "metadata damaged",
        |f| f.meta == Meta::Damaged,
        refuse(RefusalKind::MetadataDamaged),
    ),
    case(
        "metadata of another version",
        |f| f.meta == Meta::OtherVersion,
        refuse(RefusalKind::MetadataVersion),
    ),
    case(
        "ring gone",
        |f| f.meta == Meta::Good && f.ring == RingFile::Absent,
        refuse(RefusalKind::RingMissing),
    ),
    case(
        "ring damaged",
        |f| f.meta == Meta::Good && f.ring == RingFile::Damaged,
        refuse(RefusalKind::RingDamaged),
    ),
    case(
        "ring of another version",
        |f| f.meta == Meta::Good && f.ring == RingFile::OtherVersion,
        refuse(RefusalKind::RingVersion),
    ),
    case(
        "ring cut or grown",
        |f| f.meta == Meta::Good && f.ring == RingFile::WrongLength,
        refuse(RefusalKind::RingLength),
    ),
    case(
        "another journal's ring",
        |f| pair(f) && !f.same_journal,
        refuse(RefusalKind::ForeignRing),
    ),
    case(
        "another node's journal",
        |f| pair(f) && f.same_journal && !f.same_node,
        refuse(RefusalKind::ForeignNode),
    ),
    // The metadata is written before the ring's header, so it is never behind by a crash.
    case(
        "metadata from the past",
        |f| pair(f) && f.same_journal && f.same_node && !f.meta_current,
        refuse(RefusalKind::MetadataOlder),
    ),
    case(
        "size changed",
        |f| ours(f) && !f.same_size,
        refuse(RefusalKind::RingBytesChanged),
    ),
    case(
        "copy",
        |f| ours(f) && f.same_size && !f.same_file && !f.copy_accepted,
        refuse(RefusalKind::Copied),
    ),
    case(
        "copy, accepted",
        |f| ours(f) && f.same_size && !f.same_file && f.copy_accepted,
        Identity::Open(Some(IncarnationChange::Copy)),
    ),
    case(
        "ours",
        |f| ours(f) && f.same_size && f.same_file && !f.copy_accepted,
        Identity::Open(None),
    ),
    case(
        "ours, no copy to accept",
        |f| ours(f) && f.same_size && f.same_file && f.copy_accepted,
        Identity::Open(None),
    ),
];

impl IdentityFacts {
    /// The one row that holds.
    pub(crate) fn judge(self) -> &'static IdentityCase {
        let mut rows = IDENTITY_CASES.iter().filter(|row| (row.holds)(self));
        match (rows.next(), rows.next()) {
            (Some(row), None) => row,
            (first, _) => unreachable!(
                "one row expected, {} and more",
                first.map_or("", |r| r.label)
            ),
        }
    }
}

impl IdentityCase {
    pub(crate) fn verdict(&self) -> Identity {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_exactly_one_row() {
        let mut used = [0_u32; IDENTITY_CASES.len()];
        for meta in [Meta::Absent, Meta::Damaged, Meta::OtherVersion, Meta::Good] {
            for ring in [
                RingFile::Absent,
                RingFile::Damaged,
                RingFile::OtherVersion,
                RingFile::WrongLength,
                RingFile::Unused,
                RingFile::Good,
            ] {
                for bits in 0_u32..64 {
                    let facts = IdentityFacts {
                        meta,
                        ring,
                        same_journal: bits & 1 != 0,
                        same_node: bits & 2 != 0,
                        meta_current: bits & 4 != 0,
                        same_file: bits & 8 != 0,
                        copy_accepted: bits & 16 != 0,
                        same_size: bits & 32 != 0,
                    };
                    let rows: Vec<usize> = (0..IDENTITY_CASES.len())
                        .filter(|row| (IDENTITY_CASES[*row].holds)(facts))
                        .collect();
                    assert_eq!(rows.len(), 1, "{facts:?}");
                    used[rows[0]] += 1;
                    let opens = matches!(facts.judge().verdict(), Identity::Open(_));
                    assert!(
                        !opens || (facts.same_journal && facts.same_node),
                        "{facts:?}"
                    );
                }
            }
        }
        assert!(used.iter().all(|count| *count > 0), "{used:?}");
    }
}
