//! Recover: what is done with a journal's end after a crash, as a table.
//!
//! The scan says how far the chain reaches, through the segments and on in the ring, and what is
//! behind it; the metadata says whether the writer had stopped cleanly, and metadata and segments
//! name a record that was on the disk (the floor); the boot id says whether the kernel, and with it
//! every page the writer had stored, survived. Six facts, one row each.
//!
//! Whatever may have lost a record gets a new incarnation: others must not count on what this node
//! once acknowledged. Whether an *acknowledged* record may be missing is a second question: a
//! writer that acknowledged only what was on the disk lost none of those. What is dropped as torn
//! is first kept in a side file.

use std::path::PathBuf;

use crate::error::RefusalKind;

/// Why the incarnation went up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncarnationChange {
    /// The machine restarted without a clean stop: what was only in memory is gone.
    PowerCut,
    /// The ring is gone although the machine did not restart: what was only there is gone.
    RingLost,
    /// The directory is a copy that the operator accepts; the original may have gone on.
    Copy,
    /// The operator accepts that records are damaged or missing.
    AcceptedLoss,
}

impl IncarnationChange {
    /// What happened, for the operator.
    #[must_use]
    pub const fn what_happened(self) -> &'static str {
        match self {
            Self::PowerCut => "the machine restarted without a clean stop of this node",
            Self::RingLost => "the ring in memory is gone although the machine did not restart",
            Self::Copy => "this is a copy of a journal, and the original may have gone on",
            Self::AcceptedLoss => "damaged or missing records were accepted as lost",
        }
    }
}

/// What an open found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The row of the recovery table that applied.
    pub case: &'static str,
    /// Index of the last record, pads counted; 0 when there is none.
    pub last_index: u64,
    /// Time of the last record; 0 when there is none.
    pub last_time: u64,
    /// Epoch of the last record; 0 when there is none.
    pub last_epoch: u32,
    /// The last record that is on the disk now.
    pub durable_index: u64,
    /// Bytes of records that a crash cut short, dropped and kept aside.
    pub torn: Option<Torn>,
    /// What was dropped because the operator accepted it.
    pub accepted: Option<Lost>,
    /// Whole files that were not to be used and were given away, because the operator accepted it;
    /// if nothing is `accepted` as lost, all their records were found elsewhere.
    pub set_aside: Vec<PathBuf>,
    /// Acknowledged records may be missing: above which index.
    pub suspect: Option<Suspect>,
    /// Incarnation the journal now runs under.
    pub incarnation: u64,
    /// Why the incarnation is higher than before.
    pub incarnation_changed: Option<IncarnationChange>,
    /// The last writer stopped cleanly, and all it wrote is there.
    pub clean: bool,
    /// The ring's pages are locked in memory.
    pub memory_locked: bool,
    /// Why the ring is not where it was asked to be, or not in memory.
    pub ring_note: Option<String>,
}

impl Recovery {
    /// Of a journal that was just made.
    pub(crate) fn created(
        incarnation: u64,
        memory_locked: bool,
        ring_note: Option<String>,
    ) -> Self {
        Self {
            case: "created",
            last_index: 0,
            last_time: 0,
            last_epoch: 0,
            durable_index: 0,
            torn: None,
            accepted: None,
            set_aside: Vec::new(),
            suspect: None,
            incarnation,
            incarnation_changed: None,
            clean: true,
            memory_locked,
            ring_note,
        }
    }
}

/// A torn tail that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where the tail began.
    pub position: crate::Position,
    /// Index the first lost record would have had.
    pub index: u64,
    /// Bytes dropped, up to the last that was not zero.
    pub bytes: u64,
    /// What was wrong with the first of them.
    pub error: crate::ChainError,
    /// Where the bytes are kept.
    pub side_files: Vec<PathBuf>,
}

/// Records that were there, or should have been, and were given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where the journal was cut.
    pub position: crate::Position,
    /// The first record that is lost.
    pub first_index: u64,
    /// The highest index known to have been written.
    pub last_known_index: u64,
    /// Whole records behind the cut; they are in the side files.
    pub whole_records: u64,
    /// Bytes dropped behind the cut, whole files apart, up to the last that was not zero.
    pub bytes: u64,
    /// Where the bytes are kept, whole files among them; none when there were none.
    pub side_files: Vec<PathBuf>,
}

/// The range in which acknowledged records may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Nothing up to this index is missing.
    pub after_index: u64,
    /// No record above this index can have been acknowledged: a ring holds no more.
    pub to_index: u64,
}

/// What lies behind the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Zero,
    Torn,
    Valid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a decision table")]
pub(crate) struct TailFacts {
    pub(crate) end: End,
    /// The chain holds every record that is known to have been on the disk, unchanged.
    pub(crate) floor_reached: bool,
    /// The last writer stopped cleanly.
    pub(crate) is_stopped: bool,
    /// The ring of the last writer is there, from the same boot.
    pub(crate) has_ring: bool,
    /// The kernel that took the stores still runs.
    pub(crate) same_boot: bool,
    /// The last writer acknowledged only what was on the disk.
    pub(crate) acks_durable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Keep { drop_torn: bool, change: Option<IncarnationChange>, may_have_lost: bool, clean: bool },
    Refuse(RefusalKind),
}

pub(crate) struct TailCase {
    pub(crate) label: &'static str,
    pub(crate) verdict: Tail,
    end: End,
    floor_reached: Option<bool>,
    is_stopped: Option<bool>,
    has_ring: Option<bool>,
    same_boot: Option<bool>,
    acks_durable: Option<bool>,
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);
const ANY: Option<bool> = None;

const fn keep(drop_torn: bool, change: Option<IncarnationChange>, may_have_lost: bool) -> Tail {
    Tail::Keep { drop_torn, change, may_have_lost, clean: false }
}

