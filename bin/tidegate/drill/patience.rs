//! Patience: every wait is bounded, says what it waited for, and ends at ctrl-c.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tidegate::vocabulary::units::Nanos;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Waits, until somebody asks it to stop.
#[derive(Clone)]
pub(crate) struct Patience {
    is_asked: Arc<AtomicBool>,
}

impl Patience {
    /// From now on SIGINT, SIGTERM and SIGHUP end the next wait instead of the process; a second
    /// one ends the process at once, and its guarded children with it.
    pub(crate) fn new() -> Result<Self, String> {
        let is_asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag down and raises it.
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_asked))
                .map_err(|e| format!("cannot watch signals: {e}"))?;
            signal_hook::flag::register(signal, Arc::clone(&is_asked))
                .map_err(|e| format!("cannot watch signals: {e}"))?;
        }
        Ok(Self { is_asked })
    }

    /// Looks until something is found; an error when that takes longer than `bound`.
    pub(crate) fn wait<T>(
        &self,
        step: &str,
        bound: Duration,
        mut look: impl FnMut() -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let start = now();
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if self.is_asked.load(Ordering::Relaxed) {
                return Err(format!("interrupted while waiting for {step}"));
            }
            if start.elapsed() > bound {
                return Err(format!("timed out after {} s: {step}", bound.as_secs()));
            }
            pause();
        }
    }

    /// An error once somebody asked to stop; for the stretches without a wait.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.is_asked.load(Ordering::Relaxed) { Err("interrupted".to_owned()) } else { Ok(()) }
    }
}

#[expect(clippy::disallowed_methods, reason = "a parent of processes has time of its own")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a parent of processes has a core to give away")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Wall time, as client histories carry it.
pub(crate) fn wall() -> Nanos {
    let span = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_was_found_or_says_what_was_missing() {
        let patience = Patience::new().unwrap();
        let mut looks = 0;
        let found = patience.wait("a third look", Duration::from_mins(1), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found, Ok(3));
        let late: Result<(), _> = patience.wait("nothing", Duration::ZERO, || Ok(None));
        assert_eq!(late, Err("timed out after 0 s: nothing".to_owned()));
        let failed: Result<(), _> =
            patience.wait("nothing", Duration::from_mins(1), || Err("it died".to_owned()));
        assert_eq!(failed, Err("it died".to_owned()));
        patience.is_asked.store(true, Ordering::Relaxed);
        let stopped: Result<(), _> = patience.wait("x", Duration::from_mins(1), || Ok(None));
        assert_eq!(stopped, Err("interrupted while waiting for x".to_owned()));
        assert!(patience.check().is_err());
    }
}
