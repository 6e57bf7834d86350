//! What can go wrong in a measurement, sorted by who is to blame.
//!
//! A measurement that went wrong has no figure: every error ends the run, the children are killed
//! on the way out, and nothing is appended to the history. A slow machine is not an error; a
//! request that is not answered within its bound is.

use std::io;
use std::time::Duration;

/// Why a run was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PerfError {
    /// The machine refused: a file, a socket, a process.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// The other side said nothing in time.
    #[error("{what}: nothing came within {after:?}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// The bound that passed.
        after: Duration,
    },
    /// The other side said something else.
    #[error("{what}: expected {expected}, got {came}")]
    Unexpected {
        /// Where it was read.
        what: String,
        /// What would have been right.
        expected: String,
        /// What came instead.
        came: String,
    },
    /// The command line asks for what this machine does not have.
    #[error("{0}")]
    Settings(String),
}

impl PerfError {
    /// Names the attempt that a system error belongs to.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// An answer that is not the one the protocol of the moment allows.
    pub(crate) fn unexpected(
        what: impl Into<String>,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Self {
        Self::Unexpected { what: what.into(), expected: expected.into(), came: came.into() }
    }
}