const CUT: Option<IncarnationChange> = Some(IncarnationChange::PowerCut);
const GONE: Option<IncarnationChange> = Some(IncarnationChange::RingLost);
const CLEAN: Tail =
    Tail::Keep { drop_torn: false, change: None, may_have_lost: false, clean: true };
const WHOLE: Tail = keep(false, None, false);
const TORN: Tail = keep(true, None, false);
const CORRUPT: Tail = Tail::Refuse(RefusalKind::Corrupt);
const LOST: Tail = Tail::Refuse(RefusalKind::LostTail);

const fn case(
    label: &'static str,
    verdict: Tail,
    end: End,
    [floor_reached, is_stopped, has_ring, same_boot, acks_durable]: [Option<bool>; 5],
) -> TailCase {
    TailCase { label, verdict, end, floor_reached, is_stopped, has_ring, same_boot, acks_durable }
}

#[rustfmt::skip]
pub(crate) const TAIL_CASES: [TailCase; 15] = [
    //    label                                   verdict                 end         floor stop  ring  boot  acks durable
    case("clean stop",                            CLEAN,                  End::Zero,  [YES, YES,  ANY,  ANY,  ANY]),
    case("killed",                                WHOLE,                  End::Zero,  [YES, NO,   YES,  ANY,  ANY]),
    case("ring gone",                             keep(false, GONE, true), End::Zero, [YES, NO,   NO,   YES,  NO]),
    // It reaches what was on the disk and ends there without a gap: nothing acknowledged is missing.
    case("ring gone, acknowledged was on disk",   WHOLE,                  End::Zero,  [YES, NO,   NO,   YES,  YES]),
    case("power cut",                             keep(false, CUT, true), End::Zero,  [YES, NO,   NO,   NO,   NO]),
    case("power cut, acknowledged was on disk",   WHOLE,                  End::Zero,  [YES, NO,   NO,   NO,   YES]),
    case("records gone",                          LOST,                   End::Zero,  [NO,  ANY,  ANY,  ANY,  ANY]),
    // Bytes after a clean stop are not ours; all that was acknowledged is in front of them.
    case("clean stop, bytes behind",              TORN,                   End::Torn,  [YES, YES,  ANY,  ANY,  ANY]),
    case("killed while appending",                TORN,                   End::Torn,  [YES, NO,   YES,  ANY,  ANY]),
    case("ring gone, torn tail",                  keep(true, GONE, true), End::Torn,  [YES, NO,   NO,   YES,  NO]),
    // The torn tail is the group that was being written: nobody was told of it. A bad record all the
    // same, so others are to fetch what they count on.
    case("ring gone, torn tail never told",       keep(true, GONE, false), End::Torn, [YES, NO,   NO,   YES,  YES]),
    case("power cut, torn tail",                  keep(true, CUT, true),  End::Torn,  [YES, NO,   NO,   NO,   NO]),
    case("power cut, torn tail never told",       keep(true, CUT, false), End::Torn,  [YES, NO,   NO,   NO,   YES]),
    case("records gone, torn tail",               LOST,                   End::Torn,  [NO,  ANY,  ANY,  ANY,  ANY]),
    case("corrupt",                               CORRUPT,                End::Valid, [ANY, ANY,  ANY,  ANY,  ANY]),
];

impl TailCase {
    fn holds(&self, facts: TailFacts) -> bool {
        let fits = |wanted: Option<bool>, fact| wanted.is_none_or(|wanted| wanted == fact);
        self.end == facts.end
            && fits(self.floor_reached, facts.floor_reached)
            && fits(self.is_stopped, facts.is_stopped)
            && fits(self.has_ring, facts.has_ring)
            && fits(self.same_boot, facts.same_boot)
            && fits(self.acks_durable, facts.acks_durable)
    }
}

impl TailFacts {
    /// The one row that holds.
    pub(crate) fn judge(self) -> &'static TailCase {
        let mut rows = TAIL_CASES.iter().filter(|row| row.holds(self));
        match (rows.next(), rows.next()) {
            (Some(row), None) => row,
            (first, _) => {
                unreachable!("one row expected, {} and more", first.map_or("", |r| r.label))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_exactly_one_row() {
        let mut used = [0_u32; TAIL_CASES.len()];
        for end in [End::Zero, End::Torn, End::Valid] {
            for bits in 0_u32..32 {
                let facts = TailFacts {
                    end,
                    floor_reached: bits & 1 != 0,
                    is_stopped: bits & 2 != 0,
                    has_ring: bits & 4 != 0,
                    same_boot: bits & 8 != 0,
                    acks_durable: bits & 16 != 0,
                };
                let rows: Vec<usize> =
                    (0..TAIL_CASES.len()).filter(|row| TAIL_CASES[*row].holds(facts)).collect();
                assert_eq!(rows.len(), 1, "{facts:?}");
                used[rows[0]] += 1;
                match facts.judge().verdict {
                    Tail::Refuse(_) => assert!(end == End::Valid || !facts.floor_reached),
                    Tail::Keep { drop_torn, change, may_have_lost, clean } => {
                        assert!(facts.floor_reached, "nothing on the disk is lost: {facts:?}");
                        assert_eq!(drop_torn, end == End::Torn);
                        let is_exposed = !facts.is_stopped && !facts.has_ring;
                        assert_eq!(may_have_lost, is_exposed && !facts.acks_durable);
                        assert_eq!(change.is_some(), is_exposed && (may_have_lost || drop_torn));
                        assert!(!clean || facts.is_stopped);
                    }
                }
            }
        }
        assert!(used.iter().all(|count| *count > 0), "{used:?}");
    }
}
