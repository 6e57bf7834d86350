//! The only place that reads a clock.
//!
//! Time = base + monotonic clock since activation; base = max(wall clock, last journaled time + 1),
//! fixed at activation. So journaled time never goes back, over restarts included, and a step of
//! the wall clock while running changes nothing. The wall clock itself is asked for one thing:
//! whether a logon's timestamp is fresh.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::vocabulary::units::Nanos;

/// The time of one activation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Nanos,
    start: Instant,
}

impl Clock {
    /// A clock that continues after `last_journaled`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn activate(last_journaled: Nanos) -> Self {
        let base = wall().max(Nanos(last_journaled.0 + 1));
        Self { base, start: Instant::now() }
    }

    /// Now, never before the last answer.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn now(&self) -> Nanos {
        let since = Instant::now().duration_since(self.start).as_nanos();
        self.base.saturating_add(Nanos(u64::try_from(since).unwrap_or(u64::MAX)))
    }
}

/// The wall clock, in nanoseconds since the Unix epoch; 0 before it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn wall() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_continues_after_the_journal_even_if_the_wall_clock_is_behind_it() {
        let ahead = Nanos(wall().0 + 3_600 * Nanos::SECOND.0);
        let clock = Clock::activate(ahead);
        let first = clock.now();
        assert!(first > ahead);
        assert!(clock.now() >= first);
        assert!(Clock::activate(Nanos(0)).now() < ahead);
    }
}
