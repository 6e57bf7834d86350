//! Recover: what is done with a journal's end after a crash, as a table.
//!
//! The scan says how far the chain reaches and what is behind it; the metadata says whether the
//! writer had stopped cleanly and which record was its last then; the boot id says whether the
//! kernel, and with it every page the writer had stored, survived. Four facts, one row each.
//!
//! Whatever may have lost a record gets a new incarnation: others must not count on what this node
//! once acknowledged. What is dropped as torn is first kept in a side file.

use crate::error::RefusalKind;

/// Why the incarnation went up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncarnationChange {
    /// The machine restarted without a clean stop: pages the kernel had not written back are gone,
    /// usually those of the last 30 s, in any order.
    PowerCut,
    /// The directory is a copy that the configuration accepts; the original may have gone on.
    Copy,
}

impl IncarnationChange {
    /// One sentence for the operator: what may be missing.
    #[must_use]
    pub const fn what_may_be_missing(self) -> &'static str {
        match self {
            Self::PowerCut => {
                "the machine restarted without a clean stop: acknowledged records that the kernel \
                 had not written to disk, usually those of the last 30 s, may be missing"
            }
            Self::Copy => {
                "this is a copy of a journal: records the original wrote after the copy was made \
                 are missing"
            }
        }
    }
}

/// What an open found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The row of the recovery table that applied.
    pub case: &'static str,
    /// Records the journal holds, pads included.
    pub records: u64,
    /// Index of the last record; 0 when there is none.
    pub last_index: u64,
    /// Time of the last record; 0 when there is none.
    pub last_time: u64,
    /// Epoch of the last record; 0 when there is none.
    pub last_epoch: u32,
    /// Bytes of a record that a crash cut short, dropped and kept aside.
    pub torn: Option<Torn>,
    /// Incarnation the journal now runs under.
    pub incarnation: u64,
    /// Why the incarnation is higher than before.
    pub incarnation_changed: Option<IncarnationChange>,
    /// The last writer stopped cleanly, and all it wrote is there.
    pub clean: bool,
    /// The ring's pages are locked in memory.
    pub memory_locked: bool,
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
    pub side_file: std::path::PathBuf,
}

/// What lies behind the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Zero,
    Torn,
    Valid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TailFacts {
    pub(crate) end: End,
    /// The chain holds the last record of the latest clean stop, unchanged.
    pub(crate) floor_reached: bool,
    /// The kernel that took the stores still runs.
    pub(crate) same_boot: bool,
    /// The last writer stopped cleanly.
    pub(crate) is_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    Keep {
        drop_torn: bool,
        change: Option<IncarnationChange>,
        clean: bool,
    },
    Refuse(RefusalKind),
}

pub(crate) struct TailCase {
    pub(crate) label: &'static str,
    pub(crate) verdict: Tail,
    end: End,
    floor_reached: Option<bool>,
    same_boot: Option<bool>,
    is_stopped: Option<bool>,
}

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);
const ANY: Option<bool> = None;
const CLEAN: Tail = Tail::Keep {
    drop_torn: false,
    change: None,
    clean: true,
};
const KILLED: Tail = Tail::Keep {
    drop_torn: false,
    change: None,
    clean: false,
};
const TORN: Tail = Tail::Keep {
    drop_torn: true,
    change: None,
    clean: false,
};
const CUT: Option<IncarnationChange> = Some(IncarnationChange::PowerCut);
const POWER: Tail = Tail::Keep {
    drop_torn: false,
    change: CUT,
    clean: false,
};
const POWER_TORN: Tail = Tail::Keep {
    drop_torn: true,
    change: CUT,
    clean: false,
};
const CORRUPT: Tail = Tail::Refuse(RefusalKind::Corrupt);
const LOST: Tail = Tail::Refuse(RefusalKind::LostTail);

const fn case(
    label: &'static str,
    verdict: Tail,
    end: End,
    (floor_reached, same_boot, is_stopped): (Option<bool>, Option<bool>, Option<bool>),
) -> TailCase {
    TailCase {
        label,
        verdict,
        end,
        floor_reached,
        same_boot,
        is_stopped,
    }
}

#[rustfmt::skip]
pub(crate) const TAIL_CASES: [TailCase; 9] = [
    //    label                        verdict     end         floor same boot stopped
    case("clean stop",                 CLEAN,      End::Zero,  (YES,  ANY,      YES)),
    case("killed",                     KILLED,     End::Zero,  (YES,  YES,      NO)),
    case("power cut",                  POWER,      End::Zero,  (YES,  NO,       NO)),
    case("records gone",               LOST,       End::Zero,  (NO,   ANY,      ANY)),
    // Bytes after a clean stop are not ours; all that was acknowledged is in front of them.
    case("clean stop, bytes behind",   TORN,       End::Torn,  (YES,  ANY,      YES)),
    case("killed while appending",     TORN,       End::Torn,  (YES,  YES,      NO)),
    case("power cut, torn tail",       POWER_TORN, End::Torn,  (YES,  NO,       NO)),
    case("records gone, torn tail",    LOST,       End::Torn,  (NO,   ANY,      ANY)),
    case("corrupt",                    CORRUPT,    End::Valid, (ANY,  ANY,      ANY)),
];

impl TailCase {
    fn holds(&self, facts: TailFacts) -> bool {
        let fits = |wanted: Option<bool>, fact| wanted.is_none_or(|wanted| wanted == fact);
        self.end == facts.end
            && fits(self.floor_reached, facts.floor_reached)
            && fits(self.same_boot, facts.same_boot)
            && fits(self.is_stopped, facts.is_stopped)
    }
}

impl TailFacts {
    /// The one row that holds.
    pub(crate) fn judge(self) -> &'static TailCase {
        let mut rows = TAIL_CASES.iter().filter(|row| row.holds(self));
        match (rows.next(), rows.next()) {
            (Some(row), None) => row,
            (first, _) => unreachable!(
                "one row expected, {} and more",
                first.map_or("", |r| r.label)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_exactly_one_row() {
        for end in [End::Zero, End::Torn, End::Valid] {
            for bits in 0_u32..8 {
                let facts = TailFacts {
                    end,
                    floor_reached: bits & 1 != 0,
                    same_boot: bits & 2 != 0,
                    is_stopped: bits & 4 != 0,
                };
                let rows = TAIL_CASES.iter().filter(|row| row.holds(facts)).count();
                assert_eq!(rows, 1, "{facts:?}");
                match facts.judge().verdict {
                    Tail::Refuse(_) => assert!(end == End::Valid || !facts.floor_reached),
                    Tail::Keep {
                        drop_torn,
                        change,
                        clean,
                    } => {
                        assert!(
                            facts.floor_reached,
                            "nothing acknowledged is lost: {facts:?}"
                        );
                        assert_eq!(drop_torn, end == End::Torn);
                        assert_eq!(change.is_some(), !facts.same_boot && !facts.is_stopped);
                        assert!(!clean || facts.is_stopped);
                    }
                }
            }
        }
    }
}
