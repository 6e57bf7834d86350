//! A client's clock.

use std::time::{Instant, SystemTime};

use crate::vocabulary::units::Nanos;

/// Wall time that never goes back: the wall clock at the start plus monotonic time since.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Nanos,
}

impl Clock {
    /// Begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a client reads its own clock")]
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: Self::wall() }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        let span = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.wall.saturating_add(Nanos(span))
    }

    /// The wall clock itself, which signs a logon: it may be set while a client runs.
    #[must_use]
    pub fn wall() -> Nanos {
        let span = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |span| span.as_nanos());
        Nanos(u64::try_from(span).unwrap_or(u64::MAX))
    }
}
