//! Why a record cannot be applied, sorted by what contradicts what.

use thiserror::Error;

use crate::vocabulary::units::{Epoch, Index, Nanos};

/// Why a record cannot be applied: the journal is not one that this build could have written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ApplyError {
    /// A record is missing or repeated.
    #[error("record {came} came, expected {expected}")]
    OutOfOrder {
        /// The next index.
        expected: Index,
        /// The record's.
        came: Index,
    },
    /// Journaled time went back.
    #[error("record {index}: its time {came} is before the last one, {last}")]
    TimeWentBack {
        /// The record.
        index: Index,
        /// Time of the record before.
        last: Nanos,
        /// Its time.
        came: Nanos,
    },
    /// The epoch is not the current one.
    #[error("record {index}: epoch {came} came, expected {expected}")]
    WrongEpoch {
        /// The record.
        index: Index,
        /// The current epoch.
        expected: Epoch,
        /// The record's.
        came: Epoch,
    },
    /// The record contradicts the state.
    #[error("record {index}: {what}")]
    Impossible {
        /// The record.
        index: Index,
        /// What contradicts.
        what: &'static str,
    },
    /// The output differs from the one that wrote the journal.
    #[error("record {index}: output digest {came:016x}, expected {expected:016x}: state diverged")]
    Diverged {
        /// The StateHash record.
        index: Index,
        /// The journaled digest.
        expected: u64,
        /// The digest here.
        came: u64,
    },
}
