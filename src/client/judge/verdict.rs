//! The verdict: six claims, what breaks them, and the figures beside them.

use std::fmt;
use std::path::PathBuf;

use crate::vocabulary::units::SessionId;

/// Violations that are kept to be shown; the others are only counted.
pub const VIOLATIONS_KEPT_MAX: usize = 1000;

/// One sentence that must be true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Claim {
    /// A key is accepted at most once.
    AcceptedOnce = 0,
    /// Nothing acknowledged is missing.
    NothingMissing = 1,
    /// Numbers are contiguous.
    Contiguous = 2,
    /// Replays are identical.
    ReplayIdentical = 3,
    /// Final answers stay.
    FinalStays = 4,
    /// Every request has an outcome.
    Resolved = 5,
}

/// What breaks a claim, and where the evidence is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The claim.
    pub claim: Claim,
    /// The session; none for the journal's own.
    pub session: Option<SessionId>,
    /// The message number in its flow; 0 when no one message is meant.
    pub number: u64,
    /// The history file, by its place among the arguments.
    pub file: usize,
    /// Where in the file the frame stands.
    pub offset: u64,
    /// What was expected and what came.
    pub what: String,
}

/// Figures that say how much was judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Sessions with a history.
    pub sessions: u64,
    /// Frames read.
    pub frames: u64,
    /// Different ClOrdIDs that orders were sent with.
    pub orders_unique: u64,
    /// Different ClOrdIDs of which an acceptance was seen, each with one OrderID.
    pub accepted_unique: u64,
    /// Different ClOrdIDs that were refused for good.
    pub refused_unique: u64,
    /// Different ClOrdIDs that were refused for now and never accepted after.
    pub refused_for_now_unique: u64,
    /// Orders that were known without their acceptance being seen: another run's.
    pub known_unique: u64,
    /// Duplicates that were answered with the order's status.
    pub duplicates_answered: u64,
    /// Different ClOrdIDs, cancels included, without any outcome.
    pub unresolved: u64,
    /// Reports that came more than once and were compared.
    pub replays_compared: u64,
    /// Numbers covered by NotApplied.
    pub not_applied: u64,
    /// Histories that end inside an entry.
    pub torn: u64,
    /// Requests in the journal.
    pub journal_requests: u64,
    /// The journal's last index.
    pub journal_last_index: u64,
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How much was judged.
    pub figures: Figures,
    /// Violations in the order found, at most [`VIOLATIONS_KEPT_MAX`].
    pub violations: Vec<Violation>,
    /// The histories, in the order of the arguments.
    pub files: Vec<PathBuf>,
    counts: [u64; Claim::ALL.len()],
}

impl Claim {
    /// All claims, in the order they are printed.
    pub const ALL: [Self; 6] = [
        Self::AcceptedOnce,
        Self::NothingMissing,
        Self::Contiguous,
        Self::ReplayIdentical,
        Self::FinalStays,
        Self::Resolved,
    ];

    /// A word for tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptedOnce => "accepted-once",
            Self::NothingMissing => "nothing-missing",
            Self::Contiguous => "contiguous",
            Self::ReplayIdentical => "replay-identical",
            Self::FinalStays => "final-stays",
            Self::Resolved => "resolved",
        }
    }

    /// The sentence.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::AcceptedOnce => {
                "Per owner and ClOrdID at most one order was accepted, and it is the one journaled."
            }
            Self::NothingMissing => {
                "Everything acknowledged is in the journal, at its index, with the content sent."
            }
            Self::Contiguous => {
                "Each session's reports are numbered 1 to n without a gap, over all reconnects."
            }
            Self::ReplayIdentical => "A report that came more than once came with the same bytes.",
            Self::FinalStays => "A final answer for a ClOrdID never became another.",
            Self::Resolved => {
                "Every ClOrdID sent has an outcome; a duplicate's is that of its original."
            }
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Verdict {
    pub(super) fn of(files: &[PathBuf]) -> Self {
        Self { files: files.to_vec(), ..Self::default() }
    }

    /// How often a claim was broken.
    #[must_use]
    pub const fn count(&self, claim: Claim) -> u64 {
        self.counts[claim as usize]
    }

    /// Whether every claim holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }

    pub(super) fn add(&mut self, violation: Violation) {
        let claim = violation.claim as usize;
        self.counts[claim] = self.counts[claim].saturating_add(1);
        if self.violations.len() < VIOLATIONS_KEPT_MAX {
            self.violations.push(violation);
        }
    }
}
