//! What a turn without work costs the machine.
//!
//! *Spin* goes on at once: lowest latency, a core of its own. *Yield* gives the core to whoever
//! wants it: nearly as fast on an idle machine and fair on a shared one. *Park* sleeps in the poll,
//! at most [`PARK_MAX`], woken by a socket or the waker: for tests and for machines with better
//! things to do.

use std::time::Duration;

use crate::config::Idle;

/// The longest sleep of a parked thread: timers are late by at most this.
pub const PARK_MAX: Duration = Duration::from_millis(1);

/// How long the poll of this turn may sleep.
#[must_use]
pub fn poll_timeout(idle: Idle, had_work: bool) -> Duration {
    match (idle, had_work) {
        (Idle::Park, false) => PARK_MAX,
        (Idle::Park, true) | (Idle::Yield | Idle::Spin, _) => Duration::ZERO,
    }
}

/// Between two turns, when the last one did nothing.
pub fn wait(idle: Idle) {
    match idle {
        Idle::Yield => std::thread::yield_now(),
        Idle::Spin => std::hint::spin_loop(),
        Idle::Park => {}
    }
}
