//! What a loop does when it found nothing to do.
//!
//! Spinning gives the smallest latency and needs a core for every process that runs: three
//! spinning processes on two cores take turns by the scheduler's slice, and the figures become
//! milliseconds. Yielding gives the core to whoever waits for it and costs a system call a turn.
//! Client and servers of one run use the same mode, or the ratio compares two modes.

use clap::ValueEnum;
use serde::Serialize;

/// The idle strategy of a client or server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Idle {
    /// Look again at once; for a core of one's own.
    Spin,
    /// Offer the core to another thread first; for shared cores.
    Yield,
}

impl Idle {
    /// One idle step.
    #[inline]
    pub(crate) fn rest(self) {
        match self {
            Self::Spin => std::hint::spin_loop(),
            Self::Yield => std::thread::yield_now(),
        }
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Yield => "yield",
        }
    }
}
