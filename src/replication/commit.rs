//! Which journal index may be shown to the outside.
//!
//! A report leaves a node only when its index is committed *and* applied here. What commits an
//! index depends on the mode; a lone node in `local-mmap` commits what its mapping holds whole,
//! which a killed process keeps and a power cut may take. Every place that shows a number asks
//! here, so the modes that wait for a disk or a standby change this file and no other.

use crate::vocabulary::fix::AckLevel;
use crate::vocabulary::units::Index;

/// The commit position of one node.
///
/// Invariant: `released <= committed`, `released <= applied`; none ever goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    committed: Index,
    applied: Index,
}

impl Commit {
    /// Everything up to `recovered` was committed before this process began.
    #[must_use]
    pub const fn recovered(recovered: Index) -> Self {
        Self { committed: recovered, applied: recovered }
    }

    /// The journal holds records up to `appended` whole.
    pub fn on_appended(&mut self, appended: Index) {
        assert!(appended >= self.committed, "a commit position never goes back");
        self.committed = appended;
    }

    /// The machine applied records up to `applied`.
    pub fn on_applied(&mut self, applied: Index) {
        assert!(applied >= self.applied, "an applied position never goes back");
        self.applied = applied;
    }

    /// The last index whose reports may leave.
    #[must_use]
    pub fn released(&self) -> Index {
        self.committed.min(self.applied)
    }

    /// What an acknowledgement of this node promises.
    #[must_use]
    pub const fn level(&self) -> AckLevel {
        AckLevel::LocalMmap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_before_it_is_committed_and_applied() {
        let mut commit = Commit::recovered(Index(3));
        assert_eq!(commit.released(), Index(3));
        commit.on_appended(Index(9));
        assert_eq!(commit.released(), Index(3), "appended, not applied");
        commit.on_applied(Index(5));
        assert_eq!(commit.released(), Index(5), "half applied");
        commit.on_applied(Index(12));
        assert_eq!(commit.released(), Index(9), "applied, not committed");
    }

    #[test]
    #[should_panic(expected = "never goes back")]
    fn a_commit_position_never_goes_back() {
        Commit::recovered(Index(3)).on_appended(Index(2));
    }
}
