//! Which journal index may be shown to the outside.
//!
//! A report leaves a node only when its index is committed *and* applied here. What commits an
//! index depends on the mode; a lone node in `local-mmap` commits what its mapping holds whole,
//! which a killed process keeps and a power cut may take; in `local-fsync` it commits what the disk
//! has. Every place that shows a number asks here, so the modes that wait for a standby change this
//! file and no other.
//!
//! ```text
//! appended >= applied,  appended >= durable
//! committed = appended (local-mmap) or durable (local-fsync)
//! released  = min(committed, applied)
//! ```

use crate::vocabulary::durability::Durability;
use crate::vocabulary::fix::AckLevel;
use crate::vocabulary::units::Index;

/// The commit position of one node.
///
/// Invariants: `applied <= appended`, `durable <= appended`, and none of the three ever goes back;
/// so neither does what is committed or released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commit {
    durability: Durability,
    appended: Index,
    applied: Index,
    durable: Index,
}

impl Commit {
    /// A node whose disk has everything up to `durable`, all of it applied. What recovery found
    /// beyond is appended and applied like everything after, and in `local-fsync` is not shown
    /// again before the disk has it: the process that showed it, if any, waited for the same.
    #[must_use]
    pub const fn recovered(durability: Durability, durable: Index) -> Self {
        Self { durability, appended: durable, applied: durable, durable }
    }

    /// The journal holds records up to `appended` whole.
    pub fn on_appended(&mut self, appended: Index) {
        assert!(appended >= self.appended, "an appended position never goes back");
        self.appended = appended;
    }

    /// The disk has records up to `durable`.
    pub fn on_durable(&mut self, durable: Index) {
        assert!(durable >= self.durable, "a durable position never goes back");
        assert!(durable <= self.appended, "the disk has only what was appended");
        self.durable = durable;
    }

    /// The machine applied records up to `applied`.
    pub fn on_applied(&mut self, applied: Index) {
        assert!(applied >= self.applied, "an applied position never goes back");
        assert!(applied <= self.appended, "only what was appended is applied");
        self.applied = applied;
    }

    /// The last index that is never taken back, at the level the mode asks for.
    #[must_use]
    pub const fn committed(&self) -> Index {
        match self.durability {
            Durability::LocalMmap => self.appended,
            Durability::LocalFsync => self.durable,
        }
    }

    /// The last index whose reports may leave.
    #[must_use]
    pub fn released(&self) -> Index {
        self.committed().min(self.applied)
    }

    /// The last index that the disk has.
    #[must_use]
    pub const fn durable(&self) -> Index {
        self.durable
    }

    /// Whether an acknowledgement waits for the disk.
    #[must_use]
    pub const fn waits_for_disk(&self) -> bool {
        match self.durability {
            Durability::LocalMmap => false,
            Durability::LocalFsync => true,
        }
    }

    /// What an acknowledgement of this node promises.
    #[must_use]
    pub const fn level(&self) -> AckLevel {
        self.durability.level()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, and released and durable after it.
    #[derive(Clone, Copy)]
    enum Step {
        Appended(u64),
        Durable(u64),
        Applied(u64),
    }
    use Step::{Appended, Applied, Durable};

    #[track_caller]
    fn check(durability: Durability, script: &[(Step, u64, u64)]) {
        let mut commit = Commit::recovered(durability, Index(3));
        assert_eq!((commit.released(), commit.durable()), (Index(3), Index(3)));
        for (row, (step, released, durable)) in script.iter().enumerate() {
            match *step {
                Appended(index) => commit.on_appended(Index(index)),
                Durable(index) => commit.on_durable(Index(index)),
                Applied(index) => commit.on_applied(Index(index)),
            }
            let came = (commit.released().0, commit.durable().0);
            assert_eq!(came, (*released, *durable), "row {row}");
        }
    }

    #[test]
    fn in_the_mapping_what_is_appended_is_committed() {
        check(
            Durability::LocalMmap,
            &[
                (Appended(9), 3, 3), // not applied
                (Applied(5), 5, 3),  // half applied
                (Durable(4), 5, 4),
                (Appended(12), 5, 4),
                (Applied(12), 12, 4),
                (Durable(12), 12, 12),
            ],
        );
        let commit = Commit::recovered(Durability::LocalMmap, Index(0));
        assert_eq!((commit.level(), commit.waits_for_disk()), (AckLevel::LocalMmap, false));
    }

    #[test]
    fn on_disk_nothing_leaves_before_the_disk_has_it() {
        check(
            Durability::LocalFsync,
            &[
                (Appended(9), 3, 3),
                (Applied(9), 3, 3), // applied, not durable
                (Durable(5), 5, 5), // a group
                (Durable(5), 5, 5), // told twice
                (Appended(12), 5, 5),
                (Durable(11), 9, 11), // durable, not applied
                (Applied(12), 11, 11),
                (Durable(12), 12, 12),
            ],
        );
        let commit = Commit::recovered(Durability::LocalFsync, Index(0));
        assert_eq!((commit.level(), commit.waits_for_disk()), (AckLevel::LocalFsync, true));
    }

    #[test]
    #[should_panic(expected = "an appended position never goes back")]
    fn what_is_appended_never_goes_back() {
        Commit::recovered(Durability::LocalMmap, Index(3)).on_appended(Index(2));
    }

    #[test]
    #[should_panic(expected = "a durable position never goes back")]
    fn what_is_durable_never_goes_back() {
        Commit::recovered(Durability::LocalFsync, Index(3)).on_durable(Index(2));
    }

    #[test]
    #[should_panic(expected = "only what was appended")]
    fn the_disk_has_nothing_that_was_not_appended() {
        Commit::recovered(Durability::LocalFsync, Index(3)).on_durable(Index(4));
    }

    #[test]
    #[should_panic(expected = "only what was appended is applied")]
    fn nothing_is_applied_that_was_not_appended() {
        Commit::recovered(Durability::LocalMmap, Index(3)).on_applied(Index(4));
    }
}
