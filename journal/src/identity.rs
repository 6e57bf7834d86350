//! Identity: whether the files of a directory belong together and to us. Judged before anything is
//! scanned, from labels, names and lengths, by a table with exactly one row for every combination
//! of facts.

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

/// The segments as found: the first fault among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segments {
    /// There is none.
    None,
    /// Zeros behind their headers. Only told apart from `Good` when there is no metadata.
    Unused,
    Good,
    Missing,
    WrongLength,
    Damaged,
    OtherVersion,
    Foreign,
    Misplaced,
}

/// The ring as found, when it matters: after a clean stop it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingFound {
    Absent,
    NotNeeded,
    Good,
    WrongLength,
    Damaged,
    OtherVersion,
    Foreign,
}

/// All that is known before the scan. The comparisons mean something only while the files are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a decision table")]
pub(crate) struct IdentityFacts {
    pub(crate) meta: Meta,
    pub(crate) segments: Segments,
    pub(crate) ring: RingFound,
    /// The metadata names the configured node.
    pub(crate) same_node: bool,
    /// No incarnation of segments or ring is above the metadata's.
    pub(crate) meta_current: bool,
    /// The ring has the configured size.
    pub(crate) same_size: bool,
    /// The metadata file is the inode it names.
    pub(crate) same_file: bool,
    /// The operator accepts a copy.
    pub(crate) copy_accepted: bool,
    /// The operator accepts a loss, and something is in front of the first faulty segment.
    pub(crate) loss_accepted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Nothing is here.
    Create,
    /// A creation was cut short before the first record could be written.
    CreateAgain,
    /// Scan; what is faulty is given up.
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
    IdentityCase { label, holds, verdict }
}

const fn refuse(kind: RefusalKind) -> Identity {
    Identity::Refuse(kind)
}

/// Metadata is there and readable.
fn known(facts: IdentityFacts) -> bool {
    facts.meta == Meta::Good
}

/// The segments are those of the metadata, or what is not is given up.
fn whole(f: IdentityFacts) -> bool {
    let is_bearable = match f.segments {
        Segments::Good | Segments::Unused => true,
        Segments::None | Segments::OtherVersion => false,
        Segments::Missing
        | Segments::WrongLength
        | Segments::Damaged
        | Segments::Foreign
        | Segments::Misplaced => f.loss_accepted,
    };
    known(f) && is_bearable
}

fn faulty(f: IdentityFacts, fault: Segments) -> bool {
    known(f) && f.segments == fault && !whole(f)
}

/// They are this node's, current, and of the configured size.
fn ours(f: IdentityFacts) -> bool {
    whole(f) && f.same_node && f.meta_current && f.same_size
}

/// Neither a copy nor an unaccepted one.
fn at_home(f: IdentityFacts) -> bool {
    ours(f) && (f.same_file || f.copy_accepted)
}

fn ring_is(f: IdentityFacts, fault: RingFound) -> bool {
    at_home(f) && f.ring == fault && !f.loss_accepted
}

fn ring_bears(f: IdentityFacts) -> bool {
    match f.ring {
        RingFound::Absent | RingFound::NotNeeded | RingFound::Good => true,
        RingFound::WrongLength | RingFound::Damaged | RingFound::Foreign => f.loss_accepted,
        RingFound::OtherVersion => false,
    }
}

#[rustfmt::skip]
pub(crate) const IDENTITY_CASES: [IdentityCase; 22] = [
    case("no journal", |f| f.meta == Meta::Absent && f.segments == Segments::None, Identity::Create),
    // The metadata gets its name last, and no record is written before.
    case("creation cut short", |f| f.meta == Meta::Absent && f.segments == Segments::Unused,
         Identity::CreateAgain),
    case("metadata gone",
         |f| f.meta == Meta::Absent && !matches!(f.segments, Segments::None | Segments::Unused),
         refuse(RefusalKind::MetadataMissing)),
    case("metadata damaged", |f| f.meta == Meta::Damaged, refuse(RefusalKind::MetadataDamaged)),
    case("metadata of another version", |f| f.meta == Meta::OtherVersion,
         refuse(RefusalKind::MetadataVersion)),
    case("all segments gone", |f| faulty(f, Segments::None), refuse(RefusalKind::SegmentMissing)),
    case("a segment gone", |f| faulty(f, Segments::Missing), refuse(RefusalKind::SegmentMissing)),
    case("a segment cut or grown", |f| faulty(f, Segments::WrongLength),
         refuse(RefusalKind::SegmentLength)),
    case("a segment damaged", |f| faulty(f, Segments::Damaged), refuse(RefusalKind::SegmentDamaged)),
    case("a segment of another version", |f| faulty(f, Segments::OtherVersion),
         refuse(RefusalKind::SegmentVersion)),
    case("another journal's segment", |f| faulty(f, Segments::Foreign),
         refuse(RefusalKind::ForeignSegment)),
    case("segments exchanged", |f| faulty(f, Segments::Misplaced),
         refuse(RefusalKind::SegmentMisplaced)),
    case("another node's journal", |f| whole(f) && !f.same_node, refuse(RefusalKind::ForeignNode)),
    // The metadata is written before anything of a new incarnation, so a crash never leaves it behind.
    case("metadata from the past", |f| whole(f) && f.same_node && !f.meta_current,
         refuse(RefusalKind::MetadataOlder)),
    case("size changed", |f| whole(f) && f.same_node && f.meta_current && !f.same_size,
         refuse(RefusalKind::RingBytesChanged)),
    case("copy", |f| ours(f) && !at_home(f), refuse(RefusalKind::Copied)),
    case("ring of another version", |f| at_home(f) && f.ring == RingFound::OtherVersion,
         refuse(RefusalKind::RingVersion)),
    case("ring cut or grown", |f| ring_is(f, RingFound::WrongLength), refuse(RefusalKind::RingLength)),
    case("ring damaged", |f| ring_is(f, RingFound::Damaged), refuse(RefusalKind::RingDamaged)),
    case("another journal's ring", |f| ring_is(f, RingFound::Foreign),
         refuse(RefusalKind::ForeignRing)),
    case("copy, accepted", |f| at_home(f) && !f.same_file && ring_bears(f),
         Identity::Open(Some(IncarnationChange::Copy))),
    case("ours", |f| at_home(f) && f.same_file && ring_bears(f), Identity::Open(None)),
];

impl IdentityFacts {
    /// The one row that holds.
    pub(crate) fn judge(self) -> &'static IdentityCase {
        let mut rows = IDENTITY_CASES.iter().filter(|row| (row.holds)(self));
        match (rows.next(), rows.next()) {
            (Some(row), None) => row,
            (first, _) => {
                unreachable!("one row expected, {} and more", first.map_or("", |r| r.label))
            }
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

    const METAS: [Meta; 4] = [Meta::Absent, Meta::Damaged, Meta::OtherVersion, Meta::Good];
    const SEGMENTS: [Segments; 9] = [
        Segments::None,
        Segments::Unused,
        Segments::Good,
        Segments::Missing,
        Segments::WrongLength,
        Segments::Damaged,
        Segments::OtherVersion,
        Segments::Foreign,
        Segments::Misplaced,
    ];
    const RINGS: [RingFound; 7] = [
        RingFound::Absent,
        RingFound::NotNeeded,
        RingFound::Good,
        RingFound::WrongLength,
        RingFound::Damaged,
        RingFound::OtherVersion,
        RingFound::Foreign,
    ];

    fn check(facts: IdentityFacts, used: &mut [u32]) {
        let rows: Vec<usize> =
            (0..IDENTITY_CASES.len()).filter(|row| (IDENTITY_CASES[*row].holds)(facts)).collect();
        assert_eq!(rows.len(), 1, "{facts:?}");
        used[rows[0]] += 1;
        let verdict = facts.judge().verdict();
        let opens = matches!(verdict, Identity::Open(_));
        let is_ours = facts.same_node && facts.meta_current && facts.same_size;
        assert!(!opens || is_ours, "{facts:?}");
        assert!(!opens || facts.same_file || facts.copy_accepted, "{facts:?}");
        if let (Identity::Refuse(kind), true) = (verdict, facts.loss_accepted) {
            assert!(!kind.is_acceptable() || facts.segments == Segments::None, "{facts:?}");
        }
    }

    #[test]
    fn every_combination_has_exactly_one_row() {
        let mut used = [0_u32; IDENTITY_CASES.len()];
        for meta in METAS {
            for segments in SEGMENTS {
                for ring in RINGS {
                    for bits in 0_u32..64 {
                        let bit = |n: u32| bits >> n & 1 != 0;
                        let facts = IdentityFacts {
                            meta,
                            segments,
                            ring,
                            same_node: bit(0),
                            meta_current: bit(1),
                            same_size: bit(2),
                            same_file: bit(3),
                            copy_accepted: bit(4),
                            loss_accepted: bit(5),
                        };
                        check(facts, &mut used);
                    }
                }
            }
        }
        assert!(used.iter().all(|count| *count > 0), "{used:?}");
    }
}
